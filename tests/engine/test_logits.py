"""Our logits against transformers, which we did not write, on the same weights."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

import hf
import tiny
from inference.config import ModelConfig
from inference.generation import generate, prefill
from inference.tokenizer import Tokenizer
from inference.transformer import Transformer

TEXT = (
    "The capital of France is Paris. def fibonacci(n):\n    return n if n < 2 else …\n"
    "Once upon a time, in a small village by the sea, 1,234 people lived happily. "
)


# One feature of the architecture each; small enough that all of them take seconds.
SHAPE: dict[str, Any] = {**tiny.PARAMS, "vocab_size": 512, "n_layers": 3}
MOE = {"moe": {"num_experts": 6, "num_experts_per_tok": 2}}
YARN = {
    "factor": 4.0,
    "original_max_position_embeddings": 16,
    "beta": 4.0,
    "alpha": 1.0,
    "apply_scale": False,
}
CASES: dict[str, dict[str, Any]] = {
    "dense": {},
    "tied": {"tied_embeddings": True},
    "head_dim": {"head_dim": 32},
    "no GQA": {"n_kv_heads": 4},
    "theta": {"rope_theta": 1e4},
    "window": {"sliding_window": 7},
    "windows by layer": {"sliding_window": [7, None, 7]},
    "moe": MOE,
    "moe with window": {**MOE, "sliding_window": 9},
    "yarn": {"yarn": YARN},
    "yarn, scaled": {"yarn": {**YARN, "apply_scale": True}},
    "yarn, wide ramp": {"yarn": {**YARN, "beta": 32.0, "original_max_position_embeddings": 512}},
    "llama 4 scaling": {
        "yarn": YARN,
        "llama_4_scaling": {"original_max_position_embeddings": 16, "beta": 0.1},
    },
}
FILES = ["native", "shards", "pth", "huggingface", "huggingface shards"]


def _write(folder: Path, params: dict[str, Any], files: str) -> Path:
    weights = tiny.random_weights(params)
    if files.startswith("hugging"):
        return hf.write(folder, params, weights, shards=3 if files.endswith("shards") else 1)
    return tiny.write(folder, params, weights, files)


@dataclass(frozen=True)
class Oracle:
    """What transformers computes: logits of every position, and what it goes on with."""

    ids: list[int]
    logits: torch.Tensor
    greedy: list[int]


def _oracle(theirs: PreTrainedModel, ids: list[int]) -> Oracle:
    tokens = torch.tensor([ids])
    with torch.inference_mode():
        logits = theirs(tokens).logits.float()
    more = theirs.generate(
        tokens, max_new_tokens=24, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    return Oracle(ids, logits, more[0, len(ids) :].tolist())


def _compare(model: Transformer, oracle: Oracle) -> None:
    """Same logits to 1e-5 of the largest, same logprobs to 1e-4, the same 24 greedy tokens."""
    ids, expected = oracle.ids, oracle.logits
    for chunk in (len(ids), 17):
        cache = model.new_cache()
        parts = [
            model(torch.tensor([ids[start : start + chunk]]), cache, last_only=False)
            for start in range(0, len(ids), chunk)
        ]
        ours = torch.cat(parts, dim=1)
        assert (ours - expected).abs().max() < 1e-5 * expected.abs().max()
        assert (ours.log_softmax(-1) - expected.log_softmax(-1)).abs().max() < 1e-4
    (greedy,), _ = generate([ids], model, max_tokens=24, temperature=0)
    assert greedy == oracle.greedy


@pytest.fixture(scope="module")
def oracles(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Oracle]:
    """transformers on each case, run once."""

    @functools.cache
    def oracle(case: str) -> Oracle:
        params = {**SHAPE, **CASES[case]}
        folder = tmp_path_factory.mktemp("theirs")
        theirs = hf.run(hf.write(folder, params, tiny.random_weights(params)))
        ids = torch.randint(3, 512, (60,), generator=torch.Generator().manual_seed(1))
        return _oracle(theirs, ids.tolist())

    return oracle


@pytest.mark.parametrize("files", FILES)
@pytest.mark.parametrize("case", CASES)
def test_random_model_equals_transformers(
    tmp_path: Path, oracles: Callable[[str], Oracle], case: str, files: str
) -> None:
    folder = _write(tmp_path, {**SHAPE, **CASES[case]}, files)
    _compare(Transformer.from_folder(folder), oracles(case))


def test_llama_of_the_same_maths_equals_transformers(tmp_path: Path) -> None:
    folder = hf.write(tmp_path, SHAPE, tiny.random_weights(SHAPE), architecture="Llama")
    theirs = hf.run(folder)
    assert type(theirs).__name__ == "LlamaForCausalLM"
    _compare(Transformer.from_folder(folder), _oracle(theirs, list(range(3, 60))))


def test_the_first_mixtral_files_equal_transformers(tmp_path: Path) -> None:
    params = {**SHAPE, **MOE}
    weights = tiny.random_weights(params)
    model = Transformer.from_folder(tiny.write(tmp_path / "ours", params, weights, "2023"))
    theirs = hf.run(hf.write(tmp_path / "theirs", params, weights))
    _compare(model, _oracle(theirs, list(range(3, 60))))


def test_every_case_computes_something_else(tmp_path: Path) -> None:
    """Or the comparisons above would compare nothing."""
    tokens = torch.arange(3, 63).unsqueeze(0)
    seen = {}
    for case, changes in CASES.items():
        model = Transformer.from_folder(_write(tmp_path / case, {**SHAPE, **changes}, "native"))
        seen[case] = model(tokens)[0, -1]
    for first, second in combinations(seen, 2):
        assert (seen[first] - seen[second]).abs().max() > 1e-3, (first, second)


def test_positions_beyond_any_table_equal_transformers(tmp_path: Path) -> None:
    """The reference's table of rotations ends at 128,000 positions."""
    params = {**SHAPE, "sliding_window": 7, "max_position_embeddings": 1 << 20}
    model = Transformer.from_folder(_write(tmp_path / "ours", params, "native"))
    theirs = hf.run(hf.write(tmp_path / "theirs", params, tiny.random_weights(params)))
    tokens, start = torch.arange(3, 63).unsqueeze(0), 140_000
    cache = model.new_cache()
    cache.reserve(start)
    cache.lengths = [start]
    ours = model(tokens, cache, last_only=False)
    with torch.inference_mode():
        expected = theirs(tokens, position_ids=torch.arange(start, start + 60).unsqueeze(0)).logits
    reach = 3 * 7  # three layers see so far back; before that, ours sees an empty cache
    difference = (ours - expected)[:, reach:].abs().max()
    assert difference < 1e-5 * expected.abs().max()


def test_starter_model_equals_transformers(starter_folder: Path, tmp_path: Path) -> None:
    params = json.loads((starter_folder / "params.json").read_text())
    model = Transformer.from_folder(starter_folder, dtype=torch.float32)
    ids = Tokenizer.from_folder(starter_folder).encode_text(TEXT * 4)
    assert len(ids) > 150
    theirs = hf.run(hf.write(tmp_path, params, dict(model.state_dict())))
    _compare(model, _oracle(theirs, ids))


def test_bf16_upcast_of_prefill_agrees_with_fp32(starter_folder: Path) -> None:
    """Same weights, bf16 activations: the most likely token is the same nearly always."""
    ids = Tokenizer.from_folder(starter_folder).encode_text(TEXT)
    wide = Transformer.from_folder(starter_folder, dtype=torch.float32)
    narrow = Transformer.from_folder(starter_folder)
    assert narrow.dtype is torch.bfloat16
    tokens = torch.tensor([ids])
    with torch.inference_mode():
        a = wide(tokens, wide.new_cache(), last_only=False)
        b = narrow(tokens, narrow.new_cache(), last_only=False)
    agreement = (a.argmax(-1) == b.argmax(-1)).float().mean().item()
    print(f"top-1 agreement of bf16 with fp32: {agreement:.3f}")
    assert agreement > 0.9


def test_weights_in_the_files_own_dtype_are_views_of_the_file(tmp_path: Path) -> None:
    folder = tiny.make(tmp_path / "m")
    model = Transformer.from_folder(folder)
    mapped = [
        line.split()[0].split("-")
        for line in Path("/proc/self/maps").read_text().splitlines()
        if line.endswith("consolidated.safetensors")
    ]
    ranges = [(int(low, 16), int(high, 16)) for low, high in mapped]
    for name, parameter in model.named_parameters():
        address = parameter.data_ptr()
        assert any(low <= address < high for low, high in ranges), name


def test_last_row_logits_are_those_of_the_whole(tmp_path: Path) -> None:
    model = Transformer.from_folder(tiny.make(tmp_path / "m"))
    tokens = torch.tensor([[5, 6, 7, 8]])
    whole = model(tokens, model.new_cache(), last_only=False)
    last = model(tokens, model.new_cache())
    assert last.shape == (1, 1, model.config.vocab_size)
    torch.testing.assert_close(last[0, 0], whole[0, -1])


def test_prefill_returns_nothing_when_stopped(tmp_path: Path) -> None:
    model = Transformer.from_folder(tiny.make(tmp_path / "m"))
    cache = model.new_cache()
    stopped = prefill(model, cache, list(range(3, 43)), chunk_size=10, done=lambda chunk: False)
    assert stopped is None
    assert cache.lengths == [10]


def test_parameter_count_of_mistral_7b() -> None:
    """The published size, from the published shape, without memory for it."""
    config = ModelConfig.from_params(
        {
            "dim": 4096,
            "n_layers": 32,
            "head_dim": 128,
            "hidden_dim": 14336,
            "n_heads": 32,
            "n_kv_heads": 8,
            "norm_eps": 1e-5,
            "vocab_size": 32768,
            "rope_theta": 1e6,
        }
    )
    with torch.device("meta"):
        model = Transformer(config)
    assert model.n_params == 7_248_023_552
