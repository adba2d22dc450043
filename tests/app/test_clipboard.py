"""Copying text, with fake tools on PATH and with a real tmux server."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mistral_tui import clipboard
from mistral_tui.clipboard import OSC52_LIMIT, copy

TEXT = "naïve 🙂\nsecond line\x1b[31m"
Tool = Callable[[str, str], Path]


@pytest.fixture
def tool(tmp_path: Path) -> Tool:
    """Puts a shell script of that name on the PATH; what it is given goes to `<name>.in`."""

    def make(name: str, end: str = "exit 0") -> Path:
        received = tmp_path / f"{name}.in"
        script = tmp_path / "bin" / name
        script.parent.mkdir(exist_ok=True)
        script.write_text(
            f"#!/bin/sh\nPATH=/usr/bin:/bin\necho \"$@\" > '{received}.args'\n"
            f"cat > '{received}'\n{end}\n"
        )
        script.chmod(0o755)
        return received

    return make  # type: ignore[return-value]


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"PATH": str(tmp_path / "bin"), "TERM": "xterm-256color"}


def args(received: Path) -> str:
    return received.with_name(received.name + ".args").read_text().strip()


@pytest.mark.parametrize(
    ("name", "variable", "expected"),
    [
        ("wl-copy", "WAYLAND_DISPLAY", "--type text/plain"),
        ("xclip", "DISPLAY", "-selection clipboard -in"),
        ("xsel", "DISPLAY", "--clipboard --input"),
    ],
)
def test_the_tool_of_the_session_gets_the_text(
    name: str, variable: str, expected: str, tool: Tool, env: dict[str, str]
) -> None:
    received = tool(name, "exit 0")
    assert copy(TEXT, env=env).ok is False  # not its session
    assert not received.exists()
    result = copy(TEXT, env={**env, variable: ":0"})
    assert (result.ok, result.how) == (True, name)
    assert name in result.sentence
    assert received.read_text() == TEXT
    assert args(received) == expected


def test_windows_gets_utf_16(tool: Tool, env: dict[str, str]) -> None:
    received = tool("clip.exe", "exit 0")
    assert copy(TEXT, env={**env, "WSL_DISTRO_NAME": "Debian"}).ok is True
    assert received.read_bytes().decode("utf-16-le") == TEXT


def test_macos_is_told_that_it_is_utf_8(
    tool: Tool, env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    received = tool("pbcopy", f"echo $LC_CTYPE > '{tmp_path}/locale'")
    assert copy(TEXT, env=env).ok is True
    assert received.read_text() == TEXT
    assert (tmp_path / "locale").read_text() == "UTF-8\n"


def test_a_failing_tool_gives_way_to_the_next(tool: Tool, env: dict[str, str]) -> None:
    env |= {"WAYLAND_DISPLAY": "wayland-0", "DISPLAY": ":0"}
    tool("wl-copy", "exit 1")
    received = tool("xsel", "exit 0")
    assert copy(TEXT, env=env).how == "xsel"
    assert received.read_text() == TEXT


def test_a_failure_says_why_and_what_to_do(tool: Tool, env: dict[str, str]) -> None:
    tool("xclip", "printf 'no \\033[31mdisplay\\007' >&2; exit 1")
    result = copy(TEXT, env={**env, "DISPLAY": ":9"})
    assert result.ok is False
    assert result.sentence.startswith("Nothing was copied: xclip failed (no display).")
    assert "save the text to a file" in result.sentence


def test_a_tool_that_cannot_run_is_a_failure(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "xclip").write_text("#!/no/such/shell\n")
    (tmp_path / "bin" / "xclip").chmod(0o755)
    result = copy(TEXT, env={**env, "DISPLAY": ":0"})
    assert result.ok is False
    assert "xclip could not be started" in result.sentence


def test_a_tool_that_hangs_is_a_failure(
    tool: Tool, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clipboard, "TIMEOUT_S", 0.2)
    tool("xclip", "exec sleep 60")
    result = copy(TEXT, env={**env, "DISPLAY": ":0"})
    assert result.ok is False
    assert "did not answer" in result.sentence


def test_a_tool_that_stays_behind_is_not_waited_for(
    tool: Tool, env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clipboard, "TIMEOUT_S", 20)
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    received = tool("xclip", f"(read line < '{gate}'; echo end > '{tmp_path}/end') & exit 0")
    assert copy(TEXT, env={**env, "DISPLAY": ":0"}).ok is True  # while its child holds stderr
    assert received.read_text() == TEXT
    assert not (tmp_path / "end").exists()
    gate.write_text("go\n")


def test_large_text_and_text_that_is_not_read_do_no_harm(tool: Tool, env: dict[str, str]) -> None:
    received = tool("xclip", "exit 0")
    text = "é" * 2_000_000 + "\ud800"
    assert copy(text, env={**env, "DISPLAY": ":0"}).ok is True
    assert received.read_text() == text[:-1] + "?"
    received.with_name("bin").joinpath("xclip").write_text("#!/bin/sh\nexit 3\n")
    assert "exit code 3" in copy(text, env={**env, "DISPLAY": ":0"}).sentence


# ── the terminal ────────────────────────────────────────────────────────────────────


def test_the_terminal_is_asked_and_the_sentence_does_not_promise(env: dict[str, str]) -> None:
    written: list[str] = []
    result = copy(TEXT, env=env, write_osc52=written.append)
    assert (result.ok, result.how) == (None, "osc52")
    assert "may refuse" in result.sentence
    (sequence,) = written
    assert sequence.startswith("\x1b]52;c;")
    assert sequence.endswith("\x07")
    assert base64.b64decode(sequence[7:-1]).decode() == TEXT


def test_tmux_and_screen_let_the_wrapped_sequence_through(env: dict[str, str]) -> None:
    plain: list[str] = []
    wrapped: list[str] = []
    copy("long " * 500, env=env, write_osc52=plain.append)
    copy("long " * 500, env={**env, "TMUX": "/gone,1,0"}, write_osc52=wrapped.append)
    copy("long " * 500, env={**env, "STY": "1.pts"}, write_osc52=wrapped.append)
    assert wrapped[0] == "\x1bPtmux;\x1b" + plain[0] + "\x1b\\"
    pieces = re.findall(r"\x1bP(.*?)\x1b\\", wrapped[1], re.DOTALL)
    assert "".join(pieces) == plain[0]
    assert max(map(len, pieces)) + 4 <= 256


def test_text_too_large_for_the_terminal_is_refused_with_advice(env: dict[str, str]) -> None:
    written: list[str] = []
    fits = "x" * (OSC52_LIMIT // 4 * 3)
    assert copy(fits, env=env, write_osc52=written.append).ok is None
    result = copy(fits + "x", env=env, write_osc52=written.append)
    assert (result.ok, len(written)) == (False, 1)
    assert "too large" in result.sentence
    assert "file" in result.sentence


def test_a_terminal_that_cannot_is_not_asked(env: dict[str, str]) -> None:
    written: list[str] = []
    assert copy(TEXT, env={**env, "TERM": "linux"}, write_osc52=written.append).ok is False
    assert written == []


def test_a_terminal_that_is_gone_is_a_failure(env: dict[str, str]) -> None:
    def gone(_: str) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    result = copy(TEXT, env=env, write_osc52=gone)
    assert result.ok is False
    assert "Broken pipe" in result.sentence


def test_from_afar_the_terminal_comes_before_the_remote_desktop(
    tool: Tool, env: dict[str, str]
) -> None:
    received = tool("xclip", "exit 0")
    env |= {"DISPLAY": "localhost:10.0", "SSH_CONNECTION": "1.2.3.4 5 6.7.8.9 22"}
    written: list[str] = []
    assert copy(TEXT, env=env, write_osc52=written.append).how == "osc52"
    assert not received.exists()
    assert copy("x" * OSC52_LIMIT, env=env, write_osc52=written.append).how == "xclip"


def test_where_nothing_is_possible_it_says_so(env: dict[str, str]) -> None:
    result = copy(TEXT, env=env)
    assert (result.ok, result.how) == (False, "")
    assert "no clipboard tool" in result.sentence
    assert copy("", env=env, write_osc52=lambda _: None).ok is False


# ── tmux ────────────────────────────────────────────────────────────────────────────


def test_an_old_tmux_is_asked_again_without_the_new_option(tool: Tool, env: dict[str, str]) -> None:
    received = tool("tmux", 'case "$*" in *-w*) exit 1;; esac')
    result = copy(TEXT, env={**env, "TMUX": "/tmp/tmux,1,0"})
    assert (result.ok, result.how) == (True, "tmux")
    assert args(received) == "load-buffer -"
    assert received.read_text() == TEXT


def test_a_tmux_that_is_gone_gives_way_to_the_terminal(tool: Tool, env: dict[str, str]) -> None:
    tool("tmux", "exit 1")
    written: list[str] = []
    env |= {"TMUX": "/tmp/tmux,1,0"}
    assert copy(TEXT, env=env, write_osc52=written.append).how == "osc52"
    assert written[0].startswith("\x1bPtmux;")


@pytest.fixture
def tmux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """A real server of its own."""
    monkeypatch.delenv("TMUX", raising=False)
    base = ("tmux", "-S", str(tmp_path / "s"), "-f", "/dev/null")

    def run(*command: str) -> str:
        done = subprocess.run([*base, *command], capture_output=True, text=True, check=True)
        return done.stdout

    run("new-session", "-d", "-x", "80", "-y", "24", "cat")
    yield run
    run("kill-server")


@pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")
def test_a_real_tmux_holds_the_text(tmux: Callable[..., str]) -> None:
    socket = tmux("display-message", "-p", "#{socket_path},#{pid},0").strip()
    env = {"PATH": os.environ["PATH"], "TMUX": socket, "TERM": "screen"}
    text = TEXT + "line\n" * 50_000
    result = copy(text, env=env, write_osc52=lambda _: pytest.fail("tmux could confirm"))
    assert (result.ok, result.how) == (True, "tmux")
    assert "prefix ]" in result.sentence
    assert tmux("show-buffer") == text


@pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")
def test_a_real_tmux_passes_the_wrapped_sequence_on(
    tmux: Callable[..., str], tmp_path: Path
) -> None:
    """An outer tmux is the terminal of an inner one, and takes what comes through it."""
    tmux("set-option", "-s", "set-clipboard", "on")
    wrapped: list[str] = []
    copy(TEXT, env={"PATH": "", "TMUX": "x"}, write_osc52=wrapped.append)
    sequence = tmp_path / "sequence"
    sequence.write_text(wrapped[0])
    inner = f"tmux -S '{tmp_path}/inner' -f /dev/null"
    tmux(
        "new-window",
        f"TMUX= {inner} new-session \"tmux -S '{tmp_path}/inner' set -g allow-passthrough on; "
        f"cat '{sequence}'; cat\"",
    )
    deadline = time.monotonic() + 20
    while "osc" not in (held := tmux("list-buffers", "-F", "osc #{buffer_name}")):
        assert time.monotonic() < deadline, "the text did not come through"
        time.sleep(0.05)
    assert held
    assert tmux("show-buffer") == TEXT
    subprocess.run(["tmux", "-S", str(tmp_path / "inner"), "kill-server"], check=True)
