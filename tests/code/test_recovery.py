"""What was typed and not saved comes back, once its window is gone, and to nobody else."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mistral_tui.code import recovery
from mistral_tui.code.errors import CodeError
from mistral_tui.code.files import open_file, save

TEXT = "typed\r, not saved\n\x0c\u2028\ufeff😀"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MISTRAL_TUI_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "x.py").write_text("old\n")
    return tmp_path / "x.py"


OTHER = """
import sys
from pathlib import Path
from mistral_tui.code import recovery
from mistral_tui.code.files import open_file
recovery.keep(open_file(Path(sys.argv[1])), sys.argv[2])
print("kept", flush=True)
sys.stdin.read()
"""


class Window:
    """Another window of the app, that keeps a text."""

    def __init__(self, path: Path, text: str) -> None:
        command = [sys.executable, "-c", OTHER, str(path), text]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = subprocess.Popen(command, **pipes)  # type: ignore[call-overload]
        assert self._process.stdout.readline() == b"kept\n"

    def crash(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.communicate()


@pytest.fixture
def window(path: Path) -> Iterator[Window]:
    window = Window(path, "of another window")
    yield window
    window.crash()


def copies(state: Path) -> list[Path]:
    return sorted((state / "unsaved").glob("*.unsaved"))


def test_what_was_kept_is_as_it_was_typed(path: Path, state: Path) -> None:
    file = open_file(path)
    assert recovery.kept(path) is None
    recovery.keep(file, "first")
    recovery.keep(file, TEXT)
    found = recovery.kept(path)
    assert found is not None
    assert (found.path, found.text, found.elsewhere) == (path, TEXT, False)
    assert found.made_from("old\n")
    (copy,) = copies(state)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert stat.S_IMODE(copy.parent.stat().st_mode) == 0o700
    header, _, rest = copy.read_bytes().partition(b"\n")
    assert json.loads(header)["path"] == str(path)
    assert rest.decode() == TEXT
    recovery.forget(path)
    assert recovery.kept(path) is None
    assert copies(state) == []


def test_all_names_of_a_file_are_one(path: Path, tmp_path: Path) -> None:
    (tmp_path / "link.py").symlink_to(path)
    recovery.keep(open_file(tmp_path / "link.py"), TEXT)
    found = recovery.kept(tmp_path / "sub" / ".." / "x.py")
    assert found is not None
    recovery.forget(path)
    assert recovery.kept(tmp_path / "link.py") is None


def test_it_is_told_whether_the_file_is_another_one_now(path: Path, tmp_path: Path) -> None:
    file = open_file(path)
    recovery.keep(file, TEXT)
    path.write_text("somebody else's\n")
    found = recovery.kept(path)
    assert found is not None
    assert not found.made_from(open_file(path).text)
    path.write_text("old\n")  # as it was, if not when
    assert found.made_from(open_file(path).text)
    recovery.keep(save(file, "ours", over=True), TEXT)
    assert (found := recovery.kept(path)) is not None
    assert found.made_from("ours")


def test_another_window_keeps_its_own_until_it_crashes(path: Path, window: Window) -> None:
    found = recovery.kept(path)
    assert found is not None
    assert found.elsewhere
    recovery.keep(open_file(path), "ours")
    found = recovery.kept(path)
    assert found is not None
    assert (found.text, found.elsewhere) == ("ours", False)
    recovery.forget(path)  # ours only
    found = recovery.kept(path)
    assert found is not None
    assert (found.text, found.elsewhere) == ("of another window", True)
    window.crash()
    found = recovery.kept(path)
    assert found is not None
    assert (found.text, found.elsewhere) == ("of another window", False)
    recovery.keep(open_file(path), "ours")
    recovery.forget(path)  # what nobody has seen yet stays
    assert recovery.kept(path) == found
    recovery.discard(found)
    assert recovery.kept(path) is None


def test_what_is_not_ours_is_ignored(path: Path, state: Path, tmp_path: Path) -> None:
    recovery.keep(open_file(path), TEXT)
    (copy,) = copies(state)
    good = copy.read_bytes()
    header = json.loads(good.partition(b"\n")[0])
    text = good.partition(b"\n")[2]

    def changed(**keys: object) -> bytes:
        return json.dumps({**header, **keys}).encode() + b"\n" + text

    for bad in (
        b"",
        b"\n",
        good[:-1],
        good + b"x",
        b"[" * 100_000,
        b"[" * 60_000 + b"\n" + text,
        b'"path"\n' + text,
        b"[]\n" + text,
        changed(path="/etc/passwd"),
        changed(path="a\0b"),
        changed(path="\ud800"),
        changed(path=7),
        changed(window="../../x"),
        changed(window=None),
        changed(window="f" * 32),
        changed(time="now"),
        changed(time=1e300),
        changed(time=float("nan")),
        changed(bytes=None),
        b"\xff" + good[1:],
        good[: -len(text)] + b"\xff" * len(text),
    ):
        copy.write_bytes(bad)
        assert recovery.kept(path) is None, bad[:200]
    for odd in ([1, 2], 7, {}):
        copy.write_bytes(changed(base=odd))
        assert (found := recovery.kept(path)) is not None
        assert not found.made_from("old\n")
    copy.unlink()
    os.mkfifo(copy)
    assert recovery.kept(path) is None
    copy.unlink()
    (tmp_path / "outside").write_bytes(good)
    copy.symlink_to(tmp_path / "outside")
    assert recovery.kept(path) is None


def test_odd_keys_can_be_kept(tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"\xff\x1b[31m\n.py")
    recovery.keep(open_file(odd), "half \ud83d")
    found = recovery.kept(odd)
    assert found is not None
    assert found.path == odd
    assert found.text == "half ?"


def test_where_nothing_can_be_kept_that_is_a_sentence(path: Path, state: Path) -> None:
    state.mkdir()
    (state / "unsaved").write_text("a file")
    with pytest.raises(CodeError, match="cannot be kept: "):
        recovery.keep(open_file(path), TEXT)
    assert recovery.kept(path) is None
    recovery.forget(path)
