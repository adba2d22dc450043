"""What is said between ranks is what `traffic` tells in advance."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

import published
import tiny
from inference.config import ModelConfig
from inference.parallel.plan import plan
from inference.parallel.traffic import ORDER_BYTES, Exchange, traffic
from parallel import cases, launching

# 3 ranks share the vocabulary unevenly.
PARAMS: dict[str, Any] = {**cases.SHAPE, "n_layers": 3, "vocab_size": 500}
MODELS = {"tensor": PARAMS, "pipeline": PARAMS, "tensor moe": {**PARAMS, **cases.MOE}}


PASSES = [
    (name, tokens, last_only)
    for name in MODELS
    for tokens, last_only in ((7, True), (1, True), (5, False))
]
"""(model, tokens, whether only the last place is predicted), as the script has them."""


@pytest.mark.parametrize("ranks", [2, 3])
def test_every_exchange_is_foretold(tmp_path: Path, ranks: int) -> None:
    for name, params in MODELS.items():
        tiny.write(tmp_path / name, params, tiny.random_weights(params))
    launching.run(ranks, "traffic", tmp_path)
    for rank in range(ranks):
        passes = _passes(tmp_path / f"exchanges-{rank}.txt")
        assert len(passes) == len(PASSES)
        for (name, tokens, last_only), found in zip(PASSES, passes, strict=True):
            share = plan(ModelConfig.from_params(MODELS[name]), ranks, name.split()[0])[rank]
            if rank == 0:  # the others hear an order before they know what it is
                assert found.pop("broadcast") == [ORDER_BYTES]
            counted = {
                kind: Exchange(len(sizes), sum(sizes))
                for kind, sizes in found.items()
                if kind != "broadcast"
            }
            told = traffic(share, tokens, 4, predicted=1 if last_only else tokens)
            assert counted == told, (rank, name, tokens)


def _passes(path: Path) -> list[dict[str, list[int]]]:
    """What was exchanged in each pass: its bytes by kind."""
    found: list[dict[str, list[int]]] = []
    within = False
    for line in path.read_text().splitlines():
        kind, what = line.split()
        if kind == "order":
            if within := what == "FORWARD":
                found.append(defaultdict(list))
        elif within:
            found[-1][kind].append(int(what))
    return found


def test_the_numbers_of_a_published_model() -> None:
    """Mixtral 8x22B on 4 ranks, in bf16, for a token: worked out by hand."""
    model = next(m for m in published.PUBLISHED if m.name == "Mixtral 8x22B v0.3")
    config = ModelConfig.from_params(model.params)
    shares = plan(config, 4)
    assert traffic(shares[2]) == {
        "all_reduce": Exchange(113, 113 * 6144 * 2),
        "gather": Exchange(1, 8192 * 2),
    }
    first, *_, last = plan(config, 4, "pipeline")[1:]
    assert traffic(first) == {"send": Exchange(1, 12288)}
    assert traffic(last) == {"recv": Exchange(1, 12288), "send": Exchange(1, 12288)}
    assert traffic(plan(config, 1)[0]) == {}


IN_DOCS = {
    "Mistral 7B": "Mistral 7B v0.3",
    "Mixtral 8x7B": "Mixtral 8x7B v0.1",
    "Mixtral 8x22B": "Mixtral 8x22B v0.3",
    "Mistral Large 2": "Mistral Large 2 (2407)",
}


def table() -> list[str]:
    """The rows of the docs: what one token costs in bf16, tensor parallel."""
    rows = []
    for title, name in IN_DOCS.items():
        model = next(m for m in published.PUBLISHED if m.name == name)
        config = ModelConfig.from_params(model.params)
        for ranks in (2, 4, 8):
            told = traffic(plan(config, ranks, "tensor")[1])
            sums, gather = told["all_reduce"], told["gather"]
            each = sums.nbytes // sums.count
            ring = 2 * (ranks - 1) / ranks * sums.nbytes + gather.nbytes
            rows.append(
                f"| {title} | {ranks} | {2 * each:,} | {sums.count} | {sums.nbytes:,} | "
                f"{gather.nbytes:,} | {ring / 1e6:.2f} MB |"
            )
    return rows


def test_the_docs_say_what_is_computed() -> None:
    text = (launching.TESTS.parent / "docs" / "parallel.md").read_text()
    for row in table():
        assert row in text
    assert f"{ORDER_BYTES} bytes" in text
