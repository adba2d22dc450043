"""A program in a terminal of its own within ours: `python -m mistral_tui.relay PROGRAM ...`.

For an editor or a pager where our terminal belongs to another session (see `terminal`): there,
Ctrl+C would be a signal to torchrun and end the chat, no new size would be told, and `/dev/tty`
could not be opened.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import tty
from typing import NoReturn

_POLL_SECONDS = 0.25
_CHUNK = 1 << 16


def main(argv: list[str]) -> NoReturn:
    """Run it, and end as it ended."""
    saved, size = termios.tcgetattr(0), os.get_terminal_size(0)
    parent = os.getppid()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    pid, master = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with contextlib.suppress(OSError, termios.error):
            termios.tcsetattr(0, termios.TCSANOW, saved)
            _set_size(0, size)
            os.execvp(argv[0], argv)
        os._exit(127)
    try:
        tty.setraw(0, termios.TCSANOW)
        code = os.waitstatus_to_exitcode(_carry(pid, master, size, parent))
    except (OSError, termios.error):  # our terminal is gone; the program's goes with us
        sys.exit(128 + signal.SIGHUP)
    finally:
        with contextlib.suppress(termios.error):
            termios.tcsetattr(0, termios.TCSANOW, saved)
    if code < 0:
        with contextlib.suppress(OSError):  # SIGKILL has no handler to be reset
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


def _carry(pid: int, master: int, size: os.terminal_size, parent: int) -> int:
    """Bytes to and fro until the program ends; its status.

    Raises:
        OSError: our terminal is gone.
        SystemExit: the chat is gone.
    """
    os.set_blocking(master, False)
    typed = b""
    while True:
        pid_ended, status = os.waitpid(pid, os.WNOHANG)
        sources = [master] if len(typed) > _CHUNK else [0, master]
        wait = 0 if pid_ended else _POLL_SECONDS
        ready, writable, _ = select.select(sources, [master] if typed else [], [], wait)
        if pid_ended:
            while written := _read(master):  # the last it wrote
                _write(written)
            return status
        if master in ready:
            if not (written := _read(master)):  # it has closed its terminal
                return os.waitpid(pid, 0)[1]
            _write(written)
        if 0 in ready:
            if not (keys := os.read(0, _CHUNK)):
                raise OSError("no more keys")
            typed += keys
        if writable:
            with contextlib.suppress(BlockingIOError):
                typed = typed[os.write(master, typed) :]
        if (now := os.get_terminal_size(0)) != size:
            _set_size(master, size := now)
        if os.getppid() != parent:
            sys.exit(128 + signal.SIGTERM)


def _read(master: int) -> bytes:
    """What the program has written; nothing: there is no more."""
    try:
        return os.read(master, _CHUNK)
    except OSError:  # EIO where its end is closed, EAGAIN where it only has nothing to say
        return b""


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]


def _set_size(descriptor: int, size: os.terminal_size) -> None:
    packed = struct.pack("HHHH", size.lines, size.columns, 0, 0)
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, packed)


if __name__ == "__main__":
    main(sys.argv[1:])
