"""A script under torchrun: one program on rank 0, which the other ranks serve and end with."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

import tiny
from inference.devices import pick_device
from inference.errors import SettingError
from inference.parallel.ranks import Ranks, from_environment
from parallel import cases
from parallel.launching import ended, torchrun


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("api")
    tiny.write(place / "tiny", cases.SHAPE, tiny.random_weights(cases.SHAPE))
    return place


def test_an_unchanged_script_is_one_program(folder: Path) -> None:
    # Where others know this machine by an address that is none of the loopback's own.
    options = ("--standalone", "--local-addr", "127.0.1.1") if sys.platform == "linux" else ()
    code, out, err = ended(torchrun(3, "api", folder, *options))
    assert code == 0, err
    lines = sorted(out.splitlines())
    # Before the first model all are alike; behind it there is rank 0 alone.
    assert lines == ["after: rank 0, 512 logits", *(f"all: rank {n}" for n in range(3))]


def test_an_error_of_the_script_ends_all_ranks(folder: Path) -> None:
    code, out, err = ended(torchrun(2, "api", folder, END="error"), 60)
    assert code != 0
    assert "ValueError: a mistake of the script" in err
    assert "RankLost" not in err
    assert out.count("after") == 1


def test_an_exit_code_of_the_script_is_seen(folder: Path) -> None:
    code, _, err = ended(torchrun(2, "api", folder, END="exit"), 60)
    assert code != 0  # torchrun's own
    assert "exitcode  : 7" in err
    assert "rank      : 0" in err


@pytest.mark.parametrize("counts", [(1, 1), (2, 1)], ids=str)
def test_ranks_on_two_machines(folder: Path, counts: tuple[int, int]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    agents = []
    for number, count in enumerate(counts):
        options = ("--nnodes", "2", "--node-rank", str(number), "--master-addr", "127.0.0.1")
        options = (*options, "--master-port", str(port))
        agents.append(torchrun(count, "api", folder, *options, END="nodes"))
    results = [ended(agent) for agent in agents]
    assert [code for code, _, _ in results] == [0, 0], results
    world = sum(counts)
    first, second = (out.splitlines() for _, out, _ in results)
    assert f"nodes: 0 0 {world} {counts[0]} tensor" in first
    assert second == [f"all: rank {counts[0]}"]


# ── which device a rank takes ───────────────────────────────────────────────────────


def _gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: count > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)


def _ranks(
    rank: int, world: int, local_rank: int, local_world: int, torchrun: bool = True
) -> Ranks:
    return Ranks(rank, world, local_rank, local_world, torchrun=torchrun)


@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_each_rank_has_the_gpu_of_its_place_on_its_machine(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    _gpus(monkeypatch, 4)
    for machine in range(2):
        for local in range(4):
            ranks = _ranks(4 * machine + local, 8, local, 4)
            assert str(pick_device(name, ranks)) == f"cuda:{local}"


def test_without_enough_gpus_ranks_are_refused_or_share_the_cpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _gpus(monkeypatch, 1)
    two = _ranks(0, 2, 0, 2)
    assert pick_device("cpu", two).type == "cpu"
    for name in ("auto", "cuda"):
        with pytest.raises(SettingError, match="torch sees only 1 here"):
            pick_device(name, two)
    with pytest.raises(SettingError, match="'cuda:1' cannot be had by 2 ranks"):
        pick_device("cuda:1", two)
    assert str(pick_device("auto", _ranks(1, 2, 0, 1))) == "cuda:0"  # one on each machine
    _gpus(monkeypatch, 0)
    assert pick_device("auto", two).type == "cpu"
    for asked, ranks in (("cuda", two), ("auto", _ranks(0, 2, 0, 2, torchrun=False))):
        with pytest.raises(SettingError, match="torch sees none here"):
            pick_device(asked, ranks)


def test_the_environment_says_which_rank_this_is() -> None:
    names = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    assert from_environment(names).world == 1  # torchrun did not set them
    torchrun = {**names, "TORCHELASTIC_RUN_ID": "x", "MASTER_ADDR": "node0"}
    found = from_environment(torchrun)
    assert (found.rank, found.local_rank, found.on_one_machine) == (3, 1, False)
    assert (found.host, found.url) == ("node0", "env://")
    for wrong in ({"RANK": "4"}, {"LOCAL_RANK": "2"}, {"WORLD_SIZE": "four"}):
        with pytest.raises(SettingError):
            from_environment({**torchrun, **wrong})
