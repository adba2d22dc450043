"""Writing while the model answers, commands and files, in the whole app."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fake_engine import FakeEngine, Load, Reply, chat, screen_text, toasts, wait_until


@pytest.fixture(autouse=True)
def private_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATA", "STATE", "CONFIG"):
        monkeypatch.setenv(f"MISTRAL_TUI_{name}", str(tmp_path / name.lower()))


async def test_what_is_sent_during_an_answer_is_said_in_order_after_it() -> None:
    first = Reply(holds_at=1)
    engine = FakeEngine([first])
    async with chat(engine) as (app, pilot):
        await pilot.press("a", "enter")
        await wait_until(pilot, lambda: "Hello" in screen_text(app))
        await pilot.press("b", "enter", "c", "enter")
        await wait_until(pilot, lambda: "queued 2: c" in screen_text(app))
        assert app.prompt.text == ""
        first.release.set()
        await wait_until(pilot, lambda: len(app.session.messages) == 6)
        said = [message.text for message in app.session.messages if message.role == "user"]
        assert said == ["a", "b", "c"]
        await wait_until(pilot, lambda: "queued" not in screen_text(app))


async def test_stopping_holds_the_queue_until_enter() -> None:
    engine = FakeEngine([Reply(holds_at=1)])
    async with chat(engine) as (app, pilot):
        await pilot.press("a", "enter")
        await wait_until(pilot, lambda: "Hello" in screen_text(app))
        await pilot.press("b", "enter", "c", "enter", "d", "enter", "escape")
        await wait_until(pilot, lambda: not app.session.answering)
        await wait_until(pilot, lambda: "waits 3: d" in screen_text(app))
        await pilot.pause(0.1)
        assert len(engine.asked) == 1
        await pilot.press("escape")
        await wait_until(pilot, lambda: "waits 2: c" in screen_text(app))
        await pilot.press("up", "!", "enter")  # c, said at once; b waits on
        await wait_until(pilot, lambda: len(app.session.messages) == 4)
        assert app.prompt.queue.texts == ("b",)
        await pilot.press("enter")
        await wait_until(pilot, lambda: len(app.session.messages) == 6)
        said = [message.text for message in app.session.messages if message.role == "user"]
        assert said == ["a", "c!", "b"]


async def test_a_second_message_waits_while_the_model_loads() -> None:
    gate = asyncio.Event()
    engine = FakeEngine(loads=[Load(gate=gate)])
    async with chat(engine, settled=False) as (app, pilot):
        await wait_until(pilot, lambda: app.session.engine == "loading")
        await pilot.press("a", "enter")
        await wait_until(pilot, lambda: app.session.waiting)
        await pilot.press("b", "enter")
        await wait_until(pilot, lambda: "queued 1: b" in screen_text(app))
        gate.set()
        await wait_until(pilot, lambda: len(app.session.messages) == 4)


async def test_the_queue_survives_leaving(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    async with chat(FakeEngine([Reply(holds_at=1)]), path=path) as (app, pilot):
        await pilot.press("a", "enter")
        await wait_until(pilot, lambda: "Hello" in screen_text(app))
        await pilot.press("b", "enter", "c", "ctrl+q")
    async with chat(FakeEngine(), path=path, reopen=True) as (app, pilot):
        await wait_until(pilot, lambda: app.prompt.text == "c")
        await wait_until(pilot, lambda: "waits 1: b" in screen_text(app))


async def test_commands_files_and_what_is_wrong_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.py").write_text("print(1)\n")
    (tmp_path / "bin").write_bytes(b"\0")
    engine = FakeEngine()
    async with chat(engine) as (app, pilot):
        app.prompt.put("/nonsense")
        await pilot.press("enter")
        await wait_until(pilot, lambda: toasts(app))
        assert "no command /nonsense" in toasts(app)[0]
        assert app.prompt.text == "/nonsense"
        app.prompt.put("/toggle-theme")
        await pilot.press("enter")
        await wait_until(pilot, lambda: app.theme == "mistral-light")
        assert app.prompt.text == ""
        app.prompt.put("see @bin")
        await pilot.press("enter")
        await wait_until(pilot, lambda: "bin is no text" in " ".join(toasts(app)))
        assert (app.prompt.text, engine.asked) == ("see @bin", [])
        app.prompt.put("see @a.py")
        await pilot.press("enter")
        await wait_until(pilot, lambda: len(app.session.messages) == 2)
        assert app.session.messages[0].text.endswith("`a.py`:\n\n```python\nprint(1)\n```")
        app.prompt.put("//new")
        await pilot.press("enter")
        await wait_until(pilot, lambda: len(app.session.messages) == 4)
        assert app.session.messages[2].text == "/new"
