"""Whether a model fits: the arithmetic against models that are really there, and the published
ones against cards that can be bought."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import hf
import tiny
from inference import fitting
from inference.config import ModelConfig
from inference.engine import Engine
from inference.fitting import GIB, PRECISIONS, Fit, best, capacity, fits, own_precision
from inference.folder import inspect_folder
from inference.parallel.links import Links
from inference.parallel.plan import plan
from inference.params import from_params
from inference.transformer import Transformer
from published import PUBLISHED

BF16, FP16, FP32 = PRECISIONS
SMALL: dict[str, Any] = {**tiny.PARAMS, "vocab_size": 512, "max_position_embeddings": 3000}
MOE = {"moe": {"num_experts": 4, "num_experts_per_tok": 2}}


def shape(name: str) -> ModelConfig:
    """A published model's, by the beginning of its name."""
    return next(from_params(model.params) for model in PUBLISHED if model.name.startswith(name))


def on_gpus(name: str, ranks: int, gib: float, precision: fitting.Precision = BF16) -> Fit:
    config = shape(name)
    rooms = [int(gib * GIB)] * ranks
    return fits(config, rooms, tokens=config.max_position_embeddings, precisions=[precision])[0]


@pytest.mark.parametrize("precision", PRECISIONS, ids=lambda one: one.name)
@pytest.mark.parametrize(
    "changes",
    [{}, MOE, {"tied_embeddings": True}, {"sliding_window": [64, None]}, {"n_kv_heads": 4}],
    ids=["dense", "experts", "tied", "windows", "no groups"],
)
def test_the_count_is_what_a_loaded_model_takes(
    tmp_path: Path, changes: dict[str, Any], precision: fitting.Precision
) -> None:
    params = {**SMALL, **changes}
    weights = tiny.random_weights(params)
    if "tied_embeddings" in changes:
        weights.pop("output.weight", None)
    folder = tiny.write(tmp_path / "m", params, weights)
    model = Transformer.from_folder(folder, dtype=getattr(torch, precision.name))
    cache = model.new_cache()
    for length in (1, 256, 257, 700, 3000):
        for reached in range(cache.length, length + 1, 64):
            cache.reserve(reached)
        cache.reserve(length)
        cache.lengths = [length]
        (way,) = fits(model.config, [GIB], tokens=length, precisions=[precision])
        assert way.need.weights == sum(p.numel() * p.element_size() for p in model.parameters())
        assert way.need.cache == cache.nbytes
        assert capacity(length, 3000) == cache.capacity


def test_the_steps_counted_are_those_of_the_engine(tmp_path: Path) -> None:
    folder = tiny.make(tmp_path / "m", max_position_embeddings=3000)
    assert fitting._CHUNK["cpu"] == Engine.from_folder(folder)._chunk
    (way,) = fits(
        inspect_folder(folder).config, [GIB], tokens=3000, device="cpu", precisions=[FP32]
    )
    # 64 queries, two heads on a KV head, 3000 keys: a byte, and four as a number.
    assert way.need.work - fitting.WORK["cpu"] == 64 * 2 * 3000 * 5


@pytest.mark.parametrize("ranks", [2, 3, 8, 16])
@pytest.mark.parametrize("name", ["Mistral 7B v0.3", "Mixtral 8x7B", "Ministral 3 3B"])
def test_every_rank_is_counted_as_it_is_built(name: str, ranks: int) -> None:
    config = shape(name)
    built = []
    for share in plan(config, ranks):
        with torch.device("meta"):
            model = Transformer(config, Links(share)).to(torch.bfloat16)
        cache = model.new_cache(max_length=256)
        weights = sum(p.numel() * p.element_size() for p in model.parameters())
        built.append((weights + cache.nbytes, weights, cache.nbytes))
    (way,) = fits(config, [GIB] * ranks, tokens=256, precisions=[BF16])
    assert (way.need.weights, way.need.cache) == max(built)[1:]


@pytest.mark.parametrize(
    ("stored", "fp8", "meant"),
    [
        (torch.float32, False, FP32),
        (torch.bfloat16, False, BF16),
        (torch.float16, False, FP16),
        (torch.bfloat16, True, BF16),
    ],
    ids=["float32", "bfloat16", "float16", "fp8"],
)
def test_the_files_own_precision_is_the_one_it_is_loaded_in(
    tmp_path: Path, stored: torch.dtype, fp8: bool, meant: fitting.Precision
) -> None:
    params, weights = dict(SMALL), tiny.random_weights(SMALL)
    weights = {n: w.to(stored) for n, w in weights.items()}
    if fp8:
        params["quantization"] = {"qformat_weight": "fp8_e4m3", "qscheme_act": "TENSOR"}
        for name in [n for n in weights if "layers." in n and weights[n].dim() == 2]:
            weights[name] = weights[name].to(torch.float8_e4m3fn)
            weights[name.removesuffix("weight") + "qscale_weight"] = torch.tensor(1.0)
    else:
        weights["norm.weight"] = weights["norm.weight"].float()  # a few may differ
    folder = tiny.write(tmp_path / "m", params, weights)
    assert own_precision(inspect_folder(folder, tokenizer=False)) is meant
    assert str(Transformer.from_folder(folder).dtype) == f"torch.{meant.name}"


def test_a_hugging_face_folder_tells_its_precision_too(tmp_path: Path) -> None:
    weights = {n: w.half() for n, w in tiny.random_weights(SMALL).items()}
    hf.write(tmp_path, SMALL, weights)
    assert own_precision(inspect_folder(tmp_path, tokenizer=False)) is FP16


@pytest.mark.parametrize(
    ("name", "ranks", "gib", "whole"),
    [
        ("Mistral 7B v0.3", 1, 24, True),
        ("Mistral 7B v0.3", 1, 12, False),
        ("Mixtral 8x7B", 1, 80, False),
        ("Mixtral 8x7B", 2, 80, True),
        ("Mixtral 8x22B v0.1", 2, 80, False),
        ("Mixtral 8x22B v0.1", 4, 80, True),
        ("Mixtral 8x22B v0.1", 2, 141, True),
        ("Mistral Large 2 (2407)", 2, 80, False),
        ("Mistral Large 2 (2407)", 4, 80, True),
        ("Codestral 22B", 1, 80, True),
        ("Codestral 22B", 1, 40, False),
    ],
)
def test_published_models_on_cards_that_there_are(
    name: str, ranks: int, gib: int, whole: bool
) -> None:
    assert on_gpus(name, ranks, gib).whole is whole


def test_the_numbers_of_8x22b_on_four_ranks() -> None:
    way = on_gpus("Mixtral 8x22B v0.1", 4, 80)
    # 140.6 B weights of two bytes: a quarter each, norms and routers on every rank.
    everywhere = 56 * (2 + 8) * 6144 + 6144
    assert way.need.weights == 2 * ((140_620_634_112 - everywhere) // 4 + everywhere)
    # Keys and values of 56 layers, two of the eight KV heads, 128 numbers of two bytes.
    assert way.need.cache == 2 * 56 * 2 * 128 * way.asked * 2
    assert way.mode == "tensor"


def test_several_ranks_that_share_a_kv_head_hold_it_each() -> None:
    eight, sixteen = on_gpus("Mistral 7B v0.3", 8, 80), on_gpus("Mistral 7B v0.3", 16, 80)
    assert eight.mode == sixteen.mode == "tensor"
    assert sixteen.need.cache == eight.need.cache
    assert sixteen.need.weights > eight.need.weights / 2


def test_the_largest_rank_counts_and_each_must_fit_its_own_gpu() -> None:
    config = shape("Mistral 7B v0.3")
    (way,) = fits(config, [80 * GIB] * 3, tokens=4096, precisions=[BF16])
    assert way.mode == "pipeline"
    assert way.need.weights > 2 * config.n_params / 3
    for small in range(3):
        rooms = [80 * GIB] * 3
        rooms[small] = 2 * GIB
        (tight,) = fits(config, rooms, tokens=4096, precisions=[BF16])
        assert tight.tokens == 0


def test_a_byte_decides() -> None:
    config = shape("Mistral 7B v0.3")

    def longest(room: int) -> int:
        return fits(config, [room], tokens=32_768, precisions=[BF16])[0].tokens

    (whole,) = fits(config, [0], tokens=32_768, precisions=[BF16])
    (half,) = fits(config, [0], tokens=16_384, precisions=[BF16])
    assert longest(whole.need.total) == 32_768
    assert longest(whole.need.total - 1) == 16_384
    assert longest(half.need.total) == 16_384
    assert longest(half.need.total - 1) == 8192
    assert longest(whole.need.weights) == 0


def test_what_cannot_be_shared_says_why() -> None:
    config = from_params(SMALL)
    (way,) = fits(config, [GIB] * 8, tokens=100, precisions=[BF16])
    assert "2 layers" in way.problem
    assert (way.tokens, way.whole) == (0, False)


def test_the_best_is_whole_then_its_own_then_on_few_ranks() -> None:
    config = shape("Mistral Large 2 (2407)")

    def proposed(gpus: int, gib: int, own: fitting.Precision) -> tuple[int, str, int]:
        ways = [w for n in (1, 2, 4, 8) if n <= gpus for w in _ways(config, n, gib)]
        way = best(ways, own)
        assert way is not None
        return way.ranks, way.precision.name, way.tokens

    assert proposed(8, 80, BF16) == (4, "bfloat16", 32_768)
    assert proposed(8, 80, FP16) == (4, "float16", 32_768)
    assert proposed(8, 80, FP32) == (8, "float32", 32_768)
    assert proposed(4, 80, FP32) == (4, "bfloat16", 32_768)
    assert proposed(4, 61, BF16) == (4, "bfloat16", 16_384)
    assert best(_ways(config, 1, 80), BF16) is None


def _ways(config: ModelConfig, ranks: int, gib: int) -> list[Fit]:
    return fits(config, [gib * GIB] * ranks, tokens=config.max_position_embeddings)
