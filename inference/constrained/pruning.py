"""A grammar as it was compiled looked through: what leads nowhere is taken out, or refused."""

from __future__ import annotations

from collections.abc import Mapping

from inference.constrained.grammar import Alt, Grammar, Node, Ref, Repeat, Seq, names_in
from inference.constrained.schema_parts import SchemaError


def refuse_circles(rules: Mapping[str, Node], places: Mapping[str, str]) -> None:
    """Raises `SchemaError` where a schema is nothing but a way to itself."""
    done: set[str] = set()
    for start in rules:
        path = {start: _choices(rules[start])} if start not in done else {}
        while path:
            name, names = next(reversed(path.items()))
            if not names:
                done.add(name)
                del path[name]
            elif (used := names.pop()) in path:
                place = places.get(used, "#")
                raise SchemaError(f"The schema at {place!r:.200} refers to itself in a circle.")
            elif used not in done:
                path[used] = _choices(rules[used])


def why_nothing(
    name: str, rules: Mapping[str, Node], places: Mapping[str, str], lengths: Mapping[str, int]
) -> str:
    """The sentence about a schema without any value: goes down to where that comes from."""
    seen: dict[str, None] = {}
    while name and name not in seen:
        seen[name] = None
        within = [inner for inner in names_in(rules[name]) if inner not in lengths]
        unseen = [inner for inner in within if inner not in seen]
        if within and not unseen:
            place = places[name]
            return f"A value for the schema at {place!r:.200} would have to be endless."
        name = unseen[0] if unseen else ""
    place = places[next(reversed(seen))] if seen else "#"
    return f"No value is found that meets the schema at {place!r:.200}."


def _choices(node: Node) -> list[str]:
    """The rules that a whole text of `node` may be a text of."""
    if isinstance(node, Ref):
        return [node.name]
    if isinstance(node, Alt):
        return [name for choice in node.choices for name in _choices(choice)]
    return []


def pruned(
    start: Node, rules: Mapping[str, Node], lengths: Mapping[str, int], unheld: tuple[str, ...]
) -> Grammar:
    """The grammar without the choices that have no finite text and the rules nothing leads to;
    a rule that only names another one is left out too."""

    def prune(node: Node) -> Node | None:
        if isinstance(node, Ref):
            while isinstance(inner := rules[node.name], Ref) and inner.name in lengths:
                node = inner
            return node if node.name in lengths else None
        if isinstance(node, Seq):
            parts = [prune(part) for part in node.parts]
            kept = tuple(part for part in parts if part is not None)
            return Seq(kept) if len(kept) == len(parts) else None
        if isinstance(node, Alt):
            choices = tuple(c for choice in node.choices if (c := prune(choice)) is not None)
            return choices[0] if len(choices) == 1 else Alt(choices) if choices else None
        if isinstance(node, Repeat):
            inside = prune(node.node)
            if inside is None or node.most == 0:
                return Seq(()) if not node.least else None
            return Repeat(inside, node.least, node.most)
        return node

    top = prune(start)
    assert top is not None
    kept: dict[str, Node] = {}
    waiting = names_in(top)[::-1]
    while waiting:
        name = waiting.pop()
        if name in kept:
            continue
        node = prune(rules[name])
        assert node is not None
        kept[name] = node
        waiting += names_in(node)[::-1]
    return Grammar(top, kept, unheld)
