"""Streams to MCP servers that bear what a bad server does; for the host process only.

As the official ones of the package `mcp`, but a line or an answer has a bound, bytes that are no
UTF-8 and lines that are no JSON-RPC lose only themselves, and a server ends with its whole group.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx2
    from mcp.client._transport import TransportStreams
    from mcp_types import JSONRPCMessage

MOST_MESSAGE = 64 << 20  # bytes of one message of a server
_CHUNK = 1 << 18
_CLOSE_SECONDS = 1.0  # for a server to end by itself, after its stdin closed
_TERM_SECONDS = 1.0  # and after SIGTERM
_POLL_SECONDS = 0.01

Log = Callable[[str, str], None]
"""Called with the server's name and a line for the log."""


class Stdio:
    """A server as a child process, speaking on its stdin and stdout."""

    def __init__(
        self,
        name: str,
        argv: list[str],
        env: dict[str, str],
        cwd: str | None,
        log: Log,
        spawned: Callable[[int], None],
        ended: asyncio.Event,
    ) -> None:
        self._name, self._argv, self._env, self._cwd = name, argv, env, cwd
        self._log, self._spawned, self._ended = log, spawned, ended
        self.trouble = ""  # why it was given up
        self._process: asyncio.subprocess.Process | None = None

    @property
    def returncode(self) -> int | None:
        """How the process ended: as `subprocess` says it."""
        return self._process.returncode if self._process else None

    @asynccontextmanager
    async def streams(self) -> AsyncIterator[TransportStreams]:
        """The server started, and its message streams; it is ended, its group too, at the end.

        Raises:
            OSError: it cannot be started.
            ValueError: a zero byte in its command.
        """
        import anyio
        from mcp.shared.message import SessionMessage

        process = await asyncio.create_subprocess_exec(
            *self._argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._env,
            cwd=self._cwd,
            limit=_CHUNK,
            start_new_session=True,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )
        self._process = process
        self._spawned(process.pid)
        to_session, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        outgoing, from_session = anyio.create_memory_object_stream[SessionMessage](0)

        async def read() -> None:
            async with to_session:
                async for line in self._lines(process):
                    if (message := parse(line)) is None:
                        if line.strip():
                            self._log(self._name, f"stdout: {line[:2000].decode(errors='replace')}")
                        continue
                    with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                        await to_session.send(SessionMessage(message))
            self._ended.set()

        async def write() -> None:
            assert process.stdin is not None
            try:
                async with from_session:
                    async for item in from_session:
                        written = item.message.model_dump_json(by_alias=True, exclude_unset=True)
                        process.stdin.write(written.encode() + b"\n")
                        await process.stdin.drain()
            except OSError:
                self._ended.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            tasks.start_soon(write)
            tasks.start_soon(self._errors, process)
            try:
                yield incoming, outgoing
            finally:
                with anyio.CancelScope(shield=True):
                    incoming.close()
                    outgoing.close()
                    await end(process)
                tasks.cancel_scope.cancel()

    async def _lines(self, process: asyncio.subprocess.Process) -> AsyncIterator[bytes]:
        assert process.stdout is not None
        held = bytearray()
        with contextlib.suppress(OSError):
            while data := await process.stdout.read(_CHUNK):
                held += data
                if b"\n" in data:
                    *lines, rest = held.split(b"\n")
                    held = bytearray(rest)
                    for line in lines:
                        yield bytes(line)
                if len(held) > MOST_MESSAGE:
                    self.trouble = f"sent more than {MOST_MESSAGE >> 20} MB in one message"
                    return

    async def _errors(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        with contextlib.suppress(OSError):
            while data := await process.stderr.read(1 << 14):
                for line in data.decode(errors="replace").splitlines():
                    self._log(self._name, line)


def parse(line: bytes) -> JSONRPCMessage | None:
    """The message in a line; None if it has none. Bytes that are no UTF-8 and half characters
    become �, and what is deeper than the fast parser likes is read too."""
    from mcp_types import jsonrpc_message_adapter

    try:
        return jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValueError:
        pass
    try:
        found = json.loads(line.decode(errors="replace"))
        whole = json.dumps(found, ensure_ascii=False).encode(errors="replace")
        return jsonrpc_message_adapter.validate_python(json.loads(whole), by_name=False)
    except (ValueError, RecursionError):
        return None


if sys.platform == "linux":
    _prctl = ctypes.CDLL(None).prctl  # looked up here: in the fork there is little one may do


def _end_with_parent() -> None:
    pr_set_pdeathsig = 1
    _prctl(pr_set_pdeathsig, int(signal.SIGKILL))


async def end(process: asyncio.subprocess.Process) -> None:
    """End a process as the protocol wants it: its stdin closed, then SIGTERM, then SIGKILL; and
    in any case what is left of its group."""
    if process.stdin is not None:
        process.stdin.close()
    await _until(lambda: process.returncode is not None, _CLOSE_SECONDS)
    if kill_group(process.pid, signal.SIGTERM):
        await _until(
            lambda: process.returncode is not None and not kill_group(process.pid, 0),
            _TERM_SECONDS,
        )
        kill_group(process.pid, signal.SIGKILL)
        await _until(lambda: process.returncode is not None, _TERM_SECONDS)
    # A daemon that left the group can hold the pipes: they are closed on our side.
    with contextlib.suppress(OSError):
        process._transport.close()  # type: ignore[attr-defined]


async def _until(done: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not done() and time.monotonic() < deadline:
        await asyncio.sleep(_POLL_SECONDS)


def kill_group(pid: int, number: int) -> bool:
    """Send a signal (0: none) to the group that a process leads or led; whether there is one."""
    if pid <= 1:
        return False
    try:
        os.killpg(pid, number)
    except PermissionError:  # macOS says so of a group of zombies
        return False
    except OSError:
        return False
    return True


class Http:
    """A server at an address. `status` is the last HTTP status that was an error."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self._url, self._headers = url, headers
        self.status = 0

    @asynccontextmanager
    async def streams(self) -> AsyncIterator[TransportStreams]:
        """The message streams of the address."""
        import httpx2
        from mcp.client.streamable_http import streamable_http_client

        # A call has its own time; a stream of notices is silent for hours.
        timeout = httpx2.Timeout(30.0, read=None)
        headers = {"Accept-Encoding": "identity", **self._headers}
        hooks: dict[str, Any] = {"response": [self._bound]}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=timeout, event_hooks=hooks) as client,
            streamable_http_client(
                self._url, http_client=client, max_sse_event_size=MOST_MESSAGE
            ) as streams,
        ):
            yield streams

    async def _bound(self, response: httpx2.Response) -> None:
        """Look at an answer before its body is read: one that is packed could be of any size."""
        import httpx2

        if response.status_code >= 400:
            self.status = response.status_code
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            response.headers["content-encoding"] = "identity"
        if not response.headers.get("content-type", "").lower().startswith("text/event-stream"):
            assert isinstance(response.stream, httpx2.AsyncByteStream)
            response.stream = _bounded(response.stream)


def _bounded(stream: httpx2.AsyncByteStream) -> httpx2.AsyncByteStream:
    import httpx2

    class Bounded(httpx2.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            size = 0
            async for chunk in stream:
                size += len(chunk)
                if size > MOST_MESSAGE:
                    raise httpx2.StreamError(f"more than {MOST_MESSAGE >> 20} MB in one answer")
                yield chunk

        async def aclose(self) -> None:
            await stream.aclose()

    return Bounded()
