"""The app's looks: which theme is on, how it is chosen, and files that change meanwhile."""

from __future__ import annotations

from textual.app import App

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
    _seen: dict[str, tuple[int, int]]

    def action_toggle_theme(self) -> None:
        """The light or the dark look that goes with this one."""
        look = self.looks.get(self.theme)
        other = look.counterpart if look is not None else ""
        if other not in self.available_themes:
            other = themes.DEFAULT_LIGHT if self.current_theme.dark else themes.DEFAULT_DARK
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
        self._seen = themes.stamps(paths.themes_dir())
        found, problems = themes.load_themes(paths.themes_dir())
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
        folder = paths.themes_dir()
        now = themes.stamps(folder)
        if now == self._seen:
            return
        self._seen = now
        found, problems = themes.load_themes(folder)
        for problem in problems:  # what was good before stays as it was
            self.notify(sanitize(problem), severity="warning", markup=False, timeout=10)
        current, wrong = self.theme, bool(problems)
        new = {look.name: look for look in found}
        for name in self.looks.keys() - new.keys():
            if name != current and not wrong:
                self.unregister_theme(name)
        for name, look in new.items():
            if self.looks.get(name) != look:
                self.register_theme(look)
        self.looks = {**(self.looks if wrong or current not in new else {}), **new}
        if current in new:
            self._show_anew(current)

    def _show_anew(self, name: str) -> None:
        """The theme of that name looks different now."""
        previewing, self.previewing = self.previewing, True
        try:
            self.theme = themes.DEFAULT_LIGHT if name != themes.DEFAULT_LIGHT else "textual-dark"
            self.theme = name
        finally:
            self.previewing = previewing
