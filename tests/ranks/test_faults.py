"""A rank that is killed or out of memory, with the real processes on a CPU."""

from __future__ import annotations

import asyncio
import resource
import sys
from pathlib import Path
from signal import SIGKILL

import pytest

import rank_bench
import tiny
from engine_bench import failed
from rank_bench import bench, check

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into Linux's /proc")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rank_bench.make_model(tmp_path_factory.mktemp("model") / "m")


async def test_a_killed_rank_is_named_and_a_new_set_answers(model: Path, tmp_path: Path) -> None:
    async with bench(tmp_path, model, 3) as ranks:
        for rank, when in ((2, "prefill"), (1, "decode")):
            await ranks.serve()
            check(await ranks.strike(rank, SIGKILL, when), rank, SIGKILL)
            assert failed([await ranks.say()]).kind == "worker_lost"
        await ranks.serve()


async def test_a_rank_that_is_killed_while_idle_is_named_and_this_runs_log_quoted(
    model: Path, tmp_path: Path
) -> None:
    async with bench(tmp_path, model, 2) as ranks:
        log = ranks.log(1)
        log.parent.mkdir()
        log.write_text("of an earlier run\n")
        for rank in range(2):
            await ranks.load()
            strike = await ranks.strike(rank, SIGKILL, "idle")
            check(strike, rank, SIGKILL)
            assert str(ranks.log(rank)) in strike.failed.detail
            assert ("rank 1 of 2" in strike.failed.detail) == (rank == 1)
            assert "earlier" not in strike.failed.detail


async def test_a_rank_that_is_killed_while_it_starts_is_named(model: Path, tmp_path: Path) -> None:
    async def killed(rank: int, seconds: float) -> None:
        async with bench(tmp_path / f"{rank}-{seconds}", model, 2) as ranks:
            await ranks.engine.start()
            check(await ranks.strike(rank, SIGKILL, "load", seconds), rank, SIGKILL)

    await asyncio.gather(killed(1, 0.0), killed(1, 1.5), killed(0, 1.0))


async def test_a_rank_without_memory_is_named_and_while_loading_all_live_on(
    model: Path, tmp_path: Path
) -> None:
    big = tiny.make(tmp_path / "big", dim=768, hidden_dim=3072, n_heads=6, n_kv_heads=2)
    async with bench(tmp_path, model, 2) as ranks:
        await ranks.serve()
        pids = ranks.pids
        _limit(pids[1], 0)
        ranks.folder = big
        refused = failed([await ranks.load()])
        assert refused.kind == "memory"
        assert refused.sentence.startswith("Rank 1: There is not enough memory")
        _limit(pids[1], None)
        ranks.folder = model
        await ranks.serve()
        assert ranks.pids == pids

        _limit(pids[1], 1 << 20)
        lost = failed([await ranks.say(rank_bench.LONG)])
        assert lost.kind == "worker_lost"
        assert lost.sentence.startswith("Rank 1 failed: There is not enough memory")
        assert "allocate memory" in lost.detail
        await ranks.serve()


def _limit(pid: int, more: int | None) -> None:
    """Let a process have so many bytes more than it has mapped; None: as many as it likes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    mapped = int(next(line.split()[1] for line in lines if line.startswith("VmSize"))) << 10
    most = resource.RLIM_INFINITY if more is None else mapped + more
    resource.prlimit(pid, resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
