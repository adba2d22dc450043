"""`-p`: one answer on standard output, by the real program and, for odd models, a fake engine."""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from inference.api import (
    Event,
    Failed,
    Finished,
    Generate,
    LoadModel,
    LoadProgress,
    ModelCard,
    Ready,
    Request,
    Shape,
    Timings,
    Tokens,
    Usage,
)
from mistral_tui import headless
from mistral_tui.choices import ModelChoice, SamplingChoice
from mistral_tui.headless import Ask

KEYS = [
    "text", "ids", "logprobs", "prompt_ids", "prompt_tokens", "reused_tokens",
    "completion_tokens", "finish_reason", "seed", "timings", "model",
]  # fmt: skip
TIMINGS = ["load_s", "prefill_s", "ttft_s", "decode_s", "decode_tokens_per_s"]
MODEL = [
    "name",
    "path",
    "dtype",
    "device",
    "ranks",
    "parallel",
    "threads",
    "fingerprint",
    "attention",
    "adapter",
    "notes",
]

# The program as it is, but for modules that this way must not import.
GUARDED = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("textual", "torch", "mistral_common", "numpy"):
            raise SystemExit(f"imported {name}")
sys.meta_path.insert(0, Refuse())
from mistral_tui.__main__ import main
main()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that goes on for minutes if it may."""
    import tiny  # here: it imports torch

    path = tmp_path_factory.mktemp("model") / "tiny"
    return tiny.make(path, n_layers=1, max_position_embeddings=65_536)


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """An environment with empty folders and no way to any network."""
    names = ("DATA", "STATE", "CONFIG", "CACHE")
    folders = {f"MISTRAL_TUI_{name}": str(tmp_path / name) for name in names}
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0", "NO_PROXY": "*"}
    return {**os.environ, **folders, **nowhere}


def start(env: dict[str, str], *args: str, **how: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "mistral_tui", *args]
    defaults = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=env, **defaults | how)


def end(process: subprocess.Popen[bytes], stdin: bytes | None = None) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    out, err = process.communicate(stdin, timeout=90)
    return process.returncode, out.decode(), err.decode()


# ── the real program ────────────────────────────────────────────────────────────────


def test_the_starter_model_knows_paris(env: dict[str, str], starter_folder: Path) -> None:
    question = ("-p", "What is the capital of France?", "--temperature", "0")
    command = [sys.executable, "-c", GUARDED, str(starter_folder), *question, "--max-tokens", "16"]
    process = subprocess.Popen(
        command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    code, out, err = end(process)
    assert (code, err) == (0, "")
    assert "Paris" in out
    assert out.endswith("\n")
    assert not out.endswith("\n\n")


def test_the_same_seed_and_text_give_the_same_answer_however_they_come(
    env: dict[str, str], folder: Path
) -> None:
    settings = ("--temperature", "0.7", "--seed", "11", "--max_tokens=24", "--threads", "1")
    both = start(env, str(folder), "-p", "Once", *settings, "--json", stdin=subprocess.PIPE)
    piped = start(env, "-p", "-", *settings, str(folder), stdin=subprocess.PIPE)
    code, out, err = end(both, b"upon a time\n")
    assert (code, err) == (0, "")
    assert out.count("\n") == 1
    answer = json.loads(out)
    code, text, err = end(piped, b"Once\n\nupon a time\n")
    assert (code, err) == (0, "")

    from mistral_tui.sanitize import sanitize

    assert text.rstrip("\n") == sanitize(answer["text"]).rstrip("\n")

    assert list(answer) == KEYS
    assert list(answer["timings"]) == TIMINGS
    assert list(answer["model"]) == MODEL
    assert len(answer["ids"]) == len(answer["logprobs"]) == answer["completion_tokens"] == 24
    assert len(answer["prompt_ids"]) == answer["prompt_tokens"]
    assert all(logprob <= 0 for logprob in answer["logprobs"])
    assert (answer["finish_reason"], answer["seed"], answer["reused_tokens"]) == ("length", 11, 0)
    assert (answer["model"]["path"], answer["model"]["threads"]) == (str(folder), 1)

    from inference.tokenizer import Tokenizer

    tokenizer = Tokenizer.from_folder(folder)

    def decoded(ids: list[int]) -> str:
        detokenizer = tokenizer.detokenizer()
        return "".join(map(detokenizer.add, ids)) + detokenizer.flush()

    assert decoded(answer["ids"]) == answer["text"]
    assert "Once\n\nupon a time" in decoded(answer["prompt_ids"])


def test_an_interrupt_leaves_with_130_and_what_there_is_and_a_closed_pipe_quietly(
    env: dict[str, str], folder: Path, tmp_path: Path
) -> None:
    endless = (str(folder), "-p", "Hello", "--temperature", "0", "--threads", "1")
    process = start(env, *endless)
    # `head` leaves after five bytes; the shell tells the program's own exit code.
    words = " ".join(f"'{word}'" for word in (sys.executable, "-m", "mistral_tui", *endless))
    pipeline = f"({words} 2>'{tmp_path}/err'; echo $? >'{tmp_path}/code') | head -c 5"
    piped = subprocess.Popen(["sh", "-c", pipeline], env=env, stdout=subprocess.PIPE)

    assert process.stdout is not None
    partial = process.stdout.read(10)
    process.send_signal(signal.SIGINT)
    code, rest, err = end(process)
    assert (code, err) == (130, "")
    assert len(partial) == 10
    assert rest.endswith("\n")

    assert len(piped.communicate(timeout=90)[0]) == 5
    assert (tmp_path / "code").read_text() == "0\n"
    assert (tmp_path / "err").read_text() == ""


def test_without_any_model_the_way_to_one_is_told(env: dict[str, str], tmp_path: Path) -> None:
    code, out, err = end(start(env, "-p", "Hello"))
    assert (code, out) == (1, "")
    assert "mistral-tui pull starter" in err
    assert "Traceback" not in err
    assert err.count("\n") == 1
    assert not list((tmp_path / "CACHE").glob("**/*.whl"))


@pytest.mark.parametrize(
    ("args", "stdin"),
    [(["-p", ""], b""), (["-p", "  \n"], b"\n"), (["-p", "-"], b""), (["-p", "-"], b" \n\n")],
    ids=str,
)
def test_an_empty_prompt_is_wrong_usage(env: dict[str, str], args: list[str], stdin: bytes) -> None:
    code, out, err = end(start(env, "starter", *args, stdin=subprocess.PIPE), stdin)
    assert (code, out) == (2, "")
    assert "empty" in err
    assert err.count("\n") == 1


def test_an_empty_folder_is_refused(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    code, out, err = end(start(env, str(tmp_path / "empty"), "-p", "Hello"))
    assert (code, out) == (1, "")
    assert "is empty" in err
    assert err.count("\n") == 1


# ── a fake engine, for what no tiny model does on demand ────────────────────────────

CARD = ModelCard(
    "fake", "/fake", Shape(1, 1, 1, 1, 1, 1), "float32", "cpu", 1, 64, ("instruct",), "f", "t"
)
SENTENCE = "The engine was killed (by someone, or for lack of memory)."


class Fake:
    """Answers with these pieces of text; then ends, fails, or goes on for ever."""

    def __init__(
        self,
        pieces: Sequence[str],
        *,
        then: str = "stop",
        logprob: float = -0.5,
        loads: bool = True,
    ) -> None:
        self.pieces, self.then, self.logprob, self.loads = pieces, then, logprob, loads
        self.alive = True
        self.closed = False
        self.streaming = asyncio.Event()

    def next_id(self) -> int:
        return 1

    async def start(self) -> None: ...

    async def submit(self, request: Request) -> AsyncIterator[Event]:
        if isinstance(request, LoadModel):
            yield LoadProgress(1, "reading\x1b[2J", 1, 2)
            if not self.loads:
                self.streaming.set()
                await asyncio.Event().wait()
            yield Ready(1, CARD, 0.1)
            return
        assert isinstance(request, Generate)
        for piece in self.pieces:
            yield Tokens(1, (7,), (self.logprob,), piece)
        self.streaming.set()
        if self.then == "hang":
            await asyncio.Event().wait()
        if self.then == "fail":
            yield Failed(1, "worker_lost", SENTENCE, "The engine's log: /log\x1b[31m")
        else:
            usage = Usage(1, 0, len(self.pieces))
            yield Finished(1, "stop", usage, Timings(0.0, 0.0, 0.0, 0.0), 3)

    def cancel(self, request_id: int) -> None: ...

    silent_who = "engine"
    can_restart = True

    def lost(self, request_id: int = 0) -> Failed:
        return Failed(request_id, "worker_lost", SENTENCE)

    def silent_for(self) -> float:
        return 0.0

    async def close(self) -> None:
        self.closed = True


async def answer(fake: Fake, **how: Any) -> int:
    ask = Ask(ModelChoice("fake"), "Hello", SamplingChoice(), **how)
    code = await headless._run(ask, fake)
    assert fake.closed
    return code


async def interrupted(fake: Fake, **how: Any) -> int:
    """The exit code after a SIGINT once the fake has said what it has to say."""
    running = asyncio.create_task(answer(fake, **how))
    await fake.streaming.wait()
    await asyncio.sleep(0.05)
    os.kill(os.getpid(), signal.SIGINT)
    async with asyncio.timeout(10):
        return await running


HOSTILE = [
    "a\x1b]52;c;AAAA\x07b", "\x1b", "[31mred\x1b[", "0m", "\x9b2J", "\x1b]0;title\x1b\\", "\r\x08",
    "\u202eback\u2066", "\x00\x7f", "end\x1b",
]  # fmt: skip


async def test_no_control_sequence_of_a_model_reaches_the_output(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert await answer(Fake(HOSTILE)) == 0
    out = capsys.readouterr().out
    assert all(char.isprintable() or char in "\n\t" for char in out)
    assert out.endswith("end\n")
    assert "red" in out
    assert "[31m" not in out


async def test_json_keeps_the_text_as_it_is_and_escapes_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert await answer(Fake(HOSTILE), as_json=True) == 0
    out = capsys.readouterr().out
    assert out.isascii()
    assert all(char.isprintable() or char == "\n" for char in out)
    assert json.loads(out)["text"] == "".join(HOSTILE)


async def test_json_is_valid_even_if_the_model_is_damaged(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for logprob in (math.nan, -math.inf):
        assert await answer(Fake(["x"], logprob=logprob), as_json=True) == 0
        strict = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
        assert strict["logprobs"] == [None]


@pytest.mark.parametrize(
    ("pieces", "printed"),
    [
        (["Paris", "."], "Paris.\n"),
        (["Paris.", "\n"], "Paris.\n"),
        (["a\n\n"], "a\n\n"),
        ([], ""),
        (["\x1b"], ""),
    ],
)
async def test_the_last_line_is_ended_once(
    capsys: pytest.CaptureFixture[str], pieces: list[str], printed: str
) -> None:
    assert await answer(Fake(pieces)) == 0
    assert capsys.readouterr().out == printed


async def test_an_engine_lost_on_the_way_leaves_the_part_and_a_sentence(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert await answer(Fake(["Par"], then="fail")) == 1
    printed = capsys.readouterr()
    assert printed.out == "Par\n"
    assert printed.err == f"mistral-tui: {SENTENCE}\nThe engine's log: /log\n"
    assert await answer(Fake(["Par"], then="fail"), as_json=True) == 1
    assert capsys.readouterr().out == ""


async def test_an_interrupted_answer_keeps_its_part(capsys: pytest.CaptureFixture[str]) -> None:
    assert await interrupted(Fake(["Par"], then="hang")) == 130
    assert capsys.readouterr().out == "Par\n"


async def test_an_interrupted_json_answer_prints_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert await interrupted(Fake(["Par"], then="hang"), as_json=True) == 130
    assert capsys.readouterr().out == ""


async def test_an_interrupted_load_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert await interrupted(Fake([], loads=False)) == 130
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "")


async def test_loading_is_shown_on_a_terminal_only_and_wiped_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert await answer(Fake(["x"])) == 0
    err = capsys.readouterr().err
    assert "reading 0 of 0 MB" in err
    assert "\x1b[2J" not in err
    assert err.endswith("\r\x1b[K")


def with_fake(env: dict[str, str], text: str, **how: Any) -> tuple[int, bytes, str]:
    """The end of a process in which the engine is a fake that says `text`."""
    code = (
        "import sys; sys.path[:0] = sys.argv[1:3]\n"
        "import test_headless as t\n"
        "t.headless.LocalEngine = lambda log, **_: t.Fake([sys.argv[3]])\n"
        "ask = t.Ask(t.ModelChoice('m'), 'x', t.SamplingChoice())\n"
        "sys.exit(t.headless.run(ask, t.Path('log')))\n"
    )
    here = Path(__file__).parent
    command = [sys.executable, "-c", code, str(here), str(here.parent), text]
    defaults = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    done = subprocess.run(command, env=env, timeout=60, **defaults | how)
    return done.returncode, done.stdout or b"", done.stderr.decode()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_an_output_that_is_full_is_a_failure_with_a_sentence(env: dict[str, str]) -> None:
    with Path("/dev/full").open("w") as full:
        code, _, err = with_fake(env, "Hello", stdout=full)
    assert code == 1
    assert err == "mistral-tui: The answer cannot be written: No space left on device.\n"


def test_a_character_that_the_locale_lacks_becomes_a_question_mark(env: dict[str, str]) -> None:
    code, out, err = with_fake({**env, "PYTHONIOENCODING": "latin-1"}, "é 😀")
    assert (code, out, err) == (0, b"\xe9 ?\n", "")
