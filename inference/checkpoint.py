"""Weights on disk → the model's parameters, memory-mapped, checked tensor by tensor."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from inference.config import ModelConfig
from inference.errors import CheckpointError

WEIGHTS = "consolidated.safetensors"
_TOUCH_BYTES = 64 << 20


def check_folder(folder: Path) -> None:
    """One sentence for a path that cannot be a model folder.

    Raises:
        CheckpointError: missing, a file, empty, or unreadable.
    """
    if not folder.exists():
        raise CheckpointError(
            f"{folder} does not exist; give the folder of a model, or `starter` for the demo model."
        )
    if not folder.is_dir():
        raise CheckpointError(
            f"{folder} is a file; give the folder that holds params.json and the weights."
        )
    try:
        if not any(folder.iterdir()):
            raise CheckpointError(f"{folder} is empty; it should hold params.json and the weights.")
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be read: {error.strerror}.") from None


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
    if not path.is_file():
        raise CheckpointError(f"{folder} has no {WEIGHTS}; its weights are missing.")
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            _check_tensors(file, config.tensor_shapes(), path)
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


def _check_tensors(file: Any, expected: dict[str, tuple[int, ...]], path: Path) -> None:
    found = set(file.keys())
    problems = []
    if missing := sorted(expected.keys() - found):
        problems.append(f"lacks {_some(missing)}")
    if extra := sorted(found - expected.keys()):
        problems.append(f"has unexpected {_some(extra)}")
    wrong = []
    for name in sorted(found & expected.keys()):
        part = file.get_slice(name)
        shape = tuple(part.get_shape())
        if shape != expected[name]:
            wrong.append(f"{name} is {shape} where params.json implies {expected[name]}")
        elif part.get_dtype() not in ("BF16", "F16", "F32"):
            wrong.append(f"{name} has dtype {part.get_dtype()}, which this version cannot read")
    if wrong:
        problems.append(_some(wrong, "; "))
    if problems:
        raise CheckpointError(f"{path} does not fit its params.json: it {', and '.join(problems)}.")


def _some(names: list[str], joint: str = ", ", most: int = 4) -> str:
    """The first few of many names, and how many more."""
    more = f"{joint}and {len(names) - most} more" if len(names) > most else ""
    return joint.join(names[:most]) + more


def _touch(tensor: Tensor) -> Iterable[int]:
    """Read one byte of every page of a mapped tensor; yields the bytes passed so far."""
    flat = tensor.reshape(-1).view(torch.uint8)
    for start in range(0, flat.numel(), _TOUCH_BYTES):
        part = flat[start : start + _TOUCH_BYTES]
        part[::4096].sum()
        yield start + part.numel()
