"""Follows a grammar byte by byte: what may come next, whether the text may end here, and what
the shortest way to its end is.

The automaton is nondeterministic and has stacks. A state is a set of stacks; a stack (`Cell`s
linked downwards) says what is still to come on one way of reading the text. The counts of a
`Repeat` are numbers in its cell, so a string of at most a billion characters takes no more
memory than one of ten.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from inference.constrained.grammar import Grammar
from inference.constrained.machine import Choice, Item, Loop, Pair, Rule, compile_grammar
from inference.constrained.tries import Trie

_STEPS_KEPT: Final = 30_000
_CELLS_KEPT: Final = 60_000
# More ways of reading one text than this are cut down to the shortest ones. The language
# becomes smaller by that, never larger.
_MOST_STACKS: Final = 4_000


class Cell:
    """What is to come: `item`, which for a `Loop` comes `least` to `most` times, then `rest`."""

    __slots__ = ("dist", "item", "least", "most", "rest")

    def __init__(
        self, item: Item | None, least: int, most: int | None, rest: Cell | None, dist: int
    ) -> None:
        self.item = item
        self.least = least
        self.most = most
        self.rest = rest
        self.dist = dist  # bytes of the shortest text from here to the end


class State:
    """Where a text has led to; made by an `Automaton`, never changed. Equal states are mostly
    one object: two that differ may still allow the same."""

    __slots__ = ("complete", "dist", "mask", "stacks")

    def __init__(self, stacks: tuple[Cell, ...], complete: bool) -> None:
        self.stacks = stacks  # on top of each is a `Trie`
        self.complete = complete
        self.dist = 0 if complete else min(cell.dist for cell in stacks)
        self.mask = 0
        for cell in stacks:
            self.mask |= cell.item.mask if isinstance(cell.item, Trie) else 0


class Automaton:
    """Recognises the texts of a grammar. Raises `ValueError` where the grammar has none or one
    of its rules begins with itself."""

    def __init__(self, grammar: Grammar) -> None:
        top = compile_grammar(grammar)
        self._cells: dict[tuple[Item, int, int | None, Cell], Cell] = {}
        self._states: dict[tuple[frozenset[Cell], bool], State] = {}
        self._steps: dict[tuple[State, int], State | None] = {}
        self._bottom = Cell(None, 0, 0, None, 0)
        start = self._state([self._push(top, self._bottom)])
        assert start is not None
        self._start = start

    def start(self) -> State:
        """Before the first byte."""
        return self._start

    @property
    def kept(self) -> int:
        """So many steps and pieces of states are remembered."""
        return len(self._steps) + len(self._cells)

    def advance(self, state: State, data: bytes) -> State | None:
        """The state behind `data`; None: no text of the language goes on like that."""
        steps = self._steps
        for byte in data:
            try:
                after = steps[state, byte]
            except KeyError:
                after = self._step(state, byte)
            if after is None:
                return None
            state = after
        return state

    def complete(self, state: State) -> bool:
        """Whether the text may end here."""
        return state.complete

    def allowed(self, state: State) -> int:
        """The bytes that may come next: bit b for byte b."""
        return state.mask

    def distance(self, state: State) -> int:
        """The number of bytes of the shortest completion."""
        return state.dist

    def shortest(self, state: State) -> bytes:
        """A shortest completion, always the same one. It has `distance` bytes: ask that first."""
        if state.complete:
            return b""
        return min(_shortest(cell) for cell in state.stacks if cell.dist == state.dist)

    def _step(self, state: State, byte: int) -> State | None:
        after = None
        if state.mask >> byte & 1:
            within: list[Cell] = []  # inside of a trie: nothing else to do
            behind: dict[Cell, None] = {}
            for cell in state.stacks:
                item, rest = cell.item, cell.rest
                if not isinstance(item, Trie) or rest is None or byte not in item.next:
                    continue
                node = item.next[byte]
                if node.next:
                    within.append(self._cell(node, rest))
                if node.final:
                    behind[rest] = None
            after = self._state(list(behind), within)
        if len(self._cells) > _CELLS_KEPT:
            self._cells.clear()
            self._states.clear()
            self._steps.clear()
        if len(self._steps) > _STEPS_KEPT:
            self._steps.clear()
            self._states.clear()
        self._steps[state, byte] = after
        return after

    def _cell(self, item: Item, rest: Cell, least: int = 1, most: int | None = 1) -> Cell:
        key = (item, least, most, rest)
        found = self._cells.get(key)
        if found is None:
            once = item.body if isinstance(item, Loop) else item
            dist = least * once.dist + rest.dist
            found = self._cells[key] = Cell(item, least, most, rest, dist)
        return found

    def _push(self, item: Item, rest: Cell) -> Cell:
        """`item` from its beginning, then `rest`."""
        if isinstance(item, Loop):
            # The counts are the cell's, so loops over one body need no more than one item.
            return self._cell(item.alike, rest, item.least, item.most)
        return self._cell(item, rest)

    def _joined(self, loops: list[Cell]) -> list[Cell]:
        """The same loops, with those that differ in nothing but their counts made one where
        their counts touch."""
        if len(loops) == 1:
            return loops
        groups: dict[tuple[Item, Cell], list[Cell]] = {}
        for cell in loops:
            assert cell.item is not None
            assert cell.rest is not None
            groups.setdefault((cell.item, cell.rest), []).append(cell)
        joined: list[Cell] = []
        for (item, rest), cells in groups.items():
            cells.sort(key=lambda cell: cell.least)
            least, most = cells[0].least, cells[0].most
            for cell in cells[1:]:
                if most is None:
                    break
                if cell.least > most + 1:
                    joined.append(self._cell(item, rest, least, most))
                    least, most = cell.least, cell.most
                else:
                    most = None if cell.most is None else max(most, cell.most)
            joined.append(self._cell(item, rest, least, most))
        return joined

    def _state(self, tops: list[Cell], within: Iterable[Cell] = ()) -> State | None:
        """The state of these stacks, with what is on top of `tops` opened up to tries."""
        stacks = dict.fromkeys(within)
        complete = False
        seen: set[Cell] = set()
        counts: dict[tuple[Loop, Cell], list[tuple[int, int | None]]] = {}
        waiting = tops[::-1]
        loops: list[Cell] = []
        while waiting or loops:
            if not waiting:  # all loops that are there now can be joined
                for cell in self._joined(loops):
                    waiting += self._turns(cell, counts)
                loops = []
                continue
            cell = waiting.pop()
            if cell in seen:
                continue
            seen.add(cell)
            item, rest = cell.item, cell.rest
            if item is None or rest is None:
                complete = True
            elif isinstance(item, Trie):
                if item.next:
                    stacks[cell] = None
                if item.final:
                    waiting.append(rest)
            elif isinstance(item, Pair):
                waiting.append(self._push(item.first, self._push(item.second, rest)))
            elif isinstance(item, Choice):
                waiting += [self._push(choice, rest) for choice in reversed(item.choices)]
            elif isinstance(item, Rule):
                waiting.append(self._push(item.target, rest))
            else:
                loops.append(cell)
        if not stacks and not complete:
            return None
        kept = tuple(stacks)
        if len(kept) > _MOST_STACKS:
            kept = tuple(sorted(kept, key=lambda cell: cell.dist)[:_MOST_STACKS])
        key = (frozenset(kept), complete)
        found = self._states.get(key)
        if found is None:
            found = self._states[key] = State(kept, complete)
        return found

    def _turns(
        self, cell: Cell, counts: dict[tuple[Loop, Cell], list[tuple[int, int | None]]]
    ) -> list[Cell]:
        """The ways on from a loop, but for those that `counts` has had already."""
        item, rest, least, most = cell.item, cell.rest, cell.least, cell.most
        assert isinstance(item, Loop)
        assert rest is not None
        known = counts.setdefault((item, rest), [])
        if any(_holds(low, high, least, most) for low, high in known):
            return []
        known.append((least, most))
        ways = [] if least else [rest]
        if most is None or most > 1:
            fewer = None if most is None else most - 1
            again = self._cell(item, rest, max(least - 1, 0), fewer)
            ways.append(self._push(item.body, again))
        elif most:
            ways.append(self._push(item.body, rest))
        return ways


def _holds(low: int, high: int | None, least: int, most: int | None) -> bool:
    """Whether `low` to `high` times covers `least` to `most` times."""
    return low <= least and (high is None or (most is not None and most <= high))


def _shortest(cell: Cell) -> bytes:
    """The shortest text from here to the end."""
    out = bytearray()
    at: Cell | None = cell
    while at is not None and at.item is not None:
        # A loop that has begun needs its body as often as its cell says.
        first = at.item.body if isinstance(at.item, Loop) else at.item
        waiting: list[tuple[Item, int]] = [(first, at.least)]
        while waiting:
            item, count = waiting.pop()
            if isinstance(item, Trie):
                out += item.shortest() * count
            elif count > 1:
                waiting += [(item, count - 1), (item, 1)]
            elif not count:
                continue
            elif isinstance(item, Pair):
                waiting += [(item.second, 1), (item.first, 1)]
            elif isinstance(item, Choice):
                waiting.append((min(item.choices, key=lambda choice: choice.dist), 1))
            elif isinstance(item, Rule):
                waiting.append((item.target, 1))
            else:
                waiting.append((item.body, item.least))
        at = at.rest
    return bytes(out)
