"""The bytes of a file, written so that a reader sees the old ones or the new, whatever happens."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path

from mistral_tui.code.errors import CodeError
from mistral_tui.sanitize import one_line

_STALE = 3600  # seconds after which a file that was not finished has no writer any more
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)


class _InPlace(Exception):
    """A new file could not take the old one's place as if it were it."""


def write(
    target: Path,
    data: bytes,
    old: os.stat_result | None,
    mode: int | None,
    changed: Callable[[], bool] | None,
) -> os.stat_result | None:
    """Write a file that is `old` on the disk, or not there; what it is then. None: it `changed`
    just now, and is left as it is.

    A new file is made beside it and takes its place. Where that would cut its other names off,
    or change its owner, or where the folder is closed, it is written in place; a backup lies beside
    it meanwhile, where the folder lets it.

    Args:
        target: no link.
        mode: permission bits of one that is not there; None: the usual ones.

    Raises:
        OSError: it is as it was.
        CodeError: it is as it was; a sentence.
    """
    try:
        if old is not None and old.st_nlink > 1:
            raise _InPlace
        written = _replace(target, data, old, mode, changed)
    except _InPlace:
        if changed is not None and changed():
            return None
        written = _write_in_place(target, data)
    _sweep(target)
    return written


def _replace(
    target: Path,
    data: bytes,
    old: os.stat_result | None,
    mode: int | None,
    changed: Callable[[], bool] | None,
) -> os.stat_result | None:
    new = target.with_name(_prefix(target) + secrets.token_hex(4))
    permissions = 0o600 if old is not None else 0o666 if mode is None else mode & 0o777
    try:
        descriptor = os.open(new, _NEW, permissions)
    except OSError as error:
        if old is not None and error.errno in _CLOSED:
            raise _InPlace from None
        raise
    try:
        with os.fdopen(descriptor, "wb") as file:
            if old is not None:
                _dress(descriptor, target, old)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
            written = os.fstat(descriptor)
        if changed is not None and changed():
            _unlink(new)
            return None
        _rename(new, target, old)
    except BaseException:
        _unlink(new)
        raise
    _sync_folder(target.parent)
    return written


def _rename(new: Path, target: Path, old: os.stat_result | None) -> None:
    try:
        new.replace(target)
    except OSError as error:
        if old is not None and error.errno in _CLOSED:  # a folder like /tmp, a file of another
            raise _InPlace from None
        raise


def _dress(descriptor: int, target: Path, old: os.stat_result) -> None:
    """Owner, permissions and attributes of the old file for the new one."""
    new = os.fstat(descriptor)
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
        try:
            os.fchown(descriptor, old.st_uid, old.st_gid)
        except OSError:
            raise _InPlace from None
    os.fchmod(descriptor, stat.S_IMODE(old.st_mode))
    if sys.platform == "linux":
        # What cannot be copied is left to the system, such as its labels.
        with contextlib.suppress(OSError):
            for name in os.listxattr(target):
                with contextlib.suppress(OSError):
                    if name != "security.capability":  # not for other bytes than it was given to
                        os.setxattr(descriptor, name, os.getxattr(target, name))


def _write_in_place(target: Path, data: bytes) -> os.stat_result:
    before = target.read_bytes()
    descriptor = os.open(target, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        backup = _backed_up(target, before)
        try:
            _fill(descriptor, data)
        except BaseException:
            _fill(descriptor, before)  # where not even that works, the backup stays
            _unlink(backup)
            raise
        _unlink(backup)
        return os.fstat(descriptor)
    finally:
        os.close(descriptor)


def _backed_up(target: Path, before: bytes) -> Path | None:
    """The copy of the old bytes; none in a closed folder."""
    name = os.fsdecode(os.fsencode(target.name)[:200])
    backup = target.with_name(f".{name}.mistral-tui-backup")
    try:
        descriptor = os.open(backup, _NEW, 0o600)
    except FileExistsError:
        raise CodeError(
            f"{one_line(backup.name)} has what the file was when a save broke off: "
            "look at both, then delete it."
        ) from None
    except OSError as error:
        if error.errno in _CLOSED:
            return None
        raise
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(before)
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        _unlink(backup)
        raise
    return backup


def _unlink(path: Path | None) -> None:
    if path is not None:
        with contextlib.suppress(OSError):
            path.unlink()


def _fill(descriptor: int, data: bytes) -> None:
    os.lseek(descriptor, 0, os.SEEK_SET)
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]
    os.ftruncate(descriptor, len(data))
    os.fsync(descriptor)


def _prefix(target: Path) -> str:
    """What the names of unfinished files begin with; short, whatever the file's own name is."""
    digest = hashlib.blake2b(os.fsencode(target.name), digest_size=6).hexdigest()
    return f".mistral-tui-{digest}-"


def _sweep(target: Path) -> None:
    """Delete what a crash left of earlier ones."""
    prefix = _prefix(target)
    with contextlib.suppress(OSError), os.scandir(target.parent) as entries:
        for entry in entries:
            if entry.name.startswith(prefix):
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode) and time.time() - status.st_mtime > _STALE:
                    Path(entry.path).unlink()


def _sync_folder(folder: Path) -> None:
    """The new name survives a power cut."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
