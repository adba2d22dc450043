"""The ids of a reply → text, thinking and tool calls, one id at a time.

Only control ids begin a call or a thought, and no text can forge one. A call ends where its JSON
ends; what follows is text. Nothing here raises, whatever the ids; the time is linear in their
number. `calls.py` has the layouts of the calls.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from inference.calls import (
    ARGS,
    CALL_ID,
    SPACE,
    ArgumentsPiece,
    CallBegun,
    CallBroken,
    CallFinished,
    ListOfCalls,
    NamedCall,
    ToolCall,
)

if TYPE_CHECKING:
    from inference.tokenizer import Tokenizer

__all__ = [
    "ArgumentsPiece",
    "CallBegun",
    "CallBroken",
    "CallFinished",
    "Event",
    "Parser",
    "Reply",
    "TextPiece",
    "ThinkingPiece",
    "ToolCall",
    "collect",
]

CALLS, THINK, END_THINK = "[TOOL_CALLS]", "[THINK]", "[/THINK]"


@dataclass(frozen=True, slots=True)
class TextPiece:
    """More of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class ThinkingPiece:
    """More of what stands between [THINK] and [/THINK]."""

    text: str


Event = TextPiece | ThinkingPiece | CallBegun | ArgumentsPiece | CallFinished | CallBroken


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply, taken apart. `broken` are the raw texts of calls that are none."""

    text: str
    thinking: str
    tool_calls: tuple[ToolCall, ...]
    broken: tuple[str, ...] = ()


def collect(events: Iterable[Event]) -> Reply:
    """What the events of one reply say."""
    events = list(events)
    return Reply(
        "".join(e.text for e in events if isinstance(e, TextPiece)),
        "".join(e.text for e in events if isinstance(e, ThinkingPiece)),
        tuple(e.call for e in events if isinstance(e, CallFinished)),
        tuple(e.raw for e in events if isinstance(e, CallBroken)),
    )


class Parser:
    """Takes one reply's ids and gives events."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._fresh = tokenizer.detokenizer
        self._decoder = self._fresh()
        self._named = tokenizer.version_number >= 11
        self._marks = {
            number: name
            for name in (CALLS, CALL_ID, ARGS, THINK, END_THINK)
            if (number := tokenizer.control_id(name)) is not None
        }
        self._stop_ids = tokenizer.stop_ids
        self._thinking = False
        self._after_call = False
        self._calls: ListOfCalls | NamedCall | None = None
        self._index = 0

    def feed(self, token: int) -> list[Event]:
        """The events that one more id brings, often none."""
        mark = self._marks.get(token)
        if mark is None and token not in self._stop_ids:
            return self._take(self._decoder.add(token))
        if mark is not None and mark in (ARGS, CALL_ID):
            if not isinstance(self._calls, NamedCall):
                return []  # it means nothing here
            events = self._take(self._flush())
            if self._calls:  # what was just flushed can have ended it
                events += self._calls.mark(mark)
            return events
        events = self.finish()
        if mark == CALLS:
            self._calls = (NamedCall if self._named else ListOfCalls)(self._index)
        self._thinking = mark == THINK
        return events

    def finish(self) -> list[Event]:
        """The events that are left when no more ids come."""
        events = self._take(self._flush())
        if self._calls:
            events += self._calls.end()
            self._index = self._calls.index
        self._calls = None
        self._after_call = False
        return events

    def piece(self, token: int) -> str:
        """What `token` would add here; bytes that are no UTF-8 as lone surrogates."""
        return self._decoder.piece(token)

    def _flush(self) -> str:
        rest = self._decoder.flush()
        self._decoder = self._fresh()
        return rest

    def _take(self, text: str) -> list[Event]:
        events: list[Event] = []
        if self._calls:
            brought, text = self._calls.take(text)
            events += brought
            if self._calls.closed:
                self._index = self._calls.index
                self._calls = None
                self._after_call = True
        if self._after_call and text:
            text = text.lstrip(SPACE)  # the space between a call and what follows is no text
            self._after_call = not text
        if text:
            events.append(ThinkingPiece(text) if self._thinking else TextPiece(text))
        return events
