"""The app's files: where they lie, who uses them, what is wrong with them.

Every folder is made on demand, readable by its owner only.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sqlite3
import uuid
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


def make_private(file: Path) -> None:
    """Make an empty file that only its owner can read. An existing one is not opened (closing
    it would drop the locks that SQLite holds on it in this process), but must be writable."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    if not os.access(file, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def file_trouble(error: sqlite3.Error | OSError | ValueError, name: str) -> str:
    """What went wrong with the database called `name`, and what to do."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL or getattr(error, "errno", 0) == errno.ENOSPC:
        return f"The disk is full, nothing more can be saved in {name}: free some space."
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or isinstance(error, ValueError):
        return (
            f"{name} is damaged: move it away to start with a new one, "
            "or put a copy of it in its place."
        )
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN) or isinstance(error, OSError):
        return (
            f"{name} cannot be opened or written ({getattr(error, 'strerror', None) or error}): "
            "see to its permissions, or set MISTRAL_TUI_DATA to another folder."
        )
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return f"Another program keeps {name} busy: try again, or close that program."
    if code == sqlite3.SQLITE_CONSTRAINT:
        return "This conversation or message no longer exists: it was deleted or never saved."
    return f"{name} could not be read or written ({error}): see to its disk and try again."


class Presence:
    """Tells whether another user of `file` is alive: each holds a lock on a file beside it.

    The kernel drops the lock with its process. Unlike a process id it is not used again and
    means the same in every container; unlike a heartbeat it outlasts a stop with Ctrl+Z.
    """

    def __init__(self, file: Path | None) -> None:
        self.owner = uuid.uuid4().hex
        self._file = file
        self._lock: int | None = None

    def claim(self) -> None:
        """Be alive under the name `owner` from now on."""
        if self._file is None or self._lock is not None:
            return
        while True:
            lock = os.open(self._path(self.owner), os.O_CREAT | os.O_RDWR, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if os.fstat(lock).st_nlink:
                self._lock = lock
                return
            os.close(lock)  # swept between the two calls

    def leave(self) -> None:
        """Give the name up."""
        if self._lock is not None:
            self._path(self.owner).unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None

    def alive(self, owner: str) -> bool:
        """Whether the owner of that name still runs; where it cannot be known, yes."""
        return self._file is None or self._held(self._path(owner), sweep=False)

    def sweep(self) -> None:
        """Remove what the dead have left."""
        if self._file is not None:
            for path in self._file.parent.glob(f"{self._file.name}.live-*"):
                self._held(path, sweep=True)

    def _path(self, owner: str) -> Path:
        assert self._file is not None
        return self._file.with_name(f"{self._file.name}.live-{owner}")

    @staticmethod
    def _held(path: Path, *, sweep: bool) -> bool:
        try:
            lock = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if sweep:
                path.unlink(missing_ok=True)
            return False
        except OSError:
            return True
        finally:
            os.close(lock)
