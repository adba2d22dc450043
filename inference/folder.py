"""What can be said of a model folder without reading its weights (and without torch)."""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from inference import hf_config, params
from inference.config import ModelConfig
from inference.errors import CheckpointError, TokenizerError
from inference.files import read_json, regular_size
from inference.naming import check_tensors
from inference.safetensors_header import TensorInfo, read_headers

Layout = Literal["mistral", "huggingface"]

WEIGHTS = "consolidated.safetensors"
PICKLED = "consolidated.00.pth"
SPM_VERSIONS = ("v15", "v13", "v11", "v7m1", "v7", "v3", "v2", "v1")
_MOST_INDEX = 16 << 20
_MOST_PICKLE = 16 << 20
_SHARD = re.compile(r".*-(\d{5})-of-(\d{5})\.safetensors")


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A folder that holds a model, checked as far as that takes milliseconds."""

    path: Path
    layout: Layout
    config: ModelConfig
    files: tuple[Path, ...]
    """Of the weights: safetensors files, or one .pth file."""
    tensors: dict[str, TensorInfo]
    """What the safetensors files hold; empty for a .pth file, which only torch can read."""
    notes: tuple[str, ...] = ()
    """Sentences on what was chosen where the folder left a choice."""

    @property
    def nbytes(self) -> int:
        """Bytes of all weight files."""
        return sum(path.stat().st_size for path in self.files)


def inspect_folder(folder: Path, *, tokenizer: bool = True) -> ModelFolder:
    """Check everything of a model folder that takes milliseconds: that it is one, its shape,
    its tokenizer's presence, and every tensor's name, shape, dtype and place in its file.

    Raises:
        CheckpointError, TokenizerError: one sentence on the first thing that is wrong.
    """
    _check_place(folder)
    layout, files, notes = _weights(folder)
    config = _read(folder, layout)
    if tokenizer:
        find_tokenizer(folder)
    tensors: dict[str, TensorInfo] = {}
    if files[0].suffix == ".pth":
        _check_pickled(files[0])
    else:
        tensors = read_headers(files)
        check_tensors(config, layout, tensors, _shown(files))
    return ModelFolder(folder, layout, config, files, tensors, notes)


def read_config(folder: Path) -> ModelConfig:
    """The shape that `params.json`, or else `config.json`, declares. Raises `CheckpointError`."""
    try:
        layout = _weights(folder)[0]
    except CheckpointError:
        layout = "mistral" if (folder / "params.json").exists() else "huggingface"
    return _read(folder, layout)


def find_tokenizer(folder: Path) -> Path:
    """The folder's first tokenizer file: tekken before sentencepiece, newer before older.

    Raises:
        TokenizerError: there is none.
    """
    names = ["tekken.json", *(f"tokenizer.model.{v}" for v in SPM_VERSIONS), "tokenizer.model"]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    if (folder / "tokenizer.json").exists():
        raise TokenizerError(
            f"{folder} has only Hugging Face's tokenizer.json; copy the tekken.json or "
            "tokenizer.model of the same model beside it."
        )
    raise TokenizerError(
        f"{folder} has no tokenizer (tekken.json, tokenizer.model.v3 or tokenizer.model); "
        "copy it beside the weights."
    )


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
    theirs = _shards(folder, "model")
    has_params, has_config = (folder / "params.json").exists(), (folder / "config.json").exists()
    if has_params and native:
        if theirs and has_config:
            notes.append(
                "The folder holds the model in Mistral's and in Hugging Face's layout; "
                f"Mistral's was taken ({native[0].name})."
            )
        if native[0].suffix != ".pth" and (folder / PICKLED).exists():
            notes.append(f"{native[0].name} was taken, {PICKLED} was not.")
        return "mistral", native, tuple(notes)
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
    if (folder / WEIGHTS).exists() or (folder / WEIGHTS).is_symlink():
        return (folder / WEIGHTS,)
    if shards := _shards(folder, "consolidated"):
        return shards
    if (folder / PICKLED).exists() or (folder / PICKLED).is_symlink():
        if more := sorted(folder.glob("consolidated.0[1-9].pt*")):
            raise CheckpointError(
                f"{folder} has its weights in several .pth files ({more[0].name} …), split for "
                "several GPUs; this version reads one .pth file or safetensors."
            )
        return (folder / PICKLED,)
    return ()


def _shards(folder: Path, stem: str) -> tuple[Path, ...]:
    """The safetensors files of one layout: a single one, those of the index, or all parts."""
    index = folder / f"{stem}.safetensors.index.json"
    if index.exists():
        names = read_json(index, "the weights' places", most_bytes=_MOST_INDEX).get("weight_map")
        if not isinstance(names, dict) or not names:
            raise CheckpointError(f'{index} lacks its "weight_map"; fetch it again.')
        found = []
        for name in sorted({str(value) for value in names.values()}):
            if Path(name).name != name or not name.endswith(".safetensors"):
                raise CheckpointError(f"{index} names {name!r:.80}, which is no file beside it.")
            found.append(folder / name)
        if missing := [path.name for path in found if not path.exists()]:
            raise CheckpointError(
                f"{folder} lacks {_some(missing)} that {index.name} names; fetch them."
            )
        return tuple(found)
    if (folder / f"{stem}.safetensors").exists():
        return (folder / f"{stem}.safetensors",)
    parts = sorted(folder.glob(f"{stem}-*-of-*.safetensors"))
    counts = {int(match[2]) for part in parts if (match := _SHARD.fullmatch(part.name))}
    if parts and counts != {len(parts)}:
        raise CheckpointError(
            f"{folder} has {len(parts)} of {max(counts, default=0)} parts of its weights "
            f"({parts[0].name} …); fetch the others."
        )
    return tuple(parts)


def _check_pickled(path: Path) -> None:
    """A .pth file as torch writes it: a zip of uncompressed records, a small pickle first.
    Nothing of it is unpickled here."""
    try:
        regular_size(path)
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist.") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}.") from None
    except (zipfile.BadZipFile, NotImplementedError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is damaged, truncated, or of torch's format before 2020 ({error}); "
            "fetch it again, or the model's safetensors."
        ) from None
    pickles = [entry for entry in entries if entry.filename.endswith("/data.pkl")]
    if len(pickles) != 1 or pickles[0].file_size > _MOST_PICKLE:
        raise CheckpointError(f"{path} is not a file of weights that torch has written.")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise CheckpointError(f"{path} is compressed, which torch's own files are not.")


def _shown(files: tuple[Path, ...]) -> str:
    return str(files[0]) if len(files) == 1 else f"{files[0]} (and {len(files) - 1} more)"


def _some(names: list[str], joint: str = ", ", most: int = 4) -> str:
    """The first few of many names, and how many more."""
    more = f"{joint}and {len(names) - most} more" if len(names) > most else ""
    return joint.join(names[:most]) + more
