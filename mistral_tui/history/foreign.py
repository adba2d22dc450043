"""What is read from foreign conversation files, checked value by value."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from mistral_tui.history.schema import Conversation, Message, storable

MOST_MESSAGES = 100_000  # of one conversation
_LAST_SECOND = 253_402_300_799.0  # of the year 9999
K = TypeVar("K")


@dataclass(slots=True)
class Plan:
    """A conversation to be stored: its messages, parents before their children, and at each
    the answer that was in view last; what of it could not be used, or is words in place of
    something that is no text."""

    conversation: Conversation
    messages: list[Message] = field(default_factory=list)
    ways: dict[int, int] = field(default_factory=dict)
    skipped: int = 0
    placeholders: int = 0


def words(value: object) -> str:
    return storable(value) if isinstance(value, str) else ""


def mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def items(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def moment(value: object, otherwise: float | None = None) -> float:
    """Unix seconds; now, if there is nothing better."""
    if isinstance(value, int | float) and 0 < value <= _LAST_SECOND and math.isfinite(value):
        return float(value)
    return time.time() if otherwise is None else otherwise


def in_order(parents: Mapping[K, K | None]) -> list[K]:
    """Every key after its parent, siblings as they stand; a missing parent makes a root, and
    what hangs on a circle is left out."""
    children: dict[K | None, list[K]] = {}
    for key, parent in parents.items():
        children.setdefault(parent if parent in parents else None, []).append(key)
    ordered, waiting = [], children.get(None, [])[::-1]
    while waiting:
        key = waiting.pop()
        ordered.append(key)
        waiting += children.get(key, [])[::-1]
    return ordered
