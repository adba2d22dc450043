"""What a message is made of: typed parts, as they lie on disk."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from inference.calls import ToolCall


@dataclass(frozen=True, slots=True)
class Part:
    """One typed piece of a message; `type` is `thinking`, `text` (also of a tool's result),
    `call`, or `broken`, a call that was not finished. The text of the last two is JSON."""

    type: str
    text: str


@dataclass(frozen=True, slots=True)
class Broken:
    """A call that no one can make; `raw` is what came of it."""

    name: str
    raw: str
    reason: str


def text_of(parts: Iterable[Part], kind: str = "text") -> str:
    """The parts of a kind, joined."""
    return "".join(part.text for part in parts if part.type == kind)


def parts_of(text: str, thinking: str = "", calls: Iterable[Part] = ()) -> tuple[Part, ...]:
    """The content of a message: thinking, text, calls."""
    thought = (Part("thinking", storable(thinking)),) if thinking else ()
    return (*thought, Part("text", storable(text)), *calls)


def call_part(call: ToolCall) -> Part:
    """A call as a part."""
    return Part("call", _json({"id": call.id, "name": call.name, "arguments": call.arguments}))


def broken_part(broken: Broken) -> Part:
    """A call that was not finished, as a part."""
    return Part("broken", _json(asdict(broken)))


def calls_of(parts: Iterable[Part]) -> tuple[ToolCall, ...]:
    """The calls among the parts; what is none, in a damaged or foreign file, is left out."""
    return tuple(one for _, one in numbered(parts) if isinstance(one, ToolCall))


def numbered(parts: Iterable[Part]) -> list[tuple[int, ToolCall | Broken]]:
    """The calls, finished and not, each with its number in the reply."""
    found: list[tuple[int, ToolCall | Broken]] = []
    told = (part for part in parts if part.type in ("call", "broken"))
    for number, part in enumerate(told):
        if (values := _told(part, "call", ("id", "name", "arguments"))) and values["name"]:
            call = ToolCall(values["name"], values["arguments"], values["id"])
            found.append((number, call))
        elif values := _told(part, "broken", ("name", "raw", "reason")):
            found.append((number, Broken(**values)))
    return found


def _told(part: Part, kind: str, keys: tuple[str, ...]) -> dict[str, str]:
    if part.type != kind:
        return {}
    try:
        told = json.loads(part.text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(told, dict) or not all(isinstance(told.get(key), str) for key in keys):
        return {}
    return {key: told[key] for key in keys}


def dump_parts(parts: Iterable[Part]) -> str:
    """As one JSON text."""
    return json.dumps([asdict(part) for part in parts], ensure_ascii=False)


def load_parts(content: str) -> tuple[Part, ...]:
    """Raises ValueError: it is no list of parts."""
    try:
        return tuple(Part(str(p["type"]), str(p["text"])) for p in json.loads(content))
    except (TypeError, KeyError) as error:
        raise ValueError("message content is not a list of parts") from error


def lines_of(parts: Iterable[Part]) -> str:
    """As lines, which can be joined with others."""
    return "".join(json.dumps(asdict(part)) + "\n" for part in parts)


def parts_in(lines: str) -> tuple[Part, ...]:
    """The parts of such lines."""
    return tuple(part for line in lines.splitlines() for part in load_parts(f"[{line}]"))


def storable(text: str) -> str:
    """The text with lone surrogates, which UTF-8 has no bytes for, replaced by U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _json(value: object) -> str:
    return storable(json.dumps(value, ensure_ascii=False))
