"""Ids → text, one at a time."""

from __future__ import annotations

import codecs
from collections.abc import Callable


class Detokenizer:
    """Ids to text, one at a time: bytes go through an incremental UTF-8 decoder, so that
    the pieces joined are exactly the text of the whole. A sentencepiece reply to a chat
    starts with a space that is no part of it."""

    def __init__(self, bytes_of: Callable[[int], bytes], *, strip_space: bool) -> None:
        self._bytes_of = bytes_of
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._strip = strip_space

    def add(self, token: int) -> str:
        """The text that `token` completes; empty in the middle of a character."""
        piece = self._added(token)
        self._strip = self._strip and not self._bytes_of(token)
        return self._decoder.decode(piece)

    def piece(self, token: int) -> str:
        """What `token` would add here; bytes that are no UTF-8 as lone surrogates."""
        return self._added(token).decode("utf-8", "surrogateescape")

    def _added(self, token: int) -> bytes:
        piece = self._bytes_of(token)
        return piece.removeprefix(b" ") if self._strip else piece

    def flush(self) -> str:
        """What is left at the end: U+FFFD for an unfinished character."""
        return self._decoder.decode(b"", final=True)
