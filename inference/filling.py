"""The middles of one request to fill in: drawn alone or as a batch, each with its own end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from torch import Tensor

from inference.api import FillInMiddle, FinishReason, Tokens
from inference.cache import KVCache
from inference.errors import SettingError
from inference.generation import decode, decode_rows
from inference.middle import MiddleEnds
from inference.reply import ReplyStream
from inference.sampling import make_sampler
from inference.tokenizer import Tokenizer
from inference.transformer import Transformer

_MOST_MIDDLES = 64


class Filling:
    """What is told of the middles, and why each of them ended.

    Raises:
        SettingError: so many middles cannot be asked for.
    """

    def __init__(self, request: FillInMiddle, tokenizer: Tokenizer) -> None:
        count = request.middles
        if not 1 <= count <= _MOST_MIDDLES:
            raise SettingError(f"The setting middles is {count}; it must be 1 to {_MOST_MIDDLES}.")
        self._stop_ids = tokenizer.stop_ids
        self._ends = [
            MiddleEnds(request.ends, request.prefix, request.suffix, request.stop)
            for _ in range(count)
        ]
        self._replies = [
            ReplyStream(request.id, tokenizer, chat=False, ends=ends) for ends in self._ends
        ]
        self.active = set(range(count))
        """Those that have not ended."""
        self.reasons: list[FinishReason] = ["cancelled"] * count

    @property
    def reason(self) -> FinishReason:
        """Why it is over: what ended a middle that did not come to its own end."""
        return next((reason for reason in self.reasons if reason != "stop"), "stop")

    def add(self, middle: int, token: int, logprob: float) -> Iterator[Tokens]:
        """One more token of a middle, as events."""
        reply = self._replies[middle]
        yield replace(reply.add(token, logprob), middle=middle)
        if token in self._stop_ids or reply.stopped:
            yield from self._end(middle, "stop")

    def end(self, reason: FinishReason) -> Iterator[Tokens]:
        """Nothing more is drawn: end all that have not ended."""
        for middle in sorted(self.active):
            yield from self._end(middle, reason)

    def _end(self, middle: int, reason: FinishReason) -> Iterator[Tokens]:
        self.active.discard(middle)
        self.reasons[middle] = reason
        if reason != "stop":
            self._ends[middle].cut()
        if (rest := self._replies[middle].end()) is not None:
            yield replace(rest, middle=middle)


def draw(
    request: FillInMiddle,
    model: Transformer,
    cache: KVCache,
    logits: Tensor,
    active: set[int],
    *,
    limit: int,
    seed: int,
    prompt: list[int],
    banned: tuple[int, ...],
    fed: Callable[[int], None],
) -> Iterator[tuple[int, int, float]]:
    """Draw the middles behind what the cache holds. A single one goes on in that cache (`fed`
    hears of each token in it); several leave it as it is.

    Yields:
        (middle, token id, logprob) of those that are `active`.
    """
    samplers = [
        make_sampler(request.sampling, seed=seed + n, history=prompt, banned=banned)
        for n in range(request.middles)
    ]
    if request.middles == 1:
        steps = decode(model, cache, logits, samplers[0], max_tokens=limit, fed=fed)
        yield from ((0, token, logprob) for token, logprob, _ in steps)
        return
    rows = model.fan_out(cache, request.middles, room=limit)
    last = [logits] * request.middles
    yield from decode_rows(model, rows, last, samplers, active, max_tokens=limit)
