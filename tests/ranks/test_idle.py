"""Ranks that are silent: with nothing to do for long, stopped, or stopped for a moment only."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from signal import SIGCONT, SIGSTOP

import pytest

import rank_bench
from inference.parallel.group import TIMEOUT
from rank_bench import bench, check, cpu_seconds, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into Linux's /proc")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rank_bench.make_model(tmp_path_factory.mktemp("model") / "m")


@pytest.mark.timeout(120)
async def test_a_stopped_rank_is_named_soon_and_given_up(model: Path, tmp_path: Path) -> None:
    async def stopped(rank: int, when: str) -> None:
        async with bench(tmp_path / f"{rank}-{when}", model, 2) as ranks:
            if when == "load":
                await ranks.engine.start()
            else:
                await ranks.serve()
            check(await ranks.strike(rank, SIGSTOP, when), rank, SIGSTOP)

    async def stopped_for_a_moment() -> None:
        async with bench(tmp_path / "moment", model, 2) as ranks:
            await ranks.serve()
            pids = ranks.pids
            for pid in pids.values():
                os.kill(pid, SIGSTOP)
            await asyncio.sleep(4)
            assert ranks.engine.silent_for()
            for pid in pids.values():
                os.kill(pid, SIGCONT)
            await ranks.serve()
            assert ranks.pids == pids
            assert await until(lambda: not ranks.engine.silent_for(), 5)

    whens = stopped(1, "decode"), stopped(0, "idle"), stopped(1, "load")
    await asyncio.gather(*whens, stopped_for_a_moment())


async def test_ranks_with_nothing_to_do_outlast_every_timeout(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TIMEOUT, "1")
    async with bench(tmp_path, model, 2) as ranks:
        await ranks.serve()
        pids, before = ranks.pids, {pid: cpu_seconds(pid) for pid in ranks.pids.values()}
        await asyncio.sleep(10)
        took = {rank: cpu_seconds(pid) - before[pid] for rank, pid in pids.items()}
        print(f"\nprocessor time of 10 idle seconds, by rank: {took}")
        await ranks.serve()
        assert ranks.pids == pids
