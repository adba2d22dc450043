"""LoRA adapters on a loaded model: attached beside the weights, or merged into them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from inference.adapter import Adapter, inspect_adapter
from inference.errors import CheckpointError
from inference.files import sentences
from inference.linear import Linear, LoraPair
from inference.transformer import Transformer


@sentences()
def load_lora(
    model: Transformer, path: Path, *, scaling: float | None = None, merge: bool = True
) -> Adapter:
    """See `Transformer.load_lora`."""
    adapter = inspect_adapter(path, model.config, scaling=scaling)
    pairs = _read(adapter, model)  # all of it, before anything changes
    remove_lora(model)
    stacked = model.stacked_modules()
    for name, pair in pairs.items():
        module = cast(Linear, model.get_submodule(name))
        if not merge:
            module.lora = pair
            continue
        weight = module.weight.detach()
        # What was there is kept in the host's memory: for a mapped weight that costs nothing.
        model.unmerged[name] = weight.to("cpu", copy=module in stacked)
        # W + scaling · B A, computed in fp32.
        delta = pair.b.float() @ pair.a.float()
        merged = torch.add(weight.float(), delta, alpha=pair.scaling).to(weight.dtype)
        _set_weight(module, merged, in_place=module in stacked)
    for mixture in model.mixtures():
        mixture.lora_changed()
    model.adapter = _digest(adapter.file, adapter.scaling)
    return adapter


def remove_lora(model: Transformer) -> None:
    """See `Transformer.remove_lora`."""
    stacked = model.stacked_modules()
    for name, weight in model.unmerged.items():
        module = cast(Linear, model.get_submodule(name))
        _set_weight(module, weight, in_place=module in stacked)
    model.unmerged.clear()
    for each in model.modules():
        if isinstance(each, Linear):
            each.lora = None
    for mixture in model.mixtures():
        mixture.lora_changed()
    model.adapter = ""


def _set_weight(module: Linear, weight: Tensor, *, in_place: bool) -> None:
    if in_place:
        module.weight.detach().copy_(weight)
    else:
        module.weight = nn.Parameter(weight.to(module.weight.device), requires_grad=False)


def _read(adapter: Adapter, model: Transformer) -> dict[str, LoraPair]:
    pairs = {}
    try:
        with safe_open(str(adapter.file), framework="pt", device="cpu") as file:
            for name in adapter.modules:
                cut = model.share.cut(f"{name}.weight")
                if cut is None:
                    continue
                a: Tensor = file.get_tensor(f"{name}.lora_A.weight")
                b: Tensor = file.get_tensor(f"{name}.lora_B.weight")
                if cut.part is not None:  # of B the rows, or of A the columns, of the weight
                    if cut.dim:
                        a = a.narrow(1, cut.part.first, cut.part.count)
                    else:
                        b = b.narrow(0, cut.part.first, cut.part.count)
                a, b = (
                    t.to(device=model.device, dtype=model.dtype, copy=True).contiguous()
                    for t in (a, b)
                )
                pairs[name] = LoraPair(a, b, adapter.scaling)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"The adapter {adapter.file} cannot be read ({error}).") from None
    return pairs


def _digest(file: Path, scaling: float) -> str:
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256")
    digest.update(repr(scaling).encode())
    return digest.hexdigest()[:16]
