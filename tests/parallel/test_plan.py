"""Every number of a model is held by exactly one rank, whatever its shape and the number of ranks;
what is said to be everywhere is everywhere."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, reject, settings
from hypothesis import strategies as st

import published
from inference.config import ModelConfig, MoeConfig
from inference.errors import SettingError
from inference.parallel.links import Links
from inference.parallel.plan import Cut, Share, note, plan
from inference.transformer import Transformer


@st.composite
def shapes(draw: Any) -> ModelConfig:
    kv_heads = draw(st.integers(1, 16))
    return ModelConfig(
        dim=8,
        n_layers=draw(st.integers(1, 20)),
        head_dim=draw(st.sampled_from((2, 4))),
        hidden_dim=draw(st.integers(1, 200) | st.sampled_from((64, 128, 192, 1024))),
        n_heads=kv_heads * draw(st.integers(1, 6)),
        n_kv_heads=kv_heads,
        norm_eps=1e-5,
        vocab_size=draw(st.integers(1, 100)),
        tied_embeddings=draw(st.booleans()),
        moe=draw(st.sampled_from((None, MoeConfig(3, 2)))),
    )


def _shares(config: ModelConfig, ranks: int, how: str) -> tuple[Share, ...]:
    """The plan; an example that has none is one that cannot have any."""
    heads, kv_heads = config.n_heads, config.n_kv_heads
    fits = not heads % ranks and not (kv_heads % ranks and ranks % kv_heads)
    fits = fits and ranks <= min(config.hidden_dim, config.vocab_size)
    possible = {"tensor": fits, "pipeline": ranks <= config.n_layers}
    possible["auto"] = any(possible.values())
    if not possible[how] and ranks > 1:
        with pytest.raises(SettingError) as caught:
            plan(config, ranks, how)
        assert "\n" not in str(caught.value)
        reject()
    return plan(config, ranks, how)


def _holders(shape: tuple[int, ...], cuts: list[Cut | None]) -> torch.Tensor:
    """How many ranks hold each number of a tensor."""
    counts = torch.zeros(shape, dtype=torch.int32)
    for cut in cuts:
        if cut is None:
            continue
        part = counts
        if cut.part is not None:
            assert cut.part.count > 0
            part = counts.narrow(cut.dim, cut.part.first, cut.part.count)
        part += 1
    return counts


@settings(max_examples=120, deadline=None)
@given(shapes(), st.integers(1, 16), st.sampled_from(("auto", "tensor", "pipeline")))
def test_every_number_is_held_once(config: ModelConfig, ranks: int, how: str) -> None:
    shares = _shares(config, ranks, how)
    mode = shares[0].mode
    assert [share.rank for share in shares] == list(range(ranks))
    assert {share.mode for share in shares} == {mode}
    seen = set()
    for name, shape in config.tensor_shapes().items():
        holders = _holders(shape, [share.cut(name) for share in shares])
        matrix = name.removesuffix(".weight").rsplit(".", 1)[-1]
        expected = 1
        if mode == "tensor":
            if matrix in ("norm", "attention_norm", "ffn_norm", "gate"):
                expected = ranks
            elif matrix in ("wk", "wv"):
                expected = max(1, ranks // config.n_kv_heads)
        elif mode == "pipeline" and name == "tok_embeddings.weight" and config.tied_embeddings:
            expected = 2  # where tokens enter and where logits leave
        assert (holders == expected).all(), (name, mode)
        seen.add(name)
    assert seen == {name for share in shares for name in share.shapes()}


@settings(max_examples=20, deadline=None)
@given(shapes(), st.integers(1, 16), st.sampled_from(("auto", "tensor", "pipeline")))
def test_a_ranks_model_is_what_its_plan_says(config: ModelConfig, ranks: int, how: str) -> None:
    for share in _shares(config, ranks, how):
        with torch.device("meta"):
            model = Transformer(config, Links(share))
        held = {name: tuple(p.shape) for name, p in model.named_parameters()}
        assert held == share.shapes()


@settings(max_examples=60, deadline=None)
@given(shapes(), st.integers(2, 16), st.booleans(), st.data())
def test_heads_stay_with_the_keys_they_read(
    config: ModelConfig, ranks: int, more_keys: bool, data: st.DataObject
) -> None:
    kv_heads = ranks * data.draw(st.integers(1, 3))
    if not more_keys:
        kv_heads = data.draw(st.sampled_from([n for n in range(1, ranks + 1) if not ranks % n]))
    heads = math.lcm(kv_heads, ranks) * data.draw(st.integers(1, 3))
    sizes = {"n_heads": heads, "n_kv_heads": kv_heads, "hidden_dim": 64, "vocab_size": 64}
    for share in plan(replace(config, **sizes), ranks, "tensor"):
        group = heads // kv_heads
        reads = [head // group for head in range(share.heads.first, _end(share.heads))]
        here = list(range(share.kv_heads.first, _end(share.kv_heads)))
        assert sorted(set(reads)) == here
        # As grouped attention here has it: heads in order, evenly on the keys.
        local = share.local
        assert local.n_heads % local.n_kv_heads == 0
        each = local.n_heads // local.n_kv_heads
        assert reads == [here[0] + n // each for n in range(local.n_heads)]


def _end(part: Any) -> int:
    end: int = part.first + part.count
    return end


@pytest.mark.parametrize("ranks", [2, 4, 8])
@pytest.mark.parametrize("model", published.PUBLISHED, ids=lambda m: m.name)
def test_published_models_are_shared_evenly(model: published.Published, ranks: int) -> None:
    config = ModelConfig.from_params(model.params)
    counts = [
        sum(torch.Size(shape).numel() for shape in share.shapes().values())
        for share in plan(config, ranks)
    ]
    assert plan(config, ranks)[0].mode == "tensor"
    assert note(config, ranks) == ""
    assert max(counts) < 1.01 * config.n_params / ranks
    stages = [
        sum(torch.Size(shape).numel() for shape in share.shapes().values())
        for share in plan(config, ranks, "pipeline")
    ]
    layer = (config.n_params - 2 * config.vocab_size * config.dim) / config.n_layers
    assert max(stages) - min(stages) <= layer + config.vocab_size * config.dim


def test_a_pipeline_ends_on_rank_0() -> None:
    config = ModelConfig.from_params(published.PUBLISHED[0].params)
    shares = plan(config, 3, "pipeline")
    order = sorted(shares, key=lambda share: share.layers.first)
    assert [share.rank for share in order] == [1, 2, 0]
    assert [share.is_first for share in order] == [True, False, False]
    assert [share.is_last for share in order] == [False, False, True]


def test_what_cannot_be_is_said_in_one_sentence() -> None:
    config = ModelConfig.from_params(published.PUBLISHED[0].params)
    with pytest.raises(SettingError, match="32 heads cannot be shared by 3 ranks; use `pipeline`"):
        plan(config, 3, "tensor")
    assert plan(config, 3)[0].mode == "pipeline"
    assert "one works while the others wait" in note(config, 3)
    assert note(config, 3, "pipeline") == ""  # it was asked for
    few_layers = replace(config, n_layers=2, n_heads=7, n_kv_heads=7)
    with pytest.raises(SettingError, match="2 layers cannot be shared by 3 ranks; use at most 2"):
        plan(few_layers, 3)
    odd_keys = replace(config, n_kv_heads=3, n_heads=12)
    with pytest.raises(SettingError, match="3 KV heads cannot be shared by 4 ranks"):
        plan(odd_keys, 4, "tensor")
