"""The reference's weather example, from a definition file over the call to the final answer: the
real engine process, a tiny model that has learned it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from textual.widgets import TextArea

import weather
from fake_engine import chat, screen_text, wait_until
from inference.api import Candidate
from inference.tokenizer import Tokenizer
from mistral_tui.choices import SamplingChoice, ToolsChoice
from mistral_tui.engine_client import LocalEngine
from mistral_tui.screens.write import WriteScreen
from mistral_tui.tools.files import load_file
from mistral_tui.widgets import consent


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return weather.make(tmp_path_factory.mktemp("models") / "weather")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATA", "STATE", "CONFIG", "CACHE"):
        monkeypatch.setenv(f"MISTRAL_TUI_{name}", str(tmp_path / name.lower()))


def run(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mistral_tui", str(folder), "-p", weather.ASKED]
    command += ["--temperature", "0", "--tools", str(weather.FILE), *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, input="")


def test_without_a_ui_the_result_comes_from_a_file(folder: Path, tmp_path: Path) -> None:
    result = tmp_path / "weather.txt"
    result.write_text(weather.RESULT + "\n")
    given = f"{weather.CALL.name}={result}"
    done = run(folder, "--tool-result", given)
    assert done.returncode == 0, done.stderr
    assert done.stdout == weather.ANSWER + "\n"
    assert "result given" in done.stderr
    told = json.loads(run(folder, "--tool-result", given, "--json").stdout)
    assert told["text"] == weather.ANSWER
    assert told["tool_calls"] == [
        {
            "name": weather.CALL.name,
            "arguments": json.loads(weather.CALL.arguments),
            "id": weather.CALL.id,
            "status": "given",
            "result": weather.RESULT,
        }
    ]
    assert told["reused_tokens"] > 150  # the call is spliced, not read anew


def test_without_a_ui_nothing_runs_that_was_not_allowed(folder: Path) -> None:
    done = run(folder)
    assert done.returncode == 0
    assert "denied; --tool-result get_current_weather=FILE answers it" in done.stderr


def test_a_call_that_the_budget_cuts_is_said(folder: Path) -> None:
    done = run(folder, "--tool-choice", "any", "--max-tokens", "8")
    assert done.returncode == 1
    assert "not finished and not run" in done.stderr


@pytest.mark.timeout(120)
async def test_in_the_app_the_user_types_the_result(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consent, "GRACE_SECONDS", 0.0)
    tools = load_file(weather.FILE)
    options = {
        "model": str(folder),
        "sampling": SamplingChoice(temperature=0.0),
        "tools": ToolsChoice(tuple(tool.name for tool in tools), None, tuple(tools)),
    }
    async with chat(LocalEngine(tmp_path / "log"), size=(100, 30), **options) as (app, pilot):
        assert app.session.engine == "ready", screen_text(app)
        app.prompt.put(weather.ASKED)
        await pilot.press("enter")
        await wait_until(pilot, lambda: app._consent is not None and app._consent.has_focus)
        shown = screen_text(app)
        assert '"location": "Paris, France"' in shown
        assert '"format": "celsius"' in shown
        await pilot.press("h")
        await wait_until(pilot, lambda: isinstance(app.screen, WriteScreen))
        app.screen.query_one(TextArea).text = weather.RESULT
        await pilot.press("ctrl+s")
        await wait_until(pilot, lambda: len(app.session.messages) == 4)
        await wait_until(pilot, lambda: not app.session.answering)
        await pilot.pause(0.1)
        assert weather.ANSWER in screen_text(app)
        assert app.session.messages[1].calls == (weather.CALL,)
        await pilot.press("tab", "p")  # the answer again, from its seed
        await wait_until(pilot, lambda: "gave the same" in screen_text(app))


@pytest.mark.timeout(120)
async def test_a_branch_within_a_call_is_a_whole_call_again(folder: Path, tmp_path: Path) -> None:
    tools = load_file(weather.FILE)
    options = {
        "model": str(folder),
        "sampling": SamplingChoice(temperature=0.0),
        "tools": ToolsChoice(tuple(tool.name for tool in tools), None, tuple(tools)),
    }
    async with chat(LocalEngine(tmp_path / "log"), size=(100, 30), **options) as (app, pilot):
        app.prompt.put(weather.ASKED)
        await pilot.press("enter")
        await wait_until(pilot, lambda: app.session.deciding)
        reply = app.session.messages[1]
        record = app.session.tokens_of(reply.id)
        assert record is not None
        texts = [token.text for token in record.tokens]
        place = next(n for n, text in enumerate(texts) if text and "celsius".startswith(text))
        assert "".join(texts[place:]).startswith("celsius")
        tokenizer = Tokenizer.from_folder(folder)
        other = next(n for n in range(tokenizer.n_words) if tokenizer.bytes_of(n) == b"f")
        await app.session.branch_at(reply.id, record, place, Candidate(other, -3.0, "f"))
        assert app.session.deciding
        (call,) = app.session.messages[1].calls
        assert json.loads(call.arguments) == {"location": "Paris, France", "format": "fahrenheit"}
        assert app.session.messages[1].text == ""
        assert '"fahrenheit"' in screen_text(app)


def test_the_starter_says_that_it_cannot_call_tools(starter_folder: Path) -> None:
    done = run(starter_folder)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "cannot call tools: its tokenizer has no tool tokens" in done.stderr


def test_the_config_s_tools_do_not_end_a_model_that_cannot_call(
    starter_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.toml").write_text('[tools]\ntools = ["calculate"]\n')
    command = [sys.executable, "-m", "mistral_tui", str(starter_folder), "-p", "Say yes."]
    command += ["--temperature", "0", "--max-tokens", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, input="")
    assert done.returncode == 0
    assert done.stdout
    assert "cannot call tools" in done.stderr
