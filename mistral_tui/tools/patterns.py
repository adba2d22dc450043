"""Regular expressions of others: a match that would take ages is given up."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import warnings
from typing import Any

LONGEST_PATTERN = 1000
_SHORT = 256  # characters that a pattern of a few repeats gets through in no time
_FEW = 2  # unbounded repeats next to each other; their times multiply
_ALONE = "import json, re, sys; p, t = json.load(sys.stdin); print(re.search(p, t) is not None)"


class Endless(Exception):
    """A match that was given up."""


def problem(pattern: str) -> str:
    """Why a pattern cannot be used; empty: it can. Goes on after its name."""
    if len(pattern) > LONGEST_PATTERN:
        return f"is longer than {LONGEST_PATTERN} characters"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(pattern)
    except (re.error, RecursionError, OverflowError, MemoryError) as error:
        return f"is no regular expression that Python knows ({error})"
    return ""


def found(pattern: str, text: str, deadline: float) -> bool:
    """Whether a pattern matches somewhere in a text. What could take exponential time is matched
    in a process of its own, which can be stopped.

    Raises:
        Endless: it took longer than until `deadline` (of `time.monotonic`).
    """
    if len(text) <= _SHORT and _is_quick(pattern):
        return re.search(pattern, text) is not None
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _ALONE],
            input=json.dumps([pattern, text]),
            capture_output=True,
            text=True,
            timeout=max(0.01, deadline - time.monotonic()),
            check=True,
        )
    except (subprocess.SubprocessError, OSError):
        raise Endless from None
    return done.stdout.startswith("True")


def _is_quick(pattern: str) -> bool:
    """Whether no repeat stands in another one, or has alternatives to try in turn."""
    # Of Python itself; should it ever be gone, every pattern gets its own process.
    parse = getattr(getattr(re, "_parser", None), "parse", None)
    if parse is None:
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _repeats(parse(pattern), inside=False) <= _FEW
    except (_Slow, re.error, RecursionError, OverflowError):
        return False


class _Slow(Exception):
    pass


def _repeats(items: Any, *, inside: bool) -> int:
    """How many repeats of more than a few turns there are."""
    count = 0
    for name, argument in items:
        kind = str(name)
        if kind in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            _, most, body = argument
            if inside:
                raise _Slow
            count += int(most) > 8
            count += _repeats(body, inside=int(most) > 1)
        elif kind == "SUBPATTERN":
            count += _repeats(argument[-1], inside=inside)
        elif kind == "BRANCH":
            if inside:
                raise _Slow
            count += max(_repeats(branch, inside=False) for branch in argument[1])
        elif kind not in ("LITERAL", "NOT_LITERAL", "IN", "ANY", "AT"):
            raise _Slow
    return count
