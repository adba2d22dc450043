"""The prompt's text in the user's editor and back."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.app import App

from mistral_tui import editor

ROOT = Path(__file__).parents[2]


class Handed(App[int]):
    """An app whose terminal can be handed over."""

    @contextlib.contextmanager
    def suspend(self) -> Iterator[None]:
        yield


def script(path: Path, body: str) -> str:
    path.write_text(f"import os, pathlib, sys\nfile = pathlib.Path(sys.argv[-1])\n{body}\n")
    return f"{shlex.quote(sys.executable)} {shlex.quote(str(path))}"


def use(monkeypatch: pytest.MonkeyPatch, visual: str, plain: str = "") -> None:
    monkeypatch.setenv("VISUAL", visual)
    monkeypatch.setenv("EDITOR", plain)


async def edited(text: str) -> tuple[str | None, str]:
    """What came back, and what was said."""
    app = Handed()
    async with app.run_test(notifications=True) as pilot:
        result = await editor.edit(app, text)
        await pilot.pause()
        return result, " ".join(n.message for n in app._notifications)


def test_visual_comes_before_editor_and_both_may_have_arguments() -> None:
    assert editor.command({"VISUAL": "code --wait", "EDITOR": "vi"}) == ["code", "--wait"]
    assert editor.command({"VISUAL": " ", "EDITOR": "'my ed' -n"}) == ["my ed", "-n"]
    for env, said in (({}, "No editor is set"), ({"EDITOR": "vi 'x"}, "$EDITOR cannot be read")):
        with pytest.raises(editor.EditorTrouble, match=said.replace("$", r"\$")):
            editor.command(env)


async def test_the_text_goes_there_and_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = (
        "import stat\n"
        f"log = pathlib.Path({str(tmp_path / 'log')!r})\n"
        "log.write_text(f'{file} {stat.S_IMODE(file.stat().st_mode):o} '"
        "f'{stat.S_IMODE(file.parent.stat().st_mode):o} {file.read_text()!r}')\n"
        "new = file.with_name('new'); new.write_text('ä: ' + file.read_text()); new.replace(file)"
    )
    use(monkeypatch, script(tmp_path / "ed.py", body) + " --flag")
    assert await edited("one\ntwo") == ("ä: one\ntwo", "")
    path, mode, folder, text = (tmp_path / "log").read_text().split(" ", 3)
    assert (Path(path).suffix, mode, folder, text) == (".md", "600", "700", "'one\\ntwo\\n'")
    assert not Path(path).parent.exists()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("sys.exit(3)", "ended with exit code 3. Your text is kept."),
        ("os.kill(os.getpid(), 9)", "was killed (SIGKILL). Your text is kept."),
        ("file.unlink()", "cannot be read (No such file or directory)."),
        ("file.write_bytes(b'\\xff\\xfe')", "is not UTF-8 text. Your text is kept."),
        ("file.unlink(); os.mkfifo(file)", "is no regular file."),
        ("file.unlink(); file.mkdir()", "is a folder"),
        ("pass", "ended at once; it may need an option to wait"),
    ],
)
async def test_what_goes_wrong_is_said_and_the_text_is_kept(
    body: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(editor, "_AT_ONCE_SECONDS", 60)
    use(monkeypatch, "", script(tmp_path / "ed.py", body))
    result, notice = await edited("text")
    assert result is None
    assert said in notice


async def test_an_editor_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, "/nowhere/[bold]ed")
    result, notice = await edited("text")
    assert result is None
    assert "/nowhere/[bold]ed cannot be started (No such file or directory)" in notice


async def test_an_emptied_file_empties_the_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, script(tmp_path / "ed.py", "file.write_text('')"))
    assert await edited("text") == ("", "")


async def test_a_terminal_that_cannot_be_handed_over_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use(monkeypatch, "true")
    app: App[int] = App()
    async with app.run_test(notifications=True) as pilot:
        assert await editor.edit(app, "text") is None
        await pilot.pause()
        assert ["cannot be handed" in n.message for n in app._notifications] == [True]


APP = """
import sys
from textual.app import App
from textual.widgets import TextArea
from mistral_tui import editor

class A(App):
    BINDINGS = [("f4", "edit", "edit"), ("f5", "leave", "leave")]
    ticks = 0
    def compose(self):
        yield TextArea("first", id="t")
    def on_mount(self):
        self.set_interval(0.05, self.tick)
    def tick(self):
        self.ticks += 1
        self.query_one(TextArea).border_title = str(self.ticks)
    def action_edit(self):
        self.run_worker(self.edit())
    async def edit(self):
        before = self.ticks
        text = await editor.edit(self, self.query_one(TextArea).text)
        self.query_one(TextArea).text = f"{text} BACK{self.ticks - before > 5}"
    def action_leave(self):
        self.exit()

A().run()
print("LEFT")
"""


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, argv: list[str], env: dict[str, str]) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            try:
                os.chdir(ROOT)
                os.execvpe(argv[0], argv, env)
            finally:
                os._exit(127)
        self.seen = b""

    def wait_for(self, what: str, seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while what.encode() not in self.seen:
            assert time.monotonic() < deadline, (what, self.seen[-2000:])
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self.fd, 65536)
                except OSError:
                    break
        assert what.encode() in self.seen, (what, self.seen[-2000:])

    def write(self, data: bytes) -> None:
        self.seen = b""
        os.write(self.fd, data)


def test_on_a_real_terminal_the_editor_has_it_and_the_app_comes_back(tmp_path: Path) -> None:
    # It draws, takes a line from the terminal, and is not harmed by Ctrl+C in the app.
    body = (
        "import signal\nsignal.signal(signal.SIGINT, lambda *_: print('CTRL-C', flush=True))\n"
        "print('EDITING', file.read_text(), flush=True)\n"
        "line = input()\nfile.write_text('typed ' + line)"
    )
    env = {**os.environ, "VISUAL": script(tmp_path / "ed.py", body), "TERM": "xterm-256color"}
    program = tmp_path / "app.py"
    program.write_text(APP)
    env["PYTHONPATH"] = str(ROOT)
    terminal = Terminal([sys.executable, str(program)], env)
    try:
        terminal.wait_for("first")
        terminal.write(b"\x1bOS")  # F4
        terminal.wait_for("EDITING first")
        assert b"\x1b[?1049l" in terminal.seen  # the alternate screen was left
        terminal.write(b"\x03")
        terminal.wait_for("CTRL-C")
        time.sleep(0.5)
        assert b"\x1b[?1049h" not in terminal.seen
        terminal.write(b"words\n")
        terminal.wait_for("BACKTrue")
        terminal.write(b"\x1b[15~")  # F5
        terminal.wait_for("LEFT")
        assert os.waitstatus_to_exitcode(os.waitpid(terminal.pid, 0)[1]) == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(terminal.pid, 9)
        os.close(terminal.fd)
