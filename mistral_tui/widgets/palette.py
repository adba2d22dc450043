"""The styles of a transcript, from the variables of any Textual theme."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from rich.style import Style
from textual.color import Color, ColorParseError

# What our own themes set as `chat-…` and `code-…`, and what a stock theme offers instead.
CHAT_DEFAULTS = {
    "heading": "text-primary",
    "subheading": "text-accent",
    "link": "text-accent",
    "quote": "text-muted",
    "inline-code": "text-warning",
    "muted": "text-muted",
    "marker": "text-accent",
    "rule": "text-disabled",
    "user": "text-primary",
    "assistant": "text-accent",
    "error": "text-error",
    "code-background": "surface",
}
CODE_DEFAULTS = {
    "text": "foreground",
    "keyword": "text-primary",
    "string": "text-success",
    "comment": "text-muted",
    "number": "text-warning",
    "function": "text-accent",
    "type": "text-secondary",
    "operator": "foreground",
    "builtin": "text-secondary",
    "variable": "foreground",
    "decorator": "text-warning",
    "heading": "text-primary",
    "inserted": "text-success",
    "deleted": "text-error",
}


def _parse(value: str, variables: Mapping[str, str]) -> Color | None:
    """A colour of a theme; `auto 60%` is a blend of foreground and background."""
    if value.startswith("auto"):
        ground = Color.parse(variables.get("background", "#121212"))
        text = Color.parse(variables.get("foreground", "#e0e0e0"))
        if ground.ansi is not None or text.ansi is not None:
            return None
        share = value.removeprefix("auto").strip().rstrip("%")
        # Stock themes fade to 38 %, which is too faint to read.
        return ground.blend(text, max(0.62, float(share) / 100 if share else 1.0), alpha=1)
    try:
        color = Color.parse(value)
    except ColorParseError:
        return None
    if color.a == 0:
        return None
    if color.a < 1 and color.ansi is None:
        ground = Color.parse(variables.get("background", "#121212"))
        color = ground.blend(color, color.a, alpha=1)
    return color


def resolve(variables: Mapping[str, str], name: str, default: str) -> Color | None:
    """The colour called `name` in a theme, or its `default` variable; None = the terminal's own."""
    for key in (name, default):
        value = variables.get(key)
        if value and (color := _parse(value, variables)) is not None:
            return color
    return None


@dataclass(frozen=True, eq=False)
class Palette:
    """Rich styles by role. Decoration (bars, padding) has styles of its own, left out of copies."""

    chat: Mapping[str, Style]
    code: Mapping[str, Style]
    panel: Style
    """The background of a code block."""

    @classmethod
    def from_variables(cls, variables: Mapping[str, str]) -> Palette:
        """The palette of a theme, from `App.theme_variables`."""
        surface = resolve(variables, "chat-code-background", CHAT_DEFAULTS["code-background"])
        ground = surface.rich_color if surface is not None else None
        chat: dict[str, Style] = {}
        for name, default in CHAT_DEFAULTS.items():
            color = resolve(variables, f"chat-{name}", default)
            faint = default in ("text-muted", "text-disabled")
            if color is None or (color.ansi is not None and faint):
                chat[name] = Style(dim=True) if faint else Style()
            else:
                chat[name] = Style(color=color.rich_color)
        chat["inline-code"] += Style(bgcolor=ground)
        code: dict[str, Style] = {}
        for name, default in CODE_DEFAULTS.items():
            color = resolve(variables, f"code-{name}", default)
            code[name] = Style(color=color.rich_color if color else None, bgcolor=ground)
        code["comment"] += Style(italic=True)
        code["keyword"] += Style(bold=True)
        return cls(chat, code, Style(bgcolor=ground))

    @cached_property
    def bar(self) -> Style:
        """The bar of a quote, rules and the lines of a table."""
        return self.chat["rule"] + Style(meta={"bar": True})

    @cached_property
    def pad(self) -> Style:
        """Filling inside a code block."""
        return self.panel + Style(meta={"pad": True})

    @cached_property
    def label(self) -> Style:
        """The name of the language above a code block."""
        return self.chat["muted"] + self.panel + Style(meta={"label": True})

    def decoration(self, style: Style | None) -> bool:
        """Whether text of this style is drawing, not content."""
        return style is not None and style in (self.bar, self.pad, self.label)
