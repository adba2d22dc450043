"""A program in a pseudo-terminal, driven and read like by a person at a real one."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from types import TracebackType


class Terminal:
    """Runs `command` in a pty of the given size; all it writes is drained and kept."""

    def __init__(
        self,
        command: list[str],
        *,
        env: dict[str, str] | None = None,
        size: tuple[int, int] = (120, 40),
    ) -> None:
        self._master, slave = pty.openpty()
        columns, rows = size
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        mine = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
        self.started = time.perf_counter()
        self.process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={**mine, "TERM": "xterm-256color", "COLORTERM": "truecolor", **(env or {})},
        )
        os.close(slave)
        self.output = b""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self._master)

    def send(self, keys: str) -> None:
        """Type."""
        os.write(self._master, keys.encode())

    def read(self, seconds: float) -> None:
        """Drain what comes within `seconds`."""
        end = time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            ready, _, _ = select.select([self._master], [], [], left)
            if ready:
                try:
                    self.output += os.read(self._master, 1 << 16)
                except OSError:
                    return

    def wait_for(self, text: bytes, *, since: int = 0, timeout: float = 60) -> float:
        """Seconds from the start until `text` was written after position `since`."""
        while text not in self.output[since:]:
            if time.perf_counter() - self.started > timeout:
                raise TimeoutError(f"{text!r} did not come; the end was {self.output[-300:]!r}")
            self.read(0.002)
        return time.perf_counter() - self.started
