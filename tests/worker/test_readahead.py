"""Reading ahead: the files come into the page cache; what cannot be read is nobody's trouble."""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
import time
from pathlib import Path

import pytest

from inference import readahead


def _cached_pages(path: Path) -> float:
    """The share of a file's pages that lie in the page cache (Linux's mincore)."""
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        pages = (len(mapped) + mmap.PAGESIZE - 1) // mmap.PAGESIZE
        seen = (ctypes.c_ubyte * pages)()
        address = ctypes.addressof(ctypes.c_char.from_buffer(mapped))
        done = ctypes.CDLL(None, use_errno=True).mincore(
            ctypes.c_void_p(address), ctypes.c_size_t(len(mapped)), seen
        )
        assert done == 0, os.strerror(ctypes.get_errno())
        return sum(page & 1 for page in seen) / pages


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux what lies in the page cache")
def test_a_cold_file_gets_warm(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(os.urandom(80 << 20))
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if _cached_pages(path) > 0.5:
        pytest.skip("this file system does not let go of its cache")
    thread = readahead.read_ahead([path])
    assert thread is not None
    thread.join(30)
    for _ in range(100):  # the reads themselves end a little later
        if _cached_pages(path) > 0.9:
            break
        time.sleep(0.05)
    assert _cached_pages(path) > 0.9


def test_what_is_larger_than_memory_or_gone_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert readahead.read_ahead([tmp_path / "gone"]) is None
    path = tmp_path / "weights"
    path.write_bytes(b"x" * 100)
    monkeypatch.setattr(readahead, "_available_bytes", lambda: 99)
    assert readahead.read_ahead([path]) is None
