"""A strict reader of GGUF version 3 files: metadata, and tensors dequantized to float32.

The file is memory-mapped and every count, length and offset in it is checked against the
file's size before it is used: a damaged or hostile file ends in one `CheckpointError`.
Format: the GGUF specification and block layouts of ggml.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, TypeAlias

import numpy as np
import numpy.typing as npt

from inference.errors import CheckpointError

Value: TypeAlias = "bool | int | float | str | list[Value]"
Blocks: TypeAlias = npt.NDArray[Any]
Floats: TypeAlias = npt.NDArray[np.float32]

MAX_ENTRIES = 1 << 16  # metadata keys, tensors
MAX_KEY = 1 << 16  # bytes, from the specification
MAX_NAME = 64  # bytes, GGML_MAX_NAME
MAX_ELEMENTS = 1 << 24  # of all metadata arrays together: they become Python objects
MAX_DEPTH = 4  # arrays in arrays
MAX_DIMS = 4  # GGML_MAX_DIMS

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 10: "Q", 11: "q", 12: "d"}
_BOOL, _STRING, _ARRAY = 7, 8, 9
_SIZES = {kind: struct.calcsize("<" + code) for kind, code in _SCALARS.items()}
_LEAST = {**_SIZES, _BOOL: 1, _STRING: 8, _ARRAY: 12}  # bytes that an element takes at least


@dataclass(frozen=True, slots=True)
class Quantization:
    """How `length` values are stored together in one `block`."""

    name: str
    length: int
    block: np.dtype[Any]


def _quantization(name: str, length: int, *fields: tuple[str, str, int]) -> Quantization:
    return Quantization(name, length, np.dtype([(f, kind, (n,)) for f, kind, n in fields]))


QUANTIZATIONS = {
    0: _quantization("F32", 1, ("x", "<f4", 1)),
    1: _quantization("F16", 1, ("x", "<f2", 1)),
    2: _quantization("Q4_0", 32, ("d", "<f2", 1), ("q", "u1", 16)),
    3: _quantization("Q4_1", 32, ("d", "<f2", 1), ("m", "<f2", 1), ("q", "u1", 16)),
    8: _quantization("Q8_0", 32, ("d", "<f2", 1), ("q", "i1", 32)),
    30: _quantization("BF16", 1, ("x", "<u2", 1)),
}


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor in the file: `shape` is row-major (the last axis is contiguous),
    `offset` counts bytes from the start of the file."""

    name: str
    shape: tuple[int, ...]
    quantization: Quantization
    offset: int
    nbytes: int


class GGUFFile:
    """An open GGUF file. Raises `CheckpointError` if it is not a sound one."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        try:
            with self.path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:  # mmap's word for an empty file
            raise CheckpointError(f"{self.path} is empty, not a GGUF file.") from None
        except OSError as error:
            raise CheckpointError(f"{self.path} cannot be read: {error.strerror}.") from None
        try:
            header = _Header(self.path, self._map)
        except BaseException:
            self._map.close()
            raise
        self.metadata: dict[str, Value] = header.metadata
        self.tensors: dict[str, TensorInfo] = header.tensors

    def __enter__(self) -> GGUFFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._map.close()

    def dequantize(self, name: str) -> Floats:
        """The tensor `name` as a new float32 array."""
        info = self.tensors.get(name)
        if info is None:
            raise CheckpointError(f"{self.path} has no tensor {name!r}.")
        quantization = info.quantization
        count = info.nbytes // quantization.block.itemsize
        blocks = np.frombuffer(self._map, quantization.block, count, info.offset)
        return _dequantize(quantization.name, blocks).reshape(info.shape)


def _dequantize(name: str, blocks: Blocks) -> Floats:
    """Blocks of one quantization to (blocks, values per block) float32."""
    values: Floats
    if name in ("F32", "F16"):
        return np.array(blocks["x"], dtype=np.float32)
    if name == "BF16":
        values = (blocks["x"].astype(np.uint32) << 16).view(np.float32)
        return values
    scale = blocks["d"].astype(np.float32)
    quants = blocks["q"]
    if name != "Q8_0":  # low halves first, then the high ones
        quants = np.concatenate([quants & 0x0F, quants >> 4], axis=1).view(np.int8)
    if name == "Q4_0":
        quants -= 8
    values = np.multiply(scale, quants, dtype=np.float32)
    if name == "Q4_1":
        values += blocks["m"].astype(np.float32)
    return values


class _Header:
    """Parses everything that comes before the tensor data."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path = path
        self.data = data
        self.size = len(data)
        self.position = 0
        self.elements = 0
        if self._take(4) != b"GGUF":
            raise CheckpointError(f"{path} is not a GGUF file.")
        version = self._number("I")
        if version != 3:
            order = " (big-endian)" if version == 3 << 24 else ""
            shown = 3 if order else version
            raise CheckpointError(
                f"{path} is a GGUF file of version {shown}{order}; only version 3, little-endian, "
                "can be read: convert it anew."
            )
        n_tensors, n_entries = self._number("Q"), self._number("Q")
        if max(n_tensors, n_entries) > MAX_ENTRIES:
            self._damaged(f"it claims {n_tensors} tensors and {n_entries} metadata entries")
        self.metadata: dict[str, Value] = {}
        for _ in range(n_entries):
            key = self._string(MAX_KEY)
            if key in self.metadata:
                self._damaged(f"the metadata key {key[:80]!r} occurs twice")
            self.metadata[key] = self._value(self._number("I"))
        self.tensors = self._tensors(n_tensors)

    def _tensors(self, count: int) -> dict[str, TensorInfo]:
        raw = [self._tensor() for _ in range(count)]
        alignment = self.metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment < 8 or alignment & (alignment - 1):
            self._damaged(f"its alignment is {alignment!r:.80}")
        start = -(-self.position // alignment) * alignment
        tensors: dict[str, TensorInfo] = {}
        end = start
        for name, shape, quantization, offset in sorted(raw, key=lambda item: item[3]):
            if name in tensors:
                self._damaged(f"the tensor {name!r} occurs twice")
            if offset % alignment:
                self._damaged(f"the tensor {name!r} is not aligned")
            nbytes = prod(shape) // quantization.length * quantization.block.itemsize
            if start + offset < end:
                self._damaged(f"the tensor {name!r} overlaps another")
            end = start + offset + nbytes
            if end > self.size:
                self._damaged(f"the tensor {name!r} reaches beyond the end of the file")
            tensors[name] = TensorInfo(name, shape, quantization, start + offset, nbytes)
        return {name: tensors[name] for name, *_ in raw}

    def _tensor(self) -> tuple[str, tuple[int, ...], Quantization, int]:
        name = self._string(MAX_NAME)
        n_dims = self._number("I")
        if not 1 <= n_dims <= MAX_DIMS:
            self._damaged(f"the tensor {name!r} has {n_dims} dimensions")
        shape = tuple(self._number("Q") for _ in range(n_dims))[::-1]
        kind, offset = self._number("I"), self._number("Q")
        quantization = QUANTIZATIONS.get(kind)
        if quantization is None:
            known = ", ".join(q.name for q in QUANTIZATIONS.values())
            raise CheckpointError(
                f"{self.path} stores the tensor {name!r} in the format number {kind}; "
                f"only {known} can be read."
            )
        if 0 in shape or shape[-1] % quantization.length:
            self._damaged(f"the tensor {name!r} of type {quantization.name} has the shape {shape}")
        return name, shape, quantization, offset

    def _value(self, kind: int, depth: int = 0) -> Value:
        if kind in _SCALARS:
            number: int | float = self._number(_SCALARS[kind])
            return number
        if kind == _BOOL:
            return self._boolean(self._take(1)[0])
        if kind == _STRING:
            return self._string(self.size)
        if kind == _ARRAY:
            return self._array(depth + 1)
        self._damaged(f"a metadata value has the unknown type {kind}")

    def _array(self, depth: int) -> list[Value]:
        if depth > MAX_DEPTH:
            self._damaged("its metadata arrays are nested too deeply")
        kind, count = self._number("I"), self._number("Q")
        if kind not in _LEAST:
            self._damaged(f"a metadata array has the unknown type {kind}")
        self.elements += count
        if count * _LEAST[kind] > self.size - self.position or self.elements > MAX_ELEMENTS:
            self._damaged(f"a metadata array claims {count} elements")
        if kind in _SCALARS:
            code = _SCALARS[kind]
            return list(struct.unpack(f"<{count}{code}", self._take(count * _SIZES[kind])))
        if kind == _BOOL:
            return [self._boolean(byte) for byte in self._take(count)]
        return [self._value(kind, depth) for _ in range(count)]

    def _boolean(self, byte: int) -> bool:
        if byte > 1:
            self._damaged(f"a truth value in its metadata is {byte}")
        return bool(byte)

    def _string(self, limit: int) -> str:
        length = self._number("Q")
        if length > limit:
            self._damaged(f"a text in it claims {length} bytes")
        try:
            return self._take(length).decode("utf-8")
        except UnicodeDecodeError:
            self._damaged("a text in it is not UTF-8")

    def _number(self, code: str) -> Any:
        (value,) = struct.unpack("<" + code, self._take(struct.calcsize("<" + code)))
        return value

    def _take(self, count: int) -> bytes:
        end = self.position + count
        if end > self.size:
            self._damaged("it ends too early")
        taken = self.data[self.position : end]
        self.position = end
        return taken

    def _damaged(self, what: str) -> NoReturn:
        raise CheckpointError(f"{self.path} is a damaged GGUF file: {what}; fetch it again.")
