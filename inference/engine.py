"""One model, its KV cache slots and its requests: `Engine.run(request)` yields events."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from inference.api import (
    BatchFinished,
    Complete,
    CompleteBatch,
    Completion,
    Counted,
    CountTokens,
    Event,
    FillInMiddle,
    FinishReason,
    Generate,
    Measure,
    ModelCard,
    PrefillProgress,
)
from inference.cache import KVCache
from inference.errors import ContextFull, RequestError
from inference.filling import Filling, draw
from inference.fim import Fitter, budget
from inference.generation import decode, generate, measure, prefill
from inference.meter import Meter
from inference.prefix import reusable
from inference.reply import ReplyStream
from inference.sampling import check, make_sampler
from inference.tokenizer import Tokenizer
from inference.transformer import Transformer

if TYPE_CHECKING:
    from torch import Tensor

    from inference.constrained.constraint import CallConstraint

Runnable = Generate | Complete | FillInMiddle | CompleteBatch | CountTokens | Measure


@dataclass(slots=True)
class _Slot:
    """A KV cache and the ids whose keys and values it holds."""

    cache: KVCache
    adapter: str  # that was on the model
    ids: list[int] = field(default_factory=list)


class Engine:
    """Serves one request at a time on one model; plain objects, no process needed.

    The KV cache of a slot is kept between requests and cut back to what the next
    prompt shares with it, so a new turn computes only its new tokens.
    """

    def __init__(
        self,
        model: Transformer,
        tokenizer: Tokenizer,
        card: ModelCard | None = None,
        *,
        prefill_chunk: int | None = None,
        slots: int = 2,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.card = card
        # A cancel waits for a chunk. On a CPU small ones cost little (64 against 256 tokens:
        # 6 % of prefill speed measured); a GPU needs large ones to be busy.
        self._chunk = prefill_chunk or (64 if model.device.type == "cpu" else 512)
        self._most_slots = slots
        self._slots: dict[str, _Slot] = {}
        self._fitter = Fitter(tokenizer.fim_ids)
        # Rows of a padded embedding that no token names must never be drawn.
        padding = range(tokenizer.n_words, model.config.vocab_size)
        self._banned = (*tokenizer.banned_ids, *padding)

    @classmethod
    def from_folder(
        cls,
        folder: str | Path,
        *,
        device: str = "auto",
        dtype: str = "auto",
        attention: str = "auto",
        lora: str | Path = "",
        parallel: str = "auto",
    ) -> Engine:
        """Load a model folder, perhaps with a LoRA adapter on it. Under torchrun as
        `Transformer.from_folder` does: only rank 0 comes back.

        Raises:
            CheckpointError, TokenizerError, SettingError: one sentence.
        """
        from inference.loading import load_engine

        return load_engine(
            str(folder),
            device=device,
            dtype=dtype,
            attention=attention,
            lora=str(lora),
            parallel=parallel,
        )

    @property
    def context(self) -> int:
        """Most tokens a conversation can have."""
        return self.model.config.max_position_embeddings

    @property
    def cache_nbytes(self) -> int:
        """Bytes of all KV cache slots, on all ranks."""
        here = sum(slot.cache.nbytes for slot in self._slots.values())
        return int(here * self.model.share.cache_ranks)

    def run(
        self, request: Runnable, cancelled: Callable[[], bool] = lambda: False
    ) -> Iterator[Event]:
        """Serve one request.

        Args:
            cancelled: asked between tokens and between prefill chunks.

        Yields:
            `PrefillProgress` and `Tokens` (one token each), then `Finished`; or
            `BatchFinished`; or `Counted`.

        Raises:
            InferenceError: one sentence for the user.
        """
        if isinstance(request, CountTokens):
            prompt, _ = self._chat(request)
            yield Counted(request.id, len(prompt))
            return
        started = time.perf_counter()
        if isinstance(request, Measure):
            yield from self._measure(request, started, cancelled)
            return
        check(request.sampling)
        if isinstance(request, CompleteBatch):
            yield self._complete_batch(request, started, cancelled)
            return
        if isinstance(request, FillInMiddle):
            yield from self._fill(request, started, cancelled)
            return
        prompt, open_reply = self._encode(request)
        yield from self._generate(request, prompt, open_reply, started, cancelled)

    def _chat(self, request: Generate | CountTokens | Measure) -> tuple[list[int], list[int]]:
        """The prompt's ids, and those of the reply that is continued."""
        if request.instruct:
            return self.tokenizer.encode_reply(
                request.messages, safe_prompt=request.safe_prompt, tools=request.tools
            )
        return self.tokenizer.encode_raw(request.messages), []

    def _encode(self, request: Generate | Complete) -> tuple[list[int], list[int]]:
        open_reply: list[int] = []
        match request:
            case Generate():
                prompt, open_reply = self._chat(request)
            case Complete():
                prompt = self.tokenizer.encode_text(request.prompt)
        self._check_room(prompt)
        return prompt, open_reply

    def _check_room(self, prompt: list[int]) -> None:
        if not prompt:
            raise RequestError("The prompt is empty; write something first.")
        if len(prompt) >= self.context:
            raise ContextFull(
                f"The conversation takes {len(prompt):,} tokens and the model's context is "
                f"{self.context:,}; start a new conversation or send less text."
            )

    def _slot(self, name: str) -> _Slot:
        """The named slot, made most recently used; the oldest one goes when there are many."""
        slot = self._slots.pop(name, None)
        if slot is None or slot.adapter != self.model.adapter:
            while len(self._slots) >= self._most_slots:
                self._slots.pop(next(iter(self._slots)))
            slot = _Slot(self.model.new_cache(), self.model.adapter)
        self._slots[name] = slot
        return slot

    def _complete_batch(
        self, request: CompleteBatch, started: float, cancelled: Callable[[], bool]
    ) -> BatchFinished:
        params = request.sampling
        seed = params.seed if params.seed is not None else random.getrandbits(32)
        prompts = [self.tokenizer.encode_text(prompt) for prompt in request.prompts]
        longest = max(map(len, prompts), default=0)
        if longest >= self.context:
            raise ContextFull(
                f"A prompt takes {longest:,} tokens and the model's context is "
                f"{self.context:,}; send less text."
            )
        room = self.context - longest
        ids, logprobs = generate(
            prompts,
            self.model,
            max_tokens=min(params.max_tokens or room, room),
            eos_id=self.tokenizer.stop_ids,
            sampling=params,
            seed=seed,
            banned=self._banned,
            cancelled=cancelled,
        )
        completions = (
            Completion(self.tokenizer.decode(i, continues=True), tuple(i), tuple(p), tuple(prompt))
            for i, p, prompt in zip(ids, logprobs, prompts, strict=True)
        )
        return BatchFinished(request.id, tuple(completions), seed, time.perf_counter() - started)

    def _measure(
        self, request: Measure, started: float, cancelled: Callable[[], bool]
    ) -> Iterator[Event]:
        prompt, reply_ids = self._chat(request)
        if not reply_ids:
            raise RequestError("There is no answer to measure at the end of this conversation.")
        self._check_room(prompt)
        slot = self._slot(request.slot)
        begin = len(prompt) - len(reply_ids)
        reused = min(reusable(slot.ids, prompt), begin - 1)  # the first token needs logits, too
        slot.cache.truncate(reused)
        del slot.ids[reused:]
        meter = Meter(started, prompt, len(reply_ids))
        meter.reused = reused
        reply = ReplyStream(request.id, self.tokenizer, chat=request.instruct)
        reason: FinishReason = "stop"
        yield PrefillProgress(request.id, reused, len(prompt), reused)
        for start in range(reused, len(prompt), self._chunk):
            if cancelled():
                reason = "cancelled"
                break
            chunk = prompt[start : start + self._chunk]
            skip = max(begin - 1 - start, 0)
            targets = prompt[start + 1 + skip : start + 1 + len(chunk)]
            found = measure(
                self.model, slot.cache, chunk, targets, skip=skip, candidates=request.candidates
            )
            slot.ids.extend(chunk)
            yield PrefillProgress(request.id, len(slot.ids), len(prompt), reused)
            for target, (logprob, likeliest) in zip(targets, found, strict=True):
                # Its text is known: only how likely it was is news.
                told = reply.add(target, logprob, likeliest)
                yield replace(told, text="", thinking="", calls=())
        yield meter.finished(request.id, reason, 0, self.cache_nbytes)

    def _generate(
        self,
        request: Generate | Complete,
        prompt: list[int],
        open_reply: list[int],
        started: float,
        cancelled: Callable[[], bool],
    ) -> Iterator[Event]:
        params = request.sampling
        seed = params.seed if params.seed is not None else random.getrandbits(32)
        room = self.context - len(prompt)
        limit = min(params.max_tokens or room, room)
        constraint = self._constraint(request, open_reply, limit)  # what is wrong is said at once
        slot = self._slot(request.slot)
        meter = Meter(started, prompt, len(open_reply))
        logits = yield from self._read(request.id, slot, prompt, meter, cancelled)
        if logits is None:
            yield meter.finished(request.id, "cancelled", seed, self.cache_nbytes)
            return

        sampler = make_sampler(
            params,
            seed=seed,
            history=prompt,
            banned=self._banned,
            constraint=constraint,
        )
        reply = ReplyStream(
            request.id,
            self.tokenizer,
            stop=request.stop,
            chat=isinstance(request, Generate) and request.instruct,
            open_reply=open_reply,
        )
        reason: FinishReason = "length" if limit == params.max_tokens else "context_full"
        steps = decode(
            self.model,
            slot.cache,
            logits,
            sampler,
            max_tokens=limit,
            fed=slot.ids.append,
            candidates=request.candidates if isinstance(request, Generate) else 0,
        )
        while True:
            if cancelled():
                reason = "cancelled"
                break
            drawn = next(steps, None)
            if drawn is None:
                break
            meter.token()
            yield reply.add(*drawn)
            if drawn[0] in self.tokenizer.stop_ids or reply.stopped:
                reason = "stop"
                break
        if (rest := reply.end()) is not None:
            yield rest
        yield meter.finished(request.id, reason, seed, self.cache_nbytes)

    def _fill(
        self, request: FillInMiddle, started: float, cancelled: Callable[[], bool]
    ) -> Iterator[Event]:
        params = request.sampling
        filling = Filling(request, self.tokenizer)
        most = budget(self.context, window=request.window, max_tokens=params.max_tokens)
        asked = self._fitter.fit(request.prefix, request.suffix, most)
        seed = params.seed if params.seed is not None else random.getrandbits(32)
        room = self.context - len(asked.ids)
        limit = min(params.max_tokens or room, room)
        slot = self._slot(request.slot)
        meter = Meter(started, asked.ids)
        logits = yield from self._read(request.id, slot, asked.ids, meter, cancelled)
        reason: FinishReason = "cancelled"
        if logits is not None:
            steps = draw(
                request,
                self.model,
                slot.cache,
                logits,
                filling.active,
                limit=limit,
                seed=seed,
                prompt=asked.ids,
                banned=self._banned,
                fed=slot.ids.append,
            )
            while filling.active and not cancelled():
                drawn = next(steps, None)
                if drawn is None:
                    reason = "length" if limit == params.max_tokens else "context_full"
                    break
                meter.token()
                yield from filling.add(*drawn)
        yield from filling.end(reason)
        finished = meter.finished(request.id, filling.reason, seed, self.cache_nbytes)
        yield replace(finished, reasons=tuple(filling.reasons), left_out=asked.left_out)

    def _read(
        self,
        request_id: int,
        slot: _Slot,
        prompt: list[int],
        meter: Meter,
        cancelled: Callable[[], bool],
    ) -> Generator[Event, None, Tensor | None]:
        """Bring a slot's cache to hold a prompt.

        Returns:
            The logits behind it; None when cancelled.
        """
        reused = reusable(slot.ids, prompt)
        # What an aborted forward pass left behind is cut off here, too.
        slot.cache.truncate(reused)
        del slot.ids[reused:]
        meter.reused = reused
        yield PrefillProgress(request_id, reused, len(prompt), reused)
        logits = None
        for start in range(reused, len(prompt), self._chunk):
            if cancelled():
                return None
            chunk = prompt[start : start + self._chunk]
            logits = prefill(self.model, slot.cache, chunk, chunk_size=self._chunk)
            slot.ids.extend(chunk)
            yield PrefillProgress(request_id, len(slot.ids), len(prompt), reused)
        meter.prefilled()
        return logits

    def _constraint(
        self, request: Generate | Complete, open_reply: list[int], limit: int
    ) -> CallConstraint | None:
        """What holds the reply's tool calls to their grammar."""
        if not isinstance(request, Generate) or not request.instruct:
            return None
        if not request.tools and request.tool_choice in ("auto", "none"):
            return None
        from inference.constrained.constraint import make_constraint  # not before the first tool

        constraint = make_constraint(
            self.tokenizer,
            request.tools,
            request.tool_choice,
            limit=limit,
            vocab_size=self.model.config.vocab_size,
        )
        if constraint is not None:
            constraint.feed(open_reply)
        return constraint
