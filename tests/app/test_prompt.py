"""The prompt by itself: large pastes, undo, and the queue of what is to be sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.app import App, ComposeResult
from textual.pilot import Pilot
from textual.widgets import Static

from fake_engine import screen_rows, screen_text, wait_until
from mistral_tui.widgets.pastes import LARGE, Pastes, clean
from mistral_tui.widgets.prompt import FULL, Prompt
from mistral_tui.widgets.queue import PromptQueue, QueueLines, pack, unpack


class PromptApp(App[int]):
    CSS_PATH = str(Path(__file__).parents[2] / "mistral_tui" / "app.tcss")

    def __init__(self) -> None:
        super().__init__()
        self.prompt = Prompt(id="prompt")
        self.sent: list[str] = []
        self.resumed = 0

    def compose(self) -> ComposeResult:
        yield Static(id="view")
        yield QueueLines(self.prompt.queue)
        yield self.prompt.menu
        yield self.prompt
        yield Static("status")

    def on_mount(self) -> None:
        self.prompt.focus()

    def on_prompt_sent(self, event: Prompt.Sent) -> None:
        self.sent.append(event.text)
        self.prompt.take(event.text)

    def on_prompt_resumed(self) -> None:
        self.resumed += 1


@asynccontextmanager
async def prompt(
    size: tuple[int, int] = (80, 24),
) -> AsyncIterator[tuple[PromptApp, Prompt, Pilot[Any]]]:
    app = PromptApp()
    async with app.run_test(size=size) as pilot:
        yield app, app.prompt, pilot


async def paste(app: PromptApp, pilot: Pilot[Any], text: str) -> None:
    before = app.prompt.text
    app.post_message(events.Paste(text))
    await wait_until(pilot, lambda: app.prompt.text != before)


LINES = "the quick brown fox\n" * 2000

# ── large pastes ────────────────────────────────────────────────────────────────────


async def test_a_large_paste_is_one_word_and_is_sent_whole() -> None:
    async with prompt() as (app, box, pilot):
        await pilot.press(*"see:", "space")
        await paste(app, pilot, LINES)
        assert box.text == "see: [pasted text #1, 2,000 lines]"
        assert box.text in screen_text(app)
        assert box.full_text == "see: " + LINES
        await pilot.press("enter")
        await wait_until(pilot, lambda: app.sent)
        assert box.pastes.unfold(app.sent[0]) == "see: " + LINES
        await pilot.press("up")  # recalled, it still stands for the whole
        assert box.full_text == "see: " + LINES


@pytest.mark.parametrize(
    "text",
    [
        "fox jumps over\n" * 70_000,
        "fox jumps over\n" * 700_000,
        " " * 1_000_000,
        "x" * 1_000_000,
        "été \x1b[31m" * 200_000,
    ],
    ids=["1 MB", "10 MB", "spaces", "one line", "escapes"],
)
async def test_the_app_stays_alive_while_megabytes_are_pasted(text: str) -> None:
    async with prompt() as (app, box, pilot):
        longest, last = 0.0, time.perf_counter()
        app.post_message(events.Paste(text))
        while not box.text:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            longest, last = max(longest, now - last), now
        assert longest < 1
        begin = time.perf_counter()
        await pilot.press("a", "left", "right")
        assert time.perf_counter() - begin < 2
        assert box.full_text == clean(text) + "a"
        await pilot.press("backspace", "backspace")
        assert box.text == ""
        await pilot.press("ctrl+z")
        assert box.full_text == clean(text) + "a"


async def test_a_word_that_stands_for_a_paste_is_never_half_there() -> None:
    async with prompt() as (app, box, pilot):
        await paste(app, pilot, LINES)
        chip = box.text
        await pilot.press("left")
        assert box.cursor_location == (0, 0)
        await pilot.press("right")
        assert box.cursor_location == (0, len(chip))
        box.move_cursor((0, 5))  # as a click does
        await pilot.press("x")
        assert box.text == f"{chip}x"
        box.move_cursor((0, 5))
        await pilot.press("backspace")
        assert box.text == "x"
        await pilot.press("ctrl+z")
        assert box.full_text == f"{LINES}x"
        await pilot.press("home", "delete")
        assert box.text == "x"
        await pilot.press("ctrl+z", "end", "ctrl+w", "ctrl+w")
        assert box.text == ""


async def test_what_is_put_or_recalled_large_is_one_word_too() -> None:
    async with prompt() as (_, box, pilot):
        box.remember([LINES + "a"])
        await pilot.press("up")
        assert box.text == "[pasted text #1, 2,001 lines]"
        assert box.full_text == LINES + "a"
        box.put("before " + LINES + "a after")  # known parts stand as they did
        assert box.text == "before [pasted text #1, 2,001 lines] after"
        await pilot.press("down")
        assert box.text == ""


async def test_many_smaller_pastes_do_not_add_up() -> None:
    async with prompt() as (app, box, pilot):
        text = "x" * (LARGE - 1)
        for _ in range(FULL // LARGE + 3):
            await paste(app, pilot, text)
        assert len(box.text) < FULL + 200
        assert "[pasted text #1, 19,999 characters]" in box.text
        assert box.full_text == text * (FULL // LARGE + 3)


async def test_undoing_a_tall_paste_does_not_fail() -> None:
    async with prompt() as (app, box, pilot):
        await paste(app, pilot, "line\n" * 40)
        await pilot.press("ctrl+z")
        assert box.text == ""
        await pilot.press("ctrl+y")
        assert box.text == "line\n" * 40
        await pilot.press("f7", "backspace", "ctrl+z", "ctrl+z", "a")
        assert box.text == "a"


async def test_a_rewritten_text_can_be_undone() -> None:
    async with prompt() as (_, box, pilot):
        await pilot.press(*"old")
        box.rewrite("new\r\n\x1b[31m/x")
        assert box.text == "new\n/x"
        await pilot.pause()
        assert not box.menu.open
        await pilot.press("ctrl+z")
        assert box.text == "old"


def test_pastes_are_told_apart_and_found_again() -> None:
    pastes = Pastes()
    first, second = (pastes.fold(c * LARGE) for c in "ab")
    assert (first, second) == tuple(f"[pasted text #{n}, 20,000 characters]" for n in (1, 2))
    assert pastes.fold("a" * LARGE) == first
    assert pastes.fold("short") == "short"
    assert pastes.unfold(f"{second}-{first}") == "b" * LARGE + "-" + "a" * LARGE
    assert pastes.unfold("[pasted text #9, 3 lines]") == "[pasted text #9, 3 lines]"
    inside = pastes.fold(f"{first} " * 2000)  # what looks like one inside one
    assert pastes.unfold(inside) == ("a" * LARGE + " ") * 2000
    assert list(pastes.spans(f"x{first} [pasted text #9, 1 lines]")) == [(1, 1 + len(first))]


def test_an_escape_cut_by_the_pieces_is_still_one() -> None:
    for shift in range(12):
        text = "é" * (65_530 + shift) + "\x1b[31mred" + "é" * 10
        assert clean(text) == "é" * (65_530 + shift) + "red" + "é" * 10


# ── the queue ───────────────────────────────────────────────────────────────────────


def test_the_queue_keeps_the_order() -> None:
    queue = PromptQueue()
    changes: list[int] = []
    queue.changed = lambda: changes.append(len(queue))
    assert queue.next() is None
    for text in "abc":
        queue.add(text)
    assert (queue.next(), queue.last(), queue.texts) == ("a", "c", ("b",))
    assert changes == [1, 2, 3, 2, 1]


def test_a_held_queue_sends_nothing_by_itself() -> None:
    queue = PromptQueue()
    queue.add("a")
    queue.add("b")
    queue.hold()
    assert (queue.held, queue.next()) == (True, None)
    queue.add("c")
    assert queue.held
    queue.release()
    assert (queue.held, queue.next()) == (False, "a")
    queue.put_back("a")  # it could not be sent
    assert (queue.held, queue.texts) == (True, ("a", "b", "c"))
    for _ in range(3):
        assert queue.last() is not None
    assert not queue.held  # nothing waits
    queue.add("d")
    assert queue.next() == "d"


def test_a_draft_keeps_the_queue() -> None:
    for queued, text in (([], ""), ([], "a\nb"), (["x\n\ny", "z"], ""), (["x"], "b")):
        assert unpack(pack(queued, text)) == (queued, text)


async def test_up_brings_back_what_was_queued_last() -> None:
    async with prompt() as (_, box, pilot):
        box.remember(["sent"])
        box.queue.add("one")
        box.queue.add("two")
        await pilot.press("x", "up")
        assert box.text == "sent"  # there was a text: the history as ever
        await pilot.press("down", "backspace", "up")
        assert (box.text, box.queue.texts) == ("two", ("one",))
        await pilot.press("!")
        assert box.text == "two!"


async def test_enter_on_nothing_lets_a_held_queue_go_on() -> None:
    async with prompt() as (app, box, pilot):
        box.queue.add("one")
        await pilot.press("enter")
        await pilot.pause()
        assert app.resumed == 0
        box.queue.hold()
        await pilot.press("enter")
        await wait_until(pilot, lambda: app.resumed == 1)
        assert not box.queue.held


async def test_queue_and_text_survive_as_a_draft() -> None:
    async with prompt() as (app, box, pilot):
        box.queue.add("one")
        await paste(app, pilot, LINES)
        box.queue.add(box.text)
        await pilot.press("x")
        draft = box.draft
    async with prompt() as (app, box, pilot):
        box.restore(draft)
        assert (box.full_text, box.draft) == (LINES + "x", draft)
        assert box.queue.held  # the app was closed since: the user says when
        await wait_until(pilot, lambda: "waits 1: one" in screen_text(app))
        box.restore("just text")
        assert (box.text, len(box.queue)) == ("just text", 0)


@pytest.mark.parametrize("size", [(80, 24), (60, 20), (30, 12)])
async def test_the_queue_shows_above_the_prompt(size: tuple[int, int]) -> None:
    async with prompt(size) as (app, box, pilot):
        view = app.query_one("#view").region.height
        box.queue.add("first\nthing " + "x" * 200)
        await wait_until(pilot, lambda: "queued 1: fir" in screen_text(app))
        assert "↑ edits" in screen_text(app)
        lines = app.query_one(QueueLines)
        assert lines.region.bottom == box.region.y
        assert app.query_one("#view").region.height == view - 1
        for number in range(5):
            box.queue.add(f"\x1b[31m[b]{number}")
        box.queue.hold()
        await wait_until(pilot, lambda: "… 4 more" in screen_text(app))
        assert lines.size.height == 3
        if size[0] >= 60:
            assert "waits 6: [b]4" in screen_text(app)
            assert "Enter sends · ↑ edits · Esc removes" in screen_text(app)
        assert all(len(row) == size[0] for row in screen_rows(app))
        while len(box.queue):
            box.queue.last()
        await wait_until(pilot, lambda: app.query_one("#view").region.height == view)
