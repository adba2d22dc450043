"""Small random checkpoints on disk, with mistral-common's real tokenizers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from safetensors.torch import save_file

from inference.config import ModelConfig

SPM = {
    "v1": "tokenizer.model.v1",
    "v2": "mistral_instruct_tokenizer_240216.model.v2",
    "v3": "mistral_instruct_tokenizer_240323.model.v3",
    "v7": "mistral_instruct_tokenizer_241114.model.v7",
}
TEKKEN = {"tekken-v3": "tekken_240911.json"}
EOS = 2
PARAMS: dict[str, Any] = {
    "dim": 64,
    "n_layers": 2,
    "head_dim": 16,
    "hidden_dim": 96,
    "n_heads": 4,
    "n_kv_heads": 2,
    "norm_eps": 1e-5,
    "vocab_size": 32768,
    "rope_theta": 1e6,
    "max_position_embeddings": 512,
}


def data_file(version: str) -> Path:
    """A tokenizer file that mistral-common ships."""
    return MistralTokenizer._data_path() / {**SPM, **TEKKEN}[version]


def random_weights(params: dict[str, Any], seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights of a size that keeps activations alive and logits apart."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in ModelConfig.from_params(params).tensor_shapes().items():
        noise = torch.randn(shape, generator=generator)
        if len(shape) == 1:
            weights[name] = 1 + 0.1 * noise
        else:
            weights[name] = noise * (1.0 if name.startswith("tok_") else shape[1] ** -0.5)
    return weights


def write(
    folder: Path, params: dict[str, Any], weights: dict[str, torch.Tensor], how: str = "native"
) -> Path:
    """`params.json` and the weights: `native`, `shards`, `2023` (all experts in one), or `pth`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.json").write_text(json.dumps(params))
    if how == "pth":
        torch.save(weights, folder / "consolidated.00.pth")
        return folder
    if how == "2023":
        weights = _december_2023(params, weights)
    parts = 3 if how == "shards" else 1
    for n in range(parts):
        name = f"consolidated-{n + 1:05}-of-{parts:05}" if parts > 1 else "consolidated"
        save_file(dict(list(weights.items())[n::parts]), str(folder / f"{name}.safetensors"))
    return folder


def _december_2023(
    params: dict[str, Any], weights: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """The first Mixtral files' form: (E·F, D) for each matrix of all experts."""
    packed = {name: w for name, w in weights.items() if ".feed_forward." not in name}
    for n in range(params["n_layers"]):
        place = f"layers.{n}.block_sparse_moe"
        packed[f"{place}.gate.weight"] = weights[f"layers.{n}.feed_forward.gate.weight"]
        for matrix in ("w1", "w2", "w3"):
            experts = [
                weights[f"layers.{n}.feed_forward.experts.{e}.{matrix}.weight"]
                for e in range(params["moe"]["num_experts"])
            ]
            rows = [w.t() if matrix == "w2" else w for w in experts]
            packed[f"{place}.{matrix}"] = torch.cat(rows).contiguous()
    return packed


def make(
    folder: Path,
    *,
    tokenizer: str = "v3",
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    layout: str = "native",
    endless: bool = False,
    **changes: Any,
) -> Path:
    """A whole Mistral-native model folder. `endless`: EOS has a logit of 0."""
    params = {**PARAMS, **changes}
    if tokenizer == "v1":
        params["vocab_size"] = 32000
    if tokenizer in TEKKEN:
        params["vocab_size"] = 131072
    weights = {name: w.to(dtype) for name, w in random_weights(params, seed).items()}
    if endless:
        weights["output.weight"][EOS] = 0
    write(folder, params, weights, layout)
    target = "tekken.json" if tokenizer in TEKKEN else f"tokenizer.model.{tokenizer}"
    shutil.copy(data_file(tokenizer), folder / target)
    return folder
