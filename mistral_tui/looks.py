"""The app's looks: which theme is on, how it is chosen, and files that change meanwhile."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path

from rich.color import Color as RichColor
from rich.segment import Segment
from rich.style import Style
from textual.app import App
from textual.color import Color
from textual.filter import LineFilter, Monochrome, NoColor
from textual.theme import BUILTIN_THEMES

from mistral_tui import paths, themes
from mistral_tui.sanitize import one_line, sanitize

_WATCH_SECONDS = 1.0


class Nearest(LineFilter):
    """For terminals of 256 colours: of these the nearest to the eye. Rich would make pale grounds
    pink, and dark ones blue."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [
            Segment(text, style and _nearest_style(style), control)
            for text, style, control in segments
        ]


@lru_cache(2048)
def _nearest_style(style: Style) -> Style:
    ink, ground = (
        RichColor.from_ansi(_nearest(*color.triplet)) if color and color.triplet else color
        for color in (style.color, style.bgcolor)
    )
    return style + Style.from_color(ink, ground)


@cache
def _nearest(red: int, green: int, blue: int) -> int:
    wanted = _seen_as(red, green, blue)
    return min(_cube(), key=lambda known: sum((a - b) ** 2 for a, b in zip(wanted, known[1])))[0]  # noqa: B905


@cache
def _cube() -> list[tuple[int, tuple[float, float, float]]]:
    """The numbers from 16 on, which every terminal shows alike, and how each looks."""
    return [(n, _seen_as(*RichColor.from_ansi(n).get_truecolor())) for n in range(16, 256)]


def _seen_as(red: int, green: int, blue: int) -> tuple[float, float, float]:
    """Lightness and two hues (Oklab), where distances are as large as they look."""
    r, g, b = (
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (red / 255, green / 255, blue / 255)
    )
    long = (0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b) ** (1 / 3)
    middle = (0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b) ** (1 / 3)
    short = (0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b) ** (1 / 3)
    return (
        0.2104542553 * long + 0.7936177850 * middle - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * middle + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * middle - 0.8086757660 * short,
    )


class Looks(App[int]):
    """The themes of the app; every one that is chosen is kept for the next time."""

    begun: bool
    previewing = False
    """Whether the theme that is on is only looked at."""
    looks: dict[str, themes.Look]
    _theme_said = ""
    _folder: Path
    _seen: dict[str, tuple[int, int]]
    _complaints: list[str]
    _way_back = ("", "")  # where Ctrl+T went, and where from
    _colourless: Sequence[LineFilter] = (NoColor(),)
    _fewer: Sequence[LineFilter] = ()

    def action_toggle_theme(self) -> None:
        """The light or the dark look that goes with this one; again: back."""
        here = self.theme
        look = self.looks.get(here)
        other = self._way_back[1] if self._way_back[0] == here else ""
        if other not in self.available_themes:
            other = look.counterpart if look is not None else ""
        if other not in self.available_themes or other == here:
            other = themes.DEFAULT_LIGHT if self.current_theme.dark else themes.DEFAULT_DARK
        self._way_back = (other, here)
        self.theme = other

    def action_choose_theme(self) -> None:
        """Choose among all looks, each shown at once."""
        from mistral_tui.screens.themes import ThemeScreen

        self.push_screen(ThemeScreen())

    def watch_theme(self, name: str) -> None:
        """Any look that is chosen is kept for the next time."""
        if self.begun and not self.previewing:
            themes.remember(paths.state_dir(), name)

    def add_themes(self, name: str) -> list[str]:
        """Add the looks and choose one; what is wrong with them, in sentences."""
        self._theme_said = name
        self.no_color = bool(os.environ.get("NO_COLOR"))  # set, and not to nothing
        self._folder = paths.themes_dir()
        self._seen = themes.stamps(self._folder)
        found, problems = themes.load_themes(self._folder)
        self._complaints = list(problems)
        self.looks = {look.name: look for look in found}
        for look in found:
            self.register_theme(look)
        kept = themes.remembered(paths.state_dir())
        self.theme = next(
            (n for n in (name, kept) if n in self.available_themes), themes.DEFAULT_DARK
        )
        if name and name not in self.available_themes:
            known = ", ".join(look.name for look in found)
            problems.append(f"There is no theme {one_line(name, 40)!r}; there are {known}.")
        return problems

    def get_line_filters(self) -> Sequence[LineFilter]:
        """With NO_COLOR no colour at all is written, where Textual would write greys."""
        if self.no_color:
            return self._colourless
        filters = [one for one in super().get_line_filters() if not isinstance(one, Monochrome)]
        return [*filters, *self._fewer]

    def on_compose(self) -> None:
        """What the terminal can show: one of sixteen colours gets a look made of them, unless
        another is chosen; one without colours gets none."""
        if self.is_headless:
            return
        colors = self.console.color_system
        self.no_color = self.no_color or colors is None
        if colors == "256":
            self._fewer = (Nearest(),)
        chosen = self._theme_said or themes.remembered(paths.state_dir())
        if colors == "standard" and not chosen:
            self.theme = themes.SIXTEEN

    def config_theme(self, name: object) -> list[str]:
        """The look of the config, where none was chosen since or said at the start."""
        if not isinstance(name, str) or self._theme_said or themes.remembered(paths.state_dir()):
            return []
        if name not in self.available_themes:
            return [f"There is no theme {one_line(name, 40)!r}, which config.toml names."]
        self.theme = name
        return []

    def watch_user_themes(self) -> None:
        """From now on a theme file that the user changes is shown at once."""
        self.set_interval(_WATCH_SECONDS, self._look_at_files)

    def _look_at_files(self) -> None:
        now = themes.stamps(self._folder)
        if now == self._seen:
            return
        self._seen = now
        before, current = self.looks, self.theme
        found, problems = themes.load_themes(
            self._folder, {look.file: look for look in before.values() if look.own}
        )
        for problem in problems:  # each once, until it is gone
            if problem not in self._complaints:
                self.notify(sanitize(problem), severity="warning", markup=False, timeout=10)
        self._complaints = problems
        self.looks = {look.name: look for look in found}
        if current in before and current not in self.looks:  # it is on until another is chosen
            self.looks[current] = before[current]
        for name in before.keys() - self.looks.keys():
            self.unregister_theme(name)
            if (stock := BUILTIN_THEMES.get(name)) is not None:
                self.register_theme(stock)
        for look in self.looks.values():
            self.register_theme(look)
        if self.looks.get(current) != before.get(current):
            self._show_anew()

    def _show_anew(self) -> None:
        """The theme that is on looks different now."""
        previewing, self.previewing = self.previewing, True
        try:
            self.mutate_reactive(App.theme)
        finally:
            self.previewing = previewing
