"""Two functions for a model to call; name this file in `tool_modules` of `[tools]`."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Annotated, Literal

__all__ = ["count_words", "current_time"]


def current_time(offset_hours: Annotated[float, "Hours from UTC, such as -5 or 5.5"] = 0.0) -> str:
    """The current date and time at an offset from UTC."""
    return datetime.now(timezone(timedelta(hours=offset_hours))).isoformat(timespec="minutes")


def count_words(text: str, unit: Literal["words", "letters", "lines"] = "words") -> dict[str, int]:
    """Count what a text is made of.

    Args:
        text: The text itself.
        unit: What is counted; letters are without spaces.
    """
    words = text.split()
    counts = {"words": len(words), "letters": len("".join(words)), "lines": len(text.splitlines())}
    return {unit: counts[unit]}
