"""A grammar made ready for the automaton: finite pieces as tries over bytes, the rest as pairs,
choices, loops and rules. No loop's body matches the empty text, and no rule begins with itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from inference.constrained.grammar import (
    Alt,
    Chars,
    Grammar,
    Node,
    Ref,
    Repeat,
    Seq,
    Text,
    inner_first,
    shortest_length,
    shortest_lengths,
)
from inference.constrained.tries import TooLarge, Trie, Tries

_LONGEST_JOINED = 200  # nodes of two tries that are joined to one
_MOST_UNROLLED = 8
_TOP = " top"  # the name of the rule for the start


class Pair:
    """Two items, one after the other."""

    __slots__ = ("dist", "first", "second")

    def __init__(self, first: Item, second: Item) -> None:
        self.first, self.second = first, second
        self.dist: int = first.dist + second.dist


class Choice:
    """Any of these, of which there is at least one."""

    __slots__ = ("choices", "dist")

    def __init__(self, choices: tuple[Item, ...]) -> None:
        self.choices = choices
        self.dist: int = min(choice.dist for choice in choices)


class Loop:
    """`body` from `least` to `most` times. `alike` is one loop for all of that body."""

    __slots__ = ("alike", "body", "dist", "least", "most")

    def __init__(self, body: Item, least: int, most: int | None, alike: Loop | None) -> None:
        self.body, self.least, self.most = body, least, most
        self.alike: Loop = alike or self
        self.dist: int = least * body.dist


class Rule:
    """What a name stands for."""

    __slots__ = ("dist", "target")

    def __init__(self, dist: int) -> None:
        self.dist = dist
        self.target: Item = self  # set once it is known


Item = Trie | Pair | Choice | Loop | Rule


def compile_grammar(grammar: Grammar) -> Item:
    """Raises `ValueError` for a grammar without any text, or where a rule begins with itself."""
    rules = _without_empty_loops({**grammar.rules, _TOP: grammar.start})
    lengths = shortest_lengths(rules)
    if _TOP not in lengths:
        raise ValueError("The grammar has no finite text.")
    order = inner_first(rules, [_TOP])
    _refuse_left_recursion(rules, lengths, order)
    return _Maker(rules, lengths).compile(order)


class _Maker:
    """Makes the items of the rules, inner ones first."""

    def __init__(self, rules: Mapping[str, Node], lengths: Mapping[str, int]) -> None:
        self.rules = rules
        self.lengths = lengths
        self.tries = Tries()
        self.known: dict[str, Item] = {}
        self.open: dict[str, Rule] = {}
        self.loops: dict[tuple[Item, int, int | None], Loop] = {}
        self.alike: dict[Item, Loop] = {}

    def compile(self, order: list[str]) -> Item:
        for name in order:
            if name in self.lengths:
                self.known[name] = self.item(self.rules[name])
        for name, rule in self.open.items():
            rule.target = self.known[name]
        return self.known[_TOP]

    def item(self, node: Node) -> Item:
        """`node`, which has a finite text."""
        if isinstance(node, Text):
            return self.tries.texts([node.text.encode()])
        if isinstance(node, Chars):
            return self.tries.chars(node.ranges)
        if isinstance(node, Seq):
            return self.sequence([self.item(part) for part in node.parts])
        if isinstance(node, Alt):
            return self.choice(node)
        if isinstance(node, Repeat):
            return self.loop(node)
        known = self.known.get(node.name)
        if isinstance(known, Trie):
            return known
        if node.name not in self.open:
            self.open[node.name] = Rule(self.lengths[node.name])
        return self.open[node.name]

    def sequence(self, items: list[Item]) -> Item:
        joined: list[Item] = []
        for item in items:
            before = joined[-1] if joined else None
            if isinstance(item, Trie) and isinstance(before, Trie) and not before.open:
                if not before.next or item.size + before.size <= _LONGEST_JOINED:
                    joined[-1] = self.tries.then(before, item)
                    continue
                if not item.next and item.final:
                    continue
            joined.append(item)
        whole = joined.pop() if joined else self.tries.end
        while joined:
            whole = Pair(joined.pop(), whole)
        return whole

    def choice(self, node: Alt) -> Item:
        possible = [
            choice for choice in _flat(node) if shortest_length(choice, self.lengths) is not None
        ]
        texts = [choice.text.encode() for choice in possible if isinstance(choice, Text)]
        items = [self.item(choice) for choice in possible if not isinstance(choice, Text)]
        tries = [item for item in items if isinstance(item, Trie)]
        others: list[Item] = [item for item in items if not isinstance(item, Trie)]
        if texts:
            tries.append(self.tries.texts(texts))
        finite: list[Item] = list(tries)
        if len(tries) > 1:
            with suppress(TooLarge, RecursionError):
                finite = [self.tries.union(tries)]
        items = list(dict.fromkeys(finite + others))
        return items[0] if len(items) == 1 else Choice(tuple(items))

    def loop(self, node: Repeat) -> Item:
        least, most = node.least, node.most
        if most == 0 or (not least and shortest_length(node.node, self.lengths) is None):
            return self.tries.end
        body = self.item(node.node)
        if (least, most) == (1, 1):
            return body
        if isinstance(body, Trie) and body.size * (most or 99) <= _LONGEST_JOINED:
            if (least, most) == (0, 1):
                return self.tries.node(True, body.next)
            if least == most and most <= _MOST_UNROLLED and not body.open:
                return self.sequence([body] * most)
        # Equal loops are one object, so that stacks that go on with them can be one.
        key = (body, least, most)
        if key not in self.loops:
            self.loops[key] = Loop(body, least, most, self.alike.get(body))
            self.alike.setdefault(body, self.loops[key])
        return self.loops[key]


def _flat(node: Alt) -> list[Node]:
    """The choices, with those of choices among them in their place."""
    flat: list[Node] = []
    waiting: list[Node] = [node]
    while waiting:
        at = waiting.pop()
        if isinstance(at, Alt):
            waiting += reversed(at.choices)
        else:
            flat.append(at)
    return flat


def _refuse_left_recursion(
    rules: Mapping[str, Node], lengths: Mapping[str, int], order: list[str]
) -> None:
    firsts = {name: _first_names(rules[name], lengths) for name in order}
    done: set[str] = set()
    for start in order:
        path: dict[str, list[str]] = {} if start in done else {start: [*firsts[start]]}
        while path:
            name, names = next(reversed(path.items()))
            if not names:
                done.add(name)
                del path[name]
                continue
            used = names.pop()
            if used in path:
                raise ValueError(f"The rule {used!r} of the grammar begins with itself.")
            if used in firsts and used not in done:
                path[used] = [*firsts[used]]


def _first_names(node: Node, lengths: Mapping[str, int]) -> set[str]:
    """The rules that a text of `node` may begin with."""
    if isinstance(node, Ref):
        return {node.name}
    if isinstance(node, Alt):
        return {name for choice in node.choices for name in _first_names(choice, lengths)}
    if isinstance(node, Repeat):
        return _first_names(node.node, lengths)
    names: set[str] = set()
    for part in node.parts if isinstance(node, Seq) else ():
        names |= _first_names(part, lengths)
        if shortest_length(part, lengths) != 0:
            break
    return names


def _without_empty_loops(rules: Mapping[str, Node]) -> dict[str, Node]:
    """The same language with no `Repeat` of something that matches the empty text."""
    lengths = shortest_lengths(rules)
    made: dict[str, Node] = {}
    filled: dict[int | str, str] = {}  # node or rule → the rule for the same but the empty text
    waiting: list[tuple[str, Node]] = []

    def empty(node: Node) -> bool:
        return shortest_length(node, lengths) == 0

    def tidy(node: Node) -> Node:
        if isinstance(node, Seq):
            return Seq(tuple(tidy(part) for part in node.parts))
        if isinstance(node, Alt):
            return Alt(tuple(tidy(choice) for choice in node.choices))
        if not isinstance(node, Repeat):
            return node
        if empty(node.node):
            return Repeat(fill(node.node), 0, node.most)
        return Repeat(tidy(node.node), node.least, node.most)

    def fill(node: Node) -> Node:
        """`node` without the empty text."""
        if not empty(node):
            return tidy(node)
        if isinstance(node, Text | Chars):
            return Alt(())
        # A rule for each node: it may be needed in many places.
        key = node.name if isinstance(node, Ref) else id(node)
        if key not in filled:
            filled[key] = f"{len(filled)} filled"
            waiting.append((filled[key], rules[key] if isinstance(key, str) else node))
        return Ref(filled[key])

    def inside(node: Node) -> Node:
        """What the rule for `fill(node)` stands for; `node` matches the empty text."""
        if isinstance(node, Seq) and len(node.parts) > 1:
            half = len(node.parts) // 2
            first, second = Seq(node.parts[:half]), Seq(node.parts[half:])
            kept.extend((first, second))
            return Alt((Seq((fill(first), tidy(second))), fill(second)))
        if isinstance(node, Seq | Alt):
            each = node.parts if isinstance(node, Seq) else node.choices
            return Alt(tuple(fill(inner) for inner in each))
        if isinstance(node, Repeat) and node.most != 0:
            return Repeat(fill(node.node), 1, node.most)
        return fill(node) if isinstance(node, Ref) else Alt(())

    kept: list[Node] = []  # so that no two nodes have one id
    for name, node in rules.items():
        made[name] = tidy(node)
    while waiting:
        name, node = waiting.pop()
        made[name] = inside(node)
    return made
