"""Rank 0's side: whatever the model does here, the other ranks are told to do, too.

Sampling, requests, cancels and seeds are rank 0's alone: the others hear of forward passes. A
request that is cancelled is one whose next pass is never asked for.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from inference.adapter import inspect_adapter
from inference.cache import KVCache
from inference.devices import pick_device, set_threads
from inference.errors import InferenceError, RankLost, RequestError, explain, restored
from inference.folder import inspect_folder
from inference.parallel.group import Group, Op, packed
from inference.parallel.lifeline import Lifelines, Loss
from inference.parallel.links import links
from inference.parallel.plan import plan
from inference.parallel.ranks import Ranks

if TYPE_CHECKING:
    from inference.adapter import Adapter
    from inference.transformer import Transformer

T = TypeVar("T")
_LAST_MOMENTS = 2.0  # seconds in which a lost rank is noticed in an orderly way
_CLOSE_SECONDS = 5.0


class _GivenUp(InferenceError):
    """Another rank has failed; what it says comes with its report."""


class Leader:
    """Made by `team.leader`, once. Where a rank is lost, what is asked of a model raises
    `RankLost`."""

    def __init__(self, ranks: Ranks, group: Group, lifelines: Lifelines) -> None:
        self.ranks = ranks
        self.group = group
        self.lifelines = lifelines
        self.loss: Loss | None = None
        """The rank that was lost, if any; all is over then."""
        self._numbers: weakref.WeakKeyDictionary[KVCache | Transformer, int] = (
            weakref.WeakKeyDictionary()
        )
        self._numbered = 0
        self._released: deque[tuple[Op, int]] = deque()
        self._busy = False  # in something that all ranks do together
        self._turn = threading.RLock()  # orders and exchanges of two threads must not mix
        self._computed: torch.cuda.Event | None = None
        self._closing, self._closed = threading.Event(), threading.Event()
        # Now: at the end of a program no thread can be started.
        threading.Thread(target=self._end_if_unclosed, name="close", daemon=True).start()

    # ── loading ─────────────────────────────────────────────────────────────────────

    def load(
        self,
        folder: Path,
        *,
        device: str | torch.device,
        dtype: torch.dtype | None = None,
        attention: str = "auto",
        parallel: str = "auto",
        threads: int | None = None,
        progress: Callable[[int, int], None] | None = None,
        waiting: Callable[[], None] = lambda: None,
    ) -> Transformer:
        """Load a model on all ranks; arguments as those of `Transformer.from_folder`.

        Args:
            waiting: called again and again while the others are not done; may raise, and then
                they are told that nothing is wanted any more.

        Raises:
            CheckpointError, SettingError, RankLost: one sentence; nothing is loaded then.
        """
        from inference.transformer import Transformer

        target = pick_device(str(device), self.ranks)
        set_threads(threads, self.ranks.local_world)  # torchrun has left one to each
        found = inspect_folder(folder, tokenizer=False)
        share = plan(found.config, self.ranks.world, parallel)[self.ranks.rank]
        self._numbered += 1
        number = self._numbered
        said = {
            "number": number,
            "folder": str(folder.resolve()),
            "device": target.type,
            "dtype": str(dtype or "").removeprefix("torch."),
            "attention": attention,
            "parallel": parallel,
            "threads": threads,
        }

        def told(done: int, total: int) -> None:
            if self.lifelines.failed_load == number:
                raise _GivenUp("Another rank has failed.")
            if progress is not None:
                progress(done, total)

        def load_here() -> Transformer:
            group = self.group.tensors(target)
            if target.type == "cuda":
                torch.cuda.set_device(target)
            return Transformer.load_share(
                found, links(share, group), device=target, dtype=dtype, attention=attention,
                progress=told,
            )  # fmt: skip

        undo = (Op.FORGET_MODEL, number)
        model = self._together(Op.LOAD, said, load_here, undo=undo, waiting=waiting)
        model.lead = self
        self._numbers[model] = number
        weakref.finalize(model, self._released.append, (Op.FORGET_MODEL, number))
        return model

    def load_lora(
        self, model: Transformer, path: Path, *, scaling: float | None, merge: bool
    ) -> Adapter:
        """See `Transformer.load_lora`; where it fails on another rank, none is left on any."""
        from inference.lora import load_lora, remove_lora

        inspect_adapter(path, model.config, scaling=scaling)  # what is wrong changes nothing
        number = self._numbers[model]
        said = {"number": number, "path": str(path.resolve()), "scaling": scaling, "merge": merge}
        try:
            return self._together(
                Op.LORA,
                said,
                lambda: load_lora(model, path, scaling=scaling, merge=merge),
                undo=(Op.NO_LORA, number),
            )
        except BaseException:
            remove_lora(model)
            raise

    def remove_lora(self, model: Transformer) -> None:
        """See `Transformer.remove_lora`."""
        with self._all_ranks():
            self._order(Op.NO_LORA, self._numbers[model])

    # ── the model ───────────────────────────────────────────────────────────────────

    def forward(
        self,
        model: Transformer,
        tokens: Tensor,
        cache: KVCache,
        *,
        row: int | None,
        last_only: bool,
    ) -> Tensor:
        """See `Transformer.forward`.

        Raises:
            RankLost: another rank is gone.
            RequestError: an id that the model has no embedding for.
        """
        count = tokens.shape[1]
        ids = tokens.flatten().tolist()
        if not 0 <= min(ids) <= max(ids) < model.config.vocab_size:
            raise RequestError(f"The model's token ids are 0 to {model.config.vocab_size - 1:,}.")
        starts = cache.lengths if row is None else [cache.lengths[row]]
        cache.reserve(max(starts) + count)  # what has no room here never begins elsewhere
        with self._all_ranks():
            self._order(
                Op.FORWARD,
                self._numbers[model],
                self._number(cache),
                cache.batch,
                cache.max_length,
                -1 if row is None else row,
                count,
                int(last_only),
                data=[*starts, *ids],
            )
            logits = model.compute(tokens, cache, row=row, last_only=last_only)
            if logits.is_cuda:  # it is not computed yet
                self._computed = torch.cuda.Event()  # type: ignore[no-untyped-call]
                self._computed.record()
            return logits

    def fan_out(self, cache: KVCache, rows: int, room: int) -> KVCache:
        """See `Transformer.fan_out`."""
        copy = cache.fan_out(rows, room=room)
        if cache in self._numbers:  # the others know no cache that nothing was put into
            with self._all_ranks():
                self._order(Op.FAN_OUT, self._number(cache), self._number(copy), rows, room)
        return copy

    def _number(self, cache: KVCache) -> int:
        """What the others know a cache by; they are told when it is gone."""
        if cache not in self._numbers:
            self._numbered += 1
            self._numbers[cache] = self._numbered
            weakref.finalize(cache, self._released.append, (Op.FORGET_CACHE, self._numbered))
        return self._numbers[cache]

    def forget(self) -> None:
        """Have the others forget what is no longer here."""
        gone = [self._released.popleft() for _ in range(len(self._released))]
        for op, number in sorted(gone):  # caches first: then the model's memory is free
            self.group.order(op, number)

    # ── orders ──────────────────────────────────────────────────────────────────────

    def _order(self, op: Op, *fields: int, data: list[int] | None = None) -> None:
        self.forget()
        self.group.order(op, *fields, data=data)

    def _together(
        self,
        op: Op,
        said: dict[str, Any],
        do: Callable[[], T],
        *,
        undo: tuple[Op, int],
        waiting: Callable[[], None] = lambda: None,
    ) -> T:
        """Do something on all ranks, which fails on all if it fails on one."""
        error: BaseException | None = None

        def failed(trouble: BaseException) -> None:
            nonlocal error
            error = error or trouble
            self.lifelines.cancel(undo[1])

        def wait() -> None:
            if error is None:
                try:
                    waiting()
                except BaseException as trouble:
                    failed(trouble)

        with self._all_ranks():
            self.lifelines.loading = True
            try:
                self._order(op, data=packed(json.dumps(said)))
                try:
                    done = do()
                except BaseException as trouble:
                    failed(trouble)
                for rank, report in enumerate(self.group.report("", wait)):
                    if report and (error is None or isinstance(error, _GivenUp)):
                        kind, sentence = json.loads(report)
                        error = restored(kind, f"Rank {rank}: {sentence}")
                if error is not None:
                    self._order(*undo)
            finally:
                self.lifelines.loading = False
        if error is not None:
            try:
                raise error
            finally:
                error = None  # it holds this frame, and what was loaded, in a circle
        return done

    # ── losses ──────────────────────────────────────────────────────────────────────

    @contextlib.contextmanager
    def _all_ranks(self) -> Any:
        """Around what no rank may leave before the others: whoever does parts from them."""
        if self.loss is not None:
            raise RankLost(self.loss.sentence)
        self._turn.acquire()
        self._busy = True
        try:
            yield
        except BaseException as error:
            self._wait_for_loss(error)
            assert self.loss is not None
            if isinstance(error, Exception):
                raise RankLost(self.loss.sentence, detail=repr(error)) from error
            raise
        finally:
            self._busy = False
            self._turn.release()

    def _wait_for_loss(self, error: BaseException) -> None:
        """A collective fails a moment before, or after, it is known which rank was lost."""
        until = time.monotonic() + (_LAST_MOMENTS if isinstance(error, RuntimeError) else 0)
        while self.loss is None and time.monotonic() < until:
            time.sleep(0.01)
        if self.loss is None:
            self.loss = Loss(0, f"Rank 0 failed in the middle of a step: {explain(error)[1]}")

    def rank_lost(self, loss: Loss) -> None:
        """A rank was lost; called by the lifelines' thread, once."""
        self.loss = self.loss or loss
        threading.Thread(target=self._end_if_stuck, name="loss", daemon=True).start()

    def _end_if_stuck(self) -> None:
        time.sleep(_LAST_MOMENTS)
        event = self._computed
        computing = event is not None and not event.query()  # type: ignore[no-untyped-call]
        if self._busy or computing:  # a stopped rank holds the main thread in a collective
            assert self.loss is not None
            print(f"{self.loss.sentence}\n{self.loss.tail}", file=sys.stderr, flush=True)  # noqa: T201
            os._exit(1)

    def close(self) -> None:
        """Give the groups up, with the others, and let them leave."""
        from inference.transformer import Transformer

        if self.loss is None:
            self._closing.set()
            with contextlib.suppress(Exception):
                self._order(Op.END)
            # A group's threads end with its last user. One that lets go of a tensor after the
            # interpreter's end aborts the process.
            for model in list(self._numbers):
                if isinstance(model, Transformer):
                    model.links.close()
            with contextlib.suppress(Exception):
                self.group.close()
            self._closed.set()
        self.lifelines.bye()

    def _end_if_unclosed(self) -> None:
        """NCCL's end can wait for a rank that is gone already; nobody waits for that."""
        self._closing.wait()
        if self._closed.wait(_CLOSE_SECONDS):
            return
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(1 if hasattr(sys, "last_value") else 0)
