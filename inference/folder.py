"""What can be said of a model folder without reading its weights (and without torch)."""

from __future__ import annotations

import json
import math
from pathlib import Path

from inference.config import ModelConfig
from inference.errors import CheckpointError, TokenizerError

WEIGHTS = "consolidated.safetensors"
_BYTES = {"BF16": 2, "F16": 2, "F32": 4}
_MOST_HEADER = 100 << 20
_SPM_VERSIONS = ("v15", "v13", "v11", "v7m1", "v7", "v3", "v2", "v1")


def inspect_folder(folder: Path) -> ModelConfig:
    """Check everything of a Mistral-native folder that takes milliseconds: that it is one,
    its params.json, its tokenizer's presence, and every tensor's name, shape, dtype and
    place in the file.

    Raises:
        CheckpointError, TokenizerError: one sentence on the first thing that is wrong.
    """
    _check_place(folder)
    config = ModelConfig.from_folder(folder)
    find_tokenizer(folder)
    check_weights(folder / WEIGHTS, config)
    return config


def find_tokenizer(folder: Path) -> Path:
    """The folder's tokenizer file: tekken before sentencepiece, newer before older.

    Raises:
        TokenizerError: there is none.
    """
    names = ["tekken.json", *(f"tokenizer.model.{v}" for v in _SPM_VERSIONS), "tokenizer.model"]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise TokenizerError(
        f"{folder} has no tokenizer (tekken.json, tokenizer.model.v3 or tokenizer.model); "
        "copy it beside the weights."
    )


def check_weights(path: Path, config: ModelConfig) -> None:
    """Hold a safetensors file's header against the model's shape and the file's size.

    Raises:
        CheckpointError: names every missing, extra or misshaped tensor.
    """
    header, data_bytes = _read_header(path)
    expected = config.tensor_shapes()
    problems = []
    if missing := sorted(expected.keys() - header.keys()):
        problems.append(f"lacks {_some(missing)}")
    if extra := sorted(header.keys() - expected.keys()):
        problems.append(f"has unexpected {_some(extra)}")
    wrong = []
    for name in sorted(header.keys() & expected.keys()):
        dtype, shape, begin, end = header[name]
        if shape != expected[name]:
            wrong.append(f"{name} is {shape} where params.json implies {expected[name]}")
        elif dtype not in _BYTES:
            wrong.append(f"{name} has dtype {dtype}, which this version cannot read")
        elif end - begin != math.prod(shape) * _BYTES[dtype]:
            wrong.append(f"{name} has a wrong length")
    if wrong:
        problems.append(_some(wrong, "; "))
    if problems:
        raise CheckpointError(f"{path} does not fit its params.json: it {', and '.join(problems)}.")
    wanted = max(end for _, _, _, end in header.values())
    if data_bytes < wanted:
        raise CheckpointError(
            f"{path} is truncated ({data_bytes:,} of {wanted:,} bytes of weights are there); "
            "fetch the file again."
        )


def _check_place(folder: Path) -> None:
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


_Entry = tuple[str, tuple[int, ...], int, int]  # dtype, shape, begin, end


def _read_header(path: Path) -> tuple[dict[str, _Entry], int]:
    """The tensors that a safetensors file declares, and how many bytes of data it has."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(size - 8, _MOST_HEADER):
                raise CheckpointError(
                    f"{path} is damaged or truncated: its header is incomplete; "
                    "fetch the file again."
                )
            raw = json.loads(file.read(length))
        entries = {}
        for name, entry in raw.items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                shape = tuple(entry["shape"])
                if not all(type(n) is int and n >= 0 for n in (begin, end, *shape)):
                    raise ValueError(name)
                entries[name] = (str(entry["dtype"]), shape, begin, end)
    except FileNotFoundError:
        raise CheckpointError(
            f"{path.parent} has no {path.name}; its weights are missing."
        ) from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise CheckpointError(
            f"{path} is damaged: its header is not that of a safetensors file; fetch it again."
        ) from None
    if not entries:
        raise CheckpointError(f"{path} holds no tensors; fetch the file again.")
    return entries, size - 8 - length


def _some(names: list[str], joint: str = ", ", most: int = 4) -> str:
    """The first few of many names, and how many more."""
    more = f"{joint}and {len(names) - most} more" if len(names) > most else ""
    return joint.join(names[:most]) + more
