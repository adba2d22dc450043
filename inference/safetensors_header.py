"""The headers of safetensors files, read strictly and without torch.

Format: 8 bytes length, that many bytes of JSON (name → dtype, shape, data_offsets), data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference.errors import CheckpointError
from inference.files import DuplicateKey, one_line, parse_json, regular_size

MOST_HEADER = 8 << 20  # five times that of the largest model; JSON grows when it is parsed
_MOST_NUMBER = 1 << 60
_BYTES = {"BF16": 2, "F16": 2, "F32": 4, "F8_E4M3": 1}


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor on disk: its dtype in safetensors' words, shape, file and place in the data."""

    dtype: str
    shape: tuple[int, ...]
    file: Path
    begin: int = 0
    end: int = 0

    @property
    def nbytes(self) -> int:
        return self.end - self.begin


def read_headers(files: Sequence[Path]) -> dict[str, TensorInfo]:
    """The tensors of one or several files, by name.

    Raises:
        CheckpointError: damaged, truncated, a tensor named twice; one sentence.
    """
    found: dict[str, TensorInfo] = {}
    for path in files:
        for name, info in read_header(path).items():
            if name in found:
                raise CheckpointError(
                    f"{one_line(name, 100)} is both in {found[name].file.name} and in "
                    f"{path.name} of {path.parent}; it can be in one file only."
                )
            found[name] = info
    return found


def read_header(path: Path) -> dict[str, TensorInfo]:
    """The tensors that a safetensors file declares, held against the file's size.

    Raises:
        CheckpointError: damaged or truncated; one sentence.
    """
    try:
        size = regular_size(path)
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(size - 8, MOST_HEADER):
                raise CheckpointError(
                    f"{path} is damaged or truncated: its header is incomplete; "
                    "fetch the file again."
                )
            raw = parse_json(file.read(length))
        entries = {
            name: _entry(path, entry) for name, entry in raw.items() if name != "__metadata__"
        }
    except FileNotFoundError:
        raise CheckpointError(
            f"{path.parent} has no {path.name}; its weights are missing."
        ) from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from None
    except DuplicateKey as error:
        raise CheckpointError(f"{path} is damaged: {error}; fetch it again.") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise CheckpointError(
            f"{path} is damaged: its header is not that of a safetensors file; fetch it again."
        ) from None
    if not entries:
        raise CheckpointError(f"{path} holds no tensors; fetch the file again.")
    _check_places(path, entries, size - 8 - length)
    return entries


def _entry(path: Path, entry: dict[str, Any]) -> TensorInfo:
    begin, end = entry["data_offsets"]
    shape: tuple[int, ...] = tuple(entry["shape"])
    if len(shape) > 8 or not all(map(is_size, (begin, end, *shape))):
        raise ValueError("impossible numbers")
    if not isinstance(entry["dtype"], str):
        raise ValueError("a dtype that is no name")
    return TensorInfo(one_line(entry["dtype"], 20), shape, path, begin, end)


def is_size(value: object) -> bool:
    """A whole number that a size or an offset can be."""
    return type(value) is int and 0 <= value < _MOST_NUMBER


def _check_places(path: Path, entries: dict[str, TensorInfo], data_bytes: int) -> None:
    place = 0
    for name, info in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        width = _BYTES.get(info.dtype)
        if width is not None and info.nbytes != math.prod(info.shape) * width:
            raise CheckpointError(
                f"{path} is damaged: {one_line(name, 100)} has a wrong length; fetch it again."
            )
        if info.begin != place or info.end < info.begin:
            raise CheckpointError(
                f"{path} is damaged: {one_line(name, 100)} is not where the tensor before it "
                "ends; fetch it again."
            )
        place = info.end
    if data_bytes < place:
        raise CheckpointError(
            f"{path} is truncated ({data_bytes:,} of {place:,} bytes of weights are there); "
            "fetch the file again."
        )
    if data_bytes > place:
        raise CheckpointError(
            f"{path} is damaged: it goes on for {data_bytes - place:,} bytes after its last "
            "tensor; fetch it again."
        )
