"""Tool calls as a model writes them, read piece by piece, in both of their layouts:

    v2 … v7    [{"name": …, "arguments": {…}, "id": …}, …]
    v11 …      name[CALL_ID]id[ARGS]{…}     v13 … have no id

Whatever a model writes, nothing here raises: a call that breaks off or is no JSON becomes a
`CallBroken` with its raw text. The time is linear in the length of the text.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, ClassVar

from inference.errors import RequestError

CALL_ID, ARGS = "[CALL_ID]", "[ARGS]"
SPACE = " \t\r\n"  # JSON's

_IN_NESTED = re.compile(r'["{}\[\]]')
_IN_STRING = re.compile(r'["\\]')
_AFTER_SCALAR = re.compile(r"[\s,}\]]")
_NOT_SPACE = re.compile(f"[^{SPACE}]")


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that the model has made. `arguments` are JSON as the model wrote them; `id` is
    empty where the layout has none."""

    name: str
    arguments: str
    id: str = ""

    @property
    def parsed_arguments(self) -> dict[str, Any]:
        """The arguments as a dict. Raises `RequestError` where they are no JSON object."""
        try:
            values = json.loads(self.arguments)
        except (ValueError, RecursionError) as error:
            reason = str(error) or "it nests too deep"
            raise RequestError(
                f"The arguments of the call to {self.name!r:.80} are not JSON: {reason}."
            ) from None
        if values is None:  # as mistral-common reads it
            return {}
        if not isinstance(values, dict):
            raise RequestError(
                f"The arguments of the call to {self.name!r:.80} are no JSON object."
            )
        return values


@dataclass(frozen=True, slots=True)
class CallBegun:
    """The reply's call number `index` has got its name."""

    index: int
    name: str


@dataclass(frozen=True, slots=True)
class ArgumentsPiece:
    """More of a call's arguments; all pieces joined are `ToolCall.arguments`. Arguments that
    are written as a JSON string come decoded, in one piece."""

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class CallFinished:
    """A whole call."""

    index: int
    call: ToolCall


@dataclass(frozen=True, slots=True)
class CallBroken:
    """A call, begun or not, that no one can make; `raw` is what the model wrote of it."""

    index: int
    raw: str
    reason: str


CallEvent = CallBegun | ArgumentsPiece | CallFinished | CallBroken


class _Value:
    """Finds the end of one JSON value that comes in pieces; whether it is valid is for
    `json.loads` to say."""

    def __init__(self, first: str) -> None:
        self.nested = first in "{["
        self.scalar = not self.nested and first != '"'
        self.done = False
        self._depth = 0
        self._quoted = self._escaped = False

    def take(self, text: str, at: int) -> int:
        """Where in `text`, from `at` on, the value ends, or the length of `text`."""
        if self.scalar:
            end = _AFTER_SCALAR.search(text, at)
            self.done = end is not None
            return end.start() if end else len(text)
        while at < len(text) and not self.done:
            if self._escaped:
                self._escaped = False
                at += 1
                continue
            found = (_IN_STRING if self._quoted else _IN_NESTED).search(text, at)
            if not found:
                return len(text)
            at = found.end()
            if found[0] == "\\":
                self._escaped = True
            elif found[0] == '"':
                self._quoted = not self._quoted
                self.done = not self._quoted and not self._depth
            else:
                self._depth += 1 if found[0] in "{[" else -1
                self.done = not self._depth
        return at


class ListOfCalls:
    """`[{"name": …, "arguments": …, "id": …}, …]`, whatever the order of the keys."""

    # What may come next, outside of keys and values, and what is expected after it.
    _EXPECTED: ClassVar[dict[str, dict[str, str]]] = {
        "list": {"[": "first call"},
        "first call": {"{": "first key", "]": "end"},
        "call": {"{": "first key"},
        "first key": {"}": "after call"},
        "key": {},
        "colon": {":": "value"},
        "after value": {",": "key", "}": "after call"},
        "after call": {",": "call", "]": "end"},
    }

    def __init__(self, index: int) -> None:
        self.index = index
        self.closed = False
        self._state = "list"
        self._raw: list[str] = []
        self._value: _Value | None = None
        self._reset()

    def _reset(self) -> None:
        """For the next call."""
        self._raw.clear()
        self._key = ""
        self._written: list[str] = []  # of the key or value that is being read
        self._name = ""
        self._begun = False
        self._arguments: list[str] = []
        self._sent = 0
        self._keys: set[str] = set()

    def take(self, text: str) -> tuple[list[CallEvent], str]:
        """The events in more text, and what of it lies behind the list."""
        events: list[CallEvent] = []
        at = start = 0
        while at < len(text) and self._state not in ("broken", "end"):
            if self._value:
                end = self._value.take(text, at)
                self._write(text[at:end])
                at = end
                if self._value.done:
                    self._end_value(events)
                continue
            found = _NOT_SPACE.search(text, at)
            if not found:
                break
            at = found.start()
            if self._state == "value" or (found[0] == '"' and "key" in self._state):
                self._value = _Value(found[0])
                continue
            self._state = self._EXPECTED[self._state].get(found[0], "broken")
            at = found.end()
            if self._state == "after call":
                self._raw.append(text[start:at])
                start = at
                events += self._unsent()
                events.append(self._finished())
                self._reset()
        events += self._unsent()
        self.closed = self._state == "end"
        self._raw.append(text[start : at if self.closed else len(text)])
        return events, text[at:] if self.closed else ""

    def end(self) -> list[CallEvent]:
        """The list breaks off here."""
        raw = "".join(self._raw)
        if self._state == "after call" and not raw.strip():
            return []  # only the closing bracket is missing
        reason = "it is no list of calls" if self._state == "broken" else "it breaks off"
        return [self._broken(raw, reason)]

    def _write(self, piece: str) -> None:
        streams = self._value and self._value.nested and self._key == '"arguments"'
        (self._arguments if streams else self._written).append(piece)

    def _end_value(self, events: list[CallEvent]) -> None:
        written, streamed = "".join(self._written), self._value and self._value.nested
        self._value = None
        self._written = []
        if self._state != "value":  # it was a key
            self._key = written
            # A name or arguments given twice would be two calls in one.
            self._state = "broken" if written in self._keys else "colon"
            self._keys.add(written)
            return
        self._state = "after value"
        if self._key == '"arguments"' and not streamed:
            self._arguments = [_string(written) if written.startswith('"') else written]
        elif self._key == '"name"' and written.startswith('"') and (name := _string(written)):
            self._name = name
            self._begun = True
            events.append(CallBegun(self.index, name))

    def _unsent(self) -> list[CallEvent]:
        """The arguments that the last piece of text has brought."""
        if not self._begun or self._sent == len(self._arguments):
            return []
        text = "".join(self._arguments[self._sent :])
        self._sent = len(self._arguments)
        return [ArgumentsPiece(self.index, text)] if text else []

    def _finished(self) -> CallEvent:
        raw = "".join(self._raw).lstrip(f"{SPACE},[")
        try:
            values = json.loads(raw)
        except (ValueError, RecursionError):
            return self._broken(raw, "it is not valid JSON")
        if not self._name:
            return self._broken(raw, "it has no name")
        if '"arguments"' not in self._keys:
            return self._broken(raw, "it has no arguments")
        number = values.get("id")
        number = clean(number) if isinstance(number, str) and number != "null" else ""
        self.index += 1
        call = ToolCall(self._name, "".join(self._arguments), number)
        return CallFinished(self.index - 1, call)

    def _broken(self, raw: str, reason: str) -> CallEvent:
        self.index += 1
        return CallBroken(self.index - 1, raw, reason)


class NamedCall:
    """`name[CALL_ID]id[ARGS]{…}`, the id being optional."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.closed = False
        self._part = ""  # the mark that the current part stands behind
        self._name: list[str] = []
        self._id: list[str] = []
        self._arguments: list[str] = []
        self._raw: list[str] = []
        self._value: _Value | None = None
        self._reason = "it breaks off"

    def take(self, text: str) -> tuple[list[CallEvent], str]:
        """The events in more text, and what of it lies behind the call."""
        if self._part != ARGS:
            self._raw.append(text)
            if not self._part:
                self._name.append(text)
            elif self._part == CALL_ID:
                self._id.append(text)
            return [], ""
        at = 0
        if not self._value:
            if not (found := _NOT_SPACE.search(text)):
                return [], ""
            at = found.start()
            self._value = _Value(found[0])
        # Nothing but the next control token ends a number, or a word that is no JSON.
        end = len(text) if self._value.scalar else self._value.take(text, at)
        piece, rest = text[at:end], text[end:]
        self._arguments.append(piece)
        self._raw.append(piece)
        events: list[CallEvent] = []
        if self._value.nested and piece:
            events.append(ArgumentsPiece(self.index, piece))
        if self._value.done:
            self.closed = True
            events += self._finished()
        return events, rest

    def mark(self, mark: str) -> list[CallEvent]:
        """[CALL_ID] or [ARGS] comes."""
        self._raw.append(mark)
        name, first = "".join(self._name), not self._part
        if self._part in (ARGS, mark, "broken"):
            self._part, self._reason = "broken", f"{mark} is out of place"
        elif not name.strip():
            self._part, self._reason = "broken", "it has no name"
        else:
            self._part = mark
            return [CallBegun(self.index, name)] if first else []
        return []

    def end(self) -> list[CallEvent]:
        """The call ends here, whatever is there of it."""
        if self._value and self._value.scalar:
            return self._finished()
        return [self._broken()]

    def _finished(self) -> list[CallEvent]:
        written = "".join(self._arguments).strip()
        try:
            value = json.loads(written)
        except (ValueError, RecursionError):
            self._reason = "its arguments are not valid JSON"
            return [self._broken()]
        events: list[CallEvent] = []
        if not (self._value and self._value.nested):
            written = clean(value) if isinstance(value, str) else written
            events += [ArgumentsPiece(self.index, written)] if written else []
        self.index += 1
        call = ToolCall("".join(self._name), written, "".join(self._id))
        return [*events, CallFinished(self.index - 1, call)]

    def _broken(self) -> CallEvent:
        self.index += 1
        return CallBroken(self.index - 1, "".join(self._raw), self._reason)


def _string(written: str) -> str:
    """A JSON string's text; as it stands where it is not valid, which its call finds out."""
    try:
        return clean(str(json.loads(written)))
    except ValueError:
        return written


def clean(text: str) -> str:
    """`text` with U+FFFD for lone surrogates, which JSON can spell and UTF-8 cannot."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
