"""The app's looks: which theme is on, and how it is chosen."""

from __future__ import annotations

from textual.app import App

from mistral_tui import paths, themes
from mistral_tui.sanitize import one_line


class Looks(App[int]):
    """The themes of the app; every one that is chosen is kept for the next time."""

    begun: bool
    _theme_said = ""

    def action_toggle_theme(self) -> None:
        """The light or the dark look."""
        self.theme = "mistral-light" if self.current_theme.dark else "mistral-dark"

    def watch_theme(self, name: str) -> None:
        """Any look that is chosen is kept for the next time."""
        if self.begun:
            themes.remember(paths.state_dir(), name)

    def add_themes(self, name: str) -> list[str]:
        """Add the looks and choose one; what is wrong with them, in sentences."""
        self._theme_said = name
        found, problems = themes.load_themes(paths.themes_dir())
        for theme in found:
            self.register_theme(theme)
        kept = themes.remembered(paths.state_dir())
        self.theme = next(
            (n for n in (name, kept) if n in self.available_themes), themes.DEFAULT_DARK
        )
        if name and name not in self.available_themes:
            known = ", ".join(theme.name for theme in found)
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
