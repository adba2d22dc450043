"""The terminal where several ranks run: torchrun hands it on, and whoever dies leaves it whole.

torchrun makes each rank the leader of a session of its own. Rank 0 then reads keys and draws as
ever, but the terminal controls another session: no signal tells of a new size, a hang-up or
Ctrl+Z, so that all of it is looked for here. Only the standard library, as this comes first.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import termios
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

if TYPE_CHECKING:
    from textual.app import App

RESTORE = (
    b"\x18"  # ends a sequence that was cut off
    b"\x1b[?2026l\x1b[?2004l\x1b[?7h\x1b[?2048l"  # held frames, pastes, line wrap, sizes told
    b"\x1b[?1000l\x1b[?1003l\x1b[?1015l\x1b[?1006l\x1b[?1016l\x1b]22;default\x07"  # mouse
    b"\x1b[<u\x1b[0m\x1b[?1049l\x1b[?25h\x1b[?1004l"  # keys, colours, screen, cursor, focus
)
"""Ends every mode that Textual turns on."""
_POLL_SECONDS = 0.25
_MOST_FILES = 1 << 16
_TAKEN = b"+"
_FAREWELL = b"."
_GONE = (OSError, termios.error)


def is_borrowed() -> bool:
    """Whether the terminal is another session's: of sizes, hang-ups and keys like Ctrl+C it tells
    that one."""
    try:
        os.tcgetpgrp(0)
    except OSError:
        return os.isatty(0)
    return False


def take() -> None:
    """Use the terminal that keys come from for all output, where torchrun has sent that into
    files (`-r 3`, `-t 3`). Nothing happens where keys come from no terminal."""
    for name in ("COLUMNS", "LINES"):  # they would hide the size, and that it changes
        os.environ.pop(name, None)
    redirected = [descriptor for descriptor in (1, 2) if not os.isatty(descriptor)]
    if not redirected or not os.isatty(0):
        return
    try:
        terminal = os.open(os.ttyname(0), os.O_RDWR | os.O_NOCTTY)
    except OSError:  # a container may not have its name; what it is open as will do
        terminal = os.dup(0)
    for descriptor in redirected:
        os.dup2(terminal, descriptor)
    os.close(terminal)


def guard() -> Guard:
    """Start the process that restores the terminal should this one die without a farewell.
    It is forked: call this before anything starts a thread."""
    reading, writing = os.pipe()  # closed in programs that are started from here
    try:
        saved = termios.tcgetattr(1)
        pid = os.fork()
    except _GONE:
        os.close(reading)
        return Guard(writing, None, None)
    if pid == 0:
        os.close(writing)  # else its end would never be seen
        _stand_by(reading, saved)
    os.close(reading)
    return Guard(writing, pid, saved)


def _stand_by(reading: int, saved: list[Any]) -> NoReturn:
    """The other process: wait for the end of the pipe, then restore the terminal (1) if it was
    taken and not given back."""
    try:
        os.setsid()  # what is sent to the group of the chat does not come here
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        os.dup2(reading, 0)
        os.closerange(2, min(os.sysconf("SC_OPEN_MAX"), _MOST_FILES))
        last = b""
        while byte := os.read(0, 1):
            last = byte
        if last == _TAKEN:
            with contextlib.suppress(OSError):
                os.write(1, RESTORE)
            _put_back(saved)
    finally:
        os._exit(0)


def _put_back(saved: list[Any]) -> None:
    """Give the terminal its modes, unless a shell (which lets Ctrl+C be a signal, as Textual does
    not) has set it up for itself already."""
    with contextlib.suppress(*_GONE):
        if not termios.tcgetattr(1)[3] & termios.ISIG:
            termios.tcsetattr(1, termios.TCSANOW, saved)
            termios.tcflush(1, termios.TCIFLUSH)  # movements of the mouse are no keys for a shell


class Guard:
    """The hold of the chat on its terminal."""

    def __init__(self, pipe: int, pid: int | None, saved: list[Any] | None) -> None:
        self.pid = pid
        """The process that restores the terminal; None: it could not be started."""
        self._pipe = pipe
        self._saved = saved
        self._parent = os.getppid()

    @contextlib.contextmanager
    def watching(self, app: App[int]) -> Iterator[None]:
        """While the app has the terminal: from here on it is restored whatever happens, and what
        no signal tells is looked for."""
        import asyncio

        lasting = _Lasting(sys.__stderr__ or sys.stderr)
        setattr(sys, "__stderr__", lasting)  # noqa: B010 (what Textual draws on)
        self._say(_TAKEN)
        task = asyncio.create_task(self._attend(app)) if is_borrowed() else None
        try:
            yield
        finally:
            if task is not None:
                task.cancel()
            self.farewell()

    def farewell(self) -> None:
        """The terminal is given back: there is nothing to guard any more."""
        if self._saved is not None:
            _put_back(self._saved)
        self._say(_FAREWELL)
        with contextlib.suppress(OSError):
            os.close(self._pipe)
        if self.pid is not None:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.pid, 0)

    def _say(self, byte: bytes) -> None:
        with contextlib.suppress(OSError):
            os.write(self._pipe, byte)

    async def _attend(self, app: App[int]) -> None:
        """Look for a new size, for the terminal's end and for torchrun's."""
        import asyncio

        loop = asyncio.get_running_loop()

        def stay(*_: object) -> None:
            loop.call_soon_threadsafe(_refuse_to_stop, app)

        size: os.terminal_size | None = None
        while True:
            try:
                now = os.get_terminal_size(0)
            except OSError:
                _let_go()
                app.exit(128 + signal.SIGHUP)
                return
            if os.getppid() != self._parent:
                _leave_to_the_shell(app)
                if app.return_code is None:  # else it leaves already, and has said why
                    app.exit(128 + signal.SIGTERM, message="mistral-tui: torchrun has ended.")
                return
            if size is not None and now != size:
                signal.raise_signal(signal.SIGWINCH)
            size = now
            if signal.getsignal(signal.SIGTSTP) is not stay:  # Textual's come with its start
                signal.signal(signal.SIGTSTP, stay)
                signal.signal(signal.SIGCONT, signal.SIG_DFL)
            await asyncio.sleep(_POLL_SECONDS)


def _refuse_to_stop(app: App[int]) -> None:
    app.notify(
        "The chat cannot be suspended under torchrun: no shell could bring it back.",
        severity="warning",
        markup=False,
    )


def _leave_to_the_shell(app: App[int]) -> None:
    """Where torchrun was killed its shell has the terminal's modes as it wants them by now; those
    that Textual would bring back are older."""
    with contextlib.suppress(*_GONE):
        if termios.tcgetattr(0)[3] & termios.ISIG and app._driver is not None:
            setattr(app._driver, "attrs_before", None)  # noqa: B010


def _let_go() -> None:
    """From a terminal that is gone to the null device: reading and writing no longer fail."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(null, descriptor)
    os.close(null)


class _Lasting:
    """A file whose writing does not fail where the terminal is gone: the thread of Textual that
    writes would die of it, and what waits for that thread would hang."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._file.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._file.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
