"""Counts and times one generation."""

from __future__ import annotations

import time
from collections.abc import Sequence

from inference.api import Finished, FinishReason, Timings, Usage


class Meter:
    """From the start of a request to its `Finished`.

    Args:
        started: when it began, by `time.perf_counter`.
        prompt: the ids that are asked.
        continued: so many of them, the last ones, begin the reply.
    """

    def __init__(self, started: float, prompt: Sequence[int], continued: int = 0) -> None:
        self._started = started
        self._prompt = tuple(prompt)
        self._continued = continued
        self._tokens = 0
        self._prefill_s = 0.0
        self._first = self._last = started
        self.reused = 0
        """Ids of the prompt that were in the cache."""

    def prefilled(self) -> None:
        self._prefill_s = time.perf_counter() - self._started

    def token(self) -> None:
        self._last = time.perf_counter()
        if self._tokens == 0:
            self._first = self._last
        self._tokens += 1

    def finished(
        self, request_id: int, reason: FinishReason, seed: int, cache_nbytes: int
    ) -> Finished:
        decode_s = self._last - self._first
        rate = (self._tokens - 1) / decode_s if self._tokens > 1 and decode_s > 0 else 0.0
        timings = Timings(
            prefill_s=self._prefill_s,
            ttft_s=self._first - self._started if self._tokens else 0.0,
            decode_s=decode_s,
            decode_tokens_per_s=rate,
        )
        usage = Usage(len(self._prompt), self.reused, self._tokens, cache_nbytes)
        return Finished(request_id, reason, usage, timings, seed, self._prompt, self._continued)
