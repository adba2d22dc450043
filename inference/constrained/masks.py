"""Which tokens a grammar lets through next: from llguidance where it is installed, else found by
walking the vocabulary with the automaton. Both have the same language."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from inference.constrained.automaton import Automaton, State
from inference.constrained.grammar import Grammar
from inference.constrained.lark import lark
from inference.constrained.vocabulary import Mask, Table, Vocabulary
from inference.tokenizer_files import is_failure

log = logging.getLogger(__name__)

MaskSource = Literal["auto", "llguidance", "own"]

# With so many bytes possible (inside a string) most draws are right, and a mask is dear.
_WIDE = 100
_KEPT_MASKS = 64
_MUCH = 8_000  # steps and pieces of states, of one language between two replies
_KEPT_LANGUAGES = 128  # more than any conversation has tools


class Language:
    """A grammar and what has been computed for it, on one vocabulary."""

    def __init__(
        self, grammar: Grammar, vocabulary: Vocabulary, masks: MaskSource = "auto"
    ) -> None:
        self.vocabulary = vocabulary
        self._grammar = grammar
        self._forget()
        self._matcher = None if masks == "own" else self._guided()

    def _forget(self) -> None:
        self.automaton = Automaton(self._grammar)
        self._table = Table(self.automaton)
        self._kept: OrderedDict[State, npt.NDArray[np.uint8]] = OrderedDict()

    def tidy(self) -> None:
        """Forget what was computed, where it has become much; no text may be under way."""
        if self.automaton.kept > _MUCH:
            self._forget()

    def _guided(self) -> Any:
        """An llguidance matcher at the start, or None."""
        try:
            from llguidance import LLMatcher

            matcher = LLMatcher(_ll_tokenizer(self.vocabulary), lark(self._grammar), log_level=0)
            if not (problem := matcher.get_error() or matcher.get_grammar_warnings()):
                return matcher
        except ImportError:
            return None
        except BaseException as error:
            if not is_failure(error):
                raise
            problem = repr(error)
        log.warning("llguidance does not take a grammar: %.300s", problem)
        return None

    def follow(self) -> Follower:
        """Follows one text from its beginning."""
        follower = Follower(self, self._matcher)
        follower.begin()
        return follower

    def exact(self, state: State) -> Mask:
        """The tokens that the automaton takes in this state, without llguidance."""
        packed = self._kept.pop(state, None)
        if packed is None:
            mask = self.vocabulary.trie.mask(self._table, state)
            packed = np.packbits(mask)
        else:
            mask = np.unpackbits(packed, count=len(self.vocabulary.pieces)).view(np.bool_)
        self._kept[state] = packed
        if len(self._kept) > _KEPT_MASKS:
            self._kept.popitem(last=False)
        return mask


class Follower:
    """One text in a language, token by token. The automaton's state is the caller's."""

    def __init__(self, language: Language, matcher: Any) -> None:
        self._language = language
        self._matcher = matcher

    def begin(self) -> None:
        """A matcher of its own."""
        if self._matcher is not None:
            self._matcher = self._call("deep_copy")

    @property
    def guided(self) -> bool:
        """Whether llguidance is at work, and has not failed."""
        return self._matcher is not None

    def mask(self, state: State) -> Mask | None:
        """The tokens that may come next, (vocab_size,); None where it is cheaper to draw first
        and ask the automaton. A text's end is not among them. To be left as it is."""
        if self._matcher is not None:
            size = len(self._language.vocabulary.pieces)
            bits = self._call("compute_bitmask")
            if isinstance(bits, bytes) and len(bits) * 8 >= size:
                packed = np.frombuffer(bits, dtype=np.uint8)
                mask = np.unpackbits(packed, count=size, bitorder="little").view(np.bool_)
                mask[self._language.vocabulary.eos_id] = False
                return mask
            if self._matcher is not None:
                self._give_up("it has no mask")
        if self._language.automaton.allowed(state).bit_count() >= _WIDE:
            return None
        return self.exact(state)

    def exact(self, state: State) -> Mask:
        """As `mask`, from the automaton, whatever it costs."""
        return self._language.exact(state)

    def take(self, token: int) -> None:
        """That token has come."""
        if self._matcher is not None and self._call("consume_token", token) is False:
            self._give_up("it refuses a token")

    def _call(self, name: str, *values: object) -> Any:
        """A method of the matcher; None where it fails, and then it is not asked again."""
        try:
            result = getattr(self._matcher, name)(*values)
            if not self._matcher.is_error():
                return result
            problem = self._matcher.get_error()
        except BaseException as error:
            if not is_failure(error):
                raise
            problem = repr(error)
        self._give_up(problem)
        return None

    def _give_up(self, problem: str) -> None:
        log.warning("llguidance has failed: %.300s", problem)
        self._matcher = None


class _Pieces:
    """A vocabulary as llguidance asks for it. It does not hold the `Vocabulary`, which holds
    it: a cycle through foreign code would never be freed."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.eos_token_id = vocabulary.eos_id
        self.tokens = vocabulary.pieces
        self.special_token_ids: list[int] = []

    def __call__(self, text: str | bytes) -> list[int]:
        return []  # only asked for texts that are forced, and none is


def _ll_tokenizer(vocabulary: Vocabulary) -> Any:
    """llguidance's own form of a vocabulary; made once: 131,072 tokens take 0.4 s."""
    if (made := vocabulary.kept.get("llguidance")) is None:
        from llguidance import LLTokenizer

        pieces: Any = _Pieces(vocabulary)
        made = LLTokenizer(pieces, n_vocab=len(pieces.tokens), eos_token=pieces.eos_token_id)
        vocabulary.kept["llguidance"] = made
    return made


def language(
    key: str, grammar: Callable[[], Grammar], vocabulary: Vocabulary, masks: MaskSource
) -> Language:
    """The language that `key` names; its grammar is asked for where it is not known yet."""
    known: OrderedDict[tuple[str, str], Language]
    known = vocabulary.kept.setdefault("languages", OrderedDict())
    if (found := known.pop((key, masks), None)) is None:
        found = Language(grammar(), vocabulary, masks)
    else:
        found.tidy()
    known[key, masks] = found
    if len(known) > _KEPT_LANGUAGES:
        known.popitem(last=False)
    return found
