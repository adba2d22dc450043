"""A folder that cannot be a model is one clear sentence, before a byte of weights is read."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import tiny
from inference.config import ModelConfig
from inference.errors import CheckpointError, InferenceError, SettingError, TokenizerError
from inference.folder import inspect_folder
from inference.loading import load_engine, pick_device, pick_dtype
from inference.transformer import Transformer


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "model"))


def _params(folder: Path, **changes: Any) -> None:
    path = folder / "params.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = tiny.random_weights(tiny.PARAMS)
    change(weights)
    save_file(weights, str(folder / "consolidated.safetensors"))


def _truncate(folder: Path, keep: int) -> None:
    os.truncate(folder / "consolidated.safetensors", keep)


def _header(folder: Path, header: bytes) -> None:
    path = folder / "consolidated.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 64)


def _entry(**changes: Any) -> bytes:
    entry = {"dtype": "F32", "shape": [64], "data_offsets": [0, 256], **changes}
    return json.dumps({"norm.weight": entry}).encode()


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no params.json": (lambda f: (f / "params.json").unlink(), "has no params.json"),
    "params.json is no JSON": (
        lambda f: (f / "params.json").write_text("{dim: 3"),
        "is not valid JSON",
    ),
    "params.json is a list": (lambda f: (f / "params.json").write_text("[]"), "a JSON object"),
    "params.json nests too deep": (
        lambda f: (f / "params.json").write_text("[" * 100_000),
        "is not valid JSON",
    ),
    "params.json is huge": (
        lambda f: (f / "params.json").write_text(" " * (2 << 20)),
        "too large",
    ),
    "params.json is a folder": (
        lambda f: ((f / "params.json").unlink(), (f / "params.json").mkdir()),
        "cannot be read",
    ),
    "unknown key": (lambda f: _params(f, n_flux=3), '"n_flux"'),
    "half a mixture": (lambda f: _params(f, moe={"num_experts": 8}), "num_experts_per_tok"),
    "no window": (lambda f: _params(f, sliding_window=0), "sliding_window"),
    "mamba": (lambda f: _params(f, model_type="mamba"), 'model_type "mamba"'),
    "missing key": (lambda f: _params(f, dim=None), 'lacks "dim"'),
    "zero layers": (lambda f: _params(f, n_layers=0), '"n_layers" is 0'),
    "negative dim": (lambda f: _params(f, dim=-64), '"dim" is -64'),
    "absurd dim": (lambda f: _params(f, dim=10**30), '"dim" is 1000'),
    "dim as text": (lambda f: _params(f, dim="64"), '"dim" is "64"'),
    "dim as truth": (lambda f: _params(f, dim=True), '"dim" is true'),
    "heads do not divide": (lambda f: _params(f, n_kv_heads=3), "must be a multiple"),
    "odd head_dim": (lambda f: _params(f, head_dim=15), "even number"),
    "NaN theta": (lambda f: _params(f, rope_theta=float("nan")), '"rope_theta" is nan'),
    "zero theta": (lambda f: _params(f, rope_theta=0), '"rope_theta" is 0'),
    "shape disagrees": (lambda f: _params(f, hidden_dim=128), "belongs"),
    "too many layers": (lambda f: _params(f, n_layers=3), "lacks layers.2"),
    "too few layers": (lambda f: _params(f, n_layers=1), "has unexpected layers.1"),
    "no tokenizer": (lambda f: (f / "tokenizer.model.v3").unlink(), "has no tokenizer"),
    "no weights": (lambda f: (f / "consolidated.safetensors").unlink(), "weights are missing"),
    "missing tensor": (lambda f: _weights(f, lambda w: w.pop("norm.weight")), "lacks norm.weight"),
    "extra tensor": (
        lambda f: _weights(f, lambda w: w.update(extra=torch.zeros(3))),
        "unexpected extra",
    ),
    "wrong dtype": (
        lambda f: _weights(f, lambda w: w.update({"norm.weight": torch.ones(64).int()})),
        "norm.weight has dtype I32",
    ),
    "truncated data": (lambda f: _truncate(f, 5_000_000), "is truncated"),
    "truncated by one byte": (
        lambda f: _truncate(f, (f / "consolidated.safetensors").stat().st_size - 1),
        "is truncated",
    ),
    "truncated header": (lambda f: _truncate(f, 100), "header is incomplete"),
    "empty weights": (lambda f: _truncate(f, 0), "header is incomplete"),
    "header is no JSON": (lambda f: _header(f, b"\xff" * 40), "is damaged"),
    "header is a list": (lambda f: _header(f, b"[1, 2]"), "is damaged"),
    "header is empty": (lambda f: _header(f, b"{}"), "holds no tensors"),
    "negative shape": (lambda f: _header(f, _entry(shape=[-64])), "is damaged"),
    "offsets run backwards": (lambda f: _header(f, _entry(data_offsets=[256, 0])), "norm.weight"),
    "header claims terabytes": (
        lambda f: (f / "consolidated.safetensors").write_bytes(struct.pack("<Q", 1 << 62)),
        "header is incomplete",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_folder_is_one_sentence(folder: Path, what: str) -> None:
    damage, words = BROKEN[what]
    damage(folder)
    with pytest.raises(InferenceError) as caught:
        inspect_folder(folder)
    sentence = str(caught.value)
    assert words in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence
    with pytest.raises(InferenceError):
        load_engine(str(folder), device="cpu")


def test_paths_that_are_no_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        inspect_folder(tmp_path / "nothing")
    with pytest.raises(CheckpointError, match="is empty"):
        inspect_folder(tmp_path)
    file = tmp_path / "file.gguf"
    file.write_bytes(b"x")
    with pytest.raises(CheckpointError, match="is a file"):
        inspect_folder(file)
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(CheckpointError, match=r"does not exist|cannot be read"):
        inspect_folder(loop)


def test_a_good_folder_passes_and_python_api_reads_it(folder: Path) -> None:
    assert inspect_folder(folder).config.dim == 64
    steps: list[tuple[int, int]] = []
    model = Transformer.from_folder(folder, progress=lambda done, all_: steps.append((done, all_)))
    size = sum(p.nbytes for p in model.parameters())
    assert steps[-1] == (size, size)
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    assert not any(p.requires_grad for p in model.parameters())


def test_null_options_count_as_absent() -> None:
    config = ModelConfig.from_params({**tiny.PARAMS, "sliding_window": None, "moe": None})
    assert config.max_position_embeddings == 512


def test_missing_theta_and_context_take_the_models_defaults() -> None:
    params = {k: v for k, v in tiny.PARAMS.items() if k not in ("rope_theta",)}
    params.pop("max_position_embeddings")
    config = ModelConfig.from_params(params)
    assert config.rope_theta == 1e6
    assert config.max_position_embeddings == 32768


def test_a_tokenizer_larger_than_the_model_is_refused(tmp_path: Path) -> None:
    folder = tiny.make(tmp_path / "m", vocab_size=1000)
    with pytest.raises(CheckpointError, match="do not belong together"):
        load_engine(str(folder), device="cpu")


def test_a_damaged_tokenizer_is_one_sentence(folder: Path) -> None:
    (folder / "tokenizer.model.v3").write_bytes(b"no tokenizer")
    with pytest.raises(TokenizerError, match="cannot be read"):
        load_engine(str(folder), device="cpu")


def test_devices_dtypes_and_threads_that_do_not_exist(folder: Path) -> None:
    for name in ("tpu9", "nonsense", "cuda:99" if torch.cuda.is_available() else "cuda"):
        with pytest.raises(SettingError):
            pick_device(name)
    with pytest.raises(SettingError, match="int3"):
        pick_dtype("int3")
    with pytest.raises(SettingError, match="threads is 0"):
        load_engine(str(folder), threads=0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_weights_are_converted_on_request(folder: Path, dtype: str) -> None:
    engine = load_engine(str(folder), device="cpu", dtype=dtype)
    assert engine.card is not None
    assert engine.card.dtype == dtype
    assert {p.dtype for p in engine.model.parameters()} == {pick_dtype(dtype)}
