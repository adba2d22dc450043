"""A tokenizer's vocabulary as bytes: spelling a text with it, and finding the tokens that an
automaton takes."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from inference.constrained.automaton import Automaton, State

if TYPE_CHECKING:
    from inference.tokenizer import Tokenizer

_MOST_STATES = 4096
_MOST_SPELLED = 64
_DEAD, _UNKNOWN = -1, -2

Mask = npt.NDArray[np.bool_]


class Vocabulary:
    """The ids that text can be made of: those with bytes that are not banned."""

    def __init__(self, tokenizer: Tokenizer, size: int) -> None:
        banned = {*tokenizer.banned_ids, *tokenizer.stop_ids, *tokenizer.unknown_ids}
        words = range(min(tokenizer.n_words, size))
        self.pieces = [b"" if i in banned else tokenizer.bytes_of(i) for i in words]
        self.pieces += [b""] * (size - len(self.pieces))
        self.eos_id = tokenizer.eos_id
        self.kept: dict[str, Any] = {}  # what others have computed for it
        # Of ids with the same bytes the last one: in sentencepiece a byte's id comes first.
        self._ids = {piece: i for i, piece in enumerate(self.pieces) if piece}
        # Bytes of the longest piece.
        self.longest = max(map(len, self._ids), default=0)
        self._spelled: dict[bytes, list[int] | None] = {}

    @cached_property
    def has_all_bytes(self) -> bool:
        """Whether any text of n bytes can be spelled in n tokens."""
        return all(bytes([byte]) in self._ids for byte in range(256))

    def spell(self, text: bytes) -> list[int] | None:
        """The text in ids, the longest one first at each place; None where there is none."""
        if text in self._spelled:
            return self._spelled[text]
        if len(self._spelled) >= _MOST_SPELLED:
            self._spelled.clear()
        self._spelled[text] = found = self._spell(text)
        return found

    def _spell(self, text: bytes) -> list[int] | None:
        ids: list[int] = []
        at = 0
        while at < len(text):
            for length in range(min(self.longest, len(text) - at), 0, -1):
                if (found := self._ids.get(text[at : at + length])) is not None:
                    break
            else:
                return None
            ids.append(found)
            at += length
        return ids

    @cached_property
    def trie(self) -> TokenTrie:
        """Of all pieces; takes about a second to make for 131,072 of them."""
        return TokenTrie(self.pieces)


_known: WeakKeyDictionary[Tokenizer, dict[int, Vocabulary]] = WeakKeyDictionary()


def vocabulary(tokenizer: Tokenizer, size: int) -> Vocabulary:
    """The vocabulary of a model with `size` logits; made once."""
    sizes = _known.setdefault(tokenizer, {})
    if size not in sizes:
        sizes[size] = Vocabulary(tokenizer, size)
    return sizes[size]


class TokenTrie:
    """All pieces as a tree, in arrays, a level behind the other: node 0 is the empty text, and
    the children of a node stand side by side."""

    def __init__(self, pieces: list[bytes]) -> None:
        order = sorted((piece, i) for i, piece in enumerate(pieces) if piece)
        depths, letters, parents = [0], [0], [0]
        path = [0]  # the nodes of the last piece
        last = b""
        ends = [0] * len(pieces)
        for piece, token in order:
            shared = 0
            for one, other in zip(piece, last, strict=False):
                if one != other:
                    break
                shared += 1
            del path[shared + 1 :]
            for at in range(shared, len(piece)):
                parents.append(path[-1])
                path.append(len(depths))
                depths.append(at + 1)
                letters.append(piece[at])
            ends[token] = path[-1]
            last = piece
        # From the order of the alphabet to that of the levels.
        by_level = np.argsort(np.array(depths, dtype=np.int16), kind="stable")
        place = np.empty_like(by_level)
        place[by_level] = np.arange(len(by_level))
        self._letters = np.array(letters, dtype=np.uint8)[by_level]
        self._ends = place[np.array(ends)]
        parents_placed = place[np.array(parents)[by_level]][1:]  # without the root's own
        self._counts = np.bincount(parents_placed, minlength=len(by_level))
        self._starts = np.cumsum(self._counts) - self._counts + 1

    def mask(self, table: Table, state: State) -> Mask:
        """Which tokens the automaton of `table` takes in this state, (vocab_size,)."""
        table.tidy()
        reached = np.zeros(len(self._letters), dtype=bool)
        nodes = np.zeros(1, dtype=np.int64)
        states = np.array([table.number(state)])
        while len(nodes):
            counts = self._counts[nodes]
            total = int(counts.sum())
            # The children of all nodes, one node's after the other's.
            offsets = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
            nodes = np.repeat(self._starts[nodes], counts) + offsets
            states = table.step(np.repeat(states, counts), self._letters[nodes])
            alive = states >= 0
            nodes, states = nodes[alive], states[alive]
            reached[nodes] = True
        mask: Mask = reached[self._ends]
        return mask


class Table:
    """An automaton's steps as far as they have been asked for."""

    def __init__(self, automaton: Automaton) -> None:
        self._automaton = automaton
        self._clear()

    def _clear(self) -> None:
        self._states: list[State] = []
        self._numbers: dict[State, int] = {}
        self._rows = np.empty((64, 256), dtype=np.int32)

    def tidy(self) -> None:
        """Forget the steps where there are many."""
        if len(self._states) > _MOST_STATES:
            self._clear()

    def number(self, state: State) -> int:
        """The number that `step` knows a state by."""
        if (number := self._numbers.get(state)) is None:
            number = self._numbers[state] = len(self._states)
            self._states.append(state)
            if number == len(self._rows):
                self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
            bits = self._automaton.allowed(state).to_bytes(32, "little")
            may = np.unpackbits(np.frombuffer(bits, dtype=np.uint8), bitorder="little")
            self._rows[number] = np.where(may, _UNKNOWN, _DEAD)
        return number

    def step(
        self, states: npt.NDArray[np.int64], letters: npt.NDArray[np.uint8]
    ) -> npt.NDArray[np.int64]:
        """The number of the state after each letter; below 0: there is none."""
        after = self._rows[states, letters]
        unknown = after == _UNKNOWN
        if unknown.any():
            for pair in np.unique(states[unknown] * 256 + letters[unknown]).tolist():
                state, letter = divmod(pair, 256)
                new = self._automaton.advance(self._states[state], bytes([letter]))
                self._rows[state, letter] = _DEAD if new is None else self.number(new)
            after = self._rows[states, letters]
        return after.astype(np.int64)
