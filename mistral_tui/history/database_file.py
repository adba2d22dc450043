"""The file under the store: made private, its troubles in sentences, who else is alive on it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sqlite3
import uuid
from pathlib import Path


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
