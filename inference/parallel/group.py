"""The ranks' process groups: a control group that may be idle for days, and one for tensors.

The control group is gloo's, on every machine. What a step needs is told in one broadcast of fixed
size, unless the prompt is longer than it has room for.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import timedelta
from enum import IntEnum
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from inference.errors import SettingError
from inference.parallel.ranks import Ranks

TIMEOUT = "MISTRAL_TUI_COLLECTIVE_TIMEOUT"
"""Seconds that an exchange of tensors may take; how long ranks wait for an order has no end."""
_TIMEOUT_SECONDS = 1800.0
_FOREVER = timedelta(days=3650)
_WORDS = 64  # of an order: it travels in one packet
_HEAD = 10  # of them: operation, length of the data, and eight numbers
_REPORT_BYTES = 4096
_PAUSE_SECONDS = 0.02


class Op(IntEnum):
    """What the other ranks are told to do."""

    END = 0
    LOAD = 1
    LORA = 2
    NO_LORA = 3
    FORWARD = 4
    FAN_OUT = 5
    FORGET_CACHE = 6
    FORGET_MODEL = 7


class Group:
    """This rank's end of both groups. Making one waits for all the others.

    Raises:
        SettingError: the variable `TIMEOUT` is no number of seconds.
    """

    def __init__(self, ranks: Ranks, store: Any) -> None:
        self.ranks = ranks
        self._timeout = _timeout()
        dist.init_process_group(
            "gloo", store=store, rank=ranks.rank, world_size=ranks.world, timeout=_FOREVER
        )
        self._tensors: dict[str, Any] = {}

    def tensors(self, device: torch.device) -> Any:
        """The group that tensors on such a device go over; all ranks ask for it together."""
        backend = "nccl" if device.type == "cuda" else "gloo"
        if backend not in self._tensors:
            self._tensors[backend] = dist.new_group(backend=backend, timeout=self._timeout)
        return self._tensors[backend]

    # ── orders: from rank 0 to all ──────────────────────────────────────────────────

    def order(self, op: Op, *fields: int, data: list[int] | None = None) -> None:
        """Tell all others: an operation, up to eight numbers, and data of any length."""
        data = data or []
        words = [op, len(data), *fields]
        words += [0] * (_HEAD - len(words)) + data[: _WORDS - _HEAD]
        first = torch.tensor(words + [0] * (_WORDS - len(words)), dtype=torch.int64)
        dist.broadcast(first, 0)
        if rest := data[_WORDS - _HEAD :]:
            dist.broadcast(torch.tensor(rest, dtype=torch.int64), 0)

    def receive(self) -> tuple[Op, list[int], Tensor]:
        """Wait for an order: (operation, its eight numbers, data int64)."""
        first = torch.empty(_WORDS, dtype=torch.int64)
        dist.broadcast(first, 0)
        op, length, *fields = first[:_HEAD].tolist()
        data = first[_HEAD : _HEAD + length]
        if (missing := length - data.numel()) > 0:
            rest = torch.empty(missing, dtype=torch.int64)
            dist.broadcast(rest, 0)
            data = torch.cat((data, rest))
        return Op(op), fields, data

    # ── reports: from all to rank 0 ─────────────────────────────────────────────────

    def report(self, text: str, waiting: Callable[[], None] = lambda: None) -> list[str]:
        """What every rank has to say, up to 4 KB each; rank 0 gets them all, others nothing.
        `waiting` is called again and again on rank 0 until all have spoken."""
        data = text.encode(errors="replace")[:_REPORT_BYTES]
        mine = torch.tensor(list(data) + [0] * (_REPORT_BYTES - len(data)), dtype=torch.uint8)
        if self.ranks.rank:
            dist.gather(mine, dst=0)
            return []
        parts = [torch.empty_like(mine) for _ in range(self.ranks.world)]
        gathering = dist.gather(mine, parts, dst=0, async_op=True)
        while not gathering.is_completed():
            waiting()
            time.sleep(_PAUSE_SECONDS)
        gathering.wait()
        return [bytes(p.tolist()).rstrip(b"\0").decode(errors="replace") for p in parts]

    def close(self) -> None:
        """Give the groups up; gloo's threads would abort the end of the process."""
        self._tensors.clear()
        dist.destroy_process_group()


def _timeout() -> timedelta:
    said = os.environ.get(TIMEOUT, "")
    try:
        seconds = float(said or _TIMEOUT_SECONDS)
        if not seconds > 0:
            raise ValueError
        return timedelta(seconds=seconds)
    except (ValueError, OverflowError):
        raise SettingError(f"{TIMEOUT} is {said!r:.40}; give a number of seconds.") from None


def packed(text: str) -> list[int]:
    """Text as an order's data."""
    return list(text.encode())


def unpacked(data: Tensor) -> str:
    """The text that was `packed`."""
    return bytes(data.tolist()).decode()
