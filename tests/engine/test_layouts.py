"""Forms of checkpoints beside the plain one: fp8, vision parts, fused experts, mixed dtypes;
and that loading streams."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import hf
import tiny
from inference.errors import CheckpointError
from inference.folder import inspect_folder
from inference.transformer import Transformer

PARAMS: dict[str, Any] = {**tiny.PARAMS, "vocab_size": 512}
FP8 = {"quantization": {"qformat_weight": "fp8_e4m3", "qscheme_act": "TENSOR"}}
MOE = {"moe": {"num_experts": 4, "num_experts_per_tok": 2}}
TOKENS = torch.arange(3, 40).unsqueeze(0)


def _same(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """Logits of the same weights. Not to the bit: in another file they are aligned otherwise,
    and the kernel can be another one."""
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def _quantized(
    weights: dict[str, torch.Tensor], scale_name: str, act_name: str
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """(what is on disk, what it means): each layer's linears as fp8 with one scale."""
    stored, meant = {}, {}
    for name, weight in weights.items():
        stored[name], meant[name] = weight.bfloat16(), weight.bfloat16().float()
        if "layers." in name and weight.dim() == 2:
            scale = (weight.abs().max() / 448).bfloat16()
            narrow = (weight / scale.float()).to(torch.float8_e4m3fn)
            stored[name] = narrow
            stored[name.removesuffix("weight") + scale_name] = scale
            stored[name.removesuffix("weight") + act_name] = torch.tensor(0.5).bfloat16()
            meant[name] = narrow.float() * scale.float()
    return stored, meant


def test_fp8_weights_are_multiplied_by_their_scale(tmp_path: Path) -> None:
    stored, meant = _quantized(tiny.random_weights(PARAMS), "qscale_weight", "qscale_act")
    stored["layers.0.attention.q_fake_quantizer.qscale_act"] = torch.tensor(1.0)
    folder = tiny.write(tmp_path / "fp8", {**PARAMS, **FP8}, stored)
    expected = Transformer.from_folder(tiny.write(tmp_path / "meant", PARAMS, meant))(TOKENS)
    _same(Transformer.from_folder(folder, dtype=torch.float32)(TOKENS), expected)
    narrow = Transformer.from_folder(folder)
    assert {p.dtype for p in narrow.parameters()} == {torch.bfloat16}
    assert (narrow(TOKENS) - expected).abs().max() < 0.05 * expected.abs().max()


def test_fp8_of_hugging_face_means_the_same(tmp_path: Path) -> None:
    weights = tiny.random_weights(PARAMS)
    stored, meant = _quantized(hf.names(PARAMS, weights), "weight_scale_inv", "activation_scale")
    folder = hf.write(tmp_path / "fp8", PARAMS, weights)
    save_file(stored, str(folder / "model.safetensors"))
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "fp8", "activation_scheme": "static"}
    (folder / "config.json").write_text(json.dumps(config))
    plain = hf.write(tmp_path / "meant", PARAMS, weights)
    save_file(meant, str(plain / "model.safetensors"))
    ours = Transformer.from_folder(folder, dtype=torch.float32)(TOKENS)
    _same(ours, Transformer.from_folder(plain)(TOKENS))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: w.pop("layers.0.attention.wq.qscale_weight"), "lacks layers.0.attention.wq.q"),
        (
            lambda w: w.update({"layers.0.attention.wq.qscale_weight": torch.ones(4)}),
            "where one number belongs",
        ),
        (lambda w: w.update({"layers.0.attention.stray": torch.ones(4)}), "has unexpected layers"),
    ],
)
def test_fp8_with_a_wrong_scale_is_refused(tmp_path: Path, change: Any, words: str) -> None:
    stored, _ = _quantized(tiny.random_weights(PARAMS), "qscale_weight", "qscale_act")
    change(stored)
    with pytest.raises(CheckpointError, match=words):
        inspect_folder(tiny.write(tmp_path, {**PARAMS, **FP8}, stored), tokenizer=False)


def test_fp8_without_its_section_is_refused(tmp_path: Path) -> None:
    stored, _ = _quantized(tiny.random_weights(PARAMS), "qscale_weight", "qscale_act")
    with pytest.raises(CheckpointError, match="dtype F8_E4M3"):
        inspect_folder(tiny.write(tmp_path, PARAMS, stored), tokenizer=False)


VISION = {
    "vision_encoder.patch_conv.weight": torch.ones(4, 3, 2, 2),
    "vision_encoder.transformer.layers.0.attention.wq.weight": torch.ones(4, 4),
    "vision_language_adapter.w_in.weight": torch.ones(4, 4),
    "pre_mm_projector_norm.weight": torch.ones(4),
    "patch_merger.merging_layer.weight": torch.ones(4, 4),
}


def test_a_vision_part_is_left_aside(tmp_path: Path) -> None:
    weights = tiny.random_weights(PARAMS)
    section = {"vision_encoder": {"hidden_size": 4, "image_size": 8}}
    seeing = tiny.write(tmp_path / "seeing", {**PARAMS, **section}, {**weights, **VISION})
    plain = Transformer.from_folder(tiny.write(tmp_path / "plain", PARAMS, weights))
    assert inspect_folder(seeing, tokenizer=False).config.vision
    _same(Transformer.from_folder(seeing)(TOKENS), plain(TOKENS))
    blind = tiny.write(tmp_path / "blind", PARAMS, {**weights, **VISION})
    with pytest.raises(CheckpointError, match="has unexpected patch_merger"):
        Transformer.from_folder(blind)


def test_the_outer_word_on_tied_embeddings_counts(tmp_path: Path) -> None:
    params = {**PARAMS, "tied_embeddings": True}
    weights = tiny.random_weights(params)
    folder = hf.write(tmp_path / "hf", params, weights)
    text = json.loads((folder / "config.json").read_text())
    whole = {
        "architectures": ["Mistral3ForConditionalGeneration"],
        "tie_word_embeddings": True,
        "text_config": {**text, "architectures": None, "tie_word_embeddings": False},
    }
    (folder / "config.json").write_text(json.dumps(whole))
    plain = Transformer.from_folder(tiny.write(tmp_path / "plain", params, weights))
    _same(Transformer.from_folder(folder)(TOKENS), plain(TOKENS))


@pytest.mark.parametrize("prefix", ["language_model.", "model.language_model."])
def test_the_text_model_of_a_multimodal_hugging_face_folder(tmp_path: Path, prefix: str) -> None:
    weights = tiny.random_weights(PARAMS)
    folder = hf.write(tmp_path / "hf", PARAMS, weights)
    text = json.loads((folder / "config.json").read_text())
    whole = {
        "architectures": ["Mistral3ForConditionalGeneration"],
        "model_type": "mistral3",
        "text_config": {**text, "architectures": None},
        "vision_config": {"hidden_size": 4},
    }
    (folder / "config.json").write_text(json.dumps(whole))
    names = hf.names(PARAMS, weights)
    if prefix == "language_model.":
        state = {prefix + name: w for name, w in names.items()}
        state["vision_tower.patch_conv.weight"] = torch.ones(4)
    else:
        state = {
            name.replace("model.", prefix) if name.startswith("model.") else name: w
            for name, w in names.items()
        }
        state["model.vision_tower.patch_conv.weight"] = torch.ones(4)
    save_file(state, str(folder / "model.safetensors"))
    plain = Transformer.from_folder(tiny.write(tmp_path / "plain", PARAMS, weights))
    _same(Transformer.from_folder(folder)(TOKENS), plain(TOKENS))


def test_fused_experts_of_transformers_5(tmp_path: Path) -> None:
    params = {**PARAMS, **MOE}
    weights = tiny.random_weights(params)
    folder = hf.write(tmp_path / "hf", params, weights)
    state = {k: w for k, w in hf.names(params, weights).items() if "block_sparse_moe" not in k}
    for n in range(params["n_layers"]):
        experts = [f"layers.{n}.feed_forward.experts.{e}" for e in range(4)]
        up = [torch.cat([weights[f"{e}.w1.weight"], weights[f"{e}.w3.weight"]]) for e in experts]
        place = f"model.layers.{n}.mlp"
        state[f"{place}.gate.weight"] = weights[f"layers.{n}.feed_forward.gate.weight"]
        state[f"{place}.experts.gate_up_proj"] = torch.stack(up)
        down = [weights[f"{e}.w2.weight"] for e in experts]
        state[f"{place}.experts.down_proj"] = torch.stack(down)
    save_file(state, str(folder / "model.safetensors"))
    plain = Transformer.from_folder(tiny.write(tmp_path / "plain", params, weights))
    _same(Transformer.from_folder(folder)(TOKENS), plain(TOKENS))


def test_one_dtype_is_made_of_several(tmp_path: Path) -> None:
    weights = tiny.random_weights(PARAMS)
    mixed = {n: w if w.dim() == 1 else w.bfloat16() for n, w in weights.items()}
    model = Transformer.from_folder(tiny.write(tmp_path, PARAMS, mixed))
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


# ── what transformers makes of a config.json ────────────────────────────────────────


def _changed(folder: Path, **changes: Any) -> Path:
    """`config.json` with other values; ... takes a key out."""
    path = folder / "config.json"
    values = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in values.items() if v is not ...}))
    return folder


@pytest.mark.parametrize(
    ("shape", "changes"),
    [
        (MOE, {"rope_parameters": ...}),
        ({}, {"rope_parameters": ...}),
        ({}, {"rope_parameters": ..., "rope_theta": 5e5}),
        ({}, {"rope_parameters": ..., "rope_theta": 1e4, "rope_scaling": None}),
        ({"n_heads": 8, "n_kv_heads": 8, "head_dim": 8}, {"num_key_value_heads": ...}),
        ({"head_dim": 16}, {"head_dim": ...}),
        ({}, {"sliding_window": 9}),
        ({}, {"layer_types": ...}),
    ],
    ids=str,
)
def test_what_a_config_leaves_out_means_what_it_means_there(
    tmp_path: Path, shape: dict[str, Any], changes: dict[str, Any]
) -> None:
    params = {**PARAMS, **shape}
    folder = _changed(hf.write(tmp_path, params, tiny.random_weights(params)), **changes)
    with torch.inference_mode():
        expected = hf.run(folder)(TOKENS).logits
    ours = Transformer.from_folder(folder)(TOKENS, last_only=False)
    assert (ours - expected).abs().max() < 1e-5 * expected.abs().max()


def test_a_missing_window_is_the_default_one(tmp_path: Path) -> None:
    folder = hf.write(tmp_path, PARAMS, tiny.random_weights(PARAMS))
    assert inspect_folder(folder, tokenizer=False).config.windows == (None,)
    _changed(folder, sliding_window=...)
    assert inspect_folder(folder, tokenizer=False).config.windows == (4096,)


@pytest.mark.parametrize("own_head", [False, True])
def test_a_tied_model_with_a_head_of_its_own(tmp_path: Path, own_head: bool) -> None:
    """transformers takes the head that is in the file, whatever the config says."""
    from safetensors.torch import load_file

    params = {**PARAMS, "tied_embeddings": True}
    folder = hf.write(tmp_path, params, tiny.random_weights(params))
    if own_head:
        state = load_file(folder / "model.safetensors")
        state["lm_head.weight"] = torch.randn(512, 64, generator=torch.Generator().manual_seed(9))
        save_file(state, str(folder / "model.safetensors"), {"format": "pt"})
    with torch.inference_mode():
        expected = hf.run(folder)(TOKENS).logits
    ours = Transformer.from_folder(folder)(TOKENS, last_only=False)
    assert (ours - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rope_scaling": {"rope_type": "linear", "factor": 2.0}}, "which differ"),
        ({"sliding_window": 9, "use_sliding_window": False}, "says not to use it"),
        ({"rope_parameters": {"rope_type": "llama3", "factor": 8.0}}, "scales positions by"),
        ({"quantization_config": {"quant_method": "awq"}}, "only fp8"),
        ({"attention_bias": True}, "attention_bias"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"q_lora_rank": 64}, "q_lora_rank"),
    ],
    ids=str,
)
def test_what_a_config_says_otherwise_is_refused_by_name(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    folder = _changed(hf.write(tmp_path, PARAMS, tiny.random_weights(PARAMS)), **changes)
    with pytest.raises(CheckpointError, match=words):
        inspect_folder(folder, tokenizer=False)


def test_ministral_3_without_its_positions_and_llama_with_a_window_are_refused(
    tmp_path: Path,
) -> None:
    folder = hf.write(tmp_path, PARAMS, tiny.random_weights(PARAMS))
    _changed(folder, architectures=["Ministral3ForCausalLM"], rope_parameters=...)
    with pytest.raises(CheckpointError, match='lacks "rope_parameters"'):
        inspect_folder(folder, tokenizer=False)
    _changed(folder, architectures=["LlamaForCausalLM"], sliding_window=7)
    with pytest.raises(CheckpointError, match="sliding_window"):
        inspect_folder(folder, tokenizer=False)


# ── memory ──────────────────────────────────────────────────────────────────────────

BIG = {
    **tiny.PARAMS,
    "dim": 1024,
    "n_layers": 16,
    "head_dim": 64,
    "hidden_dim": 4096,
    "n_heads": 16,
    "n_kv_heads": 4,
    "vocab_size": 32768,
}
# Peak and end of a load above what the imports take, in MB.
PROBE = """
import sys, torch
from inference.transformer import Transformer
import inference.checkpoint, inference.folder
def memory():
    lines = open("/proc/self/status").read().splitlines()
    names = ("VmHWM", "VmRSS")
    return {l[:5]: int(l.split()[1]) / 1e3 for l in lines if l.startswith(names)}
open("/proc/self/clear_refs", "w").write("5")
before = memory()["VmRSS"]
model = Transformer.from_folder(sys.argv[1], dtype=getattr(torch, sys.argv[2]))
size = sum(p.nbytes for p in model.parameters()) / 1e6
largest = max(p.nbytes for p in model.parameters()) / 1e6
print(memory()["VmHWM"] - before, size, largest)
"""


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model of 300 million weights in several forms."""
    place = tmp_path_factory.mktemp("big")
    weights = {n: w.bfloat16() for n, w in tiny.random_weights(BIG).items()}
    return {
        "native": tiny.write(place / "native", BIG, weights),
        "pth": tiny.write(place / "pth", BIG, weights, "pth"),
        "huggingface": hf.write(place / "hf", BIG, weights, shards=2),
    }


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("form", ["native", "pth", "huggingface"])
def test_loading_streams(big: dict[str, Path], form: str, dtype: str) -> None:
    """Nothing is in memory twice. The promise is 500 MB beside the model and its largest
    tensor; the file here is 600 MB, so that half of that is allowed."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(big[form]), dtype], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    peak, size, largest = map(float, done.stdout.split())
    print(f"{form} as {dtype}: peak {peak:.0f} MB, model {size:.0f} MB")
    assert peak < size + largest + 250
