"""Minutes of use of one engine process; by hand, with `make soak`. Prints what it measures."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import statistics
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

import tiny
from engine_bench import HELLO, Bench, card_of, failed, finished, gone, ids_of
from inference.api import (
    Cancel,
    Event,
    Failed,
    Finished,
    Generate,
    LoadModel,
    Message,
    PrefillProgress,
    SamplingParams,
    Tokens,
)
from mistral_tui.engine_client import LocalEngine

pytestmark = [pytest.mark.soak, pytest.mark.asyncio(loop_scope="module")]

ENDLESS = SamplingParams(temperature=0, max_tokens=60_000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make(tmp_path_factory.mktemp("model") / "tiny", max_position_embeddings=65_536)


@pytest_asyncio.fixture(loop_scope="module")
async def bench(folder: Path, tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(LocalEngine(tmp_path / "engine.log"), folder)
    await bench.engine.start()
    card_of(await bench.load(folder))
    yield bench
    await bench.engine.close()


def memory_mb(pid: int) -> float:
    """Resident memory of a process."""
    done = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True)
    return int(done.stdout) / 1024


def tell(what: str, seconds: list[float]) -> None:
    seconds = sorted(seconds)
    print(
        f"\n{what}: median {statistics.median(seconds) * 1e3:.0f} ms, "
        f"p95 {seconds[int(0.95 * (len(seconds) - 1))] * 1e3:.0f} ms, "
        f"most {seconds[-1] * 1e3:.0f} ms of {len(seconds)}"
    )


async def cancel_latency(bench: Bench, messages: tuple[Message, ...], at: int) -> tuple[float, int]:
    """Seconds from a cancel to the last event, and the tokens that still came; `at` counts
    tokens, or prompt tokens if it is negative."""
    request = Generate(bench.engine.next_id(), messages, ENDLESS)
    asked = 0.0
    tokens = before = 0
    async for event in bench.engine.submit(request):
        if isinstance(event, Tokens):
            tokens += len(event.ids)
        reached = tokens >= at > 0 or (isinstance(event, PrefillProgress) and event.done > -at > 0)
        if reached and not asked:
            before, asked = tokens, time.monotonic()
            bench.engine.cancel(request.id)
    assert isinstance(event, Finished)
    assert event.reason == "cancelled"
    return time.monotonic() - asked, tokens - before


@pytest.mark.parametrize("model", ["tiny", "starter"])
async def test_cancels_are_heard_in_time(bench: Bench, starter_folder: Path, model: str) -> None:
    if model == "starter":
        card_of(await bench.load(starter_folder))
    chance = random.Random(0)
    story = (Message("user", "Tell me a very long story about the sea."),)
    measured = [await cancel_latency(bench, story, chance.randint(1, 30)) for _ in range(40)]
    tell(f"{model}: cancel between tokens", [seconds for seconds, _ in measured])
    print(f"tokens after it: at most {max(count for _, count in measured)}")
    seconds = []
    for n in range(12):
        words = (Message("user", f"{n} " + "word " * 5_000),)
        seconds.append((await cancel_latency(bench, words, -300))[0])
    tell(f"{model}: cancel between prefill chunks", seconds)
    assert max(seconds) < 10


async def test_thousands_of_requests_leak_nothing(bench: Bench) -> None:
    chance = random.Random(1)
    pid = bench.engine.pid
    assert pid is not None
    sizes = []
    for n in range(2000):
        kind = chance.choice(("answer", "cancel", "refused", "abandoned"))
        most = SamplingParams(temperature=1.0, max_tokens=chance.randint(1, 20), seed=n)
        if kind == "answer":
            assert finished(await bench.say((Message("user", str(n)),), most))
        elif kind == "cancel":
            await cancel_latency(bench, HELLO, chance.randint(1, 5))
        elif kind == "refused":
            assert failed(await bench.say(sampling=SamplingParams(top_p=3))).kind == "setting"
        else:
            stream = bench.engine.submit(Generate(bench.engine.next_id(), HELLO, ENDLESS))
            await anext(stream)
            await stream.aclose()  # type: ignore[attr-defined]
        if n % 200 == 199:
            sizes.append(memory_mb(pid))
    print("\nMB after each 200:", [round(size) for size in sizes])
    assert sizes[-1] < sizes[1] + 60
    assert not bench.engine._streams
    assert bench.engine.pid == pid


async def test_models_loaded_in_turn_do_not_pile_up(bench: Bench, tmp_path: Path) -> None:
    pid = bench.engine.pid
    assert pid is not None
    other = tiny.make(tmp_path / "other", seed=3, max_position_embeddings=65_536)
    sizes = []
    for n in range(60):
        folder = (bench.folder, other, tmp_path / "nowhere")[n % 3]
        await bench.load(folder)
        if bench.ready:
            assert len(ids_of(await bench.say())) == 12
        sizes.append(memory_mb(pid))
    print("\nMB:", [round(size) for size in sizes[::6]])
    assert sizes[-1] < sizes[9] + 15


async def test_kills_at_any_moment_end_in_a_sentence_and_a_fresh_start(bench: Bench) -> None:
    chance = random.Random(2)
    for _ in range(12):
        pid = bench.engine.pid
        assert pid is not None
        load = LoadModel(bench.engine.next_id(), str(bench.folder))
        asked = Generate(bench.engine.next_id(), HELLO, ENDLESS)
        running = asyncio.create_task(_all(bench, load)), asyncio.create_task(_all(bench, asked))
        await asyncio.sleep(chance.uniform(0, 3))
        os.kill(pid, chance.choice((signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV)))
        async with asyncio.timeout(10):
            _, events = await asyncio.gather(*running)
        assert failed(events).kind in ("worker_lost", "request")
        assert gone(pid)
        await bench.engine.start()
        card_of(await bench.load(bench.folder))


async def _all(bench: Bench, request: LoadModel | Generate) -> list[Event]:
    return [event async for event in bench.engine.submit(request)]


async def test_an_app_that_reads_nothing_for_a_minute_gets_everything(bench: Bench) -> None:
    pid = bench.engine.pid
    assert pid is not None
    most = SamplingParams(temperature=0, max_tokens=6_000)
    request = Generate(bench.engine.next_id(), HELLO, most)
    ids: list[int] = []
    async for event in bench.engine.submit(request):
        if isinstance(event, Tokens):
            if not ids:
                time.sleep(60)  # the whole app, as with Ctrl+Z
            ids += event.ids
    print(f"\n{len(ids)} tokens; the engine took {memory_mb(pid):.0f} MB")
    assert isinstance(event, Finished)
    assert len(ids) == event.usage.completion_tokens == 6_000
    assert bench.engine.silent_for() == 0


async def test_a_stream_of_cancels_for_nothing_harms_nothing(bench: Bench) -> None:
    for target in range(1_000_000, 1_050_000):
        bench.engine.cancel(target)
    assert len(ids_of(await bench.say())) == 12
    assert not isinstance((await bench.say())[-1], Failed | Cancel)
