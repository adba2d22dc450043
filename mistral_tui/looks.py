"""The app's looks: which theme is on, how it is chosen, and files that change meanwhile."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from textual.app import App
from textual.filter import LineFilter, Monochrome, NoColor
from textual.theme import BUILTIN_THEMES

from mistral_tui import paths, themes
from mistral_tui.sanitize import one_line, sanitize

_WATCH_SECONDS = 1.0


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
        return [one for one in super().get_line_filters() if not isinstance(one, Monochrome)]

    def on_load(self) -> None:
        """A terminal of sixteen colours gets a look made of them, unless another is chosen."""
        poor = not self.is_headless and self.console.color_system == "standard"
        if poor and not self._theme_said and not themes.remembered(paths.state_dir()):
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
