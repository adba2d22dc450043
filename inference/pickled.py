"""The tensors of a .pth file, read by hand and without torch: nothing is imported or called.

Format: a zip of uncompressed records; `data.pkl` is a pickle of names, shapes and storages,
`data/N` are the storages' bytes.
"""

from __future__ import annotations

import io
import math
import pickletools
import re
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from inference.errors import CheckpointError
from inference.files import DuplicateKey, one_line, regular_size
from inference.safetensors_header import TensorInfo, is_size

_MOST_PICKLE = 4 << 20  # the records beside the weights, and the zip's own lists
_MOST_STEPS = 1 << 19  # 46 make a tensor; the largest model in this form has 2,000
_RECORD = re.compile(r"([^/]+)/(data\.pkl|data/\w+|\.?[a-z_]+|\.data/[a-z_]+)", re.ASCII)
_STORAGES = {
    "BFloat16Storage": ("BF16", 2),
    "HalfStorage": ("F16", 2),
    "FloatStorage": ("F32", 4),
    "DoubleStorage": ("F64", 8),
    "ComplexFloatStorage": ("C64", 8),
    "ComplexDoubleStorage": ("C128", 16),
    "LongStorage": ("I64", 8),
    "IntStorage": ("I32", 4),
    "ShortStorage": ("I16", 2),
    "CharStorage": ("I8", 1),
    "ByteStorage": ("U8", 1),
    "BoolStorage": ("BOOL", 1),
}
_ORDERED_DICT = "collections OrderedDict"
_REBUILD = "torch._utils _rebuild_tensor_v2"
_CALLS = ("INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "STACK_GLOBAL", "EXT1", "EXT2", "EXT4")


def read_pickled(path: Path) -> dict[str, TensorInfo]:
    """The tensors of a .pth file. Its pickle is read by hand: nothing is imported or called.

    torch's weights-only reader runs no code either, but a pickle can end the process there
    (a key of tuples, nested deep) or take any memory (a bytearray), and a zip can show it
    other records than those that were looked at.

    Raises:
        CheckpointError: damaged, truncated, no plain set of tensors; one sentence.
    """
    again = "fetch it again, or the model's safetensors"
    try:
        size = regular_size(path)
        with _Sparing(path.open("rb", buffering=0)) as file:
            records = _records(path, file, size)
            found = _Pickle(path, records).run(_content(file, records["data.pkl"]))
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist.") from None
    except DuplicateKey as error:
        raise CheckpointError(f"{path} is damaged: {error}; {again}.") from None
    except (
        zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, LookupError,
        AttributeError, TypeError, OverflowError, EOFError, RecursionError,
    ):  # fmt: skip
        raise CheckpointError(
            f"{path} is damaged, truncated, or of torch's format before 2020; {again}."
        ) from None
    tensors = found if isinstance(found, dict) else {}
    if not tensors or not all(isinstance(tensor, TensorInfo) for tensor in tensors.values()):
        raise CheckpointError(f"{path} is no plain set of named tensors; {again}.")
    # Twice, as an embedding that is also the output may be named two times.
    if sum(info.nbytes for info in tensors.values()) > 2 * size:
        raise CheckpointError(f"{path} is damaged: its tensors overlap; {again}.")
    return tensors


class _Sparing(io.BufferedReader):
    """A file of which never much is read at once: a zip can say that all of it is its lists."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(_MOST_PICKLE if size is None or size < 0 else min(size, _MOST_PICKLE))


def _records(path: Path, file: BinaryIO, size: int) -> dict[str, range]:
    """Where in the file the records' bytes are; names without the archive's before the /."""
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
    names = [_RECORD.fullmatch(entry.filename) for entry in entries]
    found = {name[2]: entry for name, entry in zip(names, entries, strict=True) if name}
    small = sum(entry.file_size for name, entry in found.items() if "data/" not in name)
    ours = len(found) == len(entries) and len({name[1] for name in names if name}) == 1
    if not ours or "data.pkl" not in found or small > _MOST_PICKLE:
        raise CheckpointError(f"{path} is not a file of weights that torch has written.")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise CheckpointError(f"{path} is compressed, which torch's own files are not.")
    records = {name: _place(file, entry) for name, entry in found.items()}
    if any(place.stop > size for place in records.values()):
        raise ValueError("a record beyond the end")
    if "byteorder" in records and _content(file, records["byteorder"]) != b"little":
        raise CheckpointError(f"{path} has a byte order other than little-endian.")
    return records


def _place(file: BinaryIO, entry: zipfile.ZipInfo) -> range:
    """Of the bytes behind an entry's local header, whose length only that header says."""
    file.seek(entry.header_offset)
    mark, name, extra = struct.unpack("<4s22x2H", file.read(30))
    if mark != b"PK\3\4":
        raise ValueError("no record")
    begin = entry.header_offset + 30 + name + extra
    return range(begin, begin + entry.file_size)


def _content(file: BinaryIO, place: range) -> bytes:
    """Of a small record. `zipfile` would ask for the checksum, which torch may leave out."""
    file.seek(place.start)
    return file.read(len(place))


@dataclass(frozen=True, slots=True)
class _Global:
    """A name that a pickle imports; here it stays a name."""

    name: str


@dataclass(frozen=True, slots=True)
class _Storage:
    dtype: str
    width: int
    begin: int
    count: int


class _Pickle:
    """A machine that knows what `torch.save` writes for a dict of tensors, and nothing else."""

    def __init__(self, path: Path, records: Mapping[str, range]) -> None:
        self._path = path
        self._records = records
        self._stack: list[Any] = []
        self._marked: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def run(self, pickled: bytes) -> object:
        """What the pickle makes.

        Raises:
            CheckpointError: it wants to make something else.
            ValueError, LookupError, AttributeError, TypeError: it is damaged.
        """
        for step, (op, argument, _) in enumerate(pickletools.genops(pickled)):
            if step > _MOST_STEPS:
                raise ValueError("it is too long")
            self._do(op.name, argument)
        (made,) = self._stack
        return made

    def _do(self, op: str, argument: Any) -> None:
        stack = self._stack
        match op:
            case "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self._memo[argument])
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINUNICODE":
                stack.append(argument)
            case "NONE" | "NEWFALSE" | "NEWTRUE":
                stack.append({"NONE": None, "NEWFALSE": False, "NEWTRUE": True}[op])
            case "MARK":
                self._marked.append(stack)
                self._stack = []
            case "EMPTY_TUPLE":
                stack.append(())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                items = [stack.pop() for _ in range(int(op[-1]))]
                stack.append(tuple(reversed(items)))
            case "TUPLE":
                items = self._since_mark()
                self._stack.append(tuple(items))
            case "GLOBAL":
                stack.append(self._global(argument))
            case "BINPERSID":
                stack.append(self._storage(*stack.pop()))
            case "REDUCE":
                arguments, function = stack.pop(), stack.pop()
                stack.append(self._call(function.name, *arguments))
            case "EMPTY_DICT":
                stack.append({})
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                self._set(key, value)
            case "SETITEMS":
                items = self._since_mark()
                for key, value in zip(items[::2], items[1::2], strict=True):
                    self._set(key, value)
            case "BUILD":  # an OrderedDict's attributes: the versions of a module's parts
                if not (isinstance(stack.pop(), dict) and isinstance(stack[-1], dict)):
                    raise ValueError("attributes of something else")
            case "PROTO" | "STOP":
                pass
            case _ if op in _CALLS:
                raise self._refuse_code(op)
            case _:
                raise self._refuse(op)

    def _since_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._marked.pop()
        return items

    def _set(self, key: object, value: object) -> None:
        target = self._stack[-1]
        if not isinstance(target, dict) or not isinstance(key, str):
            raise ValueError("a name that is none")
        if key in target:
            raise DuplicateKey(f"it names {one_line(key, 100)} twice")
        target[key] = value

    def _global(self, name: str) -> _Global:
        module, _, what = name.partition(" ")
        if name in (_ORDERED_DICT, _REBUILD) or (module == "torch" and what in _STORAGES):
            return _Global(name)
        if module.partition(".")[0] == "torch":
            raise self._refuse(name)
        raise self._refuse_code(name)

    def _storage(
        self, word: object, kind: _Global, key: str, location: object, count: int
    ) -> _Storage:
        if word != "storage" or not isinstance(key, str) or not is_size(count):
            raise ValueError("no storage")
        place = self._records[f"data/{key}"]
        dtype, width = _STORAGES[kind.name.removeprefix("torch ")]
        if count * width > len(place):
            raise ValueError("a storage that ends too soon")
        return _Storage(dtype, width, place.start, count)

    def _call(self, function: str, *arguments: Any) -> object:
        if function == _ORDERED_DICT and not arguments:
            return {}
        if function != _REBUILD or len(arguments) != 6:
            raise self._refuse(function)
        storage, offset, shape, stride, _, hooks = arguments
        if not isinstance(shape, tuple) or len(shape) > 8 or hooks != {}:
            raise ValueError("no shape")
        if not all(map(is_size, (offset, *shape))):
            raise ValueError("impossible numbers")
        rows = [math.prod(shape[n + 1 :]) for n in range(len(shape))]
        if any(n != 1 and s != row for n, s, row in zip(shape, stride, rows, strict=True)):
            raise self._refuse("a view")
        count = math.prod(shape)
        if offset + count > storage.count:
            raise ValueError("out of its storage")
        begin = storage.begin + offset * storage.width
        return TensorInfo(storage.dtype, shape, self._path, begin, begin + count * storage.width)

    def _refuse(self, what: str) -> CheckpointError:
        return CheckpointError(
            f"{self._path} holds something else ({one_line(what, 60)}) where only plain tensors "
            "belong; fetch the model's safetensors."
        )

    def _refuse_code(self, what: str) -> CheckpointError:
        return CheckpointError(
            f"{self._path} wants to run code ({one_line(what, 60)}), which is refused; fetch it "
            "again from a source you trust, or the model's safetensors."
        )
