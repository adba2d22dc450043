"""The end of all ranks: orderly, at any moment; and under torchrun also where one is lost."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from signal import SIGKILL

import pytest

import ptys
import rank_bench
import torchrun_chat
from inference.api import LoadProgress, Tokens
from rank_bench import bench
from torchrun_chat import chat

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into Linux's /proc")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rank_bench.make_model(tmp_path_factory.mktemp("model") / "m")


async def test_closing_ends_all_ranks_whatever_they_do(model: Path, tmp_path: Path) -> None:
    async def close(what: str) -> None:
        async with bench(tmp_path / what, model, 2) as ranks:
            await ranks.engine.start()
            if what == "load":
                async for event in ranks.engine.submit(ranks.load_request()):
                    if isinstance(event, LoadProgress):
                        return
            await ranks.load()
            request = ranks.request(rank_bench.LONG if what == "prefill" else rank_bench.HELLO)
            async for event in ranks.engine.submit(request):
                if what == "prefill" or isinstance(event, Tokens):
                    return

    await asyncio.gather(close("load"), close("prefill"), close("decode"))


@pytest.mark.parametrize(
    ("words", "code"), [(["--help"], 0), (["/no/such/folder"], 1), (["--no-such-option"], 1)]
)
def test_where_there_is_no_engine_all_ranks_leave(
    words: list[str], code: int, tmp_path: Path
) -> None:
    with ptys.run(
        torchrun_chat.command(2, *words), env=torchrun_chat.env(tmp_path), size=(100, 60)
    ) as terminal:
        assert terminal.wait(20) == code
        assert terminal.processes() == {}
        assert terminal.modes == terminal.before


def test_leaving_before_the_ranks_have_met(model: Path, tmp_path: Path) -> None:
    with chat(model, tmp_path, 2) as running:
        running.terminal.wait_for("Loading")
        running.terminal.send(ptys.CTRL_Q)
        assert running.terminal.wait(20) == 0
        assert running.terminal.processes() == {}
        running.terminal.check_restored()


def test_leaving_in_the_middle_of_an_answer(model: Path, tmp_path: Path) -> None:
    with chat(model, tmp_path, 2) as running:
        running.wait_loaded()
        running.ask("hello")
        running.terminal.send(ptys.CTRL_Q)
        assert running.terminal.wait(20) == 0
        assert running.terminal.processes() == {}
        running.terminal.check_restored()
        assert running.stored() == ([("user", "complete"), ("assistant", "cancelled")], "a draft")


def test_a_rank_that_is_killed_ends_the_chat_and_is_named(model: Path, tmp_path: Path) -> None:
    with chat(model, tmp_path, 2) as running:
        running.wait_loaded()
        running.ask("hello")
        running.kill("rank1", SIGKILL)
        assert running.terminal.wait(20) == 1
        running.wait_gone(5)
        running.terminal.check_restored()
        assert running.message.startswith("mistral-tui: Rank 1 ended without a word")
        assert "rank 1 of 2" in running.message  # its log
        assert "--continue opens it" in running.message
        assert running.stored() == ([("user", "complete"), ("assistant", "failed")], "a draft")


def test_without_a_chat_a_killed_rank_is_named_too(model: Path, tmp_path: Path) -> None:
    words = torchrun_chat.command(2, model, "-p", "hello", "--device", "cpu")
    with ptys.run(words, env=torchrun_chat.env(tmp_path)) as terminal:
        running = torchrun_chat.Chat(terminal, tmp_path)
        terminal.wait_until(lambda: terminal.processes("inference.worker"), "the engine")
        before = len(terminal.output)
        terminal.wait_until(lambda: len(terminal.output) > before + 500, "a part of the answer")
        running.kill("rank1", SIGKILL)
        assert terminal.wait(20) == 1
        running.wait_gone(5)
        assert "mistral-tui: Rank 1 ended without a word" in running.said
