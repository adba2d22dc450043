"""What can be said of a model folder without reading its weights (and without torch)."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from inference import hf_config, params
from inference.config import ModelConfig
from inference.errors import CheckpointError, TokenizerError
from inference.files import one_line, read_json, regular_size, sentences, some
from inference.naming import check_tensors, has_own_head
from inference.pickled import read_pickled
from inference.safetensors_header import TensorInfo, read_headers

Layout = Literal["mistral", "huggingface"]

WEIGHTS = "consolidated.safetensors"
PICKLED = "consolidated.00.pth"
SPM_VERSIONS = ("v15", "v13", "v11", "v7m1", "v7", "v3", "v2", "v1")
_MOST_INDEX = 8 << 20
_SHARD = re.compile(r"\w+-(\d{5})-of-(\d{5})\.safetensors", re.ASCII)


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A folder that holds a model, checked as far as that takes milliseconds."""

    path: Path
    layout: Layout
    config: ModelConfig
    files: tuple[Path, ...]
    """Of the weights: safetensors files, or one .pth file."""
    tensors: dict[str, TensorInfo]
    """What the files hold, by name."""
    notes: tuple[str, ...] = ()
    """Sentences on what was chosen where the folder left a choice."""

    @property
    def nbytes(self) -> int:
        """Bytes of all weight files."""
        return sum(path.stat().st_size for path in self.files)


@sentences()
def inspect_folder(folder: Path, *, tokenizer: bool = True) -> ModelFolder:
    """Check everything of a model folder that takes milliseconds: that it is one, its shape,
    its tokenizer's presence, and every tensor's name, shape, dtype and place in its file.

    Raises:
        CheckpointError, TokenizerError: one sentence on the first thing that is wrong.
    """
    _check_place(folder)
    if not _there(folder / "params.json") and _there(folder / "config.json"):
        hf_config.from_folder(folder)  # another family is said before its files are looked for
    layout, files, notes = _weights(folder)
    config = _read(folder, layout)
    if tokenizer:
        find_tokenizer(folder)
    pickled = files[0].suffix == ".pth"
    tensors = read_pickled(files[0]) if pickled else read_headers(files)
    if config.tied_embeddings and has_own_head(layout, tensors):
        config = replace(config, tied_embeddings=False)
    check_tensors(config, layout, tensors, _shown(files))
    return ModelFolder(folder, layout, config, files, tensors, notes)


@sentences()
def read_config(folder: Path) -> ModelConfig:
    """The shape that `params.json`, or else `config.json`, declares. Raises `CheckpointError`."""
    try:
        layout = _weights(folder)[0]
    except CheckpointError:
        layout = "mistral" if _there(folder / "params.json") else "huggingface"
    return _read(folder, layout)


@sentences()
def find_tokenizer(folder: Path) -> Path:
    """The folder's first tokenizer file: tekken before sentencepiece, newer before older.

    Raises:
        TokenizerError: there is none, or only something that is no file.
    """
    names = ["tekken.json", *(f"tokenizer.model.{v}" for v in SPM_VERSIONS), "tokenizer.model"]
    there = [folder / name for name in names if _there(folder / name)]
    for path in there:
        if path.is_file():
            return path
    for path in there:
        try:
            regular_size(path)
        except CheckpointError as error:
            raise TokenizerError(f"The tokenizer {error}") from None
    if (folder / "tokenizer.json").exists():
        raise TokenizerError(
            f"{folder} has only Hugging Face's tokenizer.json; copy the tekken.json or "
            "tokenizer.model of the same model beside it."
        )
    raise TokenizerError(
        f"{folder} has no tokenizer (tekken.json, tokenizer.model.v3 or tokenizer.model); "
        "copy it beside the weights."
    )


def _there(path: Path) -> bool:
    """Whether a folder has this name in it. A link to nothing counts: to say so is better
    than to say that there is none."""
    return os.path.lexists(path)


def _read(folder: Path, layout: Layout) -> ModelConfig:
    if layout == "mistral":
        return params.from_folder(folder)
    return hf_config.from_folder(folder)


def _check_place(folder: Path) -> None:
    try:
        if not folder.exists():
            raise CheckpointError(
                f"{folder} does not exist; give the folder of a model, or `starter` for the "
                "demo model."
            )
        if not folder.is_dir():
            raise CheckpointError(
                f"{folder} is a file; give the folder that holds the weights and their "
                "params.json or config.json."
            )
        if not any(folder.iterdir()):
            raise CheckpointError(
                f"{folder} is empty; it should hold the weights and their params.json or "
                "config.json."
            )
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be read: {error.strerror}.") from None
    if (folder / "adapter_config.json").exists() and not (folder / "config.json").exists():
        raise CheckpointError(
            f"{folder} holds a PEFT adapter, not a model; adapters in mistral-finetune's format "
            "are given with --lora beside their base model."
        )


def _weights(folder: Path) -> tuple[Layout, tuple[Path, ...], tuple[str, ...]]:
    """Which of the folder's files are loaded, and what there was to choose."""
    notes = []
    native = _native_files(folder)
    has_params, has_config = _there(folder / "params.json"), _there(folder / "config.json")
    if has_params and native:
        if has_config and any(folder.glob("model*.safetensors")):
            notes.append(
                "The folder holds the model in Mistral's and in Hugging Face's layout; "
                f"Mistral's was taken ({native[0].name})."
            )
        if native[0].suffix != ".pth" and (folder / PICKLED).exists():
            notes.append(f"{native[0].name} was taken, {PICKLED} was not.")
        return "mistral", native, tuple(notes)
    # Only now: where Mistral's layout is complete, the other may lack whatever it likes.
    theirs = _shards(folder, "model")
    if has_config and theirs:
        if has_params:
            notes.append("The folder has params.json, but weights in Hugging Face's layout only.")
        return "huggingface", theirs, tuple(notes)
    if native and has_config:
        raise CheckpointError(
            f"{folder} has weights in Mistral's layout ({native[0].name}) but no params.json; "
            "copy it beside them."
        )
    if not has_params and not has_config:
        raise CheckpointError(
            f"{folder} has no params.json and no config.json, so it is not a model folder."
        )
    if (folder / "adapter_model.safetensors").exists() or (folder / "lora.safetensors").exists():
        raise CheckpointError(
            f"{folder} holds an adapter, not a model; give it with --lora beside its base model."
        )
    if list(folder.glob("pytorch_model*.bin")):
        raise CheckpointError(
            f"{folder} has its weights as pytorch_model.bin files, which this version does not "
            "read; fetch the model's safetensors files."
        )
    wanted = WEIGHTS if has_params else "model.safetensors or its shards"
    raise CheckpointError(f"{folder} has no {wanted}; its weights are missing.")


def _native_files(folder: Path) -> tuple[Path, ...]:
    if shards := _shards(folder, "consolidated"):
        return shards
    if _there(folder / PICKLED):
        if more := sorted(folder.glob("consolidated.0[1-9].pt*")):
            raise CheckpointError(
                f"{folder} has its weights in several .pth files ({more[0].name} …), split for "
                "several GPUs; this version reads one .pth file or safetensors."
            )
        return (folder / PICKLED,)
    return ()


def _shards(folder: Path, stem: str) -> tuple[Path, ...]:
    """The safetensors files of one layout: a single one, those of the index, or all parts."""
    single = folder / f"{stem}.safetensors"
    index = folder / f"{stem}.safetensors.index.json"
    if _there(single):
        return (single,)
    if _there(index):
        return _indexed(folder, index)
    parts: dict[int, Path] = {}
    totals = set()
    for path in sorted(folder.glob(f"{stem}-*-of-*.safetensors")):
        if match := _SHARD.fullmatch(path.name):
            parts[int(match[1])] = path
            totals.add(int(match[2]))
    if len(totals) > 1:
        raise CheckpointError(
            f"{folder} has parts of several sets of weights (of {some(sorted(map(str, totals)))} "
            "parts); leave one set there."
        )
    if parts and parts.keys() != set(range(1, max(totals) + 1)):
        raise CheckpointError(
            f"{folder} has {len(parts)} of {max(totals)} parts of its weights "
            f"({next(iter(parts.values())).name} …); fetch the others."
        )
    return tuple(parts.values())


def _indexed(folder: Path, index: Path) -> tuple[Path, ...]:
    places = read_json(index, "the weights' places", most_bytes=_MOST_INDEX).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise CheckpointError(f'{index} lacks its "weight_map"; fetch it again.')
    names = {name if isinstance(name, str) else "" for name in places.values()}
    for name in sorted(names):
        if Path(name).name != name or not name.endswith(".safetensors") or not name.isprintable():
            raise CheckpointError(
                f"{index} names {one_line(name, 80)!r}, which is no file beside it."
            )
    if missing := sorted(names - {path.name for path in folder.iterdir()}):
        raise CheckpointError(
            f"{folder} lacks {some(missing)} that {index.name} names; fetch them."
        )
    return tuple(folder / name for name in sorted(names))


def _shown(files: tuple[Path, ...]) -> str:
    return str(files[0]) if len(files) == 1 else f"{files[0]} (and {len(files) - 1} more)"
