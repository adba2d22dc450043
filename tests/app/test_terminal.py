"""The chat on a real terminal as torchrun hands it on: whoever dies, it is left as it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import ptys

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into Linux's /proc")

READY = "Fake-7B"

# The real way to the chat, with an engine that needs no model; it ends as told by its folder.
APP = """
import os, sys
from pathlib import Path
import mistral_tui.backstage as backstage
from fake_engine import FakeEngine, Load, Reply, card
from mistral_tui import launch, torchrun
from mistral_tui.choices import ModelChoice, SamplingChoice
from mistral_tui.history.store import AsyncStore

folder = Path(sys.argv[1])

async def connect(*_):
    engine = FakeEngine([Reply(["one ", "two"])] * 9, [Load(card=card(name="Fake-7B"))])
    return engine, await AsyncStore.open(folder / "c.db")

if "TORCHELASTIC_RUN_ID" in os.environ:
    torchrun.enter([])
backstage.connect = connect
launch.check_folder = lambda *_: None
try:
    launch.open_chat(
        ModelChoice("some/folder", ranks=2 if "guarded" in sys.argv else 1),
        sampling=SamplingChoice(),
    )
except SystemExit as end:
    (folder / "code").write_text(str(end.code))
    raise
"""


@pytest.fixture
def chat(tmp_path: Path) -> list[str]:
    """The command of a chat on a fake engine."""
    program = tmp_path / "chat.py"
    program.write_text(APP)
    return [sys.executable, str(program), str(tmp_path)]


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    names = ("STATE", "CONFIG", "DATA", "CACHE")
    return {f"MISTRAL_TUI_{name}": str(tmp_path / name) for name in names}


def rank0(terminal: ptys.Pty) -> int:
    """The process that draws, below torchrun."""
    (pid,) = terminal.children()
    return pid


def wait_gone(terminal: ptys.Pty) -> None:
    terminal.wait_until(lambda: not terminal.processes(), "the end of all processes", over=True)


@pytest.mark.parametrize("number", ["SIGKILL", "SIGABRT", "SIGTERM", "SIGHUP"])
def test_whatever_ends_the_chat_leaves_the_terminal_as_it_was(
    number: str, chat: list[str], env: dict[str, str]
) -> None:
    with ptys.run([*chat, "guarded"], env=env) as terminal:
        terminal.wait_for(READY)
        assert terminal.modes != terminal.before
        os.kill(terminal.pid, signal.Signals[number])
        code = terminal.wait()
        crashed = number in ("SIGKILL", "SIGABRT")
        assert code == signal.Signals[number] * (-1 if crashed else 1) + (0 if crashed else 128)
        wait_gone(terminal)
        terminal.check_restored()
        assert READY not in terminal.text  # the screen from before the chat


def test_what_is_sent_to_the_group_does_not_meet_the_one_that_restores(
    chat: list[str], env: dict[str, str]
) -> None:
    with ptys.run([*chat, "guarded"], env=env) as terminal:
        terminal.wait_for(READY)
        (guard,) = terminal.children()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(guard, number)
        os.killpg(terminal.pid, signal.SIGKILL)
        terminal.wait()
        wait_gone(terminal)
        terminal.check_restored()


def test_a_plain_start_is_not_guarded(chat: list[str], env: dict[str, str]) -> None:
    with ptys.run(chat, env=env) as terminal:
        terminal.wait_for(READY)
        assert terminal.children() == []
        terminal.send(ptys.CTRL_Q)
        assert terminal.wait() == 0
        terminal.check_restored()


def test_a_plain_start_does_not_even_import_it() -> None:
    code = (
        "import sys, mistral_tui.launch, mistral_tui.app, mistral_tui.backstage\n"
        "sys.exit('mistral_tui.terminal' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ptys.ROOT).returncode == 0


def test_what_is_started_by_the_chat_does_not_hold_up_the_restoring(tmp_path: Path) -> None:
    # A child outlives its parent, which dies with the terminal taken.
    program = tmp_path / "parent.py"
    program.write_text(
        "import os, subprocess, tty\n"
        "from mistral_tui import terminal\n"
        "guard = terminal.guard()\n"
        "guard._say(b'+')\n"
        "tty.setraw(0)\n"
        "print('\\x1b[?1049hTAKEN', flush=True)\n"
        "subprocess.Popen(['sleep', '60'], start_new_session=True)\n"
        "os.read(0, 1)\n"
        "os._exit(3)\n"
    )
    with ptys.run([sys.executable, program]) as terminal:
        terminal.wait_for("TAKEN")
        terminal.send("x")
        assert terminal.wait() == 3
        terminal.wait_until(lambda: len(terminal.processes()) == 1, "only the child", over=True)
        assert terminal.processes("sleep 60")
        terminal.check_restored()


def test_under_torchrun_sizes_are_seen_and_leaving_is_clean(
    chat: list[str], env: dict[str, str], tmp_path: Path
) -> None:
    log = tmp_path / "rank0.log"
    command = ptys.like_torchrun(chat, output=log)
    with ptys.run(command, env={**env, "COLUMNS": "300"}) as terminal:
        terminal.wait_for(READY)
        terminal.wait_for(lambda text: text.splitlines()[-1].endswith("F1 help"))
        terminal.resize(60, 18)
        terminal.wait_for(lambda text: terminal.rows[-1].rstrip().endswith("F1 help"))
        terminal.send("hello\r")
        terminal.wait_for("one two")
        os.kill(rank0(terminal), signal.SIGTSTP)
        terminal.wait_for("under torchrun")
        terminal.send(ptys.CTRL_Q)
        assert terminal.wait() == 0
        terminal.check_restored()
    assert log.read_bytes() == b""  # all that is drawn came to the terminal


def test_under_torchrun_a_killed_chat_leaves_the_terminal_as_it_was(
    chat: list[str], env: dict[str, str]
) -> None:
    with ptys.run(ptys.like_torchrun(chat), env=env) as terminal:
        terminal.wait_for(READY)
        os.kill(rank0(terminal), signal.SIGKILL)
        assert terminal.wait() == 128 + signal.SIGKILL
        wait_gone(terminal)
        terminal.check_restored()


def test_the_chat_ends_with_torchrun(chat: list[str], env: dict[str, str], tmp_path: Path) -> None:
    with ptys.run(ptys.like_torchrun(chat), env=env) as terminal:
        terminal.wait_for(READY)
        os.kill(terminal.pid, signal.SIGKILL)
        terminal.wait()
        wait_gone(terminal)
        terminal.check_restored()
        assert "torchrun has ended" in terminal.text
    assert (tmp_path / "code").read_text() == "143"


def test_a_terminal_that_is_gone_ends_the_chat(
    chat: list[str], env: dict[str, str], tmp_path: Path
) -> None:
    # The shell and torchrun are stopped, so that only the terminal itself can tell.
    with ptys.run(ptys.like_torchrun(chat), env=env) as terminal:
        terminal.wait_for(READY)
        terminal.send("typed but not sent")
        terminal.wait_for("but not sent")
        os.kill(terminal.pid, signal.SIGSTOP)
        terminal.hang_up()
        terminal.wait_until((tmp_path / "code").exists, "the end of the chat", 10, over=True)
    assert (tmp_path / "code").read_text() == "129"


EDITOR = """
import os, pathlib, signal, sys
signal.signal(signal.SIGINT, lambda *_: print("INTERRUPTED", flush=True))
keys = open("/dev/tty")  # as less and emacs do
print("EDITING", *os.get_terminal_size(), flush=True)
signal.signal(signal.SIGWINCH, lambda *_: print("NOW", *os.get_terminal_size(), flush=True))
line = keys.readline()
pathlib.Path(sys.argv[1]).write_text("edited " + line)
"""


def test_under_torchrun_the_editor_has_a_terminal_of_its_own(
    chat: list[str], env: dict[str, str], tmp_path: Path
) -> None:
    editor = tmp_path / "editor.py"
    editor.write_text(EDITOR)
    env["VISUAL"] = f"{sys.executable} {editor}"
    with ptys.run(ptys.like_torchrun(chat), env=env, size=(90, 24)) as terminal:
        terminal.wait_for(READY)
        terminal.send(ptys.F4)
        terminal.wait_for("EDITING 90 24")
        terminal.send("\x03")  # a signal to the editor, and not to torchrun
        terminal.wait_for("INTERRUPTED")
        terminal.resize(80, 20)
        terminal.wait_for("NOW 80 20")
        terminal.send("words\r")
        terminal.wait_for("edited words")
        terminal.wait_for(READY)
        assert terminal.rows[-1].rstrip().endswith("F1 help")
        terminal.send(ptys.CTRL_Q)
        assert terminal.wait() == 0
        terminal.check_restored()


def test_torchrun_itself(chat: list[str], env: dict[str, str]) -> None:
    torchrun = ["torchrun", "--nproc-per-node", "1", "-r", "3", "--no-python", *chat]
    with ptys.run(torchrun, env=env) as terminal:
        terminal.wait_for(READY, 60)
        terminal.resize(70, 20)
        terminal.wait_for(lambda _: terminal.rows[-1].rstrip().endswith("F1 help"))
        os.kill(rank0(terminal), signal.SIGKILL)
        assert terminal.wait() == 1
        wait_gone(terminal)
        terminal.check_restored()
        assert "SIGKILL" in terminal.text  # torchrun's report is readable
