"""A language as data: what the compiler of schemas writes, and both mask engines read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Text:
    """Exactly this text."""

    text: str


@dataclass(frozen=True, slots=True)
class Chars:
    """One character of these ranges of code points, both ends included. They are in order, do
    not touch, and hold no surrogates."""

    ranges: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Seq:
    """One after another; none: the empty text."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Alt:
    """Any one of these; there is at least one."""

    choices: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """`node` at least `least` and at most `most` times (None: without end)."""

    node: Node
    least: int = 0
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Ref:
    """The rule of that name; so a language can hold itself."""

    name: str


Node = Text | Chars | Seq | Alt | Repeat | Ref


@dataclass(frozen=True, slots=True)
class Grammar:
    """`start` and the rules that it refers to. Every rule has some finite text. `unheld` are the
    keywords of a schema that the language does not hold to: nothing here does, so the caller must
    check against the schema what came of it."""

    start: Node
    rules: Mapping[str, Node] = field(default_factory=dict)
    unheld: tuple[str, ...] = ()


def names_in(node: Node) -> list[str]:
    """The names of the rules that `node` refers to, in the order of the text."""
    names: list[str] = []
    waiting = [node]
    while waiting:
        at = waiting.pop()
        if isinstance(at, Ref):
            names.append(at.name)
        elif isinstance(at, Seq):
            waiting += reversed(at.parts)
        elif isinstance(at, Alt):
            waiting += reversed(at.choices)
        elif isinstance(at, Repeat):
            waiting.append(at.node)
    return names


def inner_first(rules: Mapping[str, Node], starts: list[str]) -> list[str]:
    """The rules that `starts` need, each behind those that it refers to (but for circles)."""
    order: list[str] = []
    seen: set[str] = set()
    for start in starts:
        if start in seen:
            continue
        seen.add(start)
        path = [(start, names_in(rules[start])[::-1])]
        while path:
            name, names = path[-1]
            if not names:
                order.append(name)
                path.pop()
            elif (used := names.pop()) not in seen and used in rules:
                seen.add(used)
                path.append((used, names_in(rules[used])[::-1]))
    return order


def shortest_length(node: Node, lengths: Mapping[str, int]) -> int | None:
    """The bytes (UTF-8) of the shortest text of `node`, given those of the rules; None: as far
    as `lengths` tell it has no finite text."""
    if isinstance(node, Text):
        return len(node.text.encode())
    if isinstance(node, Chars):
        first = node.ranges[0][0] if node.ranges else -1
        return None if first < 0 else len(chr(first).encode())
    if isinstance(node, Seq):
        total = 0
        for part in node.parts:
            if (length := shortest_length(part, lengths)) is None:
                return None
            total += length
        return total
    if isinstance(node, Alt):
        each = [shortest_length(choice, lengths) for choice in node.choices]
        return min((length for length in each if length is not None), default=None)
    if isinstance(node, Repeat):
        if not node.least:
            return 0
        length = shortest_length(node.node, lengths)
        return None if length is None else node.least * length
    return lengths.get(node.name)


def shortest_lengths(rules: Mapping[str, Node]) -> dict[str, int]:
    """`shortest_length` of every rule; rules without a finite text are left out."""
    users: dict[str, list[str]] = {name: [] for name in rules}
    for name, node in rules.items():
        for used in set(names_in(node)):
            users.setdefault(used, []).append(name)
    lengths: dict[str, int] = {}
    waiting = dict.fromkeys(inner_first(rules, list(rules)))  # in order, each once
    while waiting:
        name = next(iter(waiting))
        del waiting[name]
        length = shortest_length(rules[name], lengths)
        if length is not None and (name not in lengths or length < lengths[name]):
            lengths[name] = length
            waiting.update(dict.fromkeys(users[name]))
    return lengths
