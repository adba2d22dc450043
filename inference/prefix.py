"""Which cached tokens a new prompt can keep."""

from __future__ import annotations

from collections.abc import Sequence


def common_prefix(cached: Sequence[int], prompt: Sequence[int]) -> int:
    """Number of leading ids that both share."""
    limit = min(len(cached), len(prompt))
    low, step = 0, 256
    # Slices compare in C; only the block that differs is walked.
    while low < limit and cached[low : low + step] == prompt[low : low + step]:
        low = min(low + step, limit)
    while low < limit and cached[low] == prompt[low]:
        low += 1
    return low


def reusable(cached: Sequence[int], prompt: Sequence[int]) -> int:
    """Cached positions to keep for `prompt`; one token at least is always computed,
    for its logits."""
    return max(0, min(common_prefix(cached, prompt), len(prompt) - 1))
