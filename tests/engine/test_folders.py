"""A folder that cannot be a model is one clear sentence, before a byte of weights is read."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import hf
import tiny
from inference.config import ModelConfig
from inference.devices import pick_device, pick_dtype
from inference.errors import CheckpointError, InferenceError, SettingError, TokenizerError
from inference.folder import inspect_folder
from inference.loading import load_engine
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


# ── every layout ────────────────────────────────────────────────────────────────────

SMALL: dict[str, Any] = {**tiny.PARAMS, "vocab_size": 64}


@pytest.fixture(scope="module")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of each kind, without tokenizers."""
    place = tmp_path_factory.mktemp("layouts")
    weights = tiny.random_weights(SMALL)
    tiny.write(place / "native", SMALL, weights)
    tiny.write(place / "parts", SMALL, weights, "shards")
    tiny.write(place / "pth", SMALL, weights, "pth")
    hf.write(place / "hf", SMALL, weights)
    hf.write(place / "shards", SMALL, weights, shards=2)
    return place


def _config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _drop(*names: str) -> Callable[[Path], object]:
    return lambda f: [(f / name).unlink() for name in names]


INDEX = "model.safetensors.index.json"
BROKEN_LAYOUTS: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "no config.json": ("hf", _drop("config.json"), "has no params.json and no config.json"),
    "another family": (
        "hf",
        lambda f: _config(f, architectures=["MambaForCausalLM"]),
        "names the architecture MambaForCausalLM",
    ),
    "a shape that disagrees": (
        "hf",
        lambda f: _config(f, intermediate_size=97),
        "model.layers.0.mlp.down_proj.weight is (64, 96) where",
    ),
    "an unknown key": ("hf", lambda f: _config(f, n_flux=3), '"n_flux"'),
    "no weights": ("hf", _drop("model.safetensors"), "has no model.safetensors or its shards"),
    "pickles of Hugging Face": (
        "hf",
        lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"),
        "pytorch_model.bin files, which this version does not read",
    ),
    "an adapter of PEFT": (
        "hf",
        lambda f: (f / "config.json").rename(f / "adapter_config.json"),
        "holds a PEFT adapter, not a model",
    ),
    "a missing shard": (
        "shards",
        _drop("model-00002-of-00002.safetensors"),
        f"lacks model-00002-of-00002.safetensors that {INDEX} names",
    ),
    "a missing shard without an index": (
        "shards",
        _drop("model-00001-of-00002.safetensors", INDEX),
        "has 1 of 2 parts of its weights",
    ),
    "a missing part": (
        "parts",
        _drop("consolidated-00003-of-00003.safetensors"),
        "has 2 of 3 parts of its weights",
    ),
    "several pickles": (
        "pth",
        lambda f: shutil.copy(f / "consolidated.00.pth", f / "consolidated.01.pth"),
        "split for several GPUs",
    ),
    "a pickle of another shape": (
        "pth",
        lambda f: _params(f, dim=32),
        "where (",
    ),
    "half a pickle": (
        "pth",
        lambda f: os.truncate(f / "consolidated.00.pth", 50_000),
        "is damaged, truncated",
    ),
    "a pickle of code": (
        "pth",
        lambda f: torch.save({"norm.weight": print}, f / "consolidated.00.pth"),
        "wants to run code",
    ),
    "Mistral's weights with Hugging Face's config": (
        "hf",
        lambda f: (f / "model.safetensors").rename(f / "consolidated.safetensors"),
        "but no params.json; copy it beside them",
    ),
    "an adapter": (
        "native",
        lambda f: (f / "consolidated.safetensors").rename(f / "lora.safetensors"),
        "holds an adapter, not a model",
    ),
}


@pytest.mark.parametrize("what", BROKEN_LAYOUTS)
def test_a_broken_folder_of_any_layout(layouts: Path, tmp_path: Path, what: str) -> None:
    model, damage, words = BROKEN_LAYOUTS[what]
    folder = Path(shutil.copytree(layouts / model, tmp_path / model))
    damage(folder)
    with pytest.raises(CheckpointError) as caught:
        inspect_folder(folder, tokenizer=False)
    sentence = str(caught.value)
    assert words in sentence
    assert sentence.endswith(".")
    with pytest.raises(CheckpointError):
        Transformer.from_folder(folder)


@pytest.mark.parametrize("model", ["native", "parts", "pth", "hf", "shards"])
def test_what_is_said_of_a_sound_folder(layouts: Path, model: str) -> None:
    found = inspect_folder(layouts / model, tokenizer=False)
    assert found.layout == ("huggingface" if model in ("hf", "shards") else "mistral")
    assert found.config.vocab_size == 64
    assert len(found.files) == {"parts": 3, "shards": 2}.get(model, 1)
    assert found.nbytes == sum(path.stat().st_size for path in found.files)
    assert sum(info.nbytes for info in found.tensors.values()) == 4 * found.config.n_params
    assert found.notes == ()


def _both(layouts: Path, folder: Path, *models: str) -> Path:
    for model in models:
        shutil.copytree(layouts / model, folder, dirs_exist_ok=True)
    return folder


def test_of_two_layouts_mistrals_is_taken_and_said(layouts: Path, tmp_path: Path) -> None:
    for model in ("hf", "shards"):
        found = inspect_folder(_both(layouts, tmp_path / model, "native", model), tokenizer=False)
        assert found.layout == "mistral"
        (note,) = found.notes
        assert "in Mistral's and in Hugging Face's layout; Mistral's was taken" in note


def test_the_layout_that_is_not_taken_may_lack_what_it_likes(layouts: Path, tmp_path: Path) -> None:
    """As downloads of `consolidated*` and `*.json` leave it."""
    folder = _both(layouts, tmp_path / "m", "native", "shards")
    for shard in folder.glob("model-*"):
        shard.unlink()
    assert inspect_folder(folder, tokenizer=False).notes == ()


def test_hugging_faces_weights_beside_params_json(layouts: Path, tmp_path: Path) -> None:
    folder = _both(layouts, tmp_path / "m", "hf")
    shutil.copy(layouts / "native" / "params.json", folder)
    found = inspect_folder(folder, tokenizer=False)
    assert found.layout == "huggingface"
    assert "weights in Hugging Face's layout only" in found.notes[0]


def test_safetensors_are_taken_before_a_pickle(layouts: Path, tmp_path: Path) -> None:
    folder = _both(layouts, tmp_path / "m", "native", "pth")
    found = inspect_folder(folder, tokenizer=False)
    assert found.files == (folder / "consolidated.safetensors",)
    assert found.notes == ("consolidated.safetensors was taken, consolidated.00.pth was not.",)


def _module(weights: dict[str, torch.Tensor]) -> Any:
    """As a module's state_dict is saved, its parts' versions among the attributes."""
    state = OrderedDict(weights)
    state._metadata = OrderedDict({"": {"version": 1}, "norm": {"version": 1}})  # type: ignore[attr-defined]
    return state


@pytest.mark.parametrize(
    "wrap",
    [
        dict,
        _module,
        lambda w: {n: t.bfloat16() for n, t in w.items()},
        lambda w: {n: t.requires_grad_() for n, t in w.items()},
        lambda w: {n: torch.cat([t.new_ones(3, *t.shape[1:]), t])[3:] for n, t in w.items()},
        lambda w: {**w, "output.weight": w["tok_embeddings.weight"]},
    ],
    ids=["dict", "module", "bf16", "with gradients", "parts of storages", "shared"],
)
def test_a_pickle_is_read_as_torch_reads_it(
    layouts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrap: Any
) -> None:
    folder = Path(shutil.copytree(layouts / "pth", tmp_path / "pth"))
    path = folder / "consolidated.00.pth"
    torch.save(wrap(tiny.random_weights(SMALL)), path)
    expected = torch.load(path, weights_only=True)
    monkeypatch.delattr(torch, "load")  # it is no part of ours
    state = Transformer.from_folder(folder).state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in expected)


def test_shards_are_found_without_their_index(layouts: Path, tmp_path: Path) -> None:
    folder = _both(layouts, tmp_path / "m", "shards")
    (folder / INDEX).unlink()
    assert len(inspect_folder(folder, tokenizer=False).files) == 2


def test_notes_reach_the_card(folder: Path) -> None:
    shutil.copy(folder / "consolidated.safetensors", folder / "consolidated.00.pth")
    card = load_engine(str(folder), device="cpu").card
    assert card is not None
    assert "consolidated.safetensors was taken, consolidated.00.pth was not." in card.notes


# ── what else can be given ──────────────────────────────────────────────────────────


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
