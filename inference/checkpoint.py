"""Weights on disk → the model's parameters, memory-mapped, checked tensor by tensor."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from inference.config import ModelConfig
from inference.errors import CheckpointError
from inference.folder import WEIGHTS, check_weights

_TOUCH_BYTES = 64 << 20


def load_weights(
    model: nn.Module,
    folder: Path,
    *,
    device: torch.device,
    dtype: torch.dtype | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Fill a model that was built on the meta device from `folder/consolidated.safetensors`.

    Tensors are assigned as views of the mapped file where device and dtype allow, and
    read through once, so that the first token does not wait for the disk.

    Raises:
        CheckpointError: names every missing, extra or misshaped tensor.
    """
    config = model.config
    assert isinstance(config, ModelConfig)
    path = folder / WEIGHTS
    check_weights(path, config)
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            total = path.stat().st_size
            done = 0
            state: dict[str, Tensor] = {}
            uniform = dtype or file.get_tensor("tok_embeddings.weight").dtype
            for name in file.offset_keys():  # in the order of the file, for the disk's sake
                tensor = file.get_tensor(name)
                size = tensor.numel() * tensor.element_size()
                if tensor.device == device and tensor.dtype is uniform:
                    for read in _touch(tensor):
                        if progress:
                            progress(done + read, total)
                else:
                    tensor = tensor.to(device=device, dtype=uniform)
                state[name] = tensor
                done += size
                if progress:
                    progress(done, total)
            if progress:
                progress(total, total)
    except SafetensorError as error:
        raise CheckpointError(
            f"{path} is damaged or incomplete ({error}); fetch the file again."
        ) from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}.") from None
    model.load_state_dict(state, strict=True, assign=True)
    for parameter in model.parameters():
        parameter.requires_grad_(False)


def _touch(tensor: Tensor) -> Iterable[int]:
    """Read one byte of every page of a mapped tensor; yields the bytes passed so far."""
    flat = tensor.reshape(-1).view(torch.uint8)
    for start in range(0, flat.numel(), _TOUCH_BYTES):
        part = flat[start : start + _TOUCH_BYTES]
        part[::4096].sum()
        yield start + part.numel()
