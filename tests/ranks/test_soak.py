"""Every rank lost in every way at every moment, many times; ranks idle for long."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from signal import SIGKILL, SIGSTOP, SIGTERM, Signals

import pytest

import rank_bench
from inference.parallel.group import TIMEOUT
from rank_bench import RankBench, bench, check, cpu_seconds
from torchrun_chat import chat

pytestmark = [pytest.mark.soak, pytest.mark.timeout(7200)]
TIMES = int(os.environ.get("SOAK_TIMES", "10"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rank_bench.make_model(tmp_path_factory.mktemp("model") / "m")


async def strike_often(ranks: RankBench, number: Signals, when: str) -> float:
    """Each rank in turn; the longest that it took to be told."""
    worst = 0.0
    for _ in range(TIMES):
        for rank in range(ranks.ranks):
            await ranks.serve()
            strike = await ranks.strike(rank, number, when)
            check(strike, rank, number)
            worst = max(worst, strike.seconds)
    await ranks.serve()
    return worst


@pytest.mark.parametrize("when", rank_bench.WHEN)
@pytest.mark.parametrize("count", [2, 3])
async def test_killed(count: int, when: str, model: Path, tmp_path: Path) -> None:
    async with bench(tmp_path, model, count) as ranks:
        worst = await strike_often(ranks, SIGKILL, when)
    print(
        f"\nkilled in {when}, {count} ranks, {TIMES} times each: told after {worst:.2f} s at most"
    )


@pytest.mark.parametrize("count", [2, 3])
async def test_stopped(count: int, model: Path, tmp_path: Path) -> None:
    async def stop(when: str) -> None:
        async with bench(tmp_path / when, model, count) as ranks:
            worst = await strike_often(ranks, SIGSTOP, when)
        print(f"\nstopped in {when}, {count} ranks, {TIMES} times each: {worst:.2f} s at most")

    await asyncio.gather(*map(stop, rank_bench.WHEN))  # most of it is waiting


async def test_killed_while_loading(model: Path, tmp_path: Path) -> None:
    worst = 0.0
    async with bench(tmp_path, model, 3) as ranks:
        for n in range(3 * TIMES):
            for rank in range(3):
                await ranks.engine.start()
                delay = n * 2.0 / (3 * TIMES)
                strike = await ranks.strike(rank, SIGKILL, "load", delay)
                check(strike, rank, SIGKILL)
                worst = max(worst, strike.seconds)
        await ranks.serve()
    print(f"\nkilled while loading: told after {worst:.2f} s at most")


async def test_idle_for_a_hundred_timeouts(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TIMEOUT, "2")
    async with bench(tmp_path, model, 3) as ranks:
        await ranks.serve()
        pids = ranks.pids
        before = {rank: cpu_seconds(pid) for rank, pid in pids.items()}
        await asyncio.sleep(200)
        took = {rank: cpu_seconds(pid) - before[rank] for rank, pid in pids.items()}
        print(f"\nprocessor time of 200 idle seconds, by rank: {took}")
        await ranks.serve()
        assert ranks.pids == pids
        assert max(took.values()) < 2


LOSSES = [
    ("rank1", SIGKILL, "Rank 1 ended without a word"),
    ("rank1", SIGSTOP, "Rank 1 has given no sign of life"),
    ("engine", SIGKILL, "Rank 0 was killed"),
    ("engine", SIGSTOP, "Rank 0 has given no sign of life"),
    ("torchrun", SIGKILL, "torchrun has ended"),
    ("torchrun", SIGTERM, "torchrun has told all ranks to end"),
    ("ui", SIGKILL, ""),
]


@pytest.mark.parametrize("answering", [True, False], ids=["answering", "idle"])
@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize(("who", "number", "said"), LOSSES)
def test_under_torchrun(
    who: str, number: Signals, said: str, count: int, answering: bool, model: Path, tmp_path: Path
) -> None:
    with chat(model, tmp_path, count) as running:
        running.wait_loaded()
        if answering:
            running.ask("hello")
        running.kill(who, number)
        assert running.terminal.wait(20) != 0
        running.wait_gone(10)
        running.terminal.check_restored()
        if said:
            assert running.message.startswith(f"mistral-tui: {said}")
        if answering:
            messages, draft = running.stored()
            assert [role for role, _ in messages] == ["user", "assistant"]
            assert draft == "a draft"
