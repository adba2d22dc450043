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
from mistral_tui.code.files import CodeFile, state
from mistral_tui.config.user_files import FileProblem, write_text
from mistral_tui.history.database_file import Presence

_SUFFIX = ".unsaved"
_MOST_BYTES = 64 << 20
_MOST_HEADER = 64 << 10
_MOST_FILES = 1000
_OWNER = re.compile(r"[0-9a-f]{32}")

Key = Path | str
"""A file by its path; a text that has no file yet by any name, such as `untitled-1`."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A text that was not saved."""

    key: Key
    text: str
    when: datetime
    same_base: bool
    """Whether the file on the disk is still the one that was edited."""
    elsewhere: bool
    """Whether another window that runs now has it open."""


_presences: dict[Path, Presence] = {}
_lock = threading.Lock()
_writing = threading.Lock()


def _presence() -> Presence:
    """Who this window is for others."""
    with _lock:
        return _presences.setdefault(_folder(), Presence(_folder() / "window"))


def keep(file: CodeFile | str, text: str) -> None:
    """Keep the changed text of a file, or of what has no file yet, in the place of what this
    window kept of it before.

    Raises:
        CodeError: it cannot be kept.
    """
    key: Key = file.path if isinstance(file, CodeFile) else file
    text = text.encode("utf-8", "replace").decode("utf-8")  # half characters
    header = {
        "path" if isinstance(key, Path) else "name": str(key),
        "signature": file.signature if isinstance(file, CodeFile) else None,
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
            place = folder / f"{_hash(key)}-{presence.owner}{_SUFFIX}"
            write_text(place, "The copy of what is not saved", f"{json.dumps(header)}\n{text}")
    except (FileProblem, paths.FolderError) as error:
        raise CodeError(str(error)) from None
    except OSError as error:
        raise CodeError(f"What is not saved cannot be kept: {error.strerror or error}.") from None


def forget(key: Key) -> None:
    """Drop what was kept of a file, by this window or by one that has ended."""
    with contextlib.suppress(OSError, paths.FolderError):
        for place, found in _read_all(f"{_hash(key)}-"):
            if not found.elsewhere:
                place.unlink()


def kept(key: Key) -> Kept | None:
    """The newest text that was kept of a file and that nobody has open now; else the one that
    another window has."""
    with contextlib.suppress(OSError, paths.FolderError):
        found = [one for _, one in _read_all(f"{_hash(key)}-")]
        if found:
            return max(found, key=lambda one: (not one.elsewhere, one.when))
    return None


def all_kept() -> list[Kept]:
    """The newest of each file, the latest first; what another window has open is told as such."""
    result: dict[Key, Kept] = {}
    with contextlib.suppress(OSError, paths.FolderError):
        for _, one in _read_all(""):
            other = result.get(one.key)
            if other is None or (not one.elsewhere, one.when) > (not other.elsewhere, other.when):
                result[one.key] = one
    return sorted(result.values(), key=lambda one: one.when, reverse=True)


def _folder() -> Path:
    return paths.state_dir() / "unsaved"


def _hash(key: Key) -> str:
    """What the name of a copy begins with: the same for all names of one file."""
    named = os.path.realpath(key) if isinstance(key, Path) else f"name:{key}"
    return hashlib.sha256(os.fsencode(named)).hexdigest()[:32]


def _read_all(prefix: str) -> Iterator[tuple[Path, Kept]]:
    """Those that are whole and what they say they are; others are left alone."""
    folder = _folder()
    if not folder.is_dir():
        return
    presence = _presence()
    presence.sweep()
    with os.scandir(folder) as entries:
        names = [e.name for e in entries if e.name.endswith(_SUFFIX) and e.name.startswith(prefix)]
    for name in sorted(names)[:_MOST_FILES]:
        with contextlib.suppress(
            OSError, ArithmeticError, LookupError, RecursionError, TypeError, ValueError
        ):
            yield folder / name, _read(folder / name, presence)


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
    key: Key = Path(header["path"]) if "path" in header else str(header["name"])
    owner = header["window"]
    if len(data) != header["bytes"] or not _OWNER.fullmatch(owner):
        raise ValueError("it is not whole")
    if place.name != f"{_hash(key)}-{owner}{_SUFFIX}":
        raise ValueError("it is of another file")
    return Kept(
        key,
        data.decode("utf-8"),
        datetime.fromtimestamp(float(header["time"])),
        _same_base(key, header["signature"]),
        owner != presence.owner and presence.alive(owner),
    )


def _same_base(key: Key, signature: object) -> bool:
    if isinstance(key, str):
        return True
    if signature is None:
        return state(CodeFile(key, "")) == "same"
    if not (isinstance(signature, list) and len(signature) == 4):
        return False
    device, inode, size, changed = map(int, signature)
    return state(CodeFile(key, "", signature=(device, inode, size, changed))) == "same"
