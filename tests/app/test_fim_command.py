"""`mistral-tui fim` at places in files, for scripts and for editors: the whole program, and a
model that has learned to fill in."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import filling
import tiny
from direct_engine import DirectEngine
from inference.api import Ends, Event, FillInMiddle, Request, SamplingParams, Tokens
from mistral_tui import cli, headless

PREFIX, MIDDLE, SUFFIX = filling.EXAMPLES[0]
WHOLE = PREFIX + MIDDLE + SUFFIX


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return filling.make(tmp_path_factory.mktemp("models") / "filling")


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that goes on for minutes if it may."""
    folder = tmp_path_factory.mktemp("models") / "endless"
    return tiny.make(folder, n_layers=1, max_position_embeddings=65_536)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATA", "STATE", "CONFIG", "CACHE"):
        monkeypatch.setenv(f"MISTRAL_TUI_{name}", str(tmp_path / name.lower()))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


Fim = Callable[..., tuple[int, str, str]]


@pytest.fixture
def fim(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Fim:
    """The command with its engine in this process: exit code, standard output and error."""
    monkeypatch.setattr(headless, "LocalEngine", lambda log, **_: DirectEngine())

    def run(*args: str | Path) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            cli.main(["fim", *map(str, args)])
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return run


# ── at a place ──────────────────────────────────────────────────────────────────────


def test_the_middle_at_a_place_is_printed(folder: Path, fim: Fim) -> None:
    raw = (PREFIX + SUFFIX).replace("\n", "\r\n").encode()
    Path("x.py").write_bytes(raw)
    assert fim(folder, "x.py:2") == (0, MIDDLE + "\n", "")
    code, out, _ = fim("x.py:2:5", folder, "--json")
    told = json.loads(out)
    assert told["middle"] == told["text"] == MIDDLE
    assert told["candidates"] == [
        {"middle": MIDDLE, "ids": told["ids"], "logprobs": told["logprobs"],
         "finish_reason": "stop"}
    ]  # fmt: skip
    assert (code, told["left_out"]) == (0, [0, 0])
    assert Path("x.py").read_bytes() == raw


def test_the_real_program_fills_in_what_is_piped_in(folder: Path) -> None:
    command = [sys.executable, "-m", "mistral_tui", "fim", "-:2", str(folder)]
    text = (PREFIX + SUFFIX).replace("\n", "\r\n").encode()
    done = subprocess.run(command, input=text, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{MIDDLE}\n".encode(), b"")


def test_in_place_it_is_written_into_the_file(folder: Path, fim: Fim) -> None:
    path = Path("x.py")
    raw = b"\xef\xbb\xbf" + (PREFIX + SUFFIX).replace("\n", "\r\n").encode()
    path.write_bytes(raw)
    path.chmod(0o640)
    assert fim("x.py:2", folder, "--in-place") == (0, "", "")
    assert path.read_bytes() == b"\xef\xbb\xbf" + WHOLE.replace("\n", "\r\n").encode()
    assert path.stat().st_mode & 0o777 == 0o640
    assert [p.name for p in Path().iterdir()] == ["x.py"]
    path.write_bytes(raw)
    _, out, _ = fim("x.py:2", folder, "--in-place", "--json")
    assert json.loads(out)["middle"] == MIDDLE
    assert path.read_bytes() != raw


def test_a_file_that_is_changed_while_the_model_writes_is_left_alone(
    folder: Path, fim: Fim, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path("x.py")
    path.write_text(PREFIX + SUFFIX)

    class Meanwhile(DirectEngine):
        async def start(self) -> None:
            path.write_text("theirs\n")

    monkeypatch.setattr(headless, "LocalEngine", lambda log, **_: Meanwhile())
    code, out, err = fim("x.py:2", folder, "--in-place")
    assert (code, out) == (1, "")
    assert err == "mistral-tui: x.py was written by somebody else since it was read.\n"
    assert path.read_text() == "theirs\n"


def test_no_escape_sequence_of_a_model_comes_into_a_file_or_on_a_terminal(
    fim: Fim, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Evil(DirectEngine):
        async def submit(self, request: Request) -> AsyncIterator[Event]:
            async for event in super().submit(request):
                yield replace(event, text="\x1b]52;c\x07") if isinstance(event, Tokens) else event

    monkeypatch.setattr(headless, "LocalEngine", lambda log, **_: Evil())
    Path("x.py").write_text(PREFIX + SUFFIX)
    assert fim("x.py:2", folder)[1].startswith("]52;c")
    fim("x.py:2", folder, "--in-place")
    text = Path("x.py").read_text()
    assert "]52;c" in text
    assert "\x1b" not in text


def test_the_settings_of_the_code_panel_apply_at_a_place(
    folder: Path, fim: Fim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[FillInMiddle] = []

    class Listening(DirectEngine):
        def submit(self, request: Request) -> AsyncIterator[Event]:
            if isinstance(request, FillInMiddle):
                asked.append(request)
            return super().submit(request)

    monkeypatch.setattr(headless, "LocalEngine", lambda log, **_: Listening())
    Path("x.py").write_text(PREFIX + SUFFIX)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.toml").write_text(
        "[code]\nfim_lines = 7\nfim_block = false\nfim_max_tokens = 2\nfim_line = 3\n"
    )
    code, out, err = fim("x.py:2", folder)
    assert (code, out.rstrip("\n")) == (0, "number =")
    assert "fim_line " in err  # said, and left out
    assert asked[-1].ends == Ends(suffix=True, block=False, blank_lines=1, lines=7)
    assert (asked[-1].stop, asked[-1].window) == ((), 2048)
    assert fim("x.py:2", folder, "--whole", "--max-tokens", "30")[1] == MIDDLE + "\n"
    assert (asked[-1].ends, asked[-1].stop, asked[-1].window) == (Ends(), (SUFFIX,), 2048)
    assert fim(folder, "--prefix", PREFIX, "--suffix", SUFFIX)[:2] == (0, MIDDLE + "\n")
    assert (asked[-1].ends, asked[-1].stop, asked[-1].window) == (Ends(), (SUFFIX,), None)
    assert asked[-1].sampling == SamplingParams(temperature=0.0, max_tokens=256)
    fim("x.py:2", folder, "--candidates", "2", "--top-p", "0.5", "--seed", "1")
    assert asked[-1].sampling == SamplingParams(0.5, top_p=0.5, max_tokens=2, seed=1)
    assert asked[-1].middles == 2


def test_the_window_is_what_the_model_reads(folder: Path, fim: Fim) -> None:
    Path("x.py").write_text("import os\n" * 2000 + PREFIX + SUFFIX)
    asked = ("x.py:2002", folder, "--json", "--window", "96", "--max-tokens", "30")
    told = json.loads(fim(*asked)[1])
    assert told["prompt_tokens"] <= 96
    assert told["left_out"][0] > 10_000
    assert told["middle"] == MIDDLE


def test_several_candidates(folder: Path, fim: Fim) -> None:
    Path("x.py").write_text(PREFIX + SUFFIX)
    asked = ("x.py:2", folder, "--candidates", "3", "--temperature", "0.01", "--seed", "7")
    assert fim(*asked)[1] == "---\n".join([MIDDLE + "\n"] * 3)
    told = json.loads(fim(*asked, "--json")[1])
    assert [one["middle"] for one in told["candidates"]] == [MIDDLE] * 3
    assert {one["finish_reason"] for one in told["candidates"]} == {"stop"}
    assert (told["middle"], told["ids"]) == (MIDDLE, told["candidates"][0]["ids"])


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["x.py"], 2, "Say where in x.py: FILE:LINE or FILE:LINE:COLUMN."),
        (["x.py:1", "y.py:1"], 2, "Give one place"),
        (["a", "b"], 2, "Give one place"),
        (["x.py:1", "--prefix", "a"], 2, "Give either"),
        (["x.py:1", "--stdio"], 2, "--stdio takes"),
        (["--in-place", "-:1"], 2, "--in-place needs"),
        (["--in-place", "--prefix", "a"], 2, "--in-place needs"),
        (["--in-place", "x.py:1", "--candidates", "2"], 2, "--in-place needs"),
        (["x.py:1", "--candidates", "9"], 2, "--candidates must be 1 to 8."),
        (["x.py:1", "--candidates", "2", "--temperature", "0"], 2, "need a --temperature"),
        (["x.py:1", "--window", "0"], 2, "--window must be 16 or more."),
        (["x.py:1", "--window", "15"], 2, "--window must be 16 or more."),
        (["x.py:7"], 1, "x.py has no line 7"),
        (["x.py:1:7"], 1, "Line 1 of x.py has no column 7"),
        (["-:7"], 1, "Standard input has no line 7"),
        (["none.py:1"], 1, "There is no file none.py."),
        (["no/where.py:1"], 1, "no folder no."),
        ([".:1"], 1, " is a folder, not a file."),
        (["--in-place", "fixed.py:1"], 1, "fixed.py is read-only"),
    ],
)
def test_what_cannot_be_is_said_before_a_model_is_loaded(
    fim: Fim, args: list[str], code: int, said: str
) -> None:
    Path("x.py").write_text("x\n")
    Path("fixed.py").write_text("x\n")
    Path("fixed.py").chmod(0o444)
    done, out, err = fim(*args)
    assert (done, out) == (code, "")
    assert err.startswith("mistral-tui: ")
    assert said in err
    assert err.count("\n") == 1


# ── --stdio ─────────────────────────────────────────────────────────────────────────


class Editor:
    """The other end of `fim --stdio`."""

    def __init__(self, *args: str | Path) -> None:
        command = [sys.executable, "-m", "mistral_tui", "fim", "--stdio", *map(str, args)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        pipes = (self.process.stdin, self.process.stdout, self.process.stderr)
        self.stdin, self.stdout, self.stderr = (pipe for pipe in pipes if pipe is not None)

    def write(self, line: bytes) -> None:
        self.stdin.write(line)
        self.stdin.flush()

    def ask(self, **asked: Any) -> None:
        self.write(json.dumps(asked).encode() + b"\n")

    def read(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.stdout.readline())
        return told

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out.decode(), err.decode()


@pytest.fixture(scope="module")
def editor(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Editor]:
    """One that stays, as it does for a real one."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("DATA", "STATE", "CONFIG", "CACHE"):
            patch.setenv(f"MISTRAL_TUI_{name}", str(tmp_path_factory.mktemp(name)))
        editor = Editor(folder, "--temperature", "0.01")
    yield editor
    assert editor.end() == (0, "", "")


def _asked(number: int) -> dict[str, Any]:
    prefix, _, suffix = filling.EXAMPLES[number]
    return {"id": number, "prefix": prefix, "suffix": suffix}


def test_an_editor_asks_and_is_answered(editor: Editor) -> None:
    for number, (prefix, middle, suffix) in enumerate(filling.EXAMPLES[:3]):
        editor.ask(**_asked(number))
        told = editor.read()
        assert (told["id"], told["middle"], told["finish_reason"]) == (number, middle, "stop")
        assert told["candidates"][0]["middle"] == middle
        word = middle.split()[0]
        editor.ask(id="rest", prefix=prefix + word, suffix=suffix)
        told = editor.read()
        assert (told["id"], told["middle"]) == ("rest", middle.removeprefix(word))
    editor.ask(**_asked(0), max_tokens=2)
    told = editor.read()
    assert (told["finish_reason"], told["completion_tokens"]) == ("length", 2)


def test_an_editor_gets_several_candidates(editor: Editor) -> None:
    editor.ask(**_asked(0), candidates=3)
    assert [one["middle"] for one in editor.read()["candidates"]] == [MIDDLE] * 3


@pytest.mark.parametrize(
    ("line", "key", "said"),
    [
        (b"bad", None, "no JSON"),
        (b"\xff", None, "no JSON"),
        (b"[" * 100_000, None, "no JSON"),
        (b"[1]", None, "no JSON object"),
        (b'{"id": 7}', 7, "not both empty"),
        (b'{"id": [1], "prefix": 1}', [1], "prefix and suffix as texts"),
        (b'{"id": "a", "prefix": "x", "sufix": "y"}', "a", "no key 'sufix'"),
        (b'{"id": 1, "prefix": "x", "max_tokens": 0}', 1, "max_tokens is 0; it must be"),
        (b'{"id": 1, "prefix": "x", "max_tokens": true}', 1, "max_tokens is "),
        (b'{"id": 1, "prefix": "x", "candidates": 9}', 1, "candidates is 9; it must be"),
        (b'{"id": NaN, "prefix": "x"}', None, "has NaN in it"),
        (b'{"id": [-1e999], "prefix": "x"}', None, "has -1e999 in it"),
        (b'{"id": 1, "prefix": "x", "max_tokens": Infinity}', None, "has Infinity in it"),
        (b'{"prefix": "' + b"x" * (65 << 20) + b'"}', None, "longer than 64 MB"),
    ],
    ids=range(14),
)
def test_a_bad_line_is_an_error_and_no_end(
    editor: Editor, line: bytes, key: object, said: str
) -> None:
    editor.write(line + b"\n\n")
    told = editor.read()
    assert told["id"] == key
    assert said in told["error"]
    editor.ask(**_asked(0))
    assert editor.read()["middle"] == MIDDLE


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")
def test_an_engine_that_is_lost_is_started_again(editor: Editor) -> None:
    editor.ask(**_asked(0))
    assert editor.read()["middle"] == MIDDLE
    pid = editor.process.pid
    (engine,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    os.kill(int(engine), signal.SIGKILL)
    while Path(f"/proc/{engine}").exists():
        time.sleep(0.01)
    editor.ask(**_asked(1))
    told = editor.read()
    if "error" in told:  # it was asked in the moment before the end was seen
        assert "was killed" in told["error"]
        editor.ask(**_asked(1))
        told = editor.read()
    assert told["middle"] == filling.EXAMPLES[1][1]


def test_another_question_ends_the_one_before_and_an_interrupt_all(endless: Path) -> None:
    editor = Editor(endless, "--whole")
    hole = {"prefix": "x", "suffix": ""}
    editor.ask(id=0, **hole, max_tokens=1)
    assert editor.read()["id"] == 0
    editor.ask(id=1, **hole, max_tokens=60_000)
    time.sleep(0.5)
    for number in (2, 3, 4):  # at once
        editor.ask(id=number, **hole, max_tokens=1)
    told = editor.read()
    assert (told["id"], told["finish_reason"]) == (1, "cancelled")
    assert 0 < len(told["candidates"][0]["ids"]) < 60_000
    assert [editor.read()["id"] for _ in range(2)] == [2, 3]
    told = editor.read()
    assert (told["id"], told["finish_reason"]) == (4, "length")
    editor.ask(id=5, **hole, max_tokens=60_000)
    editor.process.send_signal(signal.SIGINT)
    assert editor.process.wait(30) == 130
    assert editor.end() == (130, "", "")


def test_a_signal_while_lines_wait_is_the_end(endless: Path) -> None:
    editor = Editor(endless, "--whole", "--temperature", "0")
    editor.ask(id=0, prefix="x", candidates=2)
    assert "need a --temperature" in editor.read()["error"]

    def write() -> None:
        with contextlib.suppress(BrokenPipeError):
            for number in range(200):
                editor.ask(id=number, prefix="x y z " * 300, max_tokens=60_000)

    threading.Thread(target=write, daemon=True).start()
    assert editor.read()["id"] == 0
    editor.process.terminate()
    assert (editor.process.wait(30), editor.stderr.read()) == (130, b"")


@pytest.mark.parametrize("eof", [True, False])
def test_an_editor_that_is_gone_ends_it(endless: Path, eof: bool) -> None:
    editor = Editor(endless, "--whole")
    editor.ask(id=0, prefix="x", max_tokens=1)
    assert editor.read()["id"] == 0
    editor.ask(id=1, prefix="x", max_tokens=60_000)
    if eof:
        editor.stdin.close()
    editor.stdout.close()
    assert (editor.process.wait(30), editor.stderr.read()) == (0, b"")


def test_lines_come_from_a_file_too_and_the_last_one_is_answered(tmp_path: Path) -> None:
    Path("asked").write_text(json.dumps(_asked(0)))  # no line break at its end
    folder = tiny.make(tmp_path / "old", tokenizer="v1")
    command = [sys.executable, "-m", "mistral_tui", "fim", "--stdio", str(folder)]
    with Path("asked").open() as asked:
        done = subprocess.run(command, stdin=asked, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert told["id"] == 0
    assert "cannot fill in the middle" in told["error"]
