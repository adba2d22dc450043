"""The process that talks to all MCP servers, started by `mcp.py`; it ends with the app.

    python -m mistral_tui.tools.mcp_host DESCRIPTOR PARENT

The official package is slow to load, and what servers send is of any size: neither is to be felt
in the process that draws.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from mistral_tui.sanitize import one_line
from mistral_tui.tools import limits, mcp_frames
from mistral_tui.tools.mcp_transports import kill_group

if TYPE_CHECKING:
    import anyio

    from mistral_tui.tools.mcp_session import Session

MISSING = 'MCP servers need the package mcp: pip install "mistral-tui[mcp]"'
_END_SECONDS = 4.0
_MOST_LOG = 2 << 20  # bytes in the log for a server, and for ourselves
_MOST_LINE = 2000


class _Log(logging.Handler):
    """The log on stderr: a server that talks and talks does not fill the disk."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._left: dict[str, int] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """A line of a library."""
        self.line("host", f"{record.name}: {record.getMessage()}")

    def line(self, name: str, text: str) -> None:
        """A line of or about a server."""
        left = self._left.get(name, _MOST_LOG)
        if left <= 0:
            return
        written = f"{time.strftime('%F %T')} {one_line(name, 64)}: {one_line(text, _MOST_LINE)}\n"
        self._left[name] = left - len(written)
        if self._left[name] <= 0:
            written += f"{one_line(name, 64)}: (no more of this one is logged)\n"
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(written)
            sys.stderr.flush()


class Host:
    """Does what the app asks for; see `mcp_frames`."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, log: _Log
    ) -> None:
        self._reader, self._writer, self._log = reader, writer, log
        self._sessions: dict[str, Session] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._calls: dict[int, anyio.CancelScope] = {}
        self._calling: set[asyncio.Task[None]] = set()
        self._missing = _missing()
        self._alone = False  # the app is gone

    async def run(self) -> None:
        """Until the app closes its end."""
        try:
            while (message := await mcp_frames.read(self._reader)) is not None:
                self._do(message)
        except mcp_frames.FrameError as error:
            self._log.line("host", f"the app sent no message: {error}")
        self._alone = True
        for session in self._sessions.values():
            session.stop()
        if tasks := list(self._tasks.values()):
            await asyncio.wait(tasks, timeout=_END_SECONDS)
        self.kill()

    def kill(self) -> None:
        """End every server at once."""
        for session in self._sessions.values():
            kill_group(session.pid, signal.SIGKILL)

    def _do(self, message: Mapping[str, Any]) -> None:
        match message["do"]:
            case "start":
                self._start(message["name"], message["server"], message["timeout"])
            case "stop":
                if session := self._sessions.get(message["name"]):
                    session.stop()
                if message["name"] not in self._tasks:
                    self._state(message["name"], "off")
            case "call":
                task = asyncio.create_task(self._call(message))
                self._calling.add(task)
                task.add_done_callback(self._calling.discard)
            case "cancel":
                if scope := self._calls.get(message["id"]):
                    scope.cancel()

    def _start(self, name: str, entry: Mapping[str, Any], timeout: float) -> None:
        if self._missing:
            self._state(name, "failed", self._missing)
            return
        from mistral_tui.tools.mcp_session import Session

        if name in self._tasks:  # it runs already
            return
        session = Session(name, entry, timeout, self._tell, self._log.line)
        self._sessions[name] = session
        task = self._tasks[name] = asyncio.create_task(session.run())

        def over(_: object) -> None:
            del self._tasks[name], self._sessions[name]
            if task.cancelled() or task.exception() is not None:
                self._log.line(name, f"session: {task if task.cancelled() else task.exception()!r}")
                self._state(name, "failed", f"The MCP server {one_line(name, 64)} was lost.")

        task.add_done_callback(over)

    async def _call(self, message: Mapping[str, Any]) -> None:
        import anyio

        number, name = message["id"], message["name"]
        begun = time.monotonic()
        with anyio.CancelScope() as scope:
            self._calls[number] = scope
            try:
                session = self._sessions.get(name)
                if session is None:
                    outcome = limits.outcome(
                        f"The MCP server {one_line(name, 64)} is not running.", error=True
                    )
                else:
                    outcome = await session.call(
                        message["tool"], message["arguments"], message["timeout"]
                    )
                self._tell(
                    {
                        "is": "result",
                        "id": number,
                        "text": outcome.text,
                        "error": outcome.error,
                        "cut": outcome.cut,
                        "seconds": time.monotonic() - begun,
                    }
                )
            finally:
                del self._calls[number]

    def _state(self, name: str, state: str, sentence: str = "") -> None:
        self._tell(
            {
                "is": "state",
                "name": name,
                "state": state,
                "sentence": sentence,
                "version": "",
                "tools": [],
            }
        )

    def _tell(self, message: dict[str, Any]) -> None:
        # Everything in it is bounded, so nothing waits here for the app to read.
        if not self._alone:
            self._writer.write(mcp_frames.encode(message))


def _missing() -> str:
    """Why there can be no servers; empty: nothing is missing."""
    try:
        import mcp.client.streamable_http  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name == "mcp":
            return f"{MISSING}."
        return f"{MISSING} (now {one_line(str(error), 80)})."
    except ImportError as error:
        return f"{MISSING} (now {one_line(str(error), 80)})."
    return ""


def _end_with_parent(parent: int) -> None:
    """Linux tells when the app dies; elsewhere the closing socket must do."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            pr_set_pdeathsig = 1
            ctypes.CDLL(None).prctl(pr_set_pdeathsig, int(signal.SIGTERM))
    if os.getppid() != parent:
        os._exit(0)


async def _serve(descriptor: int) -> None:
    log = _Log()
    logging.basicConfig(handlers=[log], level=logging.WARNING)
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=descriptor))
    host = Host(reader, writer, log)

    def end(*_: object) -> NoReturn:
        host.kill()
        os._exit(1)

    signal.signal(signal.SIGTERM, end)  # not by the loop: it may be at work on a huge answer
    await host.run()


def main() -> None:
    """Entry of the process."""
    descriptor, parent = int(sys.argv[1]), int(sys.argv[2])
    _end_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the app decides what Ctrl+C means
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(_serve(descriptor))
    os._exit(0)  # a thread may still wait for the name of a host


if __name__ == "__main__":
    main()
