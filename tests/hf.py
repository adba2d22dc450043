"""Hugging Face folders with our tiny models' weights, and transformers running them.

The mapping is written here anew, in the other direction, so that it can tell when ours is wrong.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file

Weights = dict[str, torch.Tensor]


def half_split(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Mistral's interleaved rotary rows in the order that Hugging Face expects."""
    rows, dim = weight.shape
    return weight.view(heads, rows // heads // 2, 2, dim).transpose(1, 2).reshape(rows, dim)


def config(params: dict[str, Any], architecture: str = "") -> transformers.PreTrainedConfig:
    """transformers' config of the same shape."""
    p = params
    window = p.get("sliding_window")
    name = architecture or (
        "Mixtral"
        if "moe" in p
        else "Ministral"
        if isinstance(window, list)
        else "Ministral3"
        if "llama_4_scaling" in p
        else "Mistral"
    )
    shape: dict[str, Any] = {
        "vocab_size": p["vocab_size"],
        "hidden_size": p["dim"],
        "intermediate_size": p["hidden_dim"],
        "num_hidden_layers": p["n_layers"],
        "num_attention_heads": p["n_heads"],
        "num_key_value_heads": p["n_kv_heads"],
        "head_dim": p["head_dim"],
        "rms_norm_eps": p["norm_eps"],
        "max_position_embeddings": p.get("max_position_embeddings", 32768),
        "tie_word_embeddings": p.get("tied_embeddings", False),
        "rope_parameters": _rope(p),
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    if name != "Llama":
        shape["sliding_window"] = window
    if isinstance(window, list):
        kinds = ["sliding_attention" if w else "full_attention" for w in window]
        shape["layer_types"] = [kinds[n % len(kinds)] for n in range(p["n_layers"])]
        shape["sliding_window"] = next(w for w in window if w)
    if "moe" in p:
        shape["num_local_experts"] = p["moe"]["num_experts"]
        shape["num_experts_per_tok"] = p["moe"]["num_experts_per_tok"]
    made = getattr(transformers, f"{name}Config")(**shape)
    made.architectures = [f"{name}ForCausalLM"]
    assert isinstance(made, transformers.PreTrainedConfig)
    return made


def _rope(p: dict[str, Any]) -> dict[str, Any]:
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": p["rope_theta"]}
    if yarn := p.get("yarn"):
        rope |= {
            "rope_type": "yarn",
            "factor": yarn["factor"],
            "original_max_position_embeddings": yarn["original_max_position_embeddings"],
            "beta_fast": yarn["beta"],
            "beta_slow": yarn["alpha"],
        }
        if not yarn["apply_scale"]:
            rope |= {"mscale": 1.0, "mscale_all_dim": 1.0}
    if scaling := p.get("llama_4_scaling"):
        rope["llama_4_scaling_beta"] = scaling["beta"]
    return rope


def names(params: dict[str, Any], weights: Weights) -> Weights:
    """The same weights under Hugging Face's names, q and k in its order."""
    inner = {
        "attention.wq": "self_attn.q_proj",
        "attention.wk": "self_attn.k_proj",
        "attention.wv": "self_attn.v_proj",
        "attention.wo": "self_attn.o_proj",
        "feed_forward.w1": "mlp.gate_proj",
        "feed_forward.w2": "mlp.down_proj",
        "feed_forward.w3": "mlp.up_proj",
        "attention_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
    }
    outer = {"tok_embeddings": "model.embed_tokens", "norm": "model.norm", "output": "lm_head"}
    state = {}
    for name, weight in weights.items():
        module = name.removesuffix(".weight")
        if module in outer:
            state[f"{outer[module]}.weight"] = weight.clone()
            continue
        _, number, ours = module.split(".", 2)
        theirs = inner.get(ours, ours.replace("feed_forward", "block_sparse_moe"))
        if ours == "attention.wq":
            weight = half_split(weight, params["n_heads"])
        if ours == "attention.wk":
            weight = half_split(weight, params["n_kv_heads"])
        state[f"model.layers.{number}.{theirs}.weight"] = weight.clone()
    return state


def write(
    folder: Path,
    params: dict[str, Any],
    weights: Weights,
    *,
    architecture: str = "",
    shards: int = 1,
) -> Path:
    """A Hugging Face folder: config.json and model.safetensors, or shards with their index."""
    folder.mkdir(parents=True, exist_ok=True)
    config(params, architecture).save_pretrained(folder)
    state = names(params, weights)
    if shards == 1:
        save_file(state, str(folder / "model.safetensors"), {"format": "pt"})
        return folder
    places = {}
    for n in range(shards):
        file = f"model-{n + 1:05}-of-{shards:05}.safetensors"
        part = dict(list(state.items())[n::shards])
        save_file(part, str(folder / file), {"format": "pt"})
        places |= dict.fromkeys(part, file)
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def run(folder: Path) -> transformers.PreTrainedModel:
    """transformers' own model of a folder, in fp32, its attention written out."""
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    return model.eval()
