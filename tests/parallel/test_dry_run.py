"""Each rank's part of the CUDA path without GPUs: fake tensors, and torch's fake process group,
in which every exchange comes back at once. Not run on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch._subclasses.fake_tensor import FakeTensorMode

import tiny
from dry_run import CASES, NoCrossing, fill, read_adapter, write_adapter
from inference import lora
from inference.cache import KVCache
from inference.config import ModelConfig
from inference.errors import SettingError
from inference.parallel import group
from inference.parallel.follower import Follower
from inference.parallel.links import links
from inference.parallel.plan import Share, plan
from inference.parallel.ranks import Ranks
from inference.transformer import Transformer

SHAPE: dict[str, Any] = {**tiny.PARAMS, "vocab_size": 510, "n_heads": 8, "hidden_dim": 192}
DTYPES = {"dense": torch.float16, "moe": torch.bfloat16, "lora": torch.float32}


WORLDS = [(case, 2) for case in CASES] + [(case, 4) for case in ("dense", "moe with lora")]
"""4 ranks are more than there are KV heads."""


@pytest.fixture(autouse=True)
def _parted() -> Iterator[None]:
    yield
    if dist.is_initialized():
        dist.destroy_process_group()


def _pretend(rank: int, world: int) -> None:
    from torch.testing._internal.distributed.fake_pg import FakeStore

    if dist.is_initialized():
        dist.destroy_process_group()
    dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=world)


@pytest.mark.parametrize("how", ["tensor", "pipeline"])
@pytest.mark.parametrize(("case", "world"), WORLDS)
def test_a_rank_stays_on_its_device(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, case: str, world: int, how: str
) -> None:
    params = {**SHAPE, "n_layers": 5 if how == "pipeline" else 2, **CASES[case]}
    monkeypatch.setattr(lora, "_read", read_adapter)
    for share in plan(ModelConfig.from_params(params), world, how):
        _pretend(share.rank, world)
        _run(share, case, tmp_path / "lora.safetensors")


def _run(share: Share, case: str, adapter: Path) -> None:
    """Everything that a rank is asked for."""
    config = share.config
    with torch.device("meta"):
        model = Transformer(config, links(share, dist.group.WORLD))
    write_adapter(adapter, model)
    with FakeTensorMode(allow_non_fake_inputs=True), NoCrossing() as guard:
        fill(model, DTYPES.get(case, torch.bfloat16))
        if "lora" in case:
            lora.load_lora(model, adapter, merge="merged" in case)
        cache = model.new_cache()
        batch = model.new_cache(batch=3)

        def run(rows: int, count: int, on: KVCache, **more: Any) -> None:
            # The ids come from the host; all that follows stays where it is.
            tokens = torch.zeros((rows, count), dtype=torch.long, device="cuda")
            kind = {"row": None, "last_only": True, **more}
            guard.armed = True
            logits = model.compute(tokens, on, **kind)
            guard.armed = False
            assert logits.device.type == "cuda"
            if share.rank == 0:
                predicted = 1 if kind["last_only"] else count
                assert logits.shape == (rows, predicted, config.vocab_size)
                assert logits.dtype is torch.float32

        for count in (40, 300, 1, 1):  # a chunk, one that makes the cache grow, tokens
            run(1, count, cache)
        run(1, 7, cache, last_only=False)
        for row in range(3):
            run(1, 5 + row, batch, row=row)
        run(3, 1, batch)
        run(3, 1, cache.fan_out(3, room=10))
    assert guard.count > 100
    assert {p.device.type for p in model.parameters()} == {"cuda"}
    assert cache.k[0].shape[1] == share.kv_heads.count
    assert len(cache.k) == share.layers.count


@pytest.mark.parametrize(("device", "backend"), [("cuda:1", "nccl"), ("cpu", "gloo")])
def test_tensors_go_by_what_their_device_has(
    monkeypatch: pytest.MonkeyPatch, device: str, backend: str
) -> None:
    made: list[dict[str, Any]] = []
    monkeypatch.setattr(dist, "init_process_group", lambda *args, **kwargs: made.append(kwargs))
    monkeypatch.setattr(dist, "new_group", lambda **kwargs: made.append(kwargs) or len(made))
    monkeypatch.setenv(group.TIMEOUT, "7.5")
    found = group.Group(Ranks(0, 2, 0, 2), store=None)
    first = found.tensors(torch.device(device))
    assert found.tensors(torch.device(device)) is first  # made once
    orders, tensors = made
    assert tensors["backend"] == backend
    assert tensors["timeout"].total_seconds() == 7.5
    assert orders["timeout"].days > 365  # an idle chat waits for as long as it likes


def test_the_guard_sees_an_exchange_over_the_host() -> None:
    """Or all of the above would be worth nothing."""
    _pretend(0, 2)
    with FakeTensorMode(), NoCrossing() as guard:
        x = torch.ones((2, 2), device="cuda")
        guard.armed = True
        dist.all_reduce(x)
        with pytest.raises(AssertionError):
            dist.all_reduce(x.cpu())


def test_a_rank_without_its_gpu_keeps_no_other_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A group for tensors is made by all ranks together, also by one that will fail."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    made: list[str] = []

    class Rank:
        ranks = Ranks(1, 2, 0, 1, torchrun=True)

        def tensors(self, device: torch.device) -> None:
            made.append(device.type)

    said = {"device": "cuda", "threads": None, "folder": "nowhere", "number": 1}
    with pytest.raises(SettingError, match="torch sees none here"):
        Follower(Rank(), None)._load(said)  # type: ignore[arg-type]
    assert made == ["cuda"]
