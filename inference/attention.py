"""The one seam for attention over a KV cache: `attend`, by torch's SDPA or by xformers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from inference.errors import SettingError

Backend = Literal["sdpa", "xformers"]
BACKENDS = ("auto", "sdpa", "xformers")


@dataclass(slots=True)
class Span:
    """What the new positions of one forward pass may see, in the layers of one window.

    `starts[r]` and `count` say where row r's `count` queries stand. Only the keys
    `[first, first + length)` of the cache matter to any of them; no query sees keys behind
    itself, nor more than `window` keys, its own included.
    """

    starts: Sequence[int]
    count: int
    window: int | None
    positions: Tensor  # (B, T), the same on the device
    first: int = field(init=False)
    length: int = field(init=False)
    _mask: Tensor | None = field(init=False, default=None)
    _rows_mask: Tensor | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        lowest = min(self.starts)
        self.first = max(0, lowest - self.window + 1) if self.window else 0
        self.length = max(self.starts) + self.count - self.first

    @property
    def sees_all(self) -> bool:
        """Whether no mask is needed: one sequence's single new token."""
        return len(self.starts) == 1 and self.count == 1

    @property
    def mask(self) -> Tensor | None:
        """Boolean (B, T, length), True where attended; None: everywhere. Made once."""
        if self._mask is None and not self.sees_all:
            self._mask = causal_mask(self.positions, self.first, self.length, self.window)
        return self._mask

    def rows_mask(self, group: int) -> Tensor | None:
        """The mask for `group` query heads as rows, (B, 1, group · T, length). Made once."""
        mask = self.mask
        if mask is not None and self._rows_mask is None:
            self._rows_mask = mask.unsqueeze(1).repeat(1, 1, group, 1)
        return self._rows_mask


def causal_mask(positions: Tensor, first: int, length: int, window: int | None) -> Tensor:
    """Which keys each query may see: itself and what is before, within the window.

    Args:
        positions: (B, T) position of each query.
        first, length: the keys' positions are first … first + length - 1.
        window: number of keys seen, the query's own included; None: all.

    Returns:
        Boolean (B, T, length).
    """
    keys = torch.arange(first, first + length, device=positions.device)
    queries = positions.unsqueeze(-1)
    mask = keys <= queries
    return mask & (keys > queries - window) if window else mask


def attend(q: Tensor, k: Tensor, v: Tensor, span: Span, backend: Backend = "sdpa") -> Tensor:
    """Grouped-query attention of T new positions over S cached ones.

    Args:
        q: (B, T, n_heads, head_dim).
        k, v: (B, n_kv_heads, S, head_dim), the cache, new positions included.
        span: who sees what.
        backend: `sdpa` everywhere; `xformers` on CUDA, for one sequence (of a batch each row
            would be a kernel of its own).

    Returns:
        (B, T, n_heads * head_dim).
    """
    k, v = k.narrow(2, span.first, span.length), v.narrow(2, span.first, span.length)
    alone = len(span.starts) == 1
    return _xformers(q, k, v, span) if backend == "xformers" and alone else _sdpa(q, k, v, span)


def _sdpa(q: Tensor, k: Tensor, v: Tensor, span: Span) -> Tensor:
    """The query heads that share a KV head become rows of one matrix, so K and V are never
    repeated in memory (on a CPU 20–40 times faster than repeating them)."""
    batch, steps, n_heads, head_dim = q.shape
    n_kv_heads = k.shape[1]
    group = n_heads // n_kv_heads
    rows = q.view(batch, steps, n_kv_heads, group, head_dim).permute(0, 2, 3, 1, 4)
    rows = rows.reshape(batch, n_kv_heads, group * steps, head_dim)
    mask = span.rows_mask(group)
    out = F.scaled_dot_product_attention(rows, k, v, attn_mask=mask)
    out = out.view(batch, n_kv_heads, group, steps, head_dim).permute(0, 3, 1, 2, 4)
    return out.reshape(batch, steps, n_heads * head_dim)


# ── xformers ────────────────────────────────────────────────────────────────────────


def _xformers(q: Tensor, k: Tensor, v: Tensor, span: Span) -> Tensor:
    """One sequence, whose mask xformers knows by name."""
    from xformers.ops import fmha

    _, steps, n_heads, head_dim = q.shape
    n_kv_heads = k.shape[1]
    group = n_heads // n_kv_heads
    # (1, M, n_kv_heads, group, head_dim): K and V are repeated by stride 0 only.
    queries = q.view(1, steps, n_kv_heads, group, head_dim)
    keys, values = (t.transpose(1, 2).unsqueeze(3).expand(-1, -1, -1, group, -1) for t in (k, v))
    out = fmha.memory_efficient_attention_forward(
        queries, keys, values, attn_bias=xformers_bias(span)
    )
    return cast(Tensor, out).reshape(1, steps, n_heads * head_dim)


def xformers_bias(span: Span) -> Any:
    """xformers' own words for what one sequence's queries see of the span; None: everything."""
    from xformers.ops.fmha import attn_bias

    if span.count == 1:
        return None
    causal = attn_bias.LowerTriangularFromBottomRightMask()
    return causal.make_local_attention(span.window) if span.window else causal


def pick_backend(name: str, device: torch.device, dtype: torch.dtype) -> Backend:
    """`auto` takes xformers on CUDA where it is installed and the dtype suits it, else SDPA.

    Raises:
        SettingError: xformers was asked for and cannot serve; one sentence.
    """
    if name not in BACKENDS:
        raise SettingError(f"The attention {name!r} is not known; use auto, sdpa or xformers.")
    half = dtype in (torch.bfloat16, torch.float16)
    if name == "sdpa" or (name == "auto" and (device.type != "cuda" or not half)):
        return "sdpa"
    if device.type != "cuda":
        raise SettingError("xformers computes attention on CUDA only; use --attention sdpa here.")
    try:
        _probe(device, dtype)
    except Exception as error:  # missing, or a build for another torch, Python or GPU
        if name == "auto":
            return "sdpa"
        missing = isinstance(error, ModuleNotFoundError) and error.name == "xformers"
        what = "is not installed" if missing else f"does not work here ({type(error).__name__})"
        raise SettingError(
            f"xformers {what}: pip install 'mistral-tui[xformers]' brings the one for your torch, "
            "or use --attention sdpa.",
            detail=repr(error),
        ) from None
    return "xformers"


def _probe(device: torch.device, dtype: torch.dtype) -> None:
    """One small product; xformers imports even where its kernels cannot be loaded."""
    from xformers.ops import fmha

    x = torch.zeros((1, 2, 1, 1, 64), device=device, dtype=dtype)
    causal = fmha.attn_bias.LowerTriangularFromBottomRightMask()
    fmha.memory_efficient_attention_forward(x, x, x, attn_bias=causal)
