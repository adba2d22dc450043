"""Whether a model fits a machine, told from its shape alone; no torch.

Weights and KV cache are counted as they are loaded and allocated. What a device needs beside them
(`WORK`) is an assumption.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from inference.config import ModelConfig
from inference.errors import SettingError
from inference.folder import ModelFolder
from inference.naming import naming
from inference.parallel.plan import Mode, Share, plan

Device = Literal["cpu", "cuda"]

GIB = 1 << 30
RANKS = (1, 2, 4, 8)
WORK: dict[Device, int] = {"cpu": GIB // 2, "cuda": 2 * GIB}
"""Bytes beside weights and cache: the CUDA context, libraries' buffers and activations; on a CPU
Python, torch and activations. The GPU's is assumed; on a CPU 0.4 GiB were measured."""
_CHUNK: dict[Device, int] = {"cpu": 64, "cuda": 512}
"""Tokens of a prefill step; the mask of its attention is what grows with the conversation."""
_FIRST_CAPACITY = 256


@dataclass(frozen=True, slots=True)
class Precision:
    """A dtype that weights can be loaded in; `width`: bytes of a weight, `cache`: of a number in
    the KV cache."""

    name: str
    width: int
    cache: int

    def weights(self, shapes: Mapping[str, tuple[int, ...]]) -> int:
        """Bytes of tensors, given by name and shape."""
        return self.width * sum(math.prod(shape) for shape in shapes.values())


PRECISIONS = (
    Precision("bfloat16", 2, 2),
    Precision("float16", 2, 2),
    Precision("float32", 4, 4),
)
_OF_FILES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32", "F8_E4M3": "bfloat16"}
"""fp8 is widened when it is read."""


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes that one rank takes."""

    weights: int
    cache: int
    work: int

    @property
    def total(self) -> int:
        return self.weights + self.cache + self.work


@dataclass(frozen=True, slots=True)
class Fit:
    """A model on so many ranks in one precision. `need` is the largest rank's at `asked` tokens;
    a conversation of `tokens` fits (about: the cache doubles), 0 is none. `problem`: why the
    model cannot be shared so; then there is no need."""

    device: Device
    ranks: int
    mode: Mode
    precision: Precision
    asked: int
    need: Need = Need(0, 0, 0)
    tokens: int = 0
    problem: str = ""

    @property
    def whole(self) -> bool:
        """Whether the conversation asked for fits."""
        return self.tokens >= self.asked


def own_precision(folder: ModelFolder) -> Precision:
    """The precision that `--dtype auto` loads a folder in: that of most of its weights."""
    tensors = folder.tensors
    how = naming(folder.config, folder.layout, tensors.keys())
    sizes: Counter[str] = Counter()
    for source in {piece.source for piece in how.pieces.values()}:
        sizes[tensors[source].dtype] += tensors[source].nbytes
    name = _OF_FILES[sizes.most_common(1)[0][0]]
    return next(precision for precision in PRECISIONS if precision.name == name)


def capacity(tokens: int, longest: int) -> int:
    """Positions that the KV cache has when it holds `tokens`; it doubles, up to `longest`."""
    held = min(_FIRST_CAPACITY, longest)
    while held < min(tokens, longest):
        held = min(2 * held, longest)
    return held


def fits(
    config: ModelConfig,
    rooms: Sequence[int],
    *,
    tokens: int,
    device: Device = "cuda",
    precisions: Sequence[Precision] = PRECISIONS,
) -> list[Fit]:
    """Whether a model fits ranks that have `rooms` bytes each, with a conversation of `tokens`,
    in each of `precisions`."""
    ranks = len(rooms)
    try:
        shares = plan(config, ranks)
    except SettingError as error:
        return [Fit(device, ranks, "one", p, tokens, problem=str(error)) for p in precisions]
    shapes = [share.shapes() for share in shares]
    found = []
    for precision in precisions:
        held = [
            _Held(share, precision, precision.weights(own), device)
            for share, own in zip(shares, shapes, strict=True)
        ]
        longest = min(one.longest(room, tokens) for one, room in zip(held, rooms, strict=True))
        largest = max((one.need(tokens) for one in held), key=lambda need: need.total)
        found.append(Fit(device, ranks, shares[0].mode, precision, tokens, largest, longest))
    return found


@dataclass(frozen=True, slots=True)
class _Held:
    """A rank's share in one precision."""

    share: Share
    precision: Precision
    weights: int
    device: Device

    def need(self, tokens: int) -> Need:
        """With one conversation of `tokens`. Windowed layers keep all positions, too."""
        config, width = self.share.config, self.precision.cache
        kv_heads = self.share.kv_heads.count
        length = capacity(tokens, config.max_position_embeddings)
        cache = 2 * self.share.layers.count * kv_heads * config.head_dim * length * width
        # SDPA is given a mask for all query heads of a KV head and widens it to its dtype.
        rows = self.share.heads.count // kv_heads * min(_CHUNK[self.device], tokens)
        return Need(self.weights, cache, WORK[self.device] + rows * tokens * (1 + width))

    def longest(self, room: int, tokens: int) -> int:
        """The longest conversation that fits `room` bytes, `tokens` at most; 0 is none."""
        lengths = [tokens]
        length = _FIRST_CAPACITY
        while length < tokens:
            lengths.insert(1, length)
            length *= 2
        return next((n for n in lengths if self.need(n).total <= room), 0)


def best(found: Iterable[Fit], own: Precision) -> Fit | None:
    """The one to propose: the whole conversation before a part of it, the file's own precision
    before others, few ranks before many. None: nothing fits."""
    able = [one for one in found if one.tokens]
    return min(
        able,
        key=lambda one: (-one.tokens, one.precision is not own, one.ranks),
        default=None,
    )
