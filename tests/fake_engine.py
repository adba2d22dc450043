"""A scripted engine for tests of the app: it does what it is told and remembers what it got."""

from __future__ import annotations

import asyncio
import itertools
import math
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from textual.app import App
from textual.pilot import Pilot

from inference.api import (
    CallPiece,
    Candidate,
    Counted,
    CountTokens,
    Event,
    Failed,
    FillInMiddle,
    Finished,
    FinishReason,
    Generate,
    LoadModel,
    LoadProgress,
    Measure,
    ModelCard,
    PrefillProgress,
    Ready,
    Request,
    SamplingParams,
    Shape,
    Timings,
    Tokens,
    Unloaded,
    UnloadModel,
    Usage,
)
from mistral_tui.app import ChatApp
from mistral_tui.choices import ModelChoice, SamplingChoice
from mistral_tui.engine_client import EngineClient
from mistral_tui.history.store import AsyncStore

CARD = ModelCard(
    name="Fake-7B",
    path="/models/fake",
    shape=Shape(
        dim=64, n_layers=2, n_heads=4, n_kv_heads=2, vocab_size=100, n_params=7_200_000_000
    ),
    dtype="bfloat16",
    device="cpu",
    threads=1,
    context=8192,
    capabilities=("instruct",),
    fingerprint="fake-1",
    tokenizer="fake v1",
    sampling=SamplingParams(temperature=0.5),
)
LOST = "The engine was killed (by someone, or for lack of memory)."


@dataclass
class Load:
    """How one load goes: progress, then ready, unless `fails`; `gate` holds it back."""

    progress: Sequence[tuple[str, int, int]] = (("reading", 50, 100),)
    card: ModelCard = CARD
    fails: tuple[str, str] | None = None  # kind, sentence
    gate: asyncio.Event | None = None


@dataclass
class Reply:
    """How one answer goes: each of `words` is a token, `pause` seconds before each.

    `gate` holds it back before the first token; `holds_at` a number of tokens at which it waits
    for `release`. `fails` (kind, sentence) or `lost` end it after the words.
    """

    words: Sequence[str] = ("Hello", " there", ".")
    thinking: Sequence[str] = ()  # before the words
    calls: Sequence[tuple[str, str]] = ()  # after the words: (name, arguments)
    breaks: bool = False  # the last call is not finished
    sure: Sequence[float] = (0.97, 0.75, 0.45, 0.2, 0.04)  # of each token in turn
    pause: float = 0.0
    gate: asyncio.Event | None = None
    holds_at: int = -1
    release: asyncio.Event = field(default_factory=asyncio.Event)
    fails: tuple[str, str] | None = None
    lost: bool = False
    reason: FinishReason = "stop"
    prompt: int = 40
    reused: int = 10
    deaf: bool = False  # to cancel


@dataclass
class Middles:
    """How one request for code goes: the pieces of each middle, which come in turn; `gate`,
    `holds_at`, `release` and `fails` as of a reply."""

    texts: Sequence[Sequence[str]] = (("x", " = ", "1"),)
    gate: asyncio.Event | None = None
    holds_at: int = -1
    release: asyncio.Event = field(default_factory=asyncio.Event)
    fails: tuple[str, str] | None = None
    deaf: bool = False


class FakeEngine:
    """`EngineClient` by script; without one it loads at once and says hello."""

    def __init__(self, replies: Sequence[Reply] = (), loads: Sequence[Load] = ()) -> None:
        self.replies = list(replies)
        self.loads = list(loads)
        self.middles: list[Middles] = []
        self.requests: list[Request] = []
        self.cancelled: set[int] = set()
        self.started = self.closed = 0
        self.silence = 0.0
        self.start_error: OSError | None = None
        self._up = False
        self._life = asyncio.Event()  # set when this life of the engine has ended
        self._ids = itertools.count(1)

    # ── what the test sees and does ─────────────────────────────────────────────────

    @property
    def loads_asked(self) -> list[LoadModel]:
        return [r for r in self.requests if isinstance(r, LoadModel)]

    @property
    def asked(self) -> list[Generate]:
        return [r for r in self.requests if isinstance(r, Generate)]

    @property
    def holes(self) -> list[FillInMiddle]:
        """The requests for code."""
        return [r for r in self.requests if isinstance(r, FillInMiddle)]

    @property
    def said(self) -> list[list[tuple[str, str]]]:
        """(role, text) of the messages of each request for an answer."""
        return [[(m.role, m.text) for m in request.messages] for request in self.asked]

    def die(self) -> None:
        """As if the process was killed."""
        self._up = False
        self._life.set()

    # ── EngineClient ────────────────────────────────────────────────────────────────

    @property
    def alive(self) -> bool:
        return self._up

    def next_id(self) -> int:
        return next(self._ids)

    async def start(self) -> None:
        if self.start_error:
            raise self.start_error
        self.started += 1
        self._up = True
        self._life = asyncio.Event()

    async def submit(self, request: Request) -> AsyncIterator[Event]:
        self.requests.append(request)
        if not self._up:
            yield self.lost(request.id)
            return
        life = self._life
        match request:
            case LoadModel():
                script = self._load(request)
            case Generate():
                script = self._answer(request)
            case FillInMiddle():
                script = self._fill(request)
            case CountTokens():
                script = self._count(request)
            case Measure():
                script = self._measure(request)
            case UnloadModel():
                script = self._unload(request)
            case _:
                raise AssertionError(request)
        while True:
            step = asyncio.ensure_future(anext(script, None))
            death = asyncio.ensure_future(life.wait())
            try:
                await asyncio.wait((step, death), return_when=asyncio.FIRST_COMPLETED)
            finally:
                death.cancel()
            if not step.done() or (life.is_set() and step.result() is None):
                step.cancel()
                yield self.lost(request.id)
                return
            event = step.result()
            if event is None:
                return
            yield event
            if isinstance(event, Finished | Failed | Ready | Counted | Unloaded):
                return

    def cancel(self, request_id: int) -> None:
        self.cancelled.add(request_id)

    silent_who = "engine"
    can_restart = True
    why_lost = Failed(0, "worker_lost", LOST)

    def lost(self, request_id: int = 0) -> Failed:
        return replace(self.why_lost, id=request_id)

    def silent_for(self) -> float:
        return self.silence

    async def close(self) -> None:
        self.closed += 1
        self.die()
        await asyncio.sleep(0)

    # ── the script ──────────────────────────────────────────────────────────────────

    async def _load(self, request: LoadModel) -> AsyncIterator[Event]:
        load = self.loads.pop(0) if self.loads else Load()
        for stage, done, total in load.progress:
            yield LoadProgress(request.id, stage, done, total)
        if load.gate:
            await load.gate.wait()
        if load.fails:
            yield Failed(request.id, *load.fails)
        else:
            yield Ready(request.id, load.card, 0.1)

    async def _count(self, request: CountTokens) -> AsyncIterator[Event]:
        yield Counted(request.id, 7)

    async def _measure(self, request: Measure) -> AsyncIterator[Event]:
        reply = Reply()
        for count, word in enumerate(re.findall(r"\s*\S+", request.messages[-1].text)):
            yield tokens(request, reply, 500 + count, count, word)
        yield Finished(request.id, "stop", Usage(40, 10, 0), Timings(0.2, 0.25, 1.0, 31.5), 0)

    async def _unload(self, request: UnloadModel) -> AsyncIterator[Event]:
        yield Unloaded(request.id)

    async def _answer(self, request: Generate) -> AsyncIterator[Event]:
        reply = self.replies.pop(0) if self.replies else Reply()
        stopped = False
        count = 0
        yield PrefillProgress(request.id, reply.reused, reply.prompt, reply.reused)
        if reply.gate:
            stopped = await self._hold(request, reply, reply.gate)
        if not stopped:
            yield PrefillProgress(request.id, reply.prompt, reply.prompt, reply.reused)
        for word in () if stopped else (*reply.thinking, *reply.words):
            if count == reply.holds_at:
                stopped = await self._hold(request, reply, reply.release)
            await asyncio.sleep(reply.pause)
            if stopped or (request.id in self.cancelled and not reply.deaf):
                stopped = True
                break
            event = tokens(request, reply, 100 + count, count, word)
            if count < len(reply.thinking):
                event = replace(event, text="", thinking=word)
            else:
                event = replace(event, text=word)
            yield event
            count += 1
        for index, call in enumerate(() if stopped else reply.calls):
            broken = reply.breaks and index == len(reply.calls) - 1
            for piece in pieces(index, *call, broken=broken):
                event = tokens(request, reply, 100 + count, count, "")
                yield replace(event, calls=(piece,))
                count += 1
        if reply.holds_at == len(reply.words) and not stopped:
            stopped = await self._hold(request, reply, reply.release)
        if reply.lost and not stopped:
            self.die()
            await asyncio.Event().wait()
        elif reply.fails and not stopped:
            yield Failed(request.id, *reply.fails)
        else:
            yield Finished(
                request.id,
                "cancelled" if stopped else reply.reason,
                Usage(reply.prompt, reply.reused, count),
                Timings(0.2, 0.25, 1.0, 31.5),
                seed=7,
            )

    async def _fill(self, request: FillInMiddle) -> AsyncIterator[Event]:
        script = self.middles.pop(0) if self.middles else Middles()
        yield PrefillProgress(request.id, 30, 40, 10)
        stopped = script.gate is not None and await self._hold(request, script, script.gate)
        count = 0
        for turn in itertools.zip_longest(*script.texts[: request.middles]):
            for middle, text in enumerate(turn):
                if count == script.holds_at:
                    stopped = await self._hold(request, script, script.release)
                await asyncio.sleep(0)
                stopped = stopped or (request.id in self.cancelled and not script.deaf)
                if text is not None and not stopped:
                    yield Tokens(request.id, (100 + count,), (-0.1,), text, middle=middle)
                    count += 1
        if count == script.holds_at and not stopped:
            stopped = await self._hold(request, script, script.release)
        if script.fails and not stopped:
            yield Failed(request.id, *script.fails)
            return
        reason: FinishReason = "cancelled" if stopped else "stop"
        usage, timings = Usage(40, 10, count), Timings(0.2, 0.25, 1.0, 31.5)
        yield Finished(request.id, reason, usage, timings, 7, reasons=(reason,) * request.middles)

    async def _hold(self, request: Request, reply: Reply | Middles, gate: asyncio.Event) -> bool:
        """Wait for the gate; True if the request was cancelled meanwhile."""
        while not gate.is_set():
            if request.id in self.cancelled and not reply.deaf:
                return True
            await asyncio.sleep(0.002)
        return False


def tokens(request: Generate | Measure, reply: Reply, token: int, place: int, word: str) -> Tokens:
    """One token with two others that it might have been, without text."""
    sure = reply.sure[place % len(reply.sure)]
    shares = ((token, sure, word), (700, (1 - sure) * 0.6, " other"), (701, (1 - sure) * 0.3, "…"))
    told = [Candidate(i, math.log(p), piece) for i, p, piece in shares]
    told.sort(key=lambda candidate: -candidate.logprob)
    places = (tuple(told),) if request.candidates else ()
    return Tokens(request.id, (token,), (math.log(sure),), "", "", places)


def pieces(index: int, name: str, arguments: str, *, broken: bool = False) -> Iterator[CallPiece]:
    """A call as a model writes it."""
    yield CallPiece(index, "begun", name=name)
    for at in range(0, len(arguments), 5):
        yield CallPiece(index, "arguments", arguments[at : at + 5])
    if broken:
        yield CallPiece(index, "broken", f"{name} {arguments}", reason="it breaks off")
    else:
        yield CallPiece(index, "finished", arguments, name, f"call{index:05}")


def card(**changes: object) -> ModelCard:
    """The fake model's card with something else in it."""
    return replace(CARD, **changes)  # type: ignore[arg-type]


async def eventually(true: Callable[[], object], seconds: float = 10) -> None:
    """Let the event loop run until it is so."""
    for _ in range(int(seconds / 0.005)):
        if true():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("The awaited state did not come.")


# ── the app under the Pilot ─────────────────────────────────────────────────────────


async def wait_until(pilot: Pilot[int], true: Callable[[], object], seconds: float = 10) -> None:
    """Let the app run until it is so; if that never comes, say what the screen shows."""
    for _ in range(int(seconds / 0.01)):
        if true():
            return
        await pilot.pause(0.01)
    raise AssertionError(f"The awaited state did not come; the screen:\n{screen_text(pilot.app)}")


def screen_rows(app: App[Any]) -> list[str]:
    """What is drawn, row by row; fails on anything that could command a terminal."""
    rows = []
    for strip in app.screen._compositor.render_strips():
        text = "".join(segment.text for segment in strip if not segment.control)
        bad = [char for char in text if ord(char) < 32 or 127 <= ord(char) < 160]
        assert not bad, (bad, text)
        rows.append(text)
    return rows


def screen_text(app: App[Any]) -> str:
    return "\n".join(row.rstrip() for row in screen_rows(app))


SIZES = [(60, 20), (80, 24), (120, 40), (200, 60)]


@asynccontextmanager
async def chat(
    engine: EngineClient,
    *,
    size: tuple[int, int] = (80, 24),
    path: Path | None = None,
    model: str = "some/folder",
    settled: bool = True,
    **options: Any,
) -> AsyncIterator[tuple[ChatApp, Pilot[int]]]:
    """The app with its store; `settled`: once its first load has ended."""

    async def connect() -> tuple[EngineClient, AsyncStore]:
        return engine, await AsyncStore.open(path)

    options.setdefault("sampling", SamplingChoice())
    choice = options.pop("choice", ModelChoice(model))
    app = ChatApp(choice, connect, **options)
    try:
        async with app.run_test(size=size, notifications=True) as pilot:
            await wait_until(pilot, lambda: app.begun)
            if settled:
                await wait_until(pilot, lambda: app.session.engine not in ("off", "loading"))
            yield app, pilot
    finally:
        await app.leave()


async def ask(pilot: Pilot[int], text: str) -> None:
    """Send something and wait for the end of the answer."""
    app = pilot.app
    assert isinstance(app, ChatApp)
    app.prompt.put(text)
    before = len(app.session.messages)
    await pilot.press("enter")
    await wait_until(
        pilot, lambda: len(app.session.messages) == before + 2 and not app.session.answering
    )
    await pilot.pause()


def toasts(app: ChatApp) -> list[str]:
    return [notification.message for notification in app._notifications]


def words_on_screen(app: ChatApp) -> str:
    """What is shown, without line breaks and frames (notices are narrow)."""
    return " ".join(screen_text(app).replace("▎", " ").replace("▌", " ").split())


def reading(app: ChatApp) -> list[str]:
    """The conversation in view, without its scroll bar."""
    return [row[:-3] for row in screen_rows(app)[: app.transcript.size.height]]


async def each_size(pilot: Pilot[int]) -> AsyncIterator[tuple[int, int]]:
    """The terminal in one size after the other."""
    for size in SIZES:
        await pilot.resize_terminal(*size)
        await wait_until(pilot, lambda size=size: pilot.app.size == size)  # type: ignore[misc]
        await pilot.pause()
        yield size


def last_row(app: ChatApp) -> str:
    return screen_rows(app)[-1]
