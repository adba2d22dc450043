"""A model's name → a ready `Engine`: folder, device, dtype, threads, model card."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch

from inference import starter
from inference.adapter import inspect_adapter
from inference.api import ModelCard, SamplingParams, Shape
from inference.attention import pick_backend
from inference.devices import pick_device, pick_dtype, set_threads
from inference.engine import Engine
from inference.errors import CheckpointError
from inference.files import expanded, sentences
from inference.folder import ModelFolder, inspect_folder
from inference.parallel import plan, team
from inference.parallel.lifeline import Loss
from inference.parallel.ranks import ALONE, from_environment
from inference.tokenizer import Tokenizer
from inference.transformer import Transformer

Progress = Callable[[str, int, int], None]


@sentences()
def load_engine(
    model: str,
    *,
    device: str = "auto",
    dtype: str = "auto",
    threads: int | None = None,
    attention: str = "auto",
    lora: str = "",
    parallel: str = "auto",
    fetch: bool = False,
    source: str = "",
    progress: Progress = lambda stage, done, total: None,
    cancelled: Callable[[], bool] = lambda: False,
    lost: Callable[[Loss], None] | None = None,
) -> Engine:
    """Load `model` (a folder, or `starter`).

    Args:
        device: auto, cpu, cuda, cuda:N or mps.
        dtype: auto (the file's), bfloat16, float16 or float32.
        threads: CPU threads; None leaves one core free.
        attention: auto, sdpa or xformers.
        lora: an adapter's file or folder, to be attached; "" is none.
        parallel: how several ranks share the model: auto, tensor or pipeline; none: they don't.
        fetch, source: whether and from where the starter may be obtained.
        progress: called with (stage, bytes done, bytes in all); may raise.
        lost: hears, in a thread, of a rank that is lost.

    Raises:
        InferenceError: one sentence.
    """
    ranks = from_environment() if parallel != "none" else ALONE
    target = pick_device(device, ranks)
    wanted = pick_dtype(dtype)
    pick_backend(attention, target, wanted or torch.bfloat16)  # before the weights are read
    used_threads = set_threads(threads, ranks.local_world)
    is_starter = model == starter.NAME
    if is_starter:
        folder = starter.ensure(progress, fetch=fetch, source=source or None, cancelled=cancelled)
    else:
        folder = expanded(model)
    found = inspect_folder(folder)
    if lora:
        # Before minutes are spent on the weights.
        inspect_adapter(expanded(lora), found.config)
    plan.plan(found.config, ranks.world, parallel if ranks.world > 1 else "auto")
    folder = folder.resolve()
    lead = None
    if ranks.world > 1:
        lead = team.leader(lost, lambda missing: progress(_waiting(missing), 0, 0))
    progress("opening", 0, 0)
    # The tokenizer first: a folder that lacks it should not make the user wait for weights.
    tokenizer = Tokenizer.from_folder(folder, found.config.vocab_size)
    at = (0, 0)

    def reading(done: int = 0, total: int = 0) -> None:
        nonlocal at
        at = (done, total) if total else at
        progress("reading weights", *at)

    if lead is not None:
        weights = lead.load(
            folder, device=target.type, dtype=wanted, attention=attention, parallel=parallel,
            threads=threads, progress=reading, waiting=reading,
        )  # fmt: skip
    else:
        weights = Transformer.load_share(
            found, device=target, dtype=wanted, attention=attention, progress=reading
        )
    config = weights.config
    if tokenizer.n_words > config.vocab_size:
        raise CheckpointError(
            f"The tokenizer in {folder} has {tokenizer.n_words:,} tokens and the model only "
            f"{config.vocab_size:,}; they do not belong together."
        )
    notes = [*found.notes, tokenizer.note, plan.note(config, ranks.world, parallel)]
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
            n_params=config.n_params,
            n_active_params=config.n_active_params,
        ),
        dtype=str(weights.dtype).removeprefix("torch."),
        device=str(weights.device if lead is None else weights.device.type),
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
        ranks=ranks.world,
        parallel=weights.share.mode if lead is not None else "",
    )
    return Engine(weights, tokenizer, card)


def _waiting(missing: list[int]) -> str:
    shown = ", ".join(map(str, missing))
    return f"waiting for rank{'s' if len(missing) > 1 else ''} {shown}"


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
