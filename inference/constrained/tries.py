"""Finite languages as deterministic, acyclic automata over bytes, with all equal nodes shared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_MOST_WORK = 3000  # nodes that one union may visit
# What the shortest texts are made of, where there is a choice.
_NICE = b"aexiotnsrlbcdfghjkmpquvwyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_-. "


class TooLarge(Exception):
    """A union would become too large to be worth it."""


class Trie:
    """One node: what may follow, and whether the text may end here."""

    __slots__ = ("dist", "final", "mask", "next", "open", "size")

    def __init__(self, final: bool, following: dict[int, Trie]) -> None:
        self.final = final
        self.next = following
        self.mask = 0  # of the bytes that may come next: bit b for byte b
        for byte in following:
            self.mask |= 1 << byte
        nodes = set(following.values())
        self.dist: int = 0 if final else 1 + min((node.dist for node in nodes), default=1 << 60)
        # Whether some text of the language is the beginning of another one.
        self.open: bool = (final and bool(nodes)) or any(node.open for node in nodes)
        self.size: int = min(1 + sum(node.size for node in nodes), 1 << 30)

    def shortest(self) -> bytes:
        """The shortest text, of ordinary characters where possible."""
        out = bytearray()
        node = self
        while not node.final:
            short = {b: n for b, n in node.next.items() if n.dist == node.dist - 1}
            byte = next((b for b in _NICE if b in short), min(short))
            out.append(byte)
            node = short[byte]
        return bytes(out)


class Tries:
    """Makes nodes; equal ones are one object."""

    def __init__(self) -> None:
        self._nodes: dict[tuple[bool, tuple[tuple[int, int], ...]], Trie] = {}
        self.end = self.node(True, {})

    def node(self, final: bool, following: dict[int, Trie]) -> Trie:
        key = (final, tuple(sorted((byte, id(node)) for byte, node in following.items())))
        found = self._nodes.get(key)
        if found is None:
            found = self._nodes[key] = Trie(final, following)
        return found

    def texts(self, texts: Iterable[bytes]) -> Trie:
        """Any of these texts."""
        growing: list[tuple[dict[int, int], list[bool]]] = [({}, [False])]
        for text in texts:
            at = 0
            for byte in text:
                following = growing[at][0]
                if byte not in following:
                    following[byte] = len(growing)
                    growing.append(({}, [False]))
                at = following[byte]
            growing[at][1][0] = True
        made: list[Trie | None] = [None] * len(growing)
        for number in reversed(range(len(growing))):  # children come after their parents
            following, final = growing[number]
            nodes = {byte: node for byte, to in following.items() if (node := made[to])}
            made[number] = self.node(final[0], nodes)
        assert made[0] is not None
        return made[0]

    def chars(self, ranges: Sequence[tuple[int, int]]) -> Trie:
        """One character of these ranges of code points, in UTF-8."""
        return self.union(
            [
                self._steps(steps)
                for first, last in ranges
                for low, high in _one_length(first, last)
                for steps in _byte_ranges(chr(low).encode(), chr(high).encode())
            ],
            1 << 20,
        )

    def _steps(self, steps: Sequence[tuple[int, int]]) -> Trie:
        node = self.end
        for low, high in reversed(steps):
            node = self.node(False, dict.fromkeys(range(low, high + 1), node))
        return node

    def union(self, tries: Sequence[Trie], most: int = _MOST_WORK) -> Trie:
        """Any text of any of these. Raises `TooLarge`."""
        known: dict[frozenset[Trie], Trie] = {}

        def together(nodes: frozenset[Trie]) -> Trie:
            if len(nodes) == 1:
                return next(iter(nodes))
            if nodes in known:
                return known[nodes]
            if len(known) > most:
                raise TooLarge
            known[nodes] = self.end  # counts it
            following: dict[int, set[Trie]] = {}
            for node in nodes:
                for byte, to in node.next.items():
                    following.setdefault(byte, set()).add(to)
            made = self.node(
                any(node.final for node in nodes),
                {byte: together(frozenset(to)) for byte, to in following.items()},
            )
            known[nodes] = made
            return made

        if not tries:
            return self.node(False, {})
        return together(frozenset(tries))

    def then(self, first: Trie, second: Trie) -> Trie:
        """`first`, which must not be open, followed by `second`."""
        known: dict[Trie, Trie] = {}

        def follow(node: Trie) -> Trie:
            if node.final:
                return second
            if node not in known:
                known[node] = self.node(False, {b: follow(to) for b, to in node.next.items()})
            return known[node]

        return follow(first)


def _one_length(first: int, last: int) -> Iterable[tuple[int, int]]:
    """The range cut where UTF-8 takes one byte more."""
    for end in (0x7F, 0x7FF, 0xFFFF, 0x10FFFF):
        if first <= end:
            yield first, min(last, end)
            first = end + 1
        if first > last:
            return


def _byte_ranges(low: bytes, high: bytes) -> Iterable[list[tuple[int, int]]]:
    """`low` to `high`, of one length, as products of byte ranges."""
    if len(low) == 1:
        yield [(low[0], high[0])]
        return
    if low[0] == high[0]:
        for steps in _byte_ranges(low[1:], high[1:]):
            yield [(low[0], low[0]), *steps]
        return
    least, most = b"\x80" * (len(low) - 1), b"\xbf" * (len(low) - 1)
    first, last = low[0], high[0]
    if low[1:] != least:
        for steps in _byte_ranges(low[1:], most):
            yield [(first, first), *steps]
        first += 1
    behind: list[list[tuple[int, int]]] = []
    if high[1:] != most:
        behind = [[(last, last), *steps] for steps in _byte_ranges(least, high[1:])]
        last -= 1
    if first <= last:
        yield [(first, last), *[(0x80, 0xBF)] * len(least)]
    yield from behind
