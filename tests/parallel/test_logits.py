"""Several ranks compute what one process computes: logits, greedy and sampled tokens."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import tiny
from inference import checkpoint
from inference.config import ModelConfig
from inference.engine import Engine
from inference.transformer import Transformer
from parallel import cases, launching
from parallel.cases import CASES, chosen
from parallel.observing import Seen, converse, observe

RANKS = (2, 3, 4)
EXACT = 1e-4  # of logits in fp32, which are about 1 here
ROUNDED = 0.08  # in bf16: each rank rounds its part of a sum before they are added; seen: 0.043


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of every case."""
    place = tmp_path_factory.mktemp("ranks")
    for name, case in CASES.items():
        cases.write(place / name, case)
    cases.write_engine(place / "engine")
    cases.write(place / "here only", CASES["lora beside"])
    cases.write(place / "seven heads", cases.Case({"n_heads": 7, "n_kv_heads": 7}))
    params = CASES["fp8, pipeline"].params
    weights = cases.quantized(tiny.random_weights(params))
    weights["layers.0.attention.wq.qscale_weight"].fill_(torch.nan)
    tiny.write(place / "damaged", params, weights)
    return place


@pytest.fixture(scope="module")
def alone(folder: Path) -> Callable[[str], Seen]:
    """What one process computes, once for each case."""

    @functools.cache
    def seen(name: str) -> Seen:
        case = CASES[name]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(checkpoint, "wants_stacks", lambda device: case.stacked)
            model = Transformer.from_folder(folder / name, dtype=case.dtype)
        if case.lora:
            model.load_lora(folder / name / "lora", merge=case.merge)
        return observe(model, thorough=case.thorough)

    return seen


@pytest.fixture(scope="module")
def shared(folder: Path) -> Callable[[int], dict[str, Any]]:
    """What so many ranks computed: one start for all cases."""

    started: set[int] = set()

    def ran(ranks: int) -> dict[str, Any]:
        if ranks not in started:
            started.add(ranks)
            launching.run(ranks, "logits", folder)
        names = ("facts", "engine", "memory", "errors")
        return {n: json.loads((folder / f"{n}-{ranks}.json").read_text()) for n in names}

    return ran


@pytest.mark.parametrize(("ranks", "name"), [(n, name) for n in RANKS for name in chosen(n)])
def test_ranks_compute_what_one_process_computes(
    folder: Path,
    alone: Callable[[str], Seen],
    shared: Callable[[int], dict[str, Any]],
    name: str,
    ranks: int,
) -> None:
    case = CASES[name]
    mode, n_params = shared(ranks)["facts"][name]
    assert mode == case.modes[ranks - 2]
    assert n_params < 0.75 * ModelConfig.from_params(case.params).n_params
    together = load_file(folder / f"{name} on {ranks}.safetensors")
    expected = alone(name)
    assert together.keys() == expected.keys()
    exact = case.dtype is torch.float32
    for what, theirs in expected.items():
        ours = together[what]
        assert ours.shape == theirs.shape, what
        if theirs.is_floating_point():
            apart = (ours - theirs).abs().max().item()
            if exact or "logprobs" not in what:
                assert apart <= (EXACT if exact else ROUNDED), f"{what}: {apart:g} apart"
        elif exact:
            assert torch.equal(ours, theirs), f"{what}: {ours.tolist()} for {theirs.tolist()}"


def test_every_case_computes_something_else(alone: Callable[[str], Seen]) -> None:
    """Or the comparison would not tell them apart."""
    kinds = ("dense", "window", "windows by layer", "yarn", "tied", "moe", "lora beside", "fp8")
    seen = [alone(name)["in one pass"] for name in kinds]
    for n, first in enumerate(seen):
        for second in seen[n + 1 :]:
            assert (first - second).abs().max() > 100 * EXACT


@pytest.mark.parametrize("ranks", RANKS)
def test_an_engine_says_the_same(
    folder: Path, shared: Callable[[int], dict[str, Any]], ranks: int
) -> None:
    expected = _converse(folder)
    assert len(expected["turn 2"][0]) == 8
    assert expected["turn 2"][2] > 20  # of the cache that all ranks kept
    assert expected["cancelled"] == "cancelled"
    ours = shared(ranks)["engine"]
    assert ours.keys() == expected.keys()
    for what, theirs in expected.items():
        if what == "measured":  # logprobs to three digits
            assert [ids for ids, _ in ours[what]] == [ids for ids, _ in theirs]
            flat = [[p for _, logprobs in seen for p in logprobs] for seen in (ours[what], theirs)]
            assert flat[0] == pytest.approx(flat[1], abs=2e-3)
        else:
            assert ours[what] == theirs, what


@functools.cache
def _converse(folder: Path) -> Any:
    return json.loads(json.dumps(converse(Engine.from_folder(folder / "engine", device="cpu"))))


@pytest.mark.parametrize("ranks", RANKS)
def test_parallel_none_is_a_whole_model_on_every_rank(
    folder: Path,
    shared: Callable[[int], dict[str, Any]],
    ranks: int,
) -> None:
    shared(ranks)
    model = Transformer.from_folder(folder / "dense")
    expected = model(torch.arange(3, 20).unsqueeze(0))
    for rank in range(ranks):
        ours = load_file(folder / f"none-{rank}.safetensors")["logits"]
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)


# ── what the other ranks hold, and what may fail ────────────────────────────────────


@pytest.mark.parametrize("ranks", RANKS)
def test_other_ranks_give_up_what_rank_0_gave_up(
    shared: Callable[[int], dict[str, Any]], ranks: int
) -> None:
    told = shared(ranks)["memory"]
    assert max(told["apart"]) < EXACT  # two models at once
    held = told["held"]  # (models, caches)
    assert held["one model"] == [1, 1]
    assert held["two models"] == [2, 2]
    assert held["three copies"] == [2, 5]
    assert held["no copies"] == [2, 2]
    assert held["one model again"] == [1, 1]


@pytest.mark.parametrize("ranks", RANKS)
def test_what_fails_on_one_rank_fails_on_all_and_ends_none(
    shared: Callable[[int], dict[str, Any]], ranks: int
) -> None:
    told = shared(ranks)["errors"]
    assert told["damaged"].startswith("CheckpointError: Rank 1: ")
    assert "is damaged: layers.0.attention.wq.qscale_weight is nan" in told["damaged"]
    assert told["not there"].startswith("CheckpointError: Rank 1: ")
    assert "not there does not exist" in told["not there"]
    assert told["not even here"].startswith("CheckpointError: ")
    assert "Rank" not in told["not even here"]
    heads = f"The model's 7 heads cannot be shared by {ranks} ranks; use `pipeline`"
    assert heads in told["heads"]
    assert "'sideways'" in told["a word"]
    assert "holds no adapter" in told["no lora"]
    assert told["lora not there"].startswith("CheckpointError: Rank 1: ")
    assert "not there/lora does not exist" in told["lora not there"]
    assert all("\n" not in sentence for sentence in told.values() if isinstance(sentence, str))
    assert told["unchanged"] is True
    assert told["a difference"] > 0.01
    assert told["taken off"] is True
    assert told["unchanged after half a lora"] is True
    assert told["no such token"].startswith("RequestError: The model's token ids are 0 to ")
