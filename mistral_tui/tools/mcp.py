"""The app's view of MCP servers: their states and tools, and calls, through a process of its own.

Nothing here raises for what a server does: a crash, a hang or a lie of one is a state and a
sentence. `restart` brings back what ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Literal

from mistral_tui.sanitize import one_line
from mistral_tui.tools import limits, mcp_frames
from mistral_tui.tools.definition import Definition, Outcome
from mistral_tui.tools.mcp_config import Server
from mistral_tui.tools.mcp_results import fitting
from mistral_tui.tools.mcp_transports import kill_group

State = Literal["off", "asks", "starting", "ready", "failed"]

START_SECONDS = 30.0  # for a server to be listed, where its entry does not say
_GRACE_SECONDS = 5.0  # beyond what the host process may take: then it hangs
_CLOSE_SECONDS = 6.0
_LOG_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class ServerState:
    """`asks`: a project's file wants it, and the user has not said yes. `sentence` says why it
    failed, what it wants to run, or which tools are left out; `version` is how it names itself."""

    name: str
    state: State = "off"
    sentence: str = ""
    version: str = ""
    definitions: tuple[Definition, ...] = ()


def _nothing() -> None:
    pass


class McpServers:
    """All servers of a session of the app. Nothing runs before `start`; `changed` is called, in
    the event loop, whenever `states` says something new."""

    def __init__(
        self,
        servers: Sequence[Server],
        *,
        log: Path,
        allowed: Collection[str] = (),
        changed: Callable[[], None] = _nothing,
    ) -> None:
        """`allowed`: digests of the projects' servers that the user said yes to; it is looked at
        anew at every start, so a set can grow."""
        self._servers = {server.name: server for server in servers}
        self._states = {name: ServerState(name) for name in self._servers}
        self._log, self._allowed, self._changed = log, allowed, changed
        self._names: dict[tuple[str, str], str] = {}  # (server, tool) → what the model calls it
        self._pids: dict[str, int] = {}
        self._ids = itertools.count(1)
        self._calls: dict[int, asyncio.Future[Outcome]] = {}
        self._news = asyncio.Condition()
        self._spawning = asyncio.Lock()
        self._telling: set[asyncio.Task[None]] = set()
        self._host: subprocess.Popen[bytes] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._trouble = ""  # why the host was ended by us

    @property
    def states(self) -> Mapping[str, ServerState]:
        """Every server's state, in the order of the files."""
        return {
            name: self._asking(name) if state.state == "off" and not self._may_run(name) else state
            for name, state in self._states.items()
        }

    @property
    def host_pid(self) -> int | None:
        """The process that talks to the servers, while there is one."""
        return self._host.pid if self._host and self._writer is not None else None

    def _may_run(self, name: str) -> bool:
        server = self._servers[name]
        return not server.from_project or server.digest in self._allowed

    def _asking(self, name: str) -> ServerState:
        server = self._servers[name]
        if server.kind == "http":
            wants = f"connect to {one_line(server.url, 200)}"
        else:
            wants = f"run {one_line(shlex.join((server.command, *server.args)), 1000)}"
            if server.cwd:
                wants += f" in {one_line(server.cwd, 300)}"
            if env := ", ".join(f"{key}={value}" for key, value in server.env.items()):
                wants += f" with {one_line(env, 1000)}"
        given = f" It is given {one_line(', '.join(server.uses), 300)}." if server.uses else ""
        return ServerState(name, "asks", f"This project's .mcp.json wants to {wants}.{given}")

    async def start(self, names: Collection[str] | None = None) -> None:
        """Start the servers (all of them, if not named) that may run and do not; each is ready or
        failed then. One that the user has to allow first stays as it is."""
        wanted = [name for name in self._servers if names is None or name in names]
        wanted = [name for name in wanted if self._may_run(name)]
        begun = False
        for name in wanted:
            if self._states[name].state in ("off", "failed"):
                begun = True
                self._set(ServerState(name, "starting"))
                if not await self._ensure_host():
                    self._set(ServerState(name, "failed", self._trouble))
                    continue
                self._send({"do": "start", "name": name, **self._entry(name)})
        if not begun and all(self._states[name].state != "starting" for name in wanted):
            return
        patience = max((self._start_seconds(name) for name in wanted), default=0.0)
        left = [name for name in wanted if self._states[name].state == "starting"]
        if await self._wait(lambda: not self._any(left, "starting"), patience + _GRACE_SECONDS):
            return
        await self._lose_host("did not answer and was ended")

    def _start_seconds(self, name: str) -> float:
        return self._servers[name].timeout or START_SECONDS

    def _entry(self, name: str) -> dict[str, Any]:
        server = self._servers[name]
        entry = {
            "kind": server.kind,
            "command": server.command,
            "args": list(server.args),
            "env": dict(server.env),
            "cwd": server.cwd,
            "url": server.url,
            "headers": dict(server.headers),
        }
        return {"server": entry, "timeout": self._start_seconds(name)}

    def _any(self, names: Collection[str], *states: State) -> bool:
        return any(self._states[name].state in states for name in names)

    async def call(
        self,
        definition: Definition,
        arguments: Mapping[str, Any],
        *,
        timeout: float = limits.TIMEOUT_SECONDS,
    ) -> Outcome:
        """Call a tool, for at most `timeout` seconds (or what the server's entry says). When this
        is cancelled, the call is taken back with the server, and not waited for."""
        server = self._servers.get(definition.source)
        who = f"The MCP server {one_line(definition.source, 64)}"
        if server is None:
            return limits.outcome(f"{who} is not set up any more.", error=True)
        state = self._states[server.name].state
        if state != "ready" or self._writer is None:
            why = self._states[server.name].sentence if state == "failed" else ""
            return limits.outcome(why or f"{who} is not running.", error=True)
        timeout = server.timeout or timeout
        number, begun = next(self._ids), time.monotonic()
        sent = self._send(
            {
                "do": "call",
                "id": number,
                "name": server.name,
                "tool": definition.target,
                "arguments": dict(arguments),
                "timeout": timeout,
            }
        )
        if not sent:
            return limits.outcome("The arguments are too large or no JSON.", error=True)
        answer = self._calls[number] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout + _GRACE_SECONDS):
                outcome: Outcome = await answer
        except TimeoutError:
            await self._lose_host("did not answer and was ended")
            outcome = limits.outcome(
                f"{who} gave no answer within {timeout:g} seconds.", error=True
            )
        except asyncio.CancelledError:
            self._send({"do": "cancel", "id": number})
            raise
        finally:
            self._calls.pop(number, None)
        return replace(outcome, seconds=time.monotonic() - begun)

    async def restart(self, name: str) -> None:
        """End a server, if it runs, and start it again; it is ready or failed then."""
        await self.stop(name)
        await self.start([name])

    async def stop(self, name: str) -> None:
        """End a server; it is off then."""
        if name not in self._states:
            return
        if self._writer is not None and self._any([name], "starting", "ready"):
            self._send({"do": "stop", "name": name})
            if not await self._wait(
                lambda: not self._any([name], "starting", "ready"), _CLOSE_SECONDS
            ):
                await self._lose_host("did not answer and was ended")
        self._set(ServerState(name))

    async def close(self) -> None:
        """End the host process and every server, within a few seconds, by force if need be."""
        host, writer, reading = self._host, self._writer, self._reading
        self._host = self._writer = self._reading = None
        if reading is not None:
            reading.cancel()
        if writer is not None:
            with contextlib.suppress(OSError, RuntimeError):
                writer.close()
        if host is not None:
            deadline = time.monotonic() + _CLOSE_SECONDS
            while host.poll() is None and time.monotonic() < deadline:
                await asyncio.sleep(0.01)
            if host.poll() == 0:  # then it ended them, and their numbers are free for others
                self._pids.clear()
            _kill(host)
        self._after_host("was closed")
        for name in self._states:
            self._set(ServerState(name))

    # The host process

    async def _ensure_host(self) -> bool:
        async with self._spawning:
            if self._writer is not None:
                return True
            self._trouble = ""
            try:
                ours = self._spawn()
            except OSError as error:
                self._trouble = f"MCP servers cannot be started: {error.strerror}."
                return False
            reader, self._writer = await asyncio.open_connection(sock=ours)
            self._reading = asyncio.create_task(self._read(reader), name="mcp messages")
            return True

    def _spawn(self) -> socket.socket:
        # From the main thread: Linux ties the child's end to the spawning thread.
        ours, theirs = socket.socketpair()
        try:
            with theirs, _open_log(self._log) as log:
                addresses = (str(theirs.fileno()), str(os.getpid()))
                self._host = subprocess.Popen(
                    # -P: a folder named `mcp` where the user stands is not what we mean.
                    [sys.executable, "-P", "-m", "mistral_tui.tools.mcp_host", *addresses],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,  # no signal and no output of it meets the terminal
                )
        except OSError:
            ours.close()
            raise
        return ours

    def _send(self, message: Mapping[str, Any]) -> bool:
        """Whether the message is one that can be sent; one for a host that is gone is dropped."""
        try:
            frame = mcp_frames.encode(message)
        except mcp_frames.FrameError:
            return False
        if self._writer is not None:
            with contextlib.suppress(OSError, RuntimeError):
                self._writer.write(frame)
        return True

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while (message := await mcp_frames.read(reader)) is not None:
                self._hear(message)
        except (mcp_frames.FrameError, KeyError, TypeError, ValueError):
            self._trouble = "sent what is no message and was ended"
        await self._lose_host()

    def _hear(self, message: Mapping[str, Any]) -> None:
        if message["is"] == "process":
            self._pids[message["name"]] = message["pid"]
        elif message["is"] == "result":
            answer = self._calls.get(message["id"])
            if answer is not None and not answer.done():
                outcome = limits.outcome(message["text"], error=message["error"])
                answer.set_result(replace(outcome, cut=outcome.cut or message["cut"]))
        elif (name := message["name"]) in self._states:
            if message["state"] in ("off", "failed"):
                self._pids.pop(name, None)
            self._set(
                ServerState(
                    name,
                    message["state"],
                    message["sentence"],
                    message["version"],
                    tuple(self._definition(name, *row) for row in message["tools"]),
                )
            )

    def _definition(
        self, server: str, target: str, description: str, parameters: dict[str, Any]
    ) -> Definition:
        key = (server, target)
        if key not in self._names:  # and for good: a conversation may use it already
            self._names[key] = fitting(server, target, self._names.values())
        origin = self._servers[server].digest
        return Definition(self._names[key], description, parameters, "mcp", server, target, origin)

    async def _lose_host(self, trouble: str = "") -> None:
        """The host is gone, or is to go: with it all of its servers."""
        self._trouble = self._trouble or trouble
        host, self._host = self._host, None
        writer, self._writer = self._writer, None
        reading, self._reading = self._reading, None
        if reading is not None and reading is not asyncio.current_task():
            reading.cancel()
        if writer is not None:
            writer.close()
        if host is None:
            return
        if not self._trouble:
            # The socket closes a moment before the process can be waited for.
            for _ in range(100):
                if host.poll() is not None:
                    break
                await asyncio.sleep(0.01)
            self._trouble = _how_it_ended(host.poll())
        _kill(host)
        self._after_host(self._trouble)

    def _after_host(self, trouble: str) -> None:
        sentence = f"The process that talks to MCP servers {trouble}; restart brings it back."
        for pid in self._pids.values():  # what it could not end any more
            kill_group(pid, signal.SIGKILL)
        self._pids.clear()
        for answer in self._calls.values():
            if not answer.done():
                answer.set_result(limits.outcome(sentence, error=True))
        for name in self._states:
            if self._any([name], "starting", "ready"):
                self._set(ServerState(name, "failed", sentence))

    # News

    def _set(self, state: ServerState) -> None:
        if self._states[state.name] == state:
            return
        self._states[state.name] = state
        self._changed()
        task = asyncio.get_running_loop().create_task(self._notify())
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _notify(self) -> None:
        async with self._news:
            self._news.notify_all()

    async def _wait(self, done: Callable[[], bool], seconds: float) -> bool:
        """Wait until states say so; whether they did in time."""
        try:
            async with asyncio.timeout(seconds), self._news:
                await self._news.wait_for(done)
        except TimeoutError:
            return done()
        return True


def _how_it_ended(code: int | None) -> str:
    if code is None:
        return "was lost"
    if code in (-signal.SIGKILL, -signal.SIGTERM):
        return "was killed"
    return f"crashed ({signal.strsignal(-code)})" if code < 0 else f"ended by itself (code {code})"


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
        process.wait()


def _open_log(path: Path) -> IO[bytes]:
    """The log for appending; a full one is moved aside."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.stat().st_size > _LOG_BYTES:
            path.replace(path.with_suffix(".1.log"))
    try:
        return path.open("ab")
    except OSError:
        return Path(os.devnull).open("ab")
