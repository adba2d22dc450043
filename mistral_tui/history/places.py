"""What else the model might have said at each place of a reply, small enough to keep."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Sequence

from inference.api import Candidate

Place = tuple[Candidate, ...]
"""The candidates of one token, the likeliest first, the drawn one among them."""

_MOST = 64 << 20  # bytes that are unpacked: some hundred thousand tokens


def pack(places: Sequence[Place]) -> bytes:
    """The places as they lie on disk; nothing for nothing."""
    if not any(places):
        return b""
    rows = [[_row(candidate) for candidate in place] for place in places]
    return zlib.compress(json.dumps(rows, separators=(",", ":")).encode("ascii"))


def _row(candidate: Candidate) -> list[int | float | str]:
    row: list[int | float | str] = [candidate.id, round(candidate.logprob, 4), candidate.piece]
    return [*row, 1] if candidate.control else row


def unpack(blob: bytes) -> tuple[Place, ...]:
    """`pack` undone; nothing where it is damaged."""
    if not blob:
        return ()
    try:
        worker = zlib.decompressobj()
        text = worker.decompress(blob, _MOST)
        return () if worker.unconsumed_tail else of_rows(json.loads(text))
    except (zlib.error, ValueError, RecursionError):
        return ()


def of_rows(rows: object) -> tuple[Place, ...]:
    """Places from plain lists, as a file has them.

    Raises:
        ValueError: they are something else.
    """
    if not isinstance(rows, list):
        raise ValueError("no list of places")
    return tuple(tuple(map(_candidate, row)) for row in rows if isinstance(row, list))


def _candidate(row: object) -> Candidate:
    # Plain comparisons: a long answer has tens of thousands of these.
    if type(row) is list and 3 <= len(row) <= 4:
        token, logprob, piece = row[:3]
        if (
            type(token) is int
            and type(logprob) in (int, float)
            and type(piece) is str
            and 0 <= token < 1 << 32
            and logprob <= 0
            and len(piece) < 1000
        ):
            return Candidate(token, float(logprob), piece, len(row) == 4 and bool(row[3]))
    raise ValueError("no candidate")


def rows(blob: bytes) -> list[list[list[int | float | str]]]:
    """The plain lists that `of_rows` takes."""
    return [[_row(candidate) for candidate in place] for place in unpack(blob)]


def joined(blobs: Iterable[bytes], count: int) -> bytes:
    """The places of a reply of `count` tokens from those of its parts; nothing if they do not
    fit."""
    places = [place for blob in blobs for place in unpack(blob)]
    return pack(places) if len(places) == count else b""
