"""The engine against the one-file reference, on shapes that hypothesis makes up."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from inference.generation import generate
from inference.reference import Reference
from inference.transformer import Transformer


@st.composite
def shapes(draw: st.DrawFn) -> dict[str, Any]:
    """A `params.json` of any architecture that the reference knows."""
    n_kv_heads = draw(st.integers(1, 3))
    params: dict[str, Any] = {
        "dim": draw(st.sampled_from([16, 24, 40])),
        "n_layers": draw(st.integers(1, 4)),
        "head_dim": draw(st.sampled_from([2, 8, 10])),
        "hidden_dim": draw(st.sampled_from([8, 36])),
        "n_heads": n_kv_heads * draw(st.integers(1, 3)),
        "n_kv_heads": n_kv_heads,
        "norm_eps": draw(st.sampled_from([1e-5, 1e-2])),
        "vocab_size": 90,
        "tied_embeddings": draw(st.booleans()),
    }
    if draw(st.booleans()):
        params["rope_theta"] = draw(st.sampled_from([10.0, 1e4, 1e6]))
    window = st.none() | st.integers(1, 40)
    if windows := draw(st.none() | st.integers(1, 40) | st.lists(window, min_size=1, max_size=3)):
        params["sliding_window"] = windows
    if draw(st.booleans()):
        experts = draw(st.integers(1, 5))
        params["moe"] = {
            "num_experts": experts,
            "num_experts_per_tok": draw(st.integers(1, experts)),
        }
    return params


@settings(max_examples=40, deadline=None, derandomize=True)  # a tie of two experts may part
@given(
    params=shapes(),
    seed=st.integers(0, 1000),
    ids=st.lists(st.integers(0, 89), min_size=1, max_size=30),
    chunk=st.integers(1, 30),
)
def test_any_shape_computes_what_the_reference_does(
    params: dict[str, Any], seed: int, ids: list[int], chunk: int
) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = tiny.write(Path(place), params, tiny.random_weights(params, seed))
        model, reference = Transformer.from_folder(folder), Reference.from_folder(folder)
        expected = reference.logits(ids)
        cache = model.new_cache()
        parts = [
            model(torch.tensor([ids[start : start + chunk]]), cache, last_only=False)[0]
            for start in range(0, len(ids), chunk)
        ]
        assert (torch.cat(parts) - expected).abs().max() < 1e-5 * expected.abs().max()
        (greedy,), logprobs = generate([ids], model, max_tokens=4, temperature=0)
        best = reference.logits([*ids, *greedy]).log_softmax(-1)
        for n, token in enumerate(greedy):
            row = best[len(ids) - 1 + n]
            assert row[token] > row.max() - 1e-4  # the best, or as good as it
            assert abs(logprobs[0][len(ids) - 1 + n] - float(row[token])) < 1e-4
