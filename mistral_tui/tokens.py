"""A reply token by token: how sure the model was, and what else it might have said."""

from __future__ import annotations

import codecs
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from inference.api import Candidate
from mistral_tui.history.places import Place, pack, unpack
from mistral_tui.history.schema import Realization

_BEGIN, _END = "[THINK]", "[/THINK]"
_CALL = "[TOOL_CALLS]"
_GOES_ON = frozenset((_BEGIN, _END, _CALL, "[CALL_ID]", "[ARGS]"))
_UNSURE = 0.5
_FEWEST_PLACES, _MOST_PLACES = 5, 50


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a reply. `text` is foreign, and empty for a control token, whose `name` is
    shown instead, and in the middle of a character; `candidates` are the likeliest tokens at its
    place, itself among them."""

    id: int
    logprob: float
    text: str
    name: str
    thinking: bool
    candidates: Place


@dataclass(frozen=True, slots=True)
class Record:
    """The tokens of a reply, whose ids are those of the model `fingerprint`."""

    fingerprint: str
    tokens: tuple[Token, ...]

    @property
    def complete(self) -> bool:
        """Whether each token's piece and candidates are known."""
        return all(token.candidates for token in self.tokens)

    def branch(self, index: int, candidate: Candidate) -> Branch:
        """The reply up to the token at `index`, and another one in its place."""
        kept = self.tokens[:index]
        ids = (*(token.id for token in kept), candidate.id)
        logprobs = (*(token.logprob for token in kept), candidate.logprob)
        place = self.tokens[index].candidates
        if candidate.id not in {known.id for known in place}:
            place = (*place, candidate)
        places = (*(token.candidates for token in kept), place)
        whole = record(self.fingerprint, ids, logprobs, places)
        thinking = "".join(token.text for token in whole.tokens if token.thinking)
        names = [token.name for token in whole.tokens]
        spoken = names.index(_CALL) if _CALL in names else len(names)  # calls are told anew
        text = "".join(token.text for token in whole.tokens[:spoken] if not token.thinking)
        made = Realization(self.fingerprint, ids, logprobs, places=pack(places))
        over = candidate.control and candidate.piece not in _GOES_ON
        return Branch(text, thinking, made, over)


@dataclass(frozen=True, slots=True)
class Branch:
    """The beginning of another reply. `over`: it ends here, nothing can follow."""

    text: str
    thinking: str
    realization: Realization
    over: bool


def of_realization(made: Realization) -> Record:
    """The record that was kept with a reply."""
    places = unpack(made.places)
    return record(made.fingerprint, made.ids, made.logprobs, places)


def so_far(
    begun: Realization | None,
    fingerprint: str,
    ids: Sequence[int],
    logprobs: Sequence[float],
    places: Sequence[Place],
) -> Record:
    """The record of a reply that is being written; `begun` is what it goes on from."""
    if begun is None or not begun.ids:
        return record(fingerprint, ids, logprobs, places)
    before = unpack(begun.places) or ((),) * len(begun.ids)
    return record(
        fingerprint,
        (*begun.ids, *ids),
        (*(begun.logprobs or (0.0,) * len(begun.ids)), *logprobs),
        (*before, *places),
    )


def record(
    fingerprint: str,
    ids: Sequence[int],
    logprobs: Sequence[float],
    places: Sequence[Place],
) -> Record:
    """The tokens with these ids; logprobs and places may be missing, for all of them."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    places = places if len(places) == len(ids) else ((),) * len(ids)
    logprobs = logprobs if len(logprobs) == len(ids) else (0.0,) * len(ids)
    thinking = False
    tokens: list[Token] = []
    for token, logprob, place in zip(ids, logprobs, places, strict=True):
        drawn = next((candidate for candidate in place if candidate.id == token), None)
        name = drawn.piece if drawn and drawn.control else ""
        text = "" if drawn is None or name else decoder.decode(bytes_of(drawn.piece))
        thinking = (thinking or name == _BEGIN) and name != _END
        tokens.append(Token(token, logprob, text, name, thinking, place))
    return Record(fingerprint, tuple(tokens))


def bytes_of(piece: str) -> bytes:
    """What a candidate's piece adds to the text."""
    return piece.encode("utf-8", "surrogateescape")


def known(realizations: Iterable[Realization], fingerprint: str) -> Record | None:
    """The record of the model that is loaded, else that of any that kept one."""
    made = sorted(realizations, key=lambda one: one.fingerprint != fingerprint)
    records = (of_realization(one) for one in made if one.places)
    return next((found for found in records if found.complete), None)


def probability(logprob: float) -> float:
    """The probability; logprobs come from files, too."""
    return math.exp(min(0.0, logprob)) if logprob == logprob else 0.0


@dataclass(frozen=True, slots=True)
class Summary:
    """How sure the model was of all of it."""

    count: int
    mean: float
    perplexity: float
    below: float
    """The share of tokens that had less than half of the probability."""


def summary(tokens: Sequence[Token]) -> Summary:
    """Of one token or more."""
    count = len(tokens)
    shares = [probability(token.logprob) for token in tokens]
    told = sum(max(-700.0, min(0.0, token.logprob)) for token in tokens)
    unsure = sum(share < _UNSURE for share in shares)
    return Summary(count, sum(shares) / count, math.exp(-told / count), unsure / count)


def uncertain(tokens: Sequence[Token]) -> list[int]:
    """The least certain places, in the order of the text: of the tokens that had less than half
    of the probability, the least likely ones, at most a tenth of all tokens (but five at least)
    and at most fifty, so that there is something to see in a sure answer and an end to it in an
    unsure one."""
    found = [n for n, token in enumerate(tokens) if probability(token.logprob) < _UNSURE]
    found.sort(key=lambda n: tokens[n].logprob)
    return sorted(found[: min(_MOST_PLACES, max(_FEWEST_PLACES, len(tokens) // 10))])
