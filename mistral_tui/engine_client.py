"""The app's view of the engine: requests in, an async stream of events out."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, Protocol

from inference import wire
from inference.api import (
    BatchFinished,
    Cancel,
    Counted,
    Event,
    Failed,
    Finished,
    Heartbeat,
    Ready,
    Request,
    Shutdown,
    Unloaded,
)

_LOG_BYTES = 1 << 20
_LOG_KEPT = 3
_QUIT_SECONDS = 1.0
_SILENCE_SECONDS = 5.0
_LAST = (Finished, BatchFinished, Failed, Counted, Ready, Unloaded)


class EngineClient(Protocol):
    """What the app needs of an engine, wherever it runs."""

    @property
    def alive(self) -> bool:
        """Whether requests can be served (a model may still have to be loaded)."""
        ...

    def next_id(self) -> int:
        """A fresh request id."""
        ...

    async def start(self) -> None:
        """Bring the engine up, again after it was lost; no model is loaded yet."""
        ...

    def submit(self, request: Request) -> AsyncIterator[Event]:
        """Send a request; its events, ending with its last one. An engine that is lost
        on the way ends it with `Failed(kind="worker_lost")`."""
        ...

    def cancel(self, request_id: int) -> None:
        """Ask to stop a request; its stream still ends with its own last event."""
        ...

    def silent_for(self) -> float:
        """Seconds since the engine last gave a sign of life, beyond what is usual; else 0."""
        ...

    async def close(self) -> None:
        """End the engine."""
        ...


class LocalEngine:
    """The engine process on this machine, at the other end of a socket pair."""

    def __init__(self, log_path: Path) -> None:
        self.log_path = log_path
        self._ids = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._streams: dict[int, asyncio.Queue[Event]] = {}
        self._heard = self._looked = time.monotonic()
        self._trouble = ""  # why there is no engine, where its exit code does not say it

    @property
    def alive(self) -> bool:
        return self._writer is not None

    @property
    def pid(self) -> int | None:
        """Process id of the running engine."""
        return self._process.pid if self._process and self.alive else None

    def next_id(self) -> int:
        return next(self._ids)

    async def start(self) -> None:
        await self.close()
        self._trouble = ""
        try:
            ours = self._spawn()
        except OSError as error:
            self._trouble = f"could not be started: {error.strerror}"
            return
        reader, self._writer = await asyncio.open_connection(sock=ours)
        self._heard = time.monotonic()
        self._reading = asyncio.create_task(self._read(reader), name="engine events")

    def _spawn(self) -> socket.socket:
        # From the main thread: Linux ties the child's end to the spawning thread.
        ours, theirs = socket.socketpair()
        with theirs, _open_log(self.log_path) as log:
            addresses = (str(theirs.fileno()), str(os.getpid()))
            self._process = subprocess.Popen(
                # -P: a folder named `inference` where the user stands is not ours.
                [sys.executable, "-P", "-m", "inference.worker", *addresses],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # no signal and no output of it meets the terminal
            )
        return ours

    async def submit(self, request: Request) -> AsyncIterator[Event]:
        if self._writer is None:
            yield self._lost(request.id)
            return
        stream: asyncio.Queue[Event] = asyncio.Queue()
        self._streams[request.id] = stream
        over = False
        try:
            self._writer.write(wire.encode(request))
            while not over:
                event = await stream.get()
                over = isinstance(event, _LAST)
                yield event
        finally:
            self._streams.pop(request.id, None)
            if not over:  # nobody listens any more
                self.cancel(request.id)

    def cancel(self, request_id: int) -> None:
        if self._writer is not None:
            self._writer.write(wire.encode(Cancel(self.next_id(), request_id)))

    def silent_for(self) -> float:
        now = time.monotonic()
        # When this process itself was stopped or asleep, the engine is not to blame.
        if now - self._looked > _SILENCE_SECONDS:
            self._heard = now
        self._looked = now
        silence = now - self._heard
        return silence if self.alive and silence > _SILENCE_SECONDS else 0.0

    async def close(self) -> None:
        if self._writer is not None:
            with contextlib.suppress(OSError, RuntimeError):
                self._writer.write(wire.encode(Shutdown()))
                self._writer.close()
            self._writer = None
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            deadline = time.monotonic() + _QUIT_SECONDS
            while process.poll() is None and time.monotonic() < deadline:
                await asyncio.sleep(0.01)
            if process.poll() is None:
                process.kill()
                process.wait()
        self._end_streams()

    def kill(self) -> None:
        """End the engine process at once, without a word."""
        if self._process is not None:
            self._process.kill()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                header = await reader.readexactly(4)
                event = wire.decode(await reader.readexactly(wire.body_length(header)))
                self._heard = time.monotonic()
                if isinstance(event, Heartbeat):
                    continue
                # No stream: a late event of something that is over. It is dropped.
                if stream := self._streams.get(event.id):
                    stream.put_nowait(event)  # type: ignore[arg-type]
        except (asyncio.IncompleteReadError, OSError):
            pass
        except wire.WireError as error:
            self._trouble = f"was ended: it sent {error}"
            self.kill()
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._process is not None:
            # The socket closes a moment before the process can be waited for.
            for _ in range(100):
                if self._process.poll() is not None:
                    break
                await asyncio.sleep(0.01)
            else:
                self._process.kill()
        self._end_streams()

    def _end_streams(self) -> None:
        for request_id, stream in list(self._streams.items()):
            stream.put_nowait(self._lost(request_id))

    def _lost(self, request_id: int) -> Failed:
        code = self._process.poll() if self._process else None
        if code is None or self._trouble:
            why = self._trouble or "is not running"
        elif code in (-signal.SIGKILL, -signal.SIGTERM):
            why = "was killed (by someone, or for lack of memory)"
        elif code < 0:
            why = f"crashed ({signal.strsignal(-code)})"
        else:
            why = f"ended by itself (code {code})"
        return Failed(
            request_id, "worker_lost", f"The engine {why}.", f"The engine's log: {self.log_path}"
        )


def _open_log(path: Path) -> IO[bytes]:
    """The log for appending; a full one is moved aside, the oldest one dropped."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.stat().st_size > _LOG_BYTES:
            for n in range(_LOG_KEPT - 1, 0, -1):
                older = path.with_suffix(f".{n}.log")
                with contextlib.suppress(FileNotFoundError):
                    older.replace(path.with_suffix(f".{n + 1}.log"))
            path.replace(path.with_suffix(".1.log"))
    try:
        return path.open("ab")
    except OSError:
        return Path(os.devnull).open("ab")
