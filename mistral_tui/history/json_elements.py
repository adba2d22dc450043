"""The elements of a huge JSON array, one at a time; nothing in a foreign file is trusted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, TextIO

MOST_ELEMENT = 64 << 20  # characters
_BLOCK = 1 << 16


class BadJson(Exception):
    """The file is no such JSON; the message completes "… cannot be imported: "."""


def elements(file: TextIO, key: str) -> Iterator[tuple[dict[str, Any], Any]]:
    """The elements of the array that the file is, or that it has under `key` at its top, each
    with what was read before it at the top. Without either, the object itself is the element.

    Raises:
        BadJson: it is cut off, no JSON, nested too deeply, or one element is too big.
    """
    reader = _Reader(file)
    head: dict[str, Any] = {}
    if reader.next_is("["):
        for element in reader.array():
            yield head, element
    elif reader.next_is("{"):
        found = False
        while not reader.next_is("}"):
            name = reader.value()
            reader.expect(":")
            if name == key and reader.next_is("["):
                found = True
                for element in reader.array():
                    yield head, element
            else:
                head[str(name)] = reader.value()
            if not reader.next_is(","):
                reader.expect("}")
                break
        if not found:
            yield {}, head
    else:
        raise BadJson("it is not JSON")


class _Reader:
    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._text = ""
        self._at = 0
        self._ended = False
        self._decoder = json.JSONDecoder(parse_constant=lambda name: None)  # NaN, Infinity

    def next_is(self, char: str) -> bool:
        """Take the next character if it is this one."""
        self._skip()
        if self._text[self._at : self._at + 1] != char:
            return False
        self._at += 1
        return True

    def expect(self, char: str) -> None:
        if not self.next_is(char):
            raise BadJson("it is cut off" if self._ended else "it is not JSON")

    def array(self) -> Iterator[Any]:
        """The elements of an array that has begun."""
        while not self.next_is("]"):
            yield self.value()
            if not self.next_is(","):
                self.expect("]")
                return

    def value(self) -> Any:
        self._skip()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except RecursionError as error:
                raise BadJson("it is nested too deeply") from error
            except json.JSONDecodeError as error:
                broken = error.pos < len(self._text) - 64 and "Unterminated" not in error.msg
                if broken or self._ended:
                    ended = self._ended and not broken
                    raise BadJson("it is cut off" if ended else "it is not JSON") from error
            except ValueError as error:  # a number of thousands of digits
                raise BadJson("a number in it is too long") from error
            else:
                if end < len(self._text) or self._ended:
                    self._at = end
                    return value
            if len(self._text) - self._at > MOST_ELEMENT:
                raise BadJson("one conversation in it is too big")
            self._more(len(self._text) - self._at)  # twice as much: each byte is tried twice

    def _skip(self) -> None:
        while True:
            while self._at < len(self._text) and self._text[self._at] in " \t\r\n":
                self._at += 1
            if self._at < len(self._text) or self._ended:
                return
            self._more(_BLOCK)

    def _more(self, count: int) -> None:
        more = self._file.read(max(_BLOCK, count))
        self._text, self._at = self._text[self._at :] + more, 0
        self._ended = not more
