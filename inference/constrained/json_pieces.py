"""The grammar of JSON itself: what every schema is made of."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

from inference.constrained.grammar import Alt, Chars, Node, Ref, Repeat, Seq, Text
from inference.constrained.json_numbers import NUMBER

SPACE = Repeat(Text(" "), 0, 1)
COMMA = Seq((Text(","), SPACE))
CHAR, STRING, VALUE = "char", "string", "value"
NULL = Text("null")
BOOLEAN = Alt((Text("true"), Text("false")))
NOTHING = Alt(())  # no text at all; taken out again before a grammar is done

_DEEPEST_VALUE = 12  # so a text of any length can be parsed
_HEX = Chars(((0x30, 0x39), (0x41, 0x46), (0x61, 0x66)))
_HEX_BUT_D = Chars(((0x30, 0x39), (0x41, 0x43), (0x45, 0x46), (0x61, 0x63), (0x65, 0x66)))
_D, _UP_TO_7 = Chars(((0x44, 0x44), (0x64, 0x64))), Chars(((0x30, 0x37),))
PLAIN = Chars(((0x20, 0x21), (0x23, 0x5B), (0x5D, 0xD7FF), (0xE000, 0x10FFFF)))
_SHORT = Chars(tuple((ord(char), ord(char)) for char in '"/\\bfnrt'))
# Surrogates have no place in UTF-8: \ud800 to \udfff are left out.
_HEXES = Alt((Seq((_HEX_BUT_D, *[_HEX] * 3)), Seq((_D, _UP_TO_7, _HEX, _HEX))))


def base_rules() -> dict[str, Node]:
    """The rules `char`, `string` and `value` and what they need."""
    rules: dict[str, Node] = {
        CHAR: Alt((PLAIN, Seq((Text("\\"), Alt((_SHORT, Seq((Text("u"), _HEXES)))))))),
        STRING: quoted(Repeat(Ref(CHAR))),
        "number": NUMBER,
        "scalar": Alt((Ref(STRING), Ref("number"), BOOLEAN, NULL)),
    }
    inner: Node = Ref("scalar")
    for level in reversed(range(_DEEPEST_VALUE)):
        name = f"{VALUE}{level}" if level else VALUE
        rules[name] = Alt((Ref("scalar"), list_of(inner), map_of(Ref(STRING), inner)))
        inner = Ref(name)
    return rules


def quoted(inside: Node) -> Node:
    """A string."""
    return Seq((Text('"'), inside, Text('"')))


def list_of(item: Node, least: int = 0, most: int | None = None) -> Node:
    """An array of `least` to `most` items."""
    return _listing("[", item, "]", least, most)


def map_of(key: Node, value: Node, least: int = 0, most: int | None = None) -> Node:
    """An object of `least` to `most` pairs."""
    return _listing("{", Seq((key, Text(":"), SPACE, value)), "}", least, most)


def _listing(begin: str, item: Node, end: str, least: int, most: int | None) -> Node:
    if most == 0:
        return Text(begin + end) if least <= 0 else NOTHING
    further = Repeat(Seq((COMMA, item)), max(least - 1, 0), None if most is None else most - 1)
    some = Seq((Text(begin), item, further, Text(end)))
    return Alt((Text(begin + end), some)) if least <= 0 else some


def key_text(name: str) -> str | None:
    """The text of an object's key; None where UTF-8 has none."""
    text = json.dumps(name, ensure_ascii=False)
    return text if _encodable(text) else None


def constant(value: Any) -> Node:
    """Exactly this value; `NOTHING` where JSON in UTF-8 cannot say it."""
    parts: list[Node] = []
    for text in _tokens(value):
        if text is None or not _encodable(text):
            return NOTHING
        if parts and isinstance(parts[-1], Text):
            parts[-1] = Text(parts[-1].text + text)
        else:
            parts.append(Text(text))
        if text in (",", ":"):
            parts.append(SPACE)
    return parts[0] if len(parts) == 1 else Seq(tuple(parts))


def _tokens(value: Any) -> Iterator[str | None]:
    """The pieces of its text."""
    if isinstance(value, dict):
        yield "{"
        for number, (key, inner) in enumerate(value.items()):
            if number:
                yield ","
            yield json.dumps(key, ensure_ascii=False)
            yield ":"
            yield from _tokens(inner)
        yield "}"
    elif isinstance(value, list):
        yield "["
        for number, inner in enumerate(value):
            if number:
                yield ","
            yield from _tokens(inner)
        yield "]"
    elif isinstance(value, float) and not math.isfinite(value):
        yield None
    elif isinstance(value, float) and value.is_integer():
        yield str(int(value))  # one spelling is enough
    else:
        yield json.dumps(value, ensure_ascii=False)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal; true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def types_of(value: Any) -> frozenset[str]:
    """The names that JSON Schema has for its type."""
    if isinstance(value, bool):
        return frozenset({"boolean"})
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return frozenset({"integer", "number"})
    kinds = {float: "number", str: "string", list: "array", dict: "object", type(None): "null"}
    return frozenset({kinds[type(value)]})
