"""From keys to the file on the disk: the app, the real engine process, and a tiny model that has
learned to fill in (tests/filling.py)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.pilot import Pilot

import filling
from coding import area, panel, say
from fake_engine import chat, wait_until
from inference.api import Event, FillInMiddle, Finished, Request, Tokens
from inference.prefix import common_prefix
from inference.tokenizer import Tokenizer
from mistral_tui.app import ChatApp
from mistral_tui.choices import SamplingChoice
from mistral_tui.engine_client import LocalEngine

PREFIX, MIDDLE, SUFFIX = filling.EXAMPLES[0]


@pytest.fixture(autouse=True)
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATA", "STATE", "CONFIG", "CACHE"):
        monkeypatch.setenv(f"MISTRAL_TUI_{name}", str(tmp_path / name.lower()))


@pytest.fixture(scope="module", params=["v3", "tekken-v3"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return filling.make(tmp_path_factory.mktemp("models") / request.param, request.param)


class Engine(LocalEngine):
    """Remembers what it was asked for code, and the ids that lie in the cache by it."""

    def __init__(self, log: Path) -> None:
        super().__init__(log)
        self.holes: list[FillInMiddle] = []
        self.cached: list[int] = []
        self.common = 0  # of the last request's prompt and what lay in the cache before

    async def submit(self, request: Request) -> AsyncIterator[Event]:
        drawn: list[int] = []
        if isinstance(request, FillInMiddle):
            self.holes.append(request)
        async for event in super().submit(request):
            if isinstance(request, FillInMiddle) and isinstance(event, Tokens):
                drawn += event.ids
            elif isinstance(request, FillInMiddle) and isinstance(event, Finished):
                asked = list(event.prompt_ids)
                self.common = min(common_prefix(self.cached, asked), len(asked) - 1)
                assert event.usage.reused_tokens == self.common
                self.cached = asked + drawn[:-1]  # the last one was not computed with
            yield event


@asynccontextmanager
async def coding(
    folder: Path, tmp_path: Path, text: str
) -> AsyncIterator[tuple[ChatApp, Pilot[int], Engine, Path]]:
    """The app with `text` in a file, the cursor in the hole between its halves."""
    engine = Engine(tmp_path / "engine.log")
    file = tmp_path / "box.py"
    file.write_text(text)
    options = {"model": str(folder), "code": (str(file),), "size": (120, 40)}
    async with chat(engine, sampling=SamplingChoice(max_tokens=4), **options) as (app, pilot):
        await wait_until(pilot, lambda: app.panel is not None and app.panel.area is not None)
        await wait_until(pilot, lambda: area(app).has_focus)
        yield app, pilot, engine, file


async def idle(pilot: Pilot[int], app: ChatApp) -> None:
    completer = panel(app).suggesting.completer
    await wait_until(pilot, lambda: not completer.running and completer._timer is None)


async def suggested(pilot: Pilot[int], app: ChatApp, text: str) -> None:
    await wait_until(pilot, lambda: (g := area(app).ghost) is not None and g.text == text, 30)
    await idle(pilot, app)


@pytest.mark.timeout(120)
async def test_what_was_taken_makes_the_file_right(folder: Path, tmp_path: Path) -> None:
    async with coding(folder, tmp_path, PREFIX.rstrip(" ") + SUFFIX) as (app, pilot, engine, file):
        area(app).move_cursor((1, 0))
        await pilot.press("tab")  # nothing is suggested yet: it indents
        await suggested(pilot, app, MIDDLE)
        assert (engine.holes[0].prefix, engine.holes[0].suffix) == (PREFIX, SUFFIX)
        await pilot.press("tab", "ctrl+s")
        await wait_until(pilot, lambda: file.read_text() == PREFIX + MIDDLE + SUFFIX)
        completed: dict[str, object] = {}
        exec(file.read_text(), {"check": lambda value: completed.update(value=value)}, completed)


@pytest.mark.timeout(120)
async def test_typing_along_reads_nothing_anew(folder: Path, tmp_path: Path) -> None:
    async with coding(folder, tmp_path, PREFIX + SUFFIX) as (app, pilot, engine, _):
        completer = panel(app).suggesting.completer
        area(app).move_cursor((1, 4))
        await pilot.press("ctrl+@")
        await suggested(pilot, app, MIDDLE)
        for char in MIDDLE[:10]:
            await pilot.press("space" if char == " " else "full_stop" if char == "." else char)
        await suggested(pilot, app, MIDDLE[10:])
        assert completer.requests == 1

        await pilot.press("x")  # another way: what follows the common prefix is read, no more
        await idle(pilot, app)
        assert completer.requests == 2
        assert completer.last is not None
        usage = completer.last.usage
        assert usage.reused_tokens == engine.common
        assert usage.prompt_tokens - usage.reused_tokens <= 8


@pytest.mark.timeout(120)
async def test_taking_it_and_going_on_reuses_what_was_generated(
    folder: Path, tmp_path: Path
) -> None:
    async with coding(folder, tmp_path, PREFIX + SUFFIX) as (app, pilot, engine, _):
        completer = panel(app).suggesting.completer
        area(app).move_cursor((1, 4))
        await pilot.press("ctrl+@")
        await suggested(pilot, app, MIDDLE)
        await pilot.press("tab")
        await wait_until(pilot, lambda: completer.requests == 2)
        await idle(pilot, app)
        assert engine.holes[1].prefix == PREFIX + MIDDLE
        assert completer.last is not None
        assert completer.last.usage.reused_tokens == engine.common
        # What stands before the cursor's line, at least: behind it a sentencepiece tokenizer joins
        # the indentation with the word that came.
        head = Tokenizer.from_folder(folder).fim_ids(PREFIX.rstrip(" "), SUFFIX)
        assert engine.common >= len(head)


@pytest.mark.timeout(120)
async def test_chat_and_code_do_not_evict_each_other(folder: Path, tmp_path: Path) -> None:
    async with coding(folder, tmp_path, PREFIX + SUFFIX) as (app, pilot, _, _file):
        completer = panel(app).suggesting.completer
        area(app).move_cursor((1, 4))
        await pilot.press("ctrl+@")
        await suggested(pilot, app, MIDDLE)
        await say(pilot, "hello there")
        first = app.status.status
        panel(app).focus_code()
        await pilot.press("ctrl+@")
        await wait_until(pilot, lambda: completer.requests == 2)
        await idle(pilot, app)
        assert completer.last is not None
        usage = completer.last.usage
        assert usage.reused_tokens == usage.prompt_tokens - 1
        app.prompt.put("and again")
        app.prompt.action_send()
        await wait_until(pilot, lambda: app.status.status.prompt > first.prompt)
        await wait_until(pilot, lambda: not app.session.answering)
        assert app.status.status.reused >= first.used - 2
