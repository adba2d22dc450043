"""Completion of code: when the engine is asked, and what comes of it. No widgets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from inference.api import Failed, FillInMiddle, Finished, ModelCard, PrefillProgress, Tokens
from mistral_tui.code.asking import FimSettings
from mistral_tui.code.ghost import Ghost
from mistral_tui.engine_client import EngineClient

Stage = Literal["idle", "reading", "writing", "nothing", "trouble"]


@dataclass(frozen=True, slots=True)
class Completion:
    """How far it is. Of the request: `prompt` tokens, `reused` of them from the cache; `read` of
    the rest are in the cache. `sentence` says what went wrong."""

    stage: Stage = "idle"
    read: int = 0
    prompt: int = 0
    reused: int = 0
    tokens: int = 0
    first_s: float = 0.0
    sentence: str = ""


class Model(Protocol):
    """What completion needs to know of the engine."""

    @property
    def client(self) -> EngineClient: ...
    @property
    def card(self) -> ModelCard | None: ...
    @property
    def trouble(self) -> str:
        """Why there can be no completion now, in a sentence; empty: there can."""
        ...


class Completer:
    """Asks for middles, one request at a time.

    `show` is called when there is more of the ghost, `tell` when the stage is another one.
    """

    def __init__(
        self,
        model: Model,
        settings: Callable[[], FimSettings],
        show: Callable[[Ghost], None],
        tell: Callable[[Completion], None],
    ) -> None:
        self._model = model
        self._settings = settings
        self._show = show
        self._tell = tell
        self._timer: asyncio.TimerHandle | None = None
        self._request = 0  # that is under way; 0: none
        self._tasks: set[asyncio.Task[None]] = set()
        self._asked = ("", "")
        self.now = Completion()
        self.requests = 0
        """How many were sent."""
        self.last: Finished | None = None
        """How the last one ended."""

    @property
    def running(self) -> bool:
        """Whether the engine is at it."""
        return self._request != 0

    def soon(self, place: Callable[[], tuple[str, str] | None]) -> None:
        """Ask after a pause, if completion is automatic and nothing stands against it; `place`
        then tells what stands before and behind the cursor, or None if it is too late."""
        self.cancel()
        settings = self._settings()
        if settings.auto:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(settings.pause, self._after_pause, place)

    def _after_pause(self, place: Callable[[], tuple[str, str] | None]) -> None:
        self._timer = None
        if not self._model.trouble and (here := place()) is not None:
            self.ask(*here)

    def ask(self, prefix: str, suffix: str) -> None:
        """Ask for the likeliest middle, in the place of whatever is under way."""
        self.cancel()
        self._asked = (prefix, suffix)
        self._begin(Ghost(), several=False)

    def ask_more(self, ghost: Ghost) -> bool:
        """Draw several more for the place that the ghost was asked for; False while some are on
        their way, or if none can be had."""
        return not self.running and self._begin(ghost, several=True)

    def cancel(self) -> None:
        """Nothing is wanted any more; what is under way in the engine stops."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        request, self._request = self._request, 0
        if request:
            self._model.client.cancel(request)
        if self.now.stage != "idle":
            self._is(Completion())

    def _begin(self, ghost: Ghost, *, several: bool) -> bool:
        if trouble := self._model.trouble:
            self._is(Completion("trouble", sentence=trouble))
            return False
        ghost.complete = False
        card = self._model.card
        assert card is not None
        self._request = self._model.client.next_id()
        asked = self._settings().request(self._request, card, *self._asked, several=several)
        self.requests += 1
        self._is(Completion("reading"))
        task = asyncio.create_task(self._stream(asked, ghost), name="complete code")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def _stream(self, asked: FillInMiddle, ghost: Ghost) -> None:
        first = ghost.count
        tokens = 0
        async for event in self._model.client.submit(asked):
            if self._request != asked.id:
                if isinstance(event, Finished):
                    self.last = event
                continue  # to its end: it was cancelled
            match event:
                case PrefillProgress():
                    read = event.done - event.reused
                    self._is(Completion("reading", read, event.total, event.reused))
                case Tokens():
                    tokens += len(event.ids)
                    ghost.add(first + event.middle, event.text)
                    now = self.now
                    self._is(Completion("writing", now.read, now.prompt, now.reused, tokens))
                    self._show(ghost)
                case Finished():
                    self.last = event
                    self._ended(ghost, event)
                case Failed():
                    self._request = 0
                    ghost.complete = True
                    cancelled = event.kind == "cancelled"
                    said = Completion("trouble", sentence=event.sentence)
                    self._is(Completion() if cancelled else said)
                    self._show(ghost)

    def _ended(self, ghost: Ghost, event: Finished) -> None:
        self._request = 0
        ghost.complete = True
        usage = event.usage
        nothing = event.reason != "cancelled" and not ghost.choices and not ghost.used
        self._is(
            Completion(
                "nothing" if nothing else "idle",
                usage.prompt_tokens - usage.reused_tokens,
                usage.prompt_tokens,
                usage.reused_tokens,
                usage.completion_tokens,
                event.timings.ttft_s,
            )
        )
        self._show(ghost)

    def _is(self, now: Completion) -> None:
        if now != self.now:
            self.now = now
            self._tell(now)
