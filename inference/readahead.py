"""Weights on their way from the disk while the engine still imports its libraries."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path

# Linux reads only so much for one call, depending on the disk: less than this on none.
_STEP = 512 << 10


def read_ahead(files: Sequence[Path]) -> threading.Thread | None:
    """Ask the system to bring files into its page cache, in a thread, in order.

    Nothing is copied and nothing waits for it. Files that memory has no room for are left
    alone: their end would push out their beginning. None where the system has no such call.
    """
    try:
        total = sum(path.stat().st_size for path in files)
    except OSError:
        return None
    if not hasattr(os, "posix_fadvise") or total > _available_bytes():
        return None
    thread = threading.Thread(target=_run, args=(tuple(files),), name="read ahead", daemon=True)
    thread.start()
    return thread


def _run(files: tuple[Path, ...]) -> None:
    for path in files:
        try:
            with path.open("rb") as file:
                for start in range(0, os.fstat(file.fileno()).st_size, _STEP):
                    os.posix_fadvise(file.fileno(), start, _STEP, os.POSIX_FADV_WILLNEED)
        except OSError:
            return  # whoever reads the file for good says why


def _available_bytes() -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        kilobytes = next(line.split()[1] for line in lines if line.startswith("MemAvailable"))
        return int(kilobytes) * 1024
    except (OSError, StopIteration, ValueError, IndexError):
        return 0
