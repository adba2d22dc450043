"""`mistral-tui models`: what lies on disk, told from headers alone; torch is not needed."""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from inference.errors import ForeignModel, InferenceError
from inference.folder import ModelFolder, inspect_folder
from inference.tokenizer_facts import tokenizer_facts
from mistral_tui.sanitize import one_line

_DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32", "F8_E4M3": "float8_e4m3"}
_MOST_FOLDERS = 2000


@dataclass(frozen=True, slots=True)
class Listed:
    """A model folder. `problem` is the sentence that opening it would end with; then the
    other values are empty. `capabilities` are those of its tokenizer; whether the weights
    learned them, no file says."""

    name: str
    path: str
    n_params: int = 0
    n_active_params: int = 0
    dtype: str = ""
    nbytes: int = 0
    context: int = 0
    layout: str = ""
    tokenizer: str = ""
    capabilities: tuple[str, ...] = ()
    problem: str = ""


def places() -> list[Path]:
    """Where people keep models: pulled ones, two usual folders, Hugging Face's cache."""
    from mistral_tui import paths

    found = []
    with contextlib.suppress(paths.FolderError):
        found.append(paths.data_dir() / "models")
    found += [Path.home() / "models", Path.home() / "mistral_models"]
    hub = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    home = os.environ.get("HF_HOME") or "~/.cache/huggingface"
    return [*found, Path(hub or f"{home}/hub").expanduser()]


def find(places: Iterable[Path]) -> list[Listed]:
    """The model folders in these places, themselves or up to three levels below; those of
    other families are left out."""
    seen: set[Path] = set()
    found = []
    for place in places:
        for folder in _model_folders(place, 3):
            real = folder.resolve()
            if real not in seen and len(seen) < _MOST_FOLDERS:
                seen.add(real)
                with contextlib.suppress(ForeignModel):
                    found.append(_listed(folder))
    return found


def _model_folders(place: Path, depth: int) -> Iterator[Path]:
    try:
        names = {entry.name: entry for entry in place.iterdir()}
    except OSError:
        return
    if "params.json" in names or "config.json" in names:
        yield place
        return
    for name, entry in sorted(names.items()):
        if depth and not name.startswith(".") and name not in ("blobs", "refs") and _is_dir(entry):
            yield from _model_folders(entry, depth - 1)


def _is_dir(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def _name(folder: Path) -> str:
    """The folder's name; in Hugging Face's cache, the repository's."""
    repository = next((p.name for p in folder.parents if p.name.startswith("models--")), "")
    return repository.removeprefix("models--").replace("--", "/") or folder.name


def _listed(folder: Path) -> Listed:
    name, path = _name(folder), str(folder.absolute())
    try:
        found = inspect_folder(folder)
        tokenizer = tokenizer_facts(folder, found.config.vocab_size)
    except ForeignModel:
        raise
    except InferenceError as error:
        return Listed(name, path, problem=str(error))
    except OSError as error:
        return Listed(name, path, problem=f"{folder} cannot be opened: {error.strerror}.")
    config = found.config
    return Listed(
        name,
        path,
        n_params=config.n_params,
        n_active_params=config.n_active_params,
        dtype=_dtype(found),
        nbytes=found.nbytes,
        context=config.max_position_embeddings,
        layout=found.layout,
        tokenizer=tokenizer.label,
        capabilities=("instruct", *tokenizer.capabilities),
    )


def _dtype(found: ModelFolder) -> str:
    """The dtype of most of the weights."""
    counts: Counter[str] = Counter()
    for info in found.tensors.values():
        counts[info.dtype] += info.nbytes
    return _DTYPES.get(counts.most_common(1)[0][0], "") if counts else ""


def as_json(found: Iterable[Listed]) -> str:
    """The published keys; they stay."""
    return json.dumps([asdict(model) for model in found], indent=2)


def as_table(found: list[Listed]) -> str:
    """For people: a line a model, then what is wrong with the others."""
    good = [model for model in found if not model.problem]
    rows = [("MODEL", "PARAMETERS", "DTYPE", "ON DISK", "CONTEXT", "CAN", "FOLDER")]
    rows += [
        (
            one_line(model.name, 44),
            count(model),
            model.dtype,
            size(model),
            f"{model.context:,}",
            " ".join(model.capabilities),
            one_line(_short(model.path), 200),
        )
        for model in good
    ]
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]) - 1)]
    lines = []
    if good:
        lines += [
            "  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[-1]])
            for row in rows
        ]
    if bad := [model for model in found if model.problem]:
        lines += [""] * bool(good) + ["Folders that cannot be opened:"]
        lines += [f"  {one_line(model.problem, 400)}" for model in bad]
    if not found:
        lines.append(
            "No models found. `mistral-tui models FOLDER` looks elsewhere; "
            "`mistral-tui pull starter` gets a tiny one."
        )
    return "\n".join(lines)


def size(model: Listed) -> str:
    """On disk, for people."""
    big = model.nbytes >= 1e9
    return f"{model.nbytes / 1e9:.1f} GB" if big else f"{model.nbytes / 1e6:.0f} MB"


def count(model: Listed) -> str:
    """Of parameters, for people."""

    def short(n: int) -> str:
        return f"{n / 1e9:.1f} B" if n >= 1e9 else f"{n / 1e6:.1f} M"

    if model.n_active_params < model.n_params:
        return f"{short(model.n_params)} ({short(model.n_active_params)} active)"
    return short(model.n_params)


def _short(path: str) -> str:
    home = str(Path.home())
    return "~" + path[len(home) :] if path.startswith(home + os.sep) else path
