"""The process of a rank other than 0 that we started: `-m inference.parallel.rank PARENT LOG`.

Its standard output and error are the log, never the terminal.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from inference.parallel.ranks import Ranks, from_environment
from inference.parallel.team import follow
from inference.worker import end_with_parent

_LAST_MOMENTS = 3.0  # seconds in which rank 0 has this one leave


def run(
    ranks: Ranks, parent: int, log_path: Path | None, gone: Callable[[], bool] = lambda: False
) -> NoReturn:
    """Be this rank; see `team.follow`. Whoever started it, `parent`, is gone for good, too."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(name)s %(message)s")
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # before there are threads
    threading.Thread(target=_end_when_told, name="terminator", daemon=True).start()
    end_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # rank 0 decides what Ctrl+C means
    begin = 0
    if log_path is not None:
        with contextlib.suppress(OSError):
            begin = log_path.stat().st_size
    logging.getLogger(__name__).info("rank %d of %d", ranks.rank, ranks.world)
    follow(
        ranks,
        gone=lambda: gone() or os.getppid() != parent,
        log_path=log_path,
        log_begin=begin,
    )


def _end_when_told() -> None:
    """torchrun tells all ranks to end when one has. Rank 0 is to find out which: it must not be
    this one because it was quicker."""
    signal.sigwait({signal.SIGTERM})
    time.sleep(_LAST_MOMENTS)
    os._exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    run(from_environment(os.environ), int(sys.argv[1]), Path(sys.argv[2]))
