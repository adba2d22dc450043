"""Bounds of what a tool may take, and of what it may say."""

from __future__ import annotations

from mistral_tui.sanitize import sanitize
from mistral_tui.tools.definition import Outcome

TIMEOUT_SECONDS = 60.0
MOST_RESULT = 32_000  # characters that the model and the user get to see
MOST_BYTES = 4 * MOST_RESULT + 4096  # read of any tool; the rest is thrown away


def outcome(
    text: str, *, error: bool = False, seconds: float = 0.0, cut: bool = False, most: int = 0
) -> Outcome:
    """Foreign output, made safe and cut to its bounds (`most` characters, if given)."""
    most = most or MOST_RESULT
    cut = cut or len(text) > most
    safe = sanitize(text[:most])
    return Outcome(safe, error, seconds, cut)
