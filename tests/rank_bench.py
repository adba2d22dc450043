"""For tests of ranks that are lost: strike one while the engine works, see what is told."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import tiny
from engine_bench import GREEDY, HELLO, failed, gone
from inference.api import (
    Event,
    Failed,
    Finished,
    Generate,
    LoadModel,
    LoadProgress,
    Message,
    PrefillProgress,
    Ready,
    SamplingParams,
    Tokens,
)
from mistral_tui.engine_client import LocalEngine

ENDLESS = SamplingParams(temperature=0, max_tokens=4000)
LONG = (Message("user", "word " * 7000),)
WHEN = ("prefill", "decode", "idle")
TO_NOTICE = {signal.SIGKILL: 5.0, signal.SIGSTOP: 10.0}
"""Seconds until a lost rank must be told of."""


def make_model(folder: Path) -> Path:
    """One whose prompt takes seconds to read, and whose answers do not end by themselves."""
    shape = {"dim": 256, "n_layers": 4, "hidden_dim": 512, "n_heads": 6, "n_kv_heads": 3}
    return tiny.make(folder, endless=True, max_position_embeddings=8192, **shape)


@dataclass
class Strike:
    """What came of one."""

    failed: Failed
    seconds: float
    named_after: float
    """Seconds until the status line would name the one that is silent; inf: not at all."""
    named: str
    left: list[int]
    """Processes of the set that still ran a second after it was told."""


class RankBench:
    """An engine of several ranks."""

    def __init__(self, log_path: Path, folder: Path, ranks: int) -> None:
        self.engine = LocalEngine(log_path, ranks=ranks)
        self.folder = folder
        self.ranks = ranks

    def load_request(self) -> LoadModel:
        return LoadModel(self.engine.next_id(), str(self.folder), device="cpu", threads=1)

    async def load(self) -> Event:
        """Start all ranks if need be, and load; the last event."""
        if not self.engine.alive:
            await self.engine.start()
        return [event async for event in self.engine.submit(self.load_request())][-1]

    async def serve(self) -> None:
        """Load and answer; fails where that is not possible."""
        last = await self.load()
        assert isinstance(last, Ready), last
        last = await self.say()
        assert isinstance(last, Finished), last

    async def say(self, messages: tuple[Message, ...] = HELLO) -> Event:
        request = Generate(self.engine.next_id(), messages, GREEDY)
        return [event async for event in self.engine.submit(request)][-1]

    @property
    def pids(self) -> dict[int, int]:
        """The process of each rank."""
        assert self.engine.pid is not None
        return {0: self.engine.pid} | {
            rank: process.pid for rank, process in self.engine._ranks._processes.items()
        }

    def log(self, rank: int) -> Path:
        return self.engine._ranks.log(rank)

    def request(self, messages: tuple[Message, ...]) -> Generate:
        """For an answer that does not end by itself."""
        return Generate(self.engine.next_id(), messages, ENDLESS)

    async def strike(
        self, rank: int, number: signal.Signals, when: str, delay: float = 0.0
    ) -> Strike:
        """Send a rank a signal while the engine does something, `delay` after it began to."""
        pids = self.pids
        begun = asyncio.Event()
        doing = asyncio.create_task(self._do(when, begun))
        await asyncio.wait_for(begun.wait(), 60)
        await asyncio.sleep(delay)
        struck = time.monotonic()
        os.kill(pids[rank], number)
        named_after, named = float("inf"), ""
        while not doing.done():
            await asyncio.sleep(0.05)
            if named_after == float("inf") and self.engine.silent_for():
                named_after, named = time.monotonic() - struck, self.engine.silent_who
            assert time.monotonic() - struck < 60, "nobody noticed"
        seconds = time.monotonic() - struck
        last = doing.result()
        await until(lambda: all(map(gone, pids.values())), 1)
        left = [pid for pid in pids.values() if not gone(pid)]
        return Strike(failed([last]), seconds, named_after, named, left)

    async def _do(self, when: str, begun: asyncio.Event) -> Event:
        if when == "idle":
            begun.set()
            while self.engine.alive:
                await asyncio.sleep(0.02)
            return self.engine.lost()
        messages = LONG if when == "prefill" else HELLO
        awaited = {"prefill": PrefillProgress, "decode": Tokens, "load": LoadProgress}[when]
        request = self.load_request() if when == "load" else self.request(messages)
        last: Event | None = None
        async for last in self.engine.submit(request):
            if isinstance(last, awaited) and not (
                isinstance(last, PrefillProgress) and not last.done
            ):
                begun.set()
        begun.set()
        assert last is not None
        return last


@asynccontextmanager
async def bench(tmp_path: Path, folder: Path, ranks: int) -> AsyncIterator[RankBench]:
    """An engine that is closed at the end; nothing of it may be left then."""
    made = RankBench(tmp_path / "logs" / "engine.log", folder, ranks)
    try:
        yield made
    finally:
        pids = list(made.pids.values()) if made.engine.alive else []
        await made.engine.close()
        assert [pid for pid in pids if not gone(pid)] == []


def blames(strike: Strike, rank: int) -> bool:
    """Whether the one that was struck is named, and no other."""
    said = re.findall(r"[Rr]ank (\d+)", strike.failed.sentence)
    return strike.failed.kind == "worker_lost" and set(said) == {str(rank)}


def check(strike: Strike, rank: int, number: signal.Signals) -> None:
    """Fails unless the right rank is named, in time, with its reason, and all others have left."""
    sentence = strike.failed.sentence
    assert blames(strike, rank), sentence
    assert ("was killed" if number == signal.SIGKILL else "no sign of life") in sentence
    assert strike.seconds < TO_NOTICE[number], strike
    assert strike.left == []
    if number == signal.SIGSTOP:
        assert strike.named_after < 5
        assert strike.named == f"rank {rank}"
    assert strike.failed.detail


async def until(true: Callable[[], object], seconds: float) -> bool:
    """Wait so long for something; whether it came."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        await asyncio.sleep(0.02)
    return True


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
