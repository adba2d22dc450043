"""The processes of ranks 1, 2 … that this program starts itself, beside the engine's own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from inference.parallel.lifeline import last_lines
from inference.parallel.ranks import RENDEZVOUS
from mistral_tui import torchrun

_END_SECONDS = 2.0


class RankProcesses:
    """`count` ranks on this machine, the engine process being rank 0."""

    def __init__(self, count: int, log_path: Path, open_log: Callable[[Path], IO[bytes]]) -> None:
        self.count = count
        self._log_path = log_path
        self._open_log = open_log
        self._folder = ""
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._begins: dict[int, int] = {}  # of this run in each log

    def log(self, rank: int) -> Path:
        """Where a rank's log is."""
        return rank_log(self._log_path, rank)

    def environment(self, rank: int) -> dict[str, str]:
        """The variables that tell a process which rank it is, where it is one of several."""
        if self.count == 1:
            return torchrun.environment()
        said = {"RANK": rank, "LOCAL_RANK": rank}
        said |= {"WORLD_SIZE": self.count, "LOCAL_WORLD_SIZE": self.count}
        meet = {RENDEZVOUS: str(Path(self._folder) / "ranks")}
        return os.environ | {name: str(value) for name, value in said.items()} | meet

    def start(self) -> None:
        """Start all but rank 0, from the main thread: Linux ties their end to it. Earlier ones have
        been ended.

        Raises:
            OSError: one could not be started; then none is.
        """
        self._folder = tempfile.mkdtemp(prefix="mistral-tui-")
        try:
            for rank in range(1, self.count):
                with self._open_log(self.log(rank)) as log:
                    self.begins(rank, log)
                    self._processes[rank] = subprocess.Popen(
                        [sys.executable, "-P", "-m", "inference.parallel.rank",
                         str(os.getpid()), str(self.log(rank))],
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        env=self.environment(rank),
                        start_new_session=True,
                    )  # fmt: skip
        except OSError:
            self._kill()
            raise

    def begins(self, rank: int, log: IO[bytes]) -> None:
        """From here on a rank's log is about this run."""
        self._begins[rank] = os.fstat(log.fileno()).st_size

    def ended(self) -> tuple[int, int] | None:
        """(rank, exit code) of one that has ended, if any has; of one that was killed rather than
        of one that has left because of that."""
        codes = {rank: process.poll() for rank, process in self._processes.items()}
        ended = [(code >= 0, rank, code) for rank, code in codes.items() if code is not None]
        return min(ended)[1:] if ended else None

    def stopped(self) -> set[int]:
        """The ranks that someone has stopped."""
        return {rank for rank, process in self._processes.items() if is_stopped(process.pid)}

    def about(self, rank: int) -> str:
        """What the end of a rank's log says, and where the log is."""
        log = self.log(rank)
        tail = last_lines(log, self._begins.get(rank, 0))
        return "\n".join(filter(None, (tail, f"The log of rank {rank}: {log}")))

    async def end(self) -> None:
        """End those that still run: without rank 0 they have nothing to do."""
        self._kill()
        until = time.monotonic() + _END_SECONDS
        while any(process.poll() is None for process in self._processes.values()):
            if time.monotonic() > until:  # deep in the system; it ends when that lets go
                break
            await asyncio.sleep(0.01)
        self._processes.clear()

    def _kill(self) -> None:
        for process in self._processes.values():
            with contextlib.suppress(OSError):
                process.kill()  # a stopped one would not hear of anything else
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = ""


def rank_log(log_path: Path, rank: int) -> Path:
    """The log of a rank, beside the engine's."""
    return log_path if rank == 0 else log_path.with_name(f"{log_path.stem}-rank{rank}.log")


def is_stopped(pid: int) -> bool:
    """Whether a process that we started was stopped by a signal; False where nobody can tell."""
    waitid = getattr(os, "waitid", None)
    if waitid is None:
        return False
    with contextlib.suppress(OSError):
        return waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None
    return False


def how_it_ended(code: int) -> str:
    """What became of a process, as the end of a sentence."""
    if code in (-signal.SIGKILL, -signal.SIGTERM):
        return "was killed (by someone, or for lack of memory)"
    if code < 0:
        return f"crashed ({signal.strsignal(-code)})"
    return f"ended by itself (code {code})"
