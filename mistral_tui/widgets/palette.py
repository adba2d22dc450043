"""The styles of a transcript, from the variables of any Textual theme."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from rich.style import Style
from textual.color import BLACK, WHITE, Color, ColorParseError

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
    "thinking": "text-muted",
    "hit": "foreground",
    "hit-current": "background",
}
# The backgrounds among the `chat-…` variables.
GROUND_DEFAULTS = {
    "code-background": "surface",
    "hit-background": "warning",
    "hit-current-background": "warning",
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
# The `token-…` backgrounds of text that the model was not sure of: how far each lies from the
# theme's background towards its colour of warnings, where the theme does not set it.
TOKEN_SHARES = {"level-1": 0.14, "level-2": 0.26, "level-3": 0.38, "level-4": 0.85}
READABLE = 4.5
"""The least contrast of text and its background, by the WCAG."""

_HIT_SHARE = 0.3
_SURE = (0.9, 0.6, 0.3, 0.1)
# Told by shape too: for terminals without colours, and eyes that do not tell these colours.
_MARKS = (
    Style(italic=True),
    Style(underline=True),
    Style(bold=True, underline=True),
    Style(reverse=True),
)


def confidence_level(probability: float) -> int:
    """How sure the model was of a token: 0 quite (0.9 or more) … 4 hardly (below 0.1)."""
    return next((level for level, least in enumerate(_SURE) if probability >= least), len(_SURE))


def contrast(one: Color, other: Color) -> float:
    """The contrast of two colours by the WCAG: 1 (none) to 21."""
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _luminance(color: Color) -> float:
    red, green, blue = (
        channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4
        for channel in color.normalized
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


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
    if color.ansi is None and color.a == 0:
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


def _legible(color: Color, ground: Color | None) -> Color:
    """The colour, or as much nearer to black or white as it takes to be read on `ground`."""
    if ground is None or ground.ansi is not None or color.ansi is not None:
        return color
    end = max((BLACK, WHITE), key=lambda ink: contrast(ink, ground))
    steps = (color.blend(end, step / 10, alpha=1) for step in range(10))
    return next((step for step in steps if contrast(step, ground) >= READABLE), end)


class _Colors:
    """The colours of a theme: its own as they are, those that are derived made readable."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.variables = variables
        self.ground = self.of("background", "background")
        self.ink = self.of("foreground", "foreground")

    def of(self, name: str, default: str) -> Color | None:
        return resolve(self.variables, name, default)

    def text(self, name: str, default: str, *grounds: Color | None) -> Color | None:
        color = self.of(name, default)
        if color is not None and name not in self.variables:
            for ground in grounds:
                color = _legible(color, ground)
        return color

    def shade(self, name: str, share: float) -> Color | None:
        """A background: the theme's own, or `share` of the way to its colour of warnings."""
        if name in self.variables:
            return self.of(name, "")
        warm = self.of("warning", "primary")
        if warm is None or self.ground is None:
            return None
        if warm.ansi is not None or self.ground.ansi is not None:
            return None
        return self.ground.blend(warm, share, alpha=1)


def _style(color: Color | None, ground: Color | None = None) -> Style:
    return Style(
        color=color.rich_color if color is not None else None,
        bgcolor=ground.rich_color if ground is not None else None,
    )


def _confidence(colors: _Colors) -> tuple[Style, ...]:
    """Plain, then a shade and a mark for each level."""
    levels = [Style()]
    for (name, share), mark in zip(TOKEN_SHARES.items(), _MARKS, strict=True):
        ground = colors.shade(f"token-{name}", share)
        if ground is None:  # the mark has to do
            levels.append(mark)
            continue
        ink = colors.ink or WHITE
        if mark.reverse and colors.ground is not None and ground.ansi is None:
            ink = max((colors.ground, ink), key=lambda one: contrast(one, ground))
        ink = _legible(ink, ground)
        levels.append((_style(ground, ink) if mark.reverse else _style(ink, ground)) + mark)
    return tuple(levels)


@dataclass(frozen=True, eq=False)
class Palette:
    """Rich styles by role. Decoration (bars, padding) has styles of its own, left out of copies.

    `chat` has a style for each name in CHAT_DEFAULTS: `thinking` is of what a model thinks
    before it answers, `hit` and `hit-current` lie over text that a search has found.
    """

    chat: Mapping[str, Style]
    code: Mapping[str, Style]
    panel: Style
    """The background of a code block."""
    confidence: tuple[Style, ...] = (Style(), *_MARKS)
    """By `confidence_level`: lies over the text of a token."""

    @classmethod
    def from_variables(cls, variables: Mapping[str, str]) -> Palette:
        """The palette of a theme, from `App.theme_variables`."""
        colors = _Colors(variables)
        surface = colors.of("chat-code-background", GROUND_DEFAULTS["code-background"])
        ground = surface.rich_color if surface is not None else None
        chat: dict[str, Style] = {}
        for name, default in CHAT_DEFAULTS.items():
            color = colors.text(f"chat-{name}", default, colors.ground)
            faint = default in ("text-muted", "text-disabled")
            if color is None or (color.ansi is not None and faint):
                chat[name] = Style(dim=True) if faint else Style()
            else:
                chat[name] = Style(color=color.rich_color)
        code_color = colors.text("chat-inline-code", CHAT_DEFAULTS["inline-code"], surface)
        chat["inline-code"] = _style(code_color, surface)
        chat["thinking"] += Style(italic=True)
        found = colors.shade("chat-hit-background", _HIT_SHARE)
        ink = colors.text("chat-hit", "foreground", found) if found is not None else None
        chat["hit"] = _style(ink, found) + Style(underline=True)
        found = colors.shade("chat-hit-current-background", 1)
        ink = colors.text("chat-hit-current", "background", found) if found is not None else None
        chat["hit-current"] = _style(found, ink) + Style(bold=True, reverse=True)
        code: dict[str, Style] = {}
        for name, default in CODE_DEFAULTS.items():
            color = colors.text(f"code-{name}", default, surface)
            code[name] = Style(color=color.rich_color if color else None, bgcolor=ground)
        code["comment"] += Style(italic=True)
        code["keyword"] += Style(bold=True)
        return cls(chat, code, Style(bgcolor=ground), _confidence(colors))

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
