"""The app with ranks of its own, one of which is lost in the middle of an answer."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

import rank_bench
from fake_engine import chat, screen_text, wait_until
from mistral_tui.choices import ModelChoice, SamplingChoice
from mistral_tui.engine_client import LocalEngine

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into Linux's /proc")


@pytest.fixture(autouse=True)
def private_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STATE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"MISTRAL_TUI_{name}", str(tmp_path / name))


@pytest.mark.timeout(120)
async def test_a_killed_rank_costs_no_words_and_a_key_brings_it_back(tmp_path: Path) -> None:
    model = rank_bench.make_model(tmp_path / "model")
    engine = LocalEngine(tmp_path / "logs" / "engine.log", ranks=3)
    sampling = SamplingChoice(temperature=0.0, max_tokens=2000)
    choice = ModelChoice(str(model), device="cpu", threads=1, ranks=3)
    async with chat(engine, choice=choice, sampling=sampling, size=(120, 40)) as (app, pilot):
        await wait_until(pilot, lambda: app.session.engine == "ready", 60)
        app.prompt.put("Hello")
        await pilot.press("enter")
        await wait_until(pilot, lambda: app.status.status.tokens >= 10, 30)
        os.kill(engine._ranks._processes[2].pid, signal.SIGKILL)
        await wait_until(pilot, lambda: app.session.engine == "lost")
        await wait_until(pilot, lambda: "Rank 2 was killed" in screen_text(app))
        text = "".join(screen_text(app).replace("▎", "").split())
        assert "Nothingoftheconversationislost.Ctrl+Rrestartsit." in text
        assert "rank2of3" in text  # the end of its log
        assert "engine-rank2.log" in text
        partial = app.session.messages[-1]
        assert (partial.role, partial.status) == ("assistant", "failed")
        assert len(partial.realizations[0].ids) >= 10

        await pilot.press("ctrl+r")
        await wait_until(pilot, lambda: app.session.engine == "ready", 60)
        app.prompt.put("Again")
        await pilot.press("enter")
        await wait_until(pilot, lambda: app.session.running_message_id is not None, 30)
        await wait_until(pilot, lambda: 1 <= app.status.status.tokens < 500, 30)
        await pilot.press("escape")
        await wait_until(pilot, lambda: not app.session.answering)
        assert app.session.messages[-1].status == "cancelled"
        assert app.session.messages[-2].text == "Again"
