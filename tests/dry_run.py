"""Fake tensors on a CUDA device that is not there, and a guard over them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch.utils._python_dispatch import TorchDispatchMode

from inference.adapter import Adapter
from inference.linear import LoraPair
from inference.transformer import Transformer

MOE = {"moe": {"num_experts": 4, "num_experts_per_tok": 2}}
YARN = {
    "factor": 4.0,
    "original_max_position_embeddings": 64,
    "beta": 32.0,
    "alpha": 1.0,
    "apply_scale": True,
}
CASES: dict[str, dict[str, Any]] = {
    "dense": {},
    "tied": {"tied_embeddings": True},
    "moe": MOE,
    "window": {"sliding_window": 16},
    "windows by layer": {"sliding_window": [16, None]},
    "yarn": {
        "yarn": YARN,
        "llama_4_scaling": {"original_max_position_embeddings": 64, "beta": 0.1},
    },
    "lora": {},
    "moe with lora": MOE,
    "lora, merged": {},
    # Merged into a stack of experts is beyond it: fake tensors refuse writes into a part.
}
_SYNCS = {
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.item.default,
    torch.ops.aten.is_nonzero.default,
    torch.ops.aten.masked_select.default,
    torch.ops.aten.unique_consecutive.default,
}


class NoCrossing(TorchDispatchMode):
    """Fails on a copy between devices and on anything that makes the host wait."""

    def __init__(self) -> None:
        super().__init__()
        self.armed = False
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.armed:
            self.count += 1
            assert func not in _SYNCS, f"{func} waits for the device"
            if func is torch.ops.aten._to_copy.default:
                target = (kwargs or {}).get("device")
                assert target is None or torch.device(target).type == args[0].device.type
            devices = {a.device.type for a in args if isinstance(a, torch.Tensor) and a.dim()}
            assert devices <= {"cuda"}, f"{func} on {devices}"
        return func(*args, **(kwargs or {}))


def fill(model: Transformer, dtype: torch.dtype) -> None:
    """Give a model that is on the meta device fake weights on CUDA."""
    device = torch.device("cuda")
    for mixture in model.mixtures():
        mixture.stack(device, dtype)
    for module in model.modules():
        for name, weight in module.named_parameters(recurse=False):
            if weight.is_meta:
                empty = torch.empty(weight.shape, dtype=dtype, device=device)
                setattr(module, name, torch.nn.Parameter(empty, requires_grad=False))


def write_adapter(path: Path, model: Transformer) -> Path:
    """One on every linear layer, of rank 8."""
    pairs = {}
    for name, n_in, n_out in model.config.linears():
        pairs[f"{name}.lora_A.weight"] = torch.ones(8, n_in)
        pairs[f"{name}.lora_B.weight"] = torch.ones(n_out, 8)
    save_file(pairs, str(path))
    return path


def read_adapter(adapter: Adapter, model: Transformer) -> dict[str, LoraPair]:
    """What the model would read of it, without a file: fake tensors have no place in one."""
    share, pairs = model.share, {}
    for name, n_in, n_out in model.config.linears():
        cut = share.cut(f"{name}.weight")
        if cut is None:
            continue
        sizes = [n_out, n_in]
        if cut.part is not None:
            sizes[cut.dim] = cut.part.count
        a, b = (
            torch.empty(shape, dtype=model.dtype, device=model.device)
            for shape in ((8, sizes[1]), (sizes[0], 8))
        )
        pairs[name] = LoraPair(a, b, adapter.scaling)
    return pairs
