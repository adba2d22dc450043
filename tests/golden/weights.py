"""The weights that the golden values belong to: remade by whoever needs them, not stored.

numpy's legacy generator is frozen, and only its uniform doubles are used here: what `make`
returns is the same, bit for bit, wherever and with whatever numpy it runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

Shapes = dict[str, tuple[int, ...]]


def shapes(params: Mapping[str, Any]) -> Shapes:
    """Every tensor of a checkpoint in Mistral's native layout, from its `params.json`."""
    dim, vocab = params["dim"], params["vocab_size"]
    experts = params["moe"]["num_experts"] if "moe" in params else 0
    found: Shapes = {"tok_embeddings.weight": (vocab, dim)}
    for n in range(params["n_layers"]):
        found[f"layers.{n}.attention_norm.weight"] = (dim,)
        found[f"layers.{n}.ffn_norm.weight"] = (dim,)
        if experts:
            found[f"layers.{n}.feed_forward.gate.weight"] = (experts, dim)
    found |= {f"{name}.weight": shape for name, shape in linears(params).items()}
    return found | {"norm.weight": (dim,), "output.weight": (vocab, dim)}


def linears(params: Mapping[str, Any]) -> Shapes:
    """The layers that an adapter may change, as module name → (outputs, inputs)."""
    dim, hidden = params["dim"], params["hidden_dim"]
    q, kv = (params[key] * params["head_dim"] for key in ("n_heads", "n_kv_heads"))
    experts = params["moe"]["num_experts"] if "moe" in params else 0
    found: Shapes = {}
    for n in range(params["n_layers"]):
        attention = {"wq": (q, dim), "wk": (kv, dim), "wv": (kv, dim), "wo": (dim, q)}
        found |= {f"layers.{n}.attention.{name}": shape for name, shape in attention.items()}
        for place in [f"experts.{e}." for e in range(experts)] or [""]:
            swiglu = {"w1": (hidden, dim), "w2": (dim, hidden), "w3": (hidden, dim)}
            found |= {f"layers.{n}.feed_forward.{place}{w}": s for w, s in swiglu.items()}
    return found


def lora_shapes(params: Mapping[str, Any], rank: int, targets: Iterable[str]) -> Shapes:
    """An adapter as mistral-finetune names it, on the layers called one of `targets`."""
    found: Shapes = {}
    for name, (n_out, n_in) in linears(params).items():
        if name.rpartition(".")[2] in set(targets):
            found[f"{name}.lora_A.weight"] = (rank, n_in)
            found[f"{name}.lora_B.weight"] = (n_out, rank)
    return found


def make(shapes: Shapes, seed: int) -> dict[str, np.ndarray]:
    """Weights in fp32 of a size that keeps activations alive and logits apart."""
    random = np.random.RandomState(seed)
    weights = {}
    for name, shape in shapes.items():
        noise = random.random_sample(shape) * 2 - 1
        if len(shape) == 1:
            weight = 1 + noise / 2
        else:  # of variance 1 / inputs; embeddings of variance 1
            weight = noise * np.sqrt(3 / (1 if name.startswith("tok_") else shape[1]))
        if ".lora_" in name:  # an adapter as large as the base sharpens attention until
            weight = weight / 2  # fp32's rounding shows
        weights[name] = weight.astype(np.float32)
    return weights
