"""Texts of the grammar of a schema: made at random, and asked about."""

from __future__ import annotations

import json
import random
from typing import Any

from inference.constrained.automaton import Automaton
from inference.constrained.grammar import Grammar
from inference.constrained.json_schema import SchemaError, compile_schema

Schema = dict[str, Any]


def automaton_of(schema: Schema | bool) -> Automaton:
    return Automaton(compile_schema(schema))


def compiled(schema: Schema) -> Grammar | SchemaError:
    try:
        return compile_schema(schema)
    except SchemaError as error:
        return error


def accepts(automaton: Automaton, text: str) -> bool:
    state = automaton.advance(automaton.start(), text.encode())
    return state is not None and automaton.complete(state)


def walk(automaton: Automaton, rng: random.Random, length: int) -> str:
    """Random bytes as they are allowed, about `length` of them, then the shortest end."""
    state, text = automaton.start(), b""
    for _ in range(rng.randrange(length)):
        mask = automaton.allowed(state)
        if not mask:
            break
        # Ordinary characters are rarer than others; without them a string would never end.
        choices = [b for b in range(256) if mask >> b & 1 for _ in range(1 if b > 126 else 9)]
        byte = bytes([rng.choice(choices)])
        after = automaton.advance(state, byte)
        assert after is not None
        state, text = after, text + byte
    end = automaton.shortest(state)
    assert len(end) == automaton.distance(state)
    last = automaton.advance(state, end)
    assert last is not None
    assert automaton.complete(last)
    return (text + end).decode()


def strictly(text: str) -> Any:
    """The value of a text; nothing but finite numbers and keys that come once."""

    def refuse(word: str) -> None:
        raise AssertionError(word)

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        return dict(found)

    value = json.loads(text, parse_constant=refuse, object_pairs_hook=pairs)
    assert "Infinity" not in json.dumps(value)
    return value
