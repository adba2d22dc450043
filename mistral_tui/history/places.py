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
    match row:
        case [int(token), int() | float() as logprob, str(piece), *control] if (
            0 <= token < 1 << 32 and len(piece) < 1000 and logprob <= 0
        ):
            return Candidate(token, float(logprob), piece, bool(control))
    raise ValueError("no candidate")


def rows(blob: bytes) -> list[list[list[int | float | str]]]:
    """The plain lists that `of_rows` takes."""
    return [[_row(candidate) for candidate in place] for place in unpack(blob)]


def joined(blobs: Iterable[bytes], count: int) -> bytes:
    """The places of a reply of `count` tokens from those of its parts; nothing if they do not
    fit."""
    places = [place for blob in blobs for place in unpack(blob)]
    return pack(places) if len(places) == count else b""
