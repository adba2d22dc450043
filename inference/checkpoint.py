"""Weights on disk → the model's parameters: streamed, checked tensor by tensor."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from inference.errors import CheckpointError
from inference.files import sentences
from inference.folder import ModelFolder
from inference.naming import Naming, Piece, check_tensors, scale_names
from inference.parallel.plan import Cut
from inference.safetensors_header import TensorInfo
from inference.transformer import Transformer

_TOUCH_BYTES = 64 << 20
# Pages that were read to make a copy count as resident until their mapping is given up.
_REMAP_BYTES = 128 << 20
_WIDEN_BYTES = 64 << 20
_FP8 = torch.float8_e4m3fn
_DTYPES = {
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "F32": torch.float32,
    "F8_E4M3": _FP8,
}


class Reader(Protocol):
    """Lazily read tensors of one checkpoint."""

    tensors: dict[str, TensorInfo]

    def read(self, name: str) -> Tensor:
        """A tensor as a view of the mapped file."""
        ...

    def release(self) -> None:
        """Give the mappings up; views that are still held keep theirs."""
        ...


@sentences()
def load_weights(
    model: Transformer,
    folder: ModelFolder,
    *,
    device: torch.device,
    dtype: torch.dtype | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Fill a model that was built on the meta device with a folder's weights; a rank's share with
    its part of each, of which no more is read.

    Tensors are views of the mapped file where layout, device and dtype allow, and read
    through once, so that the first token does not wait for the disk. Those that must be
    copied go one by one: at most one of them is in memory twice.

    Raises:
        CheckpointError: names every missing, extra or misshaped tensor.
    """
    reader = _Pickled if folder.files[0].suffix == ".pth" else _Safetensors
    try:
        kept, passing = reader(folder), reader(folder)
        how = check_tensors(folder.config, folder.layout, kept.tensors, str(folder.files[0]))
        _Loading(model, how, kept, passing, device, dtype, progress).run()
    except SafetensorError as error:
        raise CheckpointError(
            f"{folder.path} has damaged or incomplete weights ({error}); fetch them again."
        ) from None
    except OSError as error:
        raise CheckpointError(
            f"{error.filename or folder.path} cannot be read: {error.strerror or error}."
        ) from None


class _Loading:
    """One load under way."""

    def __init__(
        self,
        model: Transformer,
        how: Naming,
        kept: Reader,
        passing: Reader,
        device: torch.device,
        dtype: torch.dtype | None,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.model = model
        self.how = how
        self.kept = kept
        self.passing = passing
        self.device = device
        self._progress = progress
        sources = {piece.source for piece in how.pieces.values()}
        self.dtype = dtype or _usual([kept.tensors[source] for source in sources])
        self._sizes = {  # bytes that are read for each tensor
            name: math.prod(shape) * _DTYPES[kept.tensors[how.pieces[name].source].dtype].itemsize
            for name, shape in model.share.shapes().items()
        }
        self._total = sum(self._sizes.values())
        self._done = 0
        self._passed = 0

    def run(self) -> None:
        if wants_stacks(self.device):
            for mixture in self.model.mixtures():
                mixture.stack(self.device, self.dtype)
        tensors = self.kept.tensors
        # In the order of the files, for the disk's sake.
        pieces = sorted(
            (item for item in self.how.pieces.items() if item[0] in self._sizes),
            key=lambda item: (tensors[item[1].source].file, tensors[item[1].source].begin),
        )
        for name, piece in pieces:
            size = self._sizes[name]
            cut = self.model.share.cut(name)
            assert cut is not None
            self._place(name, self._fetch(piece, cut, size))
            self._tell(size)
        if self._progress:
            self._progress(self._total, self._total)

    def _tell(self, size: int) -> None:
        self._done += size
        if self._progress:
            self._progress(self._done, self._total)

    def _fetch(self, piece: Piece, cut: Cut, size: int) -> Tensor:
        dtype = _DTYPES[self.kept.tensors[piece.source].dtype]
        tensor = None
        if dtype is self.dtype and self.device.type == "cpu" and piece.how != "half_split":
            tensor = _part(self.kept.read(piece.source), piece, cut)
        # What is cut out of every row is copied: its pages hold the other ranks' parts, too.
        if tensor is not None and (tensor.is_contiguous() or tensor.t().is_contiguous()):
            for read in _touch(tensor):
                if self._progress:
                    self._progress(self._done + min(read, size), self._total)
            return tensor
        tensor = _part(self.passing.read(piece.source), piece, cut)
        if dtype is _FP8:
            tensor = _widen(tensor, self._scale(piece.source), self.dtype).to(self.device)
        else:
            tensor = tensor.to(device=self.device, dtype=self.dtype, copy=True)
        if tensor.dim() > 1:
            tensor = tensor.contiguous()
        # Pages come whole: with what is cut out of every row the other ranks' parts are read, too.
        self._passed += size * (self.model.share.ranks if cut.part and cut.dim else 1)
        if self._passed >= _REMAP_BYTES:
            self.passing.release()
            self._passed = 0
        return tensor

    def _scale(self, source: str) -> float:
        name = next(name for name in scale_names(source) if name in self.kept.tensors)
        scale = float(self.passing.read(name).float().reshape(()))
        if not 0 < scale < math.inf:  # NaN fails too
            raise CheckpointError(
                f"{self.kept.tensors[name].file} is damaged: {name} is {scale:g}, and no scale; "
                "fetch it again."
            )
        return scale

    def _place(self, name: str, tensor: Tensor) -> None:
        module_name, _, attribute = name.rpartition(".")
        module = self.model.get_submodule(module_name)
        present = getattr(module, attribute)
        if present.is_meta:
            setattr(module, attribute, nn.Parameter(tensor, requires_grad=False))
        else:  # a part of a stack of experts
            present.copy_(tensor)


def _usual(tensors: Sequence[TensorInfo]) -> torch.dtype:
    """The dtype of most of the weights; bf16 where that is fp8."""
    sizes: Counter[str] = Counter()
    for info in tensors:
        sizes[info.dtype] += info.nbytes
    usual = _DTYPES[sizes.most_common(1)[0][0]]
    return torch.bfloat16 if usual is _FP8 else usual


def wants_stacks(device: torch.device) -> bool:
    """Whether experts lie in one tensor: where the host must not wait to know the chosen.
    On a CPU they stay parts of the mapped file."""
    return device.type == "cuda"


def _part(tensor: Tensor, piece: Piece, cut: Cut) -> Tensor:
    """The rows that a piece means, in our order, and of these what the rank holds."""
    part = cut.part
    match piece.how:
        case "half_split":
            heads = piece.part
            if part is not None:  # whole heads: before their rows change places
                heads = heads * part.count // tensor.shape[0]
                tensor = tensor.narrow(0, part.first, part.count)
            rows, dim = tensor.shape
            halves = tensor.view(heads, 2, rows // heads // 2, dim)
            return halves.transpose(1, 2).reshape(rows, dim)
        case "rows" | "rows_transposed":
            expert = tensor.narrow(0, piece.part * piece.rows, piece.rows)
            tensor = expert.t() if piece.how == "rows_transposed" else expert
        case "expert":
            tensor = tensor[piece.part].narrow(0, piece.first, piece.rows)
    return tensor if part is None else tensor.narrow(cut.dim, part.first, part.count)


def _widen(tensor: Tensor, scale: float, dtype: torch.dtype) -> Tensor:
    """fp8 times its scale, computed in fp32, a few rows at a time."""
    out = torch.empty(tensor.shape, dtype=dtype)
    step = max(1, _WIDEN_BYTES // (4 * tensor.shape[1]))
    for start in range(0, tensor.shape[0], step):
        rows = tensor[start : start + step].to(torch.float32) * scale
        out[start : start + step] = rows
    return out


def _touch(tensor: Tensor) -> Iterator[int]:
    """Read one byte of every page of a mapped tensor; yields the bytes passed so far."""
    flat = (tensor if tensor.is_contiguous() else tensor.t()).reshape(-1).view(torch.uint8)
    for start in range(0, flat.numel(), _TOUCH_BYTES):
        part = flat[start : start + _TOUCH_BYTES]
        part[::4096].sum()
        yield start + part.numel()


class _Safetensors:
    """Tensors of safetensors files, whose headers were checked."""

    def __init__(self, folder: ModelFolder) -> None:
        self.tensors = folder.tensors
        self._open: dict[Path, safe_open] = {}

    def read(self, name: str) -> Tensor:
        path = self.tensors[name].file
        if path not in self._open:
            self._open[path] = safe_open(str(path), framework="pt", device="cpu")
        file: Any = self._open[path]
        tensor: Tensor = file.get_tensor(name)
        return tensor

    def release(self) -> None:
        self._open.clear()


class _Pickled:
    """Tensors of a .pth file, whose pickle was checked: views of the mapped file at the places
    that it names. Nothing is unpickled."""

    def __init__(self, folder: ModelFolder) -> None:
        self.tensors = folder.tensors
        self._mapped: Any = None

    def read(self, name: str) -> Tensor:
        info = self.tensors[name]
        if self._mapped is None:
            size = info.file.stat().st_size
            self._mapped = torch.UntypedStorage.from_file(str(info.file), False, size)
        part = self._mapped[info.begin : info.end]
        return torch.empty(0, dtype=_DTYPES[info.dtype]).set_(part).view(info.shape)

    def release(self) -> None:
        self._mapped = None
