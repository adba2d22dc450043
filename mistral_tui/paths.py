"""The app's files: where they lie, who uses them, what is wrong with them.

Every folder is made on demand, readable by its owner only.
"""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

APP = "mistral-tui"


class FolderError(Exception):
    """A folder of the app that cannot be made; the message is a sentence for the user."""


def _folder(variable: str, default: Path) -> Path:
    named = os.environ.get(variable, "")
    return _made(Path(named).expanduser().absolute() if named else default, variable)


def _made(folder: Path, variable: str) -> Path:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise FolderError(
            f"The folder {folder} cannot be made ({error.strerror}): set {variable} to another."
        ) from error
    return folder


def data_dir() -> Path:
    """Conversations; MISTRAL_TUI_DATA overrides."""
    return _folder("MISTRAL_TUI_DATA", platformdirs.user_data_path(APP, appauthor=False))


def state_dir() -> Path:
    """Logs and other traces of a run; MISTRAL_TUI_STATE overrides."""
    return _folder("MISTRAL_TUI_STATE", platformdirs.user_state_path(APP, appauthor=False))


def config_dir() -> Path:
    """What the user writes: settings, keys, themes; MISTRAL_TUI_CONFIG overrides."""
    return _folder("MISTRAL_TUI_CONFIG", platformdirs.user_config_path(APP, appauthor=False))


def cache_dir() -> Path:
    """What may be deleted at any time; MISTRAL_TUI_CACHE overrides."""
    return _folder("MISTRAL_TUI_CACHE", platformdirs.user_cache_path(APP, appauthor=False))


def database_path() -> Path:
    """The conversation file (not made here)."""
    return data_dir() / "conversations.db"


def log_dir() -> Path:
    """One file per process."""
    return _made(state_dir() / "logs", "MISTRAL_TUI_STATE")


def themes_dir() -> Path:
    """The user's own looks."""
    return _made(config_dir() / "themes", "MISTRAL_TUI_CONFIG")
