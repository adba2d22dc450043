"""When the engine is asked for a middle, and what becomes of it; on a scripted engine."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from fake_engine import FakeEngine, Middles, card, eventually
from inference.api import ModelCard
from mistral_tui.code.asking import FimSettings
from mistral_tui.code.completing import Completer, Completion
from mistral_tui.code.ghost import Ghost
from mistral_tui.engine_client import EngineClient

FAST = FimSettings(pause=0.0)


class Desk:
    """A completer, and all that it told."""

    def __init__(self, middles: Sequence[Middles] = (), settings: FimSettings = FAST) -> None:
        self.engine = FakeEngine()
        self.engine.middles = list(middles)
        self.engine._up = True
        self.trouble = ""
        self.settings = settings
        self.shown: list[str] = []
        self.ghost: Ghost | None = None
        self.told: list[Completion] = []
        self.completer = Completer(self, lambda: self.settings, self._show, self.told.append)

    @property
    def client(self) -> EngineClient:
        return self.engine

    @property
    def card(self) -> ModelCard | None:
        return card(capabilities=("fim",))

    def _show(self, ghost: Ghost) -> None:
        self.ghost = ghost
        self.shown.append(ghost.text)

    async def done(self) -> None:
        await eventually(lambda: not self.completer.running and self.completer._timer is None)


async def test_a_middle_streams_into_the_ghost() -> None:
    desk = Desk()
    desk.completer.ask("a = ", "\n")
    await desk.done()
    assert desk.shown == ["x", "x = ", "x = 1", "x = 1"]
    assert desk.ghost is not None
    assert desk.ghost.complete
    assert desk.told[0].stage == "reading"
    last = desk.told[-1]
    assert (last.stage, last.read, last.reused, last.tokens) == ("idle", 30, 10, 3)
    (hole,) = desk.engine.holes
    assert (hole.prefix, hole.suffix, hole.middles) == ("a = ", "\n", 1)
    assert hole.sampling.temperature == 0.0


async def test_only_the_last_of_many_keys_asks() -> None:
    desk = Desk(settings=FimSettings(pause=0.05))
    for count in range(20):
        desk.completer.soon(lambda count=count: ("x" * count, ""))  # type: ignore[misc]
        await asyncio.sleep(0.002)
    await desk.done()
    assert [hole.prefix for hole in desk.engine.holes] == ["x" * 19]


async def test_nothing_is_asked_by_itself_where_that_is_off_or_cannot_be() -> None:
    desk = Desk(settings=replace(FAST, auto=False))
    desk.completer.soon(lambda: ("", ""))
    await asyncio.sleep(0.02)
    desk.settings, desk.trouble = FAST, "The model is answering."
    desk.completer.soon(lambda: ("", ""))
    await asyncio.sleep(0.02)
    assert desk.engine.holes == []
    assert desk.told == []
    desk.completer.ask("", "")  # on a key it says why
    assert desk.told[-1] == Completion("trouble", sentence="The model is answering.")


async def test_a_cancel_reaches_the_engine_and_late_tokens_are_dropped() -> None:
    late = Middles((("one", "two", "three"),), holds_at=1, deaf=True)
    desk = Desk([late])
    desk.completer.ask("", "")
    await eventually(lambda: desk.shown)
    request = desk.engine.holes[0].id
    desk.completer.cancel()
    assert request in desk.engine.cancelled
    assert desk.told[-1] == Completion()
    late.release.set()
    await eventually(lambda: desk.completer.last is not None)
    assert desk.shown == ["one"]


async def test_a_new_question_ends_the_one_before() -> None:
    desk = Desk([Middles((("old",),), holds_at=1), Middles((("new",),))])
    desk.completer.ask("1", "")
    await eventually(lambda: desk.shown)
    desk.completer.ask("2", "")
    await desk.done()
    first, second = desk.engine.holes
    assert first.id in desk.engine.cancelled
    assert second.id not in desk.engine.cancelled
    assert desk.shown == ["old", "new", "new"]


async def test_more_are_drawn_at_once_for_the_same_place_and_join_the_first() -> None:
    several = Middles((("x", " = 1"), ("y", " = 2"), ("x", " = 1")))
    desk = Desk([Middles((("x = 1",),)), several])
    desk.completer.ask("p", "s")
    await desk.done()
    ghost = desk.ghost
    assert ghost is not None
    assert desk.completer.ask_more(ghost)
    assert not desk.completer.ask_more(ghost)  # they are on their way
    await desk.done()
    hole = desk.engine.holes[1]
    assert (hole.prefix, hole.suffix, hole.middles) == ("p", "s", 3)
    assert hole.sampling.temperature == 0.5
    assert ghost.place == (1, 2)  # the same text is one suggestion
    assert ghost.step(1)
    assert (ghost.text, ghost.place) == ("y = 2", (2, 2))


async def test_nothing_to_add_is_said() -> None:
    desk = Desk([Middles(((),))])
    desk.completer.ask("", "")
    await desk.done()
    assert desk.told[-1].stage == "nothing"


async def test_a_failure_is_a_sentence_and_a_lost_engine_is_one_too() -> None:
    desk = Desk([Middles(fails=("memory", "There is not enough memory."))])
    desk.completer.ask("", "")
    await desk.done()
    assert desk.told[-1].sentence == "There is not enough memory."
    desk.engine.middles = [Middles(holds_at=1)]
    desk.completer.ask("", "")
    await eventually(lambda: desk.completer.now.stage == "writing")
    desk.engine.die()
    await desk.done()
    assert "killed" in desk.told[-1].sentence
    assert desk.ghost is not None
    assert desk.ghost.text == "x"  # what came stays


async def test_settings_make_the_request() -> None:
    settings = FimSettings.of(
        {"fim_block": False, "fim_lines": 0, "fim_window": None, "fim_blank_lines": 2}
    )
    request = settings.request(1, card(device="cuda"), "a", "b")
    assert (request.ends.block, request.ends.lines, request.ends.blank_lines) == (False, None, 2)
    assert request.window == 8192
    assert settings.request(1, card(), "a", "b").window == 2048
    assert request.slot == "code"
