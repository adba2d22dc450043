"""The app's view of the engine: requests in, an async stream of events out."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
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
    LoadModel,
    Ready,
    Request,
    Shutdown,
    Unloaded,
)
from inference.errors import RankLost
from inference.outbox import HEARTBEAT_SECONDS
from inference.parallel.lifeline import SILENCE_SECONDS as _LOST_SECONDS
from inference.parallel.lifeline import WITHOUT_A_WORD, gave_no_sign
from inference.parallel.ranks import from_environment
from mistral_tui import torchrun
from mistral_tui.rank_processes import RankProcesses, how_it_ended, is_stopped

_LOG_BYTES = 1 << 20
_LOG_KEPT = 3
_QUIT_SECONDS = 1.0
_SILENCE_SECONDS = 5.0
_RANK_SECONDS = 3.5
_WATCH_SECONDS = 0.5
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

    @property
    def silent_who(self) -> str:
        """Whose silence that is: `engine`, or a rank."""
        ...

    @property
    def can_restart(self) -> bool:
        """Whether `start` can bring a lost engine back."""
        ...

    def lost(self, request_id: int = 0) -> Failed:
        """Why there is no engine any more."""
        ...

    async def close(self) -> None:
        """End the engine."""
        ...


class LocalEngine:
    """The engine process on this machine, at the other end of a socket pair; with several `ranks`
    it is the first of them. Under torchrun the others are not ours."""

    def __init__(self, log_path: Path, *, ranks: int = 1) -> None:
        self.log_path = log_path
        self._ranks = RankProcesses(ranks, log_path, open_log)
        self._together = ranks > 1 or from_environment(torchrun.environment()).world > 1
        self._ids = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._streams: dict[int, asyncio.Queue[Event]] = {}
        self._heard = self._looked = time.monotonic()
        self._trouble = ""  # why there is no engine, where its exit code does not say it
        self._detail = ""  # and what a log says of it
        self._loaded = False
        self._silent_rank, self._rank_silence = 0, 0.0
        self._stopped: dict[int, float] = {}  # rank → seconds
        self._parent = os.getppid()

    @property
    def alive(self) -> bool:
        return self._writer is not None

    @property
    def pid(self) -> int | None:
        """Process id of the running engine."""
        return self._process.pid if self._process and self.alive else None

    @property
    def can_restart(self) -> bool:
        return self._ranks.count > 1 or not self._together

    def next_id(self) -> int:
        return next(self._ids)

    async def start(self) -> None:
        await self.close()
        self._trouble = self._detail = ""
        self._loaded = False
        self._silent_rank, self._rank_silence = 0, 0.0
        self._stopped = {}
        try:
            if self._ranks.count > 1:
                self._ranks.start()
            ours = self._spawn()
        except OSError as error:
            await self._ranks.end()
            self._trouble = f"The engine could not be started: {error.strerror}."
            return
        reader, self._writer = await asyncio.open_connection(sock=ours)
        self._heard = time.monotonic()
        self._reading = asyncio.create_task(self._read(reader), name="engine events")
        if self._together:
            self._watching = asyncio.create_task(self._watch(), name="ranks")

    def _spawn(self) -> socket.socket:
        # From the main thread: Linux ties the child's end to the spawning thread.
        ours, theirs = socket.socketpair()
        with theirs, open_log(self.log_path) as log:
            self._ranks.begins(0, log)
            addresses = (str(theirs.fileno()), str(os.getpid()))
            self._process = subprocess.Popen(
                # -P: a folder named `inference` where the user stands is not ours.
                [sys.executable, "-P", "-m", "inference.worker", *addresses],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(theirs.fileno(),),
                env=self._ranks.environment(0),
                start_new_session=True,  # no signal and no output of it meets the terminal
            )
        return ours

    async def submit(self, request: Request) -> AsyncIterator[Event]:
        if self._writer is None:
            yield self.lost(request.id)
            return
        stream: asyncio.Queue[Event] = asyncio.Queue()
        self._streams[request.id] = stream
        self._loaded &= not isinstance(request, LoadModel)
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
        silence = self._silence()
        if not self.alive:
            return 0.0
        # A stopped rank is given up soon; and while a model is loaded the engine may be slow.
        limit = _RANK_SECONDS if self._together and self._loaded else _SILENCE_SECONDS
        if silence > limit:
            self._silent_rank = 0
            return silence
        for rank, seconds in self._stopped.items():
            if seconds >= _RANK_SECONDS:
                self._silent_rank = rank
                return seconds
        told = self._rank_silence + min(silence, HEARTBEAT_SECONDS) if self._rank_silence else 0.0
        return told if told > _RANK_SECONDS else 0.0

    def _silence(self) -> float:
        now = time.monotonic()
        # When this process itself was stopped or asleep, the engine is not to blame.
        if now - self._looked > _SILENCE_SECONDS:
            self._heard = now
        self._looked = now
        return now - self._heard

    @property
    def silent_who(self) -> str:
        return f"rank {self._silent_rank}" if self._together else "engine"

    async def close(self) -> None:
        if self._writer is not None:
            with contextlib.suppress(OSError, RuntimeError):
                self._writer.write(wire.encode(Shutdown()))
                self._writer.close()
            self._writer = None
        for task in (self._reading, self._watching):
            if task is not None:
                task.cancel()
        self._reading = self._watching = None
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            deadline = time.monotonic() + _QUIT_SECONDS
            while process.poll() is None and time.monotonic() < deadline:
                await asyncio.sleep(0.01)
            if process.poll() is None:
                process.kill()
                process.wait()
        await self._ranks.end()
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
                    self._silent_rank, self._rank_silence = event.rank, event.silent_s
                    continue
                self._rank_silence = 0.0  # where something comes out, all take part
                if isinstance(event, Failed) and event.kind == RankLost.kind:
                    self._trouble, self._detail = event.sentence, event.detail
                    continue
                self._loaded |= isinstance(event, Ready)
                # No stream: a late event of something that is over. It is dropped.
                if stream := self._streams.get(event.id):
                    stream.put_nowait(event)  # type: ignore[arg-type]
        except (asyncio.IncompleteReadError, OSError):
            pass
        except wire.WireError as error:
            self._trouble = f"The engine was ended: it sent {error}."
            self.kill()
        if self._writer is not None:
            self._writer.close()
        if self._process is not None:
            # The socket closes a moment before the process can be waited for.
            for _ in range(100):
                if self._process.poll() is not None:
                    break
                await asyncio.sleep(0.01)
            else:
                self._process.kill()
        if self._together:
            self._look_back()
            await self._ranks.end()
        self._writer = None  # only now is it known what there is to tell
        self._end_streams()

    async def _watch(self) -> None:
        """Notice what the engine cannot tell: that it hangs, or that a rank never got to it."""
        seen: tuple[int, int] | None = None
        while self.alive:
            await asyncio.sleep(_WATCH_SECONDS)
            process = self._process
            if self._trouble or process is None or process.poll() is not None:
                continue  # all is said, or will be at once
            ended = self._ranks.ended()
            if ended is not None and ended == seen:  # the engine has had its time to tell
                self._trouble = f"Rank {ended[0]} {how_it_ended(ended[1])}."
                self._detail = self._ranks.about(ended[0])
                self.kill()
                continue
            seen = ended
            stopped = self._ranks.stopped() | ({0} if is_stopped(process.pid) else set())
            self._stopped = {r: self._stopped.get(r, 0.0) + _WATCH_SECONDS for r in stopped}
            longest = max(self._stopped, key=self._stopped.__getitem__, default=0)
            silence = self._silence() if self._loaded else 0.0
            if silence > _LOST_SECONDS or self._stopped.get(longest, 0.0) > _LOST_SECONDS:
                rank = 0 if silence > _LOST_SECONDS else longest
                self._trouble = f"Rank {rank} {gave_no_sign(_LOST_SECONDS)}."
                self._detail = self._ranks.about(rank)
                self.kill()

    def _look_back(self) -> None:
        """The end of the set: which rank is lost the engine has said; how a process of ours ended
        is known here."""
        ended = self._ranks.ended()
        if ended and ended[1] < 0 and self._trouble == f"Rank {ended[0]} {WITHOUT_A_WORD}.":
            self._trouble = f"Rank {ended[0]} {how_it_ended(ended[1])}."
        elif self._ranks.count == 1 and os.getppid() != self._parent:
            self._trouble = "torchrun has ended, and with it the other ranks."
            self._detail = ""
            return
        self._detail = self._detail or self._ranks.about(0)

    def _end_streams(self) -> None:
        for request_id, stream in list(self._streams.items()):
            stream.put_nowait(self.lost(request_id))

    def lost(self, request_id: int = 0) -> Failed:
        code = self._process.poll() if self._process else None
        if self._trouble:
            why = self._trouble
        elif code is None:
            why = "The engine is not running."
        else:
            why = f"{'Rank 0' if self._together else 'The engine'} {how_it_ended(code)}."
        log = f"The engine's log: {self.log_path}"
        return Failed(request_id, "worker_lost", why, self._detail or log)


def open_log(path: Path) -> IO[bytes]:
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
