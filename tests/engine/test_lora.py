"""LoRA adapters: the sum that the paper says, their true scaling, on and off without a trace."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import tiny
from inference.engine import Engine
from inference.errors import CheckpointError
from inference.transformer import Transformer

PARAMS: dict[str, Any] = {**tiny.PARAMS, "vocab_size": 512}
MOE = {"moe": {"num_experts": 4, "num_experts_per_tok": 2}}
DENSE_LAYERS = ["attention.wq", "attention.wo", "feed_forward.w1", "feed_forward.w2"]
MOE_LAYERS = ["attention.wv", "feed_forward.gate", "feed_forward.experts.1.w2"]
TOKENS = torch.arange(3, 40).unsqueeze(0)


def _pairs(params: dict[str, Any], layers: list[str], rank: int = 8) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    weights = tiny.random_weights(params)
    pairs = {}
    for n in range(params["n_layers"]):
        for layer in layers:
            n_out, n_in = weights[f"layers.{n}.{layer}.weight"].shape
            name = f"layers.{n}.{layer}"
            pairs[f"{name}.lora_A.weight"] = torch.randn(rank, n_in, generator=generator) * 0.1
            pairs[f"{name}.lora_B.weight"] = torch.randn(n_out, rank, generator=generator) * 0.1
    return pairs


def _adapter(folder: Path, pairs: dict[str, torch.Tensor], scaling: float | None = 1.5) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(pairs, str(folder / "lora.safetensors"))
    if scaling is not None:
        lora = {"enable": True, "rank": 8, "dropout": 0.0, "scaling": scaling}
        (folder / "params.json").write_text(json.dumps({**PARAMS, "lora": lora}))
    return folder


def _by_hand(
    folder: Path, params: dict[str, Any], pairs: dict[str, torch.Tensor], scaling: float
) -> Transformer:
    """The adapter added to the checkpoint itself, in float64."""
    weights = tiny.random_weights(params)
    for name in list(weights):
        a = pairs.get(name.replace(".weight", ".lora_A.weight"))
        b = pairs.get(name.replace(".weight", ".lora_B.weight"))
        if a is not None and b is not None:
            weights[name] = (weights[name].double() + scaling * (b.double() @ a.double())).float()
    return Transformer.from_folder(tiny.write(folder, params, weights))


@pytest.fixture(params=["dense", "moe", "stacked moe"])
def setting(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[dict[str, Any], list[str], Transformer]:
    if request.param == "stacked moe":  # as on CUDA
        monkeypatch.setattr("inference.checkpoint.wants_stacks", lambda device: True)
    dense = request.param == "dense"
    params = PARAMS if dense else {**PARAMS, **MOE}
    folder = tiny.write(tmp_path / "base", params, tiny.random_weights(params))
    return params, DENSE_LAYERS if dense else MOE_LAYERS, Transformer.from_folder(folder)


@pytest.mark.parametrize("merge", [False, True])
def test_an_adapter_is_scaling_times_b_a(
    setting: tuple[dict[str, Any], list[str], Transformer], tmp_path: Path, merge: bool
) -> None:
    params, layers, model = setting
    base = model(TOKENS)
    pairs = _pairs(params, layers)
    folder = _adapter(tmp_path / "lora", pairs)
    loaded = model.load_lora(folder, merge=merge)
    assert loaded.scaling == 1.5
    assert loaded.note == ""
    expected = _by_hand(tmp_path / "sum", params, pairs, 1.5)(TOKENS)
    assert (model(TOKENS) - expected).abs().max() < 1e-5 * expected.abs().max()
    assert (model(TOKENS) - base).abs().max() > 0.01
    model.remove_lora()
    assert torch.equal(model(TOKENS), base)  # to the bit


def test_another_adapter_takes_the_place_of_the_first(
    setting: tuple[dict[str, Any], list[str], Transformer], tmp_path: Path
) -> None:
    params, layers, model = setting
    base = model(TOKENS)
    pairs = _pairs(params, layers)
    folder = _adapter(tmp_path / "lora", pairs)
    model.load_lora(folder, merge=True)
    model.load_lora(folder, merge=False)
    model.load_lora(folder, scaling=0.5)
    expected = _by_hand(tmp_path / "sum", params, pairs, 0.5)(TOKENS)
    assert (model(TOKENS) - expected).abs().max() < 1e-5 * expected.abs().max()
    model.remove_lora()
    assert torch.equal(model(TOKENS), base)
    model.remove_lora()


def _base(tmp_path: Path, **kind: Any) -> Transformer:
    folder = tiny.write(tmp_path / "base", PARAMS, tiny.random_weights(PARAMS))
    return Transformer.from_folder(folder, **kind)


def test_a_file_alone_takes_the_default_scaling_and_says_so(tmp_path: Path) -> None:
    folder = _adapter(tmp_path / "lora", _pairs(PARAMS, DENSE_LAYERS), scaling=None)
    loaded = _base(tmp_path).load_lora(folder / "lora.safetensors")
    assert loaded.scaling == 2.0
    assert "scaling 2" in loaded.note


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_any_dtype_goes_on_any_model(tmp_path: Path, dtype: torch.dtype) -> None:
    pairs = {name: w.to(dtype) for name, w in _pairs(PARAMS, DENSE_LAYERS).items()}
    folder = _adapter(tmp_path / "lora", pairs)
    for merge in (False, True):
        model = _base(tmp_path, dtype=torch.bfloat16)
        model.load_lora(folder, merge=merge)
        assert model(TOKENS).isfinite().all()


def _lora_file(folder: Path, change: Any) -> Path:
    pairs = _pairs(PARAMS, DENSE_LAYERS)
    change(pairs)
    return _adapter(folder, pairs)


Q = "layers.0.attention.wq"
BROKEN: dict[str, tuple[Any, str]] = {
    "a layer that is not there": (
        lambda p: p.update({"layers.9.attention.wq.lora_A.weight": torch.ones(8, 64)}),
        "layers.9.attention.wq.lora_A.weight match no layer",
    ),
    "a weight that is no adapter": (lambda p: p.update(extra=torch.ones(1)), "extra match no"),
    "nothing but strangers": (
        lambda p: (p.clear(), p.update({"base_model.q.lora_A.weight": torch.ones(8, 64)})),
        "match no layer",
    ),
    "half a pair": (lambda p: p.pop(f"{Q}.lora_B.weight"), f"{Q} lacks its lora_B.weight"),
    "ranks disagree": (
        lambda p: p.update({f"{Q}.lora_B.weight": torch.ones(64, 4)}),
        f"{Q} has lora_A (8, 64) and lora_B (64, 4)",
    ),
    "another model's shape": (
        lambda p: p.update({f"{Q}.lora_A.weight": torch.ones(8, 128)}),
        "on a layer of 64 → 64",
    ),
    "whole numbers": (
        lambda p: p.update({f"{Q}.lora_A.weight": torch.ones(8, 64, dtype=torch.int32)}),
        "dtype I32",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_does_not_fit_is_named_and_changes_nothing(tmp_path: Path, what: str) -> None:
    change, words = BROKEN[what]
    model = _base(tmp_path)
    before = model(TOKENS)
    with pytest.raises(CheckpointError) as caught:
        model.load_lora(_lora_file(tmp_path / "lora", change))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert torch.equal(model(TOKENS), before)


def test_paths_that_hold_no_adapter(tmp_path: Path) -> None:
    model = _base(tmp_path)
    with pytest.raises(CheckpointError, match="does not exist"):
        model.load_lora(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="holds no adapter"):
        model.load_lora(tmp_path)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="PEFT"):
        model.load_lora(tmp_path)
    damaged = tmp_path / "lora.safetensors"
    damaged.write_bytes(b"\xff" * 40)
    with pytest.raises(CheckpointError, match="damaged"):
        model.load_lora(damaged)


def test_a_conversation_does_not_keep_the_cache_of_another_adapter(tmp_path: Path) -> None:
    from inference.api import Finished, Generate, Message, SamplingParams, Tokens

    folder = tiny.make(tmp_path / "m")
    engine = Engine.from_folder(folder, device="cpu")
    adapter = _adapter(tmp_path / "lora", _pairs(tiny.PARAMS, DENSE_LAYERS))
    request = Generate(1, (Message("user", "Hi"),), SamplingParams(0.0, max_tokens=8))

    def ids(e: Engine) -> list[int]:
        events = list(e.run(request))
        assert isinstance(events[-1], Finished)
        return [i for event in events if isinstance(event, Tokens) for i in event.ids]

    first = ids(engine)
    engine.model.load_lora(adapter)
    with_adapter = ids(engine)
    assert with_adapter == ids(Engine.from_folder(folder, device="cpu", lora=adapter))
    assert with_adapter != first
    engine.model.remove_lora()
    assert ids(engine) == first


def test_the_card_and_the_fingerprint_know_the_adapter(tmp_path: Path) -> None:
    folder = tiny.make(tmp_path / "m")
    adapter = _adapter(tmp_path / "lora", _pairs(tiny.PARAMS, DENSE_LAYERS), scaling=None)
    plain = Engine.from_folder(folder, device="cpu").card
    adapted = Engine.from_folder(folder, device="cpu", lora=adapter).card
    assert plain is not None
    assert adapted is not None
    assert adapted.adapter == str(adapter)
    assert adapted.fingerprint != plain.fingerprint
    assert any("scaling 2" in note for note in adapted.notes)
