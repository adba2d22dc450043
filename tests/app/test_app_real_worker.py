"""The app with the real engine process and the real starter model."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from statistics import median, quantiles

import pytest
from textual import events

from fake_engine import ask, chat, screen_text, wait_until
from mistral_tui.choices import SamplingChoice
from mistral_tui.engine_client import LocalEngine

GREEDY = SamplingChoice(temperature=0.0, max_tokens=400)
COUNT = "Write a long story about the sea."


@pytest.fixture(autouse=True)
def private_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISTRAL_TUI_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("MISTRAL_TUI_CONFIG", str(tmp_path / "config"))


@pytest.mark.timeout(120)
async def test_two_turns_then_a_killed_worker_and_on(starter_folder: Path, tmp_path: Path) -> None:
    engine = LocalEngine(tmp_path / "engine.log")
    options = {"model": str(starter_folder), "path": tmp_path / "c.db", "sampling": GREEDY}
    async with chat(engine, size=(120, 40), **options) as (app, pilot):
        assert app.session.engine == "ready", screen_text(app)
        await ask(pilot, "What is the capital of France? Answer in one word.")
        assert "Paris" in app.session.messages[1].text
        assert "Paris" in screen_text(app)
        first = app.status.status
        await ask(pilot, "And of Italy? One word.")
        second = app.status.status
        assert second.reused > 0
        assert second.reused >= first.used - 2  # all of the first turn but its last token
        assert f"reused {second.reused:,} of" in screen_text(app)

        app.prompt.put(COUNT)
        await pilot.press("enter")
        await wait_until(pilot, lambda: app.status.status.tokens >= 10)
        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGKILL)
        await wait_until(pilot, lambda: app.session.engine == "lost")
        await wait_until(pilot, lambda: "The engine was killed" in screen_text(app))
        partial = app.session.messages[-1]
        assert (partial.role, partial.status) == ("assistant", "failed")
        assert len(partial.realizations[0].ids) >= 10
        assert "broken off" in screen_text(app)

        await pilot.press("ctrl+r")
        await wait_until(pilot, lambda: app.session.engine == "ready", 60)
        app.prompt.put("Write another long story, about the mountains.")
        await pilot.press("enter")
        running = app.session  # a new reply: the figures of the lost one stand until it begins
        await wait_until(
            pilot,
            lambda: running.running_message_id and 3 <= app.status.status.tokens < 300,
            30,
        )
        assert app.status.status.prompt > len(partial.realizations[0].ids)
        await pilot.press("escape")
        await wait_until(pilot, lambda: not app.session.answering)
        assert app.session.messages[-1].status == "cancelled"


@pytest.mark.timeout(120)
async def test_typing_while_the_worker_streams_and_stopping_it(
    starter_folder: Path, tmp_path: Path
) -> None:
    engine = LocalEngine(tmp_path / "engine.log")
    async with chat(engine, model=str(starter_folder), sampling=GREEDY) as (app, pilot):
        app.prompt.put(COUNT)
        await pilot.press("enter")
        await wait_until(pilot, lambda: app.status.status.tokens >= 5)
        shown = asyncio.Event()
        render_lines = app.prompt.render_lines

        def drawn(*args: object) -> object:
            shown.set()
            return render_lines(*args)  # type: ignore[arg-type]

        app.prompt.render_lines = drawn  # type: ignore[method-assign, assignment]
        text = "the quick brown fox jumps over the lazy dog"
        waits = []
        for char in text:
            shown.clear()
            begun = time.perf_counter()
            app.post_message(events.Key("space" if char == " " else char, char))
            await shown.wait()
            waits.append(time.perf_counter() - begun)
            await asyncio.sleep(0.03)  # some 30 keys a second, while tokens come
        assert app.session.answering
        assert app.prompt.text == text
        p95 = quantiles(waits, n=20)[-1]
        print(f"\nkey to screen: median {median(waits) * 1e3:.1f} ms, p95 {p95 * 1e3:.1f} ms")

        before = app.status.status.tokens
        begun = time.perf_counter()
        app.post_message(events.Key("escape", None))
        await wait_until(pilot, lambda: not app.session.answering)
        reply = app.session.messages[-1]
        late = len(reply.realizations[0].ids) - before
        print(f"Esc to end: {(time.perf_counter() - begun) * 1e3:.0f} ms, {late} tokens more")
        assert reply.status == "cancelled"
        assert late < 10  # one in the making, and those on their way
