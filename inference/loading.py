"""A model's name → a ready `Engine`: folder, device, dtype, threads, model card."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable

import torch

from inference import starter
from inference.adapter import inspect_adapter
from inference.api import ModelCard, SamplingParams, Shape
from inference.attention import pick_backend
from inference.engine import Engine
from inference.errors import CheckpointError, SettingError
from inference.files import expanded, sentences
from inference.folder import ModelFolder, inspect_folder
from inference.tokenizer import Tokenizer
from inference.transformer import Transformer

Progress = Callable[[str, int, int], None]

_DTYPES = {
    "bfloat16": torch.bfloat16,
    "bf16": torch.bfloat16,
    "float16": torch.float16,
    "fp16": torch.float16,
    "float32": torch.float32,
    "fp32": torch.float32,
}
_MOST_THREADS = 1024


@sentences()
def load_engine(
    model: str,
    *,
    device: str = "auto",
    dtype: str = "auto",
    threads: int | None = None,
    attention: str = "auto",
    lora: str = "",
    fetch: bool = False,
    source: str = "",
    progress: Progress = lambda stage, done, total: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Engine:
    """Load `model` (a folder, or `starter`).

    Args:
        device: auto, cpu, cuda, cuda:N or mps.
        dtype: auto (the file's), bfloat16, float16 or float32.
        threads: CPU threads; None leaves one core free.
        attention: auto, sdpa or xformers.
        lora: an adapter's file or folder, to be attached; "" is none.
        fetch, source: whether and from where the starter may be obtained.
        progress: called with (stage, bytes done, bytes in all).

    Raises:
        InferenceError: one sentence.
    """
    target = pick_device(device)
    wanted = pick_dtype(dtype)
    pick_backend(attention, target, wanted or torch.bfloat16)  # before the weights are read
    used_threads = _set_threads(threads)
    is_starter = model == starter.NAME
    if is_starter:
        folder = starter.ensure(progress, fetch=fetch, source=source or None, cancelled=cancelled)
    else:
        folder = expanded(model)
    found = inspect_folder(folder)
    if lora:
        # Before minutes are spent on the weights.
        inspect_adapter(expanded(lora), found.config)
    folder = folder.resolve()
    progress("opening", 0, 0)
    # The tokenizer first: a folder that lacks it should not make the user wait for weights.
    tokenizer = Tokenizer.from_folder(folder, found.config.vocab_size)
    weights = Transformer.from_folder(
        folder,
        device=target,
        dtype=wanted,
        attention=attention,
        progress=lambda done, total: progress("reading weights", done, total),
    )
    config = weights.config
    if tokenizer.n_words > config.vocab_size:
        raise CheckpointError(
            f"The tokenizer in {folder} has {tokenizer.n_words:,} tokens and the model only "
            f"{config.vocab_size:,}; they do not belong together."
        )
    notes = [*found.notes, tokenizer.note]
    if lora:
        notes.append(weights.load_lora(lora, merge=False).note)
    tokenizer.fingerprint = f"{fingerprint(found)}-{tokenizer.fingerprint}"
    if weights.adapter:
        tokenizer.fingerprint += f"-{weights.adapter}"
    if config.vision:
        notes.append("The model's vision part was left aside: this version reads no images.")
    capabilities = ["instruct"]
    if tokenizer.has_fim:
        capabilities.append("fim")
    if tokenizer.has_tools:
        capabilities.append("tools")
    if tokenizer.has_thinking:
        capabilities.append("thinking")
    known_starter = is_starter or (folder / "starter.json").is_file()
    card = ModelCard(
        name=starter.MODEL if known_starter else folder.name,
        path=str(folder),
        shape=Shape(
            dim=config.dim,
            n_layers=config.n_layers,
            n_heads=config.n_heads,
            n_kv_heads=config.n_kv_heads,
            vocab_size=config.vocab_size,
            n_params=weights.n_params,
            n_active_params=config.n_active_params,
        ),
        dtype=str(weights.dtype).removeprefix("torch."),
        device=str(weights.device),
        threads=used_threads,
        context=config.max_position_embeddings,
        capabilities=tuple(capabilities),
        fingerprint=tokenizer.fingerprint,
        tokenizer=tokenizer.label,
        sampling=starter.SAMPLING if known_starter else SamplingParams(),
        notice=starter.NOTICE if known_starter else "",
        attention=weights.attention,
        adapter=str(expanded(lora).resolve()) if lora else "",
        notes=tuple(note for note in notes if note),
    )
    return Engine(weights, tokenizer, card)


def pick_device(name: str) -> torch.device:
    """`auto` is the first of CUDA, MPS and CPU that torch can use.

    Raises:
        SettingError: a device that torch does not have here.
    """
    has_cuda, has_mps = torch.cuda.is_available(), torch.backends.mps.is_available()
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


def _set_threads(threads: int | None) -> int:
    """Set torch's CPU threads. By default one core is left to everything else: with all
    of them taken, any other busy process stalls every parallel region."""
    if threads is not None and not 1 <= threads <= _MOST_THREADS:
        raise SettingError(f"The setting threads is {threads}; it must be 1 to {_MOST_THREADS}.")
    affinity = getattr(os, "sched_getaffinity", None)
    available = len(affinity(0)) if affinity else os.cpu_count() or 1
    count = threads or max(1, min(available - 1, 16))
    torch.set_num_threads(count)
    return count


def fingerprint(folder: ModelFolder) -> str:
    """A short digest of a model: its shape's file and the header, size and samples of its
    weights. Reading all of a large model for it would take minutes."""
    shape = "params.json" if folder.layout == "mistral" else "config.json"
    digest = hashlib.sha256((folder.path / shape).read_bytes())
    for path in folder.files:
        size = path.stat().st_size
        digest.update(str(size).encode())
        with path.open("rb") as file:
            header = int.from_bytes(file.read(8), "little")
            digest.update(file.read(min(header, 16 << 20)))
            for n in range(64):
                file.seek(n * max(0, size - 4096) // 63)
                digest.update(file.read(4096))
    return digest.hexdigest()[:16]
