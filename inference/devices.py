"""Where and in what a model computes: device, dtype, threads."""

from __future__ import annotations

import os

import torch

from inference.errors import SettingError
from inference.parallel.ranks import ALONE, Ranks

_DTYPES = {
    "bfloat16": torch.bfloat16,
    "bf16": torch.bfloat16,
    "float16": torch.float16,
    "fp16": torch.float16,
    "float32": torch.float32,
    "fp32": torch.float32,
}
_MOST_THREADS = 1024


def pick_device(name: str, ranks: Ranks = ALONE) -> torch.device:
    """`auto` is the first of CUDA, MPS and CPU that torch can use. Several ranks have a GPU each,
    or share the CPU; those that torchrun started take it by themselves where there is no GPU.

    Raises:
        SettingError: a device that torch does not have here, or not for all ranks.
    """
    has_cuda, has_mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if ranks.world > 1:
        return _device_of(name, ranks, torch.cuda.device_count() if has_cuda else 0)
    if name == "auto":
        return torch.device("cuda" if has_cuda else "mps" if has_mps else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise SettingError(
            f"The device {name!r} is not known; use auto, cpu, cuda, cuda:N or mps."
        ) from None
    usable = {"cpu": True, "cuda": has_cuda, "mps": has_mps}
    if not usable.get(device.type, False):
        raise SettingError(f"The device {name!r} is not available to torch here; try --device cpu.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SettingError(f"There is no {name}; torch sees {torch.cuda.device_count()} GPU(s).")
    return device


def _device_of(name: str, ranks: Ranks, gpus: int) -> torch.device:
    """The device of one of several ranks."""
    if name == "cpu" or (name == "auto" and not gpus and ranks.torchrun):
        return torch.device("cpu")
    if name not in ("auto", "cuda"):
        raise SettingError(
            f"The device {name!r} cannot be had by {ranks.world} ranks; use auto, cuda (a GPU "
            "each) or cpu."
        )
    if gpus < ranks.local_world:
        seen = f"only {gpus}" if gpus else "none"
        raise SettingError(
            f"{ranks.local_world} ranks take a GPU each, and torch sees {seen} here; start fewer, "
            "or let them share the CPU with --device cpu."
        )
    return torch.device("cuda", ranks.local_rank)


def pick_dtype(name: str) -> torch.dtype | None:
    """None for `auto`: the dtype of the file.

    Raises:
        SettingError: an unknown name.
    """
    if name == "auto":
        return None
    if name not in _DTYPES:
        raise SettingError(
            f"The dtype {name!r} is not known; use auto, bfloat16, float16 or float32."
        )
    return _DTYPES[name]


def set_threads(threads: int | None, processes: int = 1) -> int:
    """Set torch's CPU threads. By default one core is left to everything else: with all
    of them taken, any other busy process stalls every parallel region. Of the others each of
    so many `processes` gets its share."""
    if threads is not None and not 1 <= threads <= _MOST_THREADS:
        raise SettingError(f"The setting threads is {threads}; it must be 1 to {_MOST_THREADS}.")
    affinity = getattr(os, "sched_getaffinity", None)
    available = len(affinity(0)) if affinity else os.cpu_count() or 1
    count = threads or max(1, min((available - 1) // processes, 16))
    torch.set_num_threads(count)
    return count
