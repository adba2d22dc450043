"""What was typed and not saved: kept in a folder of ours, so that it outlasts a crash.

One file for each edited file and window: a line of JSON that says what it is, then the text.
All of this waits for the disk: an app calls it in a thread.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from mistral_tui import paths
from mistral_tui.code.errors import CodeError
from mistral_tui.code.files import CodeFile
from mistral_tui.config.user_files import FileProblem, write_text
from mistral_tui.history.database_file import Presence

_SUFFIX = ".unsaved"
_MOST_BYTES = 64 << 20
_MOST_HEADER = 64 << 10
_MOST_FILES = 1000
_OWNER = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Kept:
    """A text that was not saved. `elsewhere`: another window that runs now has it open."""

    path: Path
    text: str
    when: datetime
    elsewhere: bool
    base: str
    owner: str

    def made_from(self, text: str) -> bool:
        """Whether this was the saved text when it was edited."""
        return self.base == _digest(text)


_presences: dict[Path, Presence] = {}
_lock = threading.Lock()
_writing = threading.Lock()


def _presence() -> Presence:
    """Who this window is for others."""
    with _lock:
        return _presences.setdefault(_folder(), Presence(_folder() / "window"))


def keep(file: CodeFile, text: str) -> None:
    """Keep the changed text of a file, in the place of what this window kept of it before.

    Raises:
        CodeError: it cannot be kept.
    """
    text = text.encode("utf-8", "replace").decode("utf-8")  # half characters
    header = {
        "path": str(file.path),
        "base": _digest(file.text),
        "time": time.time(),
        "bytes": len(text.encode("utf-8")),
    }
    try:
        folder = _folder()
        folder.mkdir(mode=0o700, exist_ok=True)
        presence = _presence()
        with _writing:
            presence.claim()
            header["window"] = presence.owner
            place = _place(file.path, presence.owner)
            write_text(place, "The copy of what is not saved", f"{json.dumps(header)}\n{text}")
    except (FileProblem, paths.FolderError) as error:
        raise CodeError(str(error)) from None
    except OSError as error:
        raise CodeError(f"What is not saved cannot be kept: {error.strerror or error}.") from None


def forget(path: Path) -> None:
    """Drop what this window kept of a file."""
    with contextlib.suppress(OSError, paths.FolderError), _writing:
        _place(path, _presence().owner).unlink()


def discard(kept: Kept) -> None:
    """Drop this copy: it is of no use any more."""
    with contextlib.suppress(OSError, paths.FolderError), _writing:
        _place(kept.path, kept.owner).unlink()


def kept(path: Path) -> Kept | None:
    """The newest text that was kept of a file and that nobody has open now; else the one that
    another window has. Older ones are found once this one is discarded."""
    with contextlib.suppress(OSError, paths.FolderError):
        return max(
            _read_all(f"{_hash(path)}-"),
            key=lambda one: (not one.elsewhere, one.when),
            default=None,
        )
    return None


def _folder() -> Path:
    return paths.state_dir() / "unsaved"


def _place(path: Path, owner: str) -> Path:
    return _folder() / f"{_hash(path)}-{owner}{_SUFFIX}"


def _hash(path: Path) -> str:
    """What the name of a copy begins with: the same for all names of one file."""
    return hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()[:32]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _read_all(prefix: str) -> Iterator[Kept]:
    """Those that are whole and what they say they are; others are left alone."""
    folder = _folder()
    if not folder.is_dir():
        return
    presence = _presence()
    presence.sweep()
    with os.scandir(folder) as entries:
        names = [e.name for e in entries if e.name.startswith(prefix)]
    for name in sorted(names)[:_MOST_FILES]:
        with contextlib.suppress(
            OSError, ArithmeticError, LookupError, RecursionError, TypeError, ValueError
        ):
            yield _read(folder / name, presence)


def _read(place: Path, presence: Presence) -> Kept:
    """Raises OSError, or anything that a strange header can lead to."""
    descriptor = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST_BYTES:
            raise ValueError("no copy of ours")
        first = file.readline(_MOST_HEADER)
        data = file.read(_MOST_BYTES)
    header: dict[str, Any] = json.loads(first)
    path = Path(header["path"])
    owner = header["window"]
    if len(data) != header["bytes"] or not _OWNER.fullmatch(owner):
        raise ValueError("it is not whole")
    if place != _place(path, owner):
        raise ValueError("it is of another file")
    return Kept(
        path,
        data.decode("utf-8"),
        datetime.fromtimestamp(float(header["time"])),
        owner != presence.owner and presence.alive(owner),
        str(header["base"]),
        owner,
    )
