"""Small models of every kind, for one process and for several ranks to compute the same with."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

import hf
import tiny

# Heads and KV heads that 2, 3 and 4 ranks can share.
SHAPE: dict[str, Any] = {
    **tiny.PARAMS,
    "vocab_size": 512,
    "n_layers": 2,
    "head_dim": 8,
    "n_heads": 24,
    "n_kv_heads": 12,
}
MOE = {"moe": {"num_experts": 6, "num_experts_per_tok": 2}}
YARN = {
    "factor": 4.0,
    "original_max_position_embeddings": 16,
    "beta": 4.0,
    "alpha": 1.0,
    "apply_scale": True,
}
FP8 = {"quantization": {"qformat_weight": "fp8_e4m3", "qscheme_act": "TENSOR"}}
DENSE_LAYERS = tuple(f"attention.w{x}" for x in "qkvo") + tuple(f"feed_forward.w{n}" for n in "123")
MOE_LAYERS = (
    "attention.wq",
    "attention.wo",
    "feed_forward.gate",
    "feed_forward.experts.1.w1",
    "feed_forward.experts.1.w2",
    "feed_forward.experts.4.w3",
)
Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Case:
    """A model, and how it is loaded. `form` is a form of file; `modes` how 2, 3 and 4 ranks
    share it."""

    changes: dict[str, Any]
    form: str = "native"
    how: str = "auto"
    dtype: torch.dtype = torch.float32
    lora: str = ""
    stacked: bool = False
    """Experts in one tensor, as on CUDA."""
    modes: tuple[str, str, str] = ("tensor", "tensor", "tensor")
    thorough: bool = False

    @property
    def params(self) -> dict[str, Any]:
        return {**SHAPE, **self.changes}

    @property
    def merge(self) -> bool:
        return self.lora == "merged"


def _pipeline(form: str = "native", **more: Any) -> Case:
    """A case of a number of layers that 2, 3 and 4 ranks cannot share evenly."""
    kind = {k: more.pop(k) for k in ("dtype", "lora", "thorough") if k in more}
    return Case({"n_layers": 5, **more}, form, how="pipeline", modes=PIPELINE, **kind)


PIPELINE = ("pipeline", "pipeline", "pipeline")
CASES: dict[str, Case] = {
    "dense": Case({}, thorough=True),
    "dense, pipeline": _pipeline(thorough=True),
    "shards": Case({}, "shards"),
    "pth": Case({}, "pth"),
    "pth, pipeline": _pipeline("pth"),
    "hugging face": Case({}, "hf"),
    "hugging face, pipeline": _pipeline("hf"),
    "fp8": Case(FP8, "fp8"),
    "fp8, pipeline": _pipeline("fp8", **FP8),
    "tied": Case({"tied_embeddings": True}),
    "tied, pipeline": _pipeline(tied_embeddings=True),
    "window": Case({"sliding_window": 7}, thorough=True),
    "windows by layer": Case({"sliding_window": [7, None]}),
    "windows by layer, pipeline": _pipeline(sliding_window=[7, None, 7]),
    "yarn": Case(
        {
            "yarn": YARN,
            "llama_4_scaling": {"original_max_position_embeddings": 16, "beta": 0.1},
        }
    ),
    "odd vocabulary": Case({"vocab_size": 509}),
    "uneven hidden": Case({"hidden_dim": 104}),
    "odd hidden": Case({"hidden_dim": 97, "vocab_size": 511}),
    "one KV head": Case({"n_heads": 12, "n_kv_heads": 1}),
    "one KV head, hugging face": Case({"n_heads": 12, "n_kv_heads": 1}, "hf"),
    "two KV heads": Case(
        {"n_layers": 5, "n_heads": 12, "n_kv_heads": 2}, modes=("tensor", "pipeline", "tensor")
    ),
    "odd heads": Case({"n_layers": 5, "n_heads": 5, "n_kv_heads": 5}, modes=PIPELINE),
    "moe": Case(MOE, thorough=True),
    "moe, pipeline": _pipeline(**MOE),
    "moe, stacked": Case(MOE, stacked=True),
    "moe of 2023": Case(MOE, "2023"),
    "moe, hugging face": Case(MOE, "hf"),
    "moe, fused": Case(MOE, "fused"),
    "moe, fused and stacked": Case(MOE, "fused", stacked=True),
    "lora beside": Case({}, lora="beside"),
    "lora merged": Case({}, lora="merged"),
    "lora merged, pipeline": _pipeline(lora="merged"),
    "lora, more ranks than KV heads": Case({"n_heads": 12, "n_kv_heads": 1}, lora="beside"),
    "moe, lora beside": Case(MOE, lora="beside"),
    "moe, lora merged": Case(MOE, lora="merged"),
    "moe, stacked, lora beside": Case(MOE, lora="beside", stacked=True),
    "moe, stacked, lora merged": Case(MOE, lora="merged", stacked=True),
    "bf16": Case({}, dtype=torch.bfloat16),
    "bf16, pipeline": _pipeline(dtype=torch.bfloat16),
}


ONLY_WITH_FEW = {
    *("shards", "pth", "pth, pipeline", "hugging face, pipeline", "fp8, pipeline", "window"),
    *("tied, pipeline", "windows by layer", "moe of 2023", "moe, hugging face", "moe, stacked"),
    *("moe, fused and stacked", "lora merged", "moe, lora beside", "moe, stacked, lora merged"),
}
"""Left out with 4 ranks, which are slow on two cores: files and forms, in which 4 are no other than
3."""


def chosen(ranks: int) -> dict[str, Case]:
    """The cases for so many ranks."""
    return {n: case for n, case in CASES.items() if ranks < 4 or n not in ONLY_WITH_FEW}


def write(folder: Path, case: Case) -> Path:
    """The files of a case, the adapter in its folder `lora`."""
    params, form = case.params, case.form
    weights = tiny.random_weights(params)
    if form == "hf":
        hf.write(folder, params, weights)
    elif form == "fused":
        _fused(hf.write(folder, params, weights), params, weights)
    elif form == "fp8":
        tiny.write(folder, params, quantized(weights))
    else:
        dtype = case.dtype
        tiny.write(folder, params, {n: w.to(dtype) for n, w in weights.items()}, form)
    if case.lora:
        adapter(folder / "lora", params, weights)
    return folder


def write_engine(folder: Path) -> Path:
    """A model with a tokenizer. Its answers do not end, and its logits are far apart: among
    thousands of tokens that are equally likely rounding would decide which one is drawn."""
    params = {**SHAPE, "vocab_size": tiny.PARAMS["vocab_size"]}
    weights = tiny.random_weights(params)
    weights["output.weight"] *= 8
    weights["output.weight"][tiny.EOS] = 0
    tiny.write(folder, params, weights)
    shutil.copy(tiny.data_file("v3"), folder / "tokenizer.model.v3")
    return folder


def adapter(folder: Path, params: dict[str, Any], weights: Weights) -> Path:
    """A LoRA on every layer of the model, of rank 4."""
    generator = torch.Generator().manual_seed(5)
    pairs = {}
    for n in range(params["n_layers"]):
        for layer in MOE_LAYERS if "moe" in params else DENSE_LAYERS:
            n_out, n_in = weights[f"layers.{n}.{layer}.weight"].shape
            name = f"layers.{n}.{layer}"
            pairs[f"{name}.lora_A.weight"] = torch.randn(4, n_in, generator=generator) * 0.1
            pairs[f"{name}.lora_B.weight"] = torch.randn(n_out, 4, generator=generator) * 0.1
    folder.mkdir(parents=True)
    save_file(pairs, str(folder / "lora.safetensors"))
    lora = {"enable": True, "rank": 4, "dropout": 0.0, "scaling": 1.5}
    (folder / "params.json").write_text(json.dumps({**params, "lora": lora}))
    return folder


def quantized(weights: Weights) -> Weights:
    """Each layer's linears as fp8 with one scale."""
    stored = {}
    for name, weight in weights.items():
        stored[name] = weight.bfloat16()
        if "layers." in name and weight.dim() == 2:
            scale = (weight.abs().max() / 448).bfloat16()
            stored[name] = (weight / scale.float()).to(torch.float8_e4m3fn)
            stored[name.removesuffix("weight") + "qscale_weight"] = scale
    return stored


def _fused(folder: Path, params: dict[str, Any], weights: Weights) -> None:
    """transformers 5's form: a layer's experts in two tensors."""
    names = hf.names(params, weights)
    state = {k: w for k, w in names.items() if "block_sparse_moe" not in k}
    for n in range(params["n_layers"]):
        feed = f"layers.{n}.feed_forward"
        experts = [f"{feed}.experts.{e}" for e in range(params["moe"]["num_experts"])]
        up = [torch.cat([weights[f"{e}.w1.weight"], weights[f"{e}.w3.weight"]]) for e in experts]
        place = f"model.layers.{n}.mlp"
        state[f"{place}.gate.weight"] = weights[f"{feed}.gate.weight"]
        state[f"{place}.experts.gate_up_proj"] = torch.stack(up)
        down = [weights[f"{e}.w2.weight"] for e in experts]
        state[f"{place}.experts.down_proj"] = torch.stack(down)
    save_file(state, str(folder / "model.safetensors"))
