"""Hostile text through the real app to a real terminal: only our own sequences get there.

The corpus comes as answers (in odd pieces), as messages of the user, as a stored conversation,
as titles, and as an error of the engine; what the app writes to the terminal is read byte by
byte, and drawn by a terminal emulator that we did not write.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyte
import pytest

from hostile_corpus import CORPUS, MARK
from ptys import UNKNOWN, check_restored

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from terminal import Terminal

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into Linux's /proc")

APP = Path(__file__).parents[1] / "scripted_app.py"
# All that the app itself writes, besides text: colours, the place of the cursor, modes, two
# questions to the terminal, the keyboard protocol, the shape of the mouse pointer.
OURS = re.compile(
    r"\x1b\[[0-9;]*m|\x1b\[\d+;\d+H|\x1b\[\?\d+[hl]|\x1b\[\?\d+\$p|\x1b\[[<>][0-9]*u"
    r"|\x1b\]22;[a-z-]+\x07"
)
BAD = re.compile(
    "[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069"
    "\u2028\u2029\ufeff\U000e0000-\U000e007f]"
)


@contextmanager
def running(
    tmp_path: Path, script: dict[str, Any], size: tuple[int, int] = (80, 24), **env: str
) -> Iterator[Terminal]:
    path = tmp_path / "script.json"
    path.write_bytes(json.dumps(script, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    own = {f"MISTRAL_TUI_{name}": str(tmp_path / name) for name in ("STATE", "CONFIG", "DATA")}
    command = [sys.executable, str(APP), str(path)]
    with Terminal(command, env={**own, **env}, size=size) as terminal:
        yield terminal


def check_bytes(output: bytes) -> str:
    """Fails on any sequence that is not ours; the text that is left."""
    written = output.decode("utf-8")  # strict: nothing but UTF-8 goes out
    text = OURS.sub("", written)
    found = BAD.search(text)
    assert found is None, (found, text[max(0, found.start() - 60) : found.end() + 60])
    for match in OURS.finditer(written):
        assert MARK not in match[0]
    return text


def drawn(
    output: bytes, size: tuple[int, int], before: Sequence[tuple[int, tuple[int, int]]] = ()
) -> list[str]:
    """The rows of the terminal; `before`: up to which byte it had another size."""
    screen = pyte.Screen(*(before[0][1] if before else size))
    stream = pyte.ByteStream(screen)
    begin = 0
    for end, (width, height) in (*before, (len(output), size)):
        screen.resize(height, width)
        stream.feed(UNKNOWN.sub(b"", output[begin:end]))
        begin = end
    rows, columns = range(screen.lines), range(screen.columns)
    return ["".join(screen.buffer[y][x].data for x in columns) for y in rows]


def check_layout(rows: list[str], size: tuple[int, int]) -> None:
    """Prompt and status line are where they belong, the frame unbroken."""
    width, height = size
    assert len(rows) == height
    assert "help" in rows[-1], rows
    end = height - 2 if rows[-2][1] == "╰" else height - 3  # above the line of hints
    bottom = rows[end]
    assert bottom[1] == "╰"
    assert bottom.rstrip()[-1] == "╯"
    assert len(bottom.rstrip()) == width - 1
    top = next(n for n in range(end - 1, 0, -1) if rows[n][1] == "╭")
    assert rows[top].rstrip()[-1] == "╮"
    for row in rows[top + 1 : end]:
        assert row[1] == "│"
        assert row[width - 2] == "│"


def settled(
    terminal: Terminal,
    size: tuple[int, int],
    before: Sequence[tuple[int, tuple[int, int]]] = (),
) -> list[str]:
    """What is drawn once the layout stands; fails if it does not within some seconds."""
    for _ in range(40):
        rows = drawn(terminal.output, size, before)
        try:
            check_layout(rows, size)
            return rows
        except (AssertionError, StopIteration):
            terminal.read(0.2)
    check_layout(rows, size)
    return rows


def pieces(text: str, number: int) -> list[str]:
    """Cut in odd places: single characters where it is short, some hundred pieces else."""
    step = 1 if len(text) < 300 else max(3, len(text) // 150) + number % 3
    return [text[at : at + step] for at in range(0, len(text), step)]


def end(number: int) -> str:
    return f"END{number}OF"


def shares(count: int) -> list[list[str]]:
    names = list(CORPUS)
    return [names[n::count] for n in range(count)]


@pytest.mark.parametrize("names", shares(3), ids=["first", "second", "third"])
def test_answers_reach_the_terminal_as_text(names: list[str], tmp_path: Path) -> None:
    replies = [
        [*pieces(CORPUS[name], n), f"\n```\n\n~~~\n~~~\n\n{end(n)}"] for n, name in enumerate(names)
    ]
    size = (80, 24)
    with running(tmp_path, {"replies": replies}, size) as terminal:
        terminal.wait_for(b"Fake-7B", timeout=40)
        for name in names:
            mark = len(terminal.output)
            terminal.send("next\r")
            try:
                terminal.wait_for(b"31.5 tok/s", since=mark, timeout=150)
            except TimeoutError:
                pytest.fail(f"{name!r}: the answer did not end")
            terminal.read(0.15)
            settled(terminal, size)
            terminal.send("\x1b[5~\x1b[5~\x1b[6~")  # up, up, down
            terminal.read(0.15)
            settled(terminal, size)
        terminal.send("\x11")
        assert terminal.process.wait(20) == 0
        terminal.read(0.2)
        text = check_bytes(terminal.output)
        check_restored(terminal.output)
    assert text.count("next") >= len(names)


def test_what_was_stored_is_shown_as_text(tmp_path: Path) -> None:
    items = [text.encode("utf-8", "replace").decode()[:3_000] for text in CORPUS.values()]
    title = "title \x1b]52;c;PAYLOAD\x07 \u202ex [bold]y[/] \x9b2J" + "漢" * 50
    script = {"replies": [], "stored": items, "title": title, "name": title}
    size = (100, 30)
    with running(tmp_path, script, size) as terminal:
        terminal.wait_for(b"help", timeout=40)
        terminal.read(1.5)
        for keys in ("\t", "g", *["\x06"] * 12, "{", "{", "K", "G", "/PAYLOAD\r", "n", "N", "\x1b"):
            terminal.send(keys)
            terminal.read(0.12)
        settled(terminal, size)
        terminal.send("\x0c")  # the list of conversations
        terminal.read(0.6)
        terminal.send("PAYLOAD")
        terminal.read(0.6)
        terminal.send("\x1b")
        terminal.read(0.4)
        settled(terminal, size)
        terminal.send("\x11")
        assert terminal.process.wait(20) == 0
        terminal.read(0.2)
        check_bytes(terminal.output)
        check_restored(terminal.output)


def test_pastes_tokens_thinking_and_errors_are_text(tmp_path: Path) -> None:
    hostile = "".join(CORPUS[name] for name in ("clipboard", "8 bit csi", "bidi", "rich markup"))
    script = {
        "replies": [[hostile, " ", end(0)]],
        "thinking": [hostile, "more "],
        "fails": f"The memory {hostile} is full.",
        "name": f"Model {hostile}",
    }
    size = (100, 30)
    with running(tmp_path, script, size) as terminal:
        terminal.wait_for(b"Model", timeout=40)
        terminal.read(0.5)
        pasted = hostile.replace("\x1b", "").replace("\x9b", "")  # a terminal's paste has no ESC
        terminal.send(f"\x1b[200~{pasted}\x1b[201~")
        terminal.read(0.5)
        terminal.send("\r")
        terminal.wait_for(b"is full", timeout=60)
        terminal.read(0.5)
        settled(terminal, size)
        for keys in ("\t", "z"):  # thinking unfolded
            terminal.send(keys)
            terminal.read(0.3)
        assert "▾" in "".join(settled(terminal, size))
        terminal.send("\x1bOQ")  # F2: token by token
        terminal.read(0.8)
        terminal.send("nnJ")
        terminal.read(0.5)
        terminal.send("q")
        terminal.read(0.5)
        settled(terminal, size)
        terminal.send("\x11")
        terminal.process.wait(20)
        terminal.read(0.2)
        check_bytes(terminal.output)
        check_restored(terminal.output)


def test_the_recognizer_recognizes() -> None:
    assert check_bytes(b"\x1b[38;2;1;2;3mok\x1b[0m\x1b[1;1H\r\n") == "ok\r\n"
    for hostile in ("\x1b]52;c;x\x07", "\x1b[2J", "\x9b1m", "\x07", "a\u202eb", "\x1bc", "\x1b[6n"):
        with pytest.raises(AssertionError):
            check_bytes(f"x{hostile}".encode())
    with pytest.raises(UnicodeDecodeError):
        check_bytes(b"\xff")


def test_resizing_under_fire(tmp_path: Path) -> None:
    import fcntl
    import signal
    import struct
    import termios

    replies = [[*pieces(CORPUS["emoji"] + CORPUS["mixed table"] + CORPUS["cjk"], 1), end(0)]]
    with running(tmp_path, {"replies": replies, "pause": 0.003}, (80, 24)) as terminal:
        terminal.wait_for(b"Fake-7B", timeout=40)
        terminal.send("go\r")
        before: list[tuple[int, tuple[int, int]]] = []
        now = (80, 24)
        for size in ((60, 20), (200, 60), (40, 10), (84, 26)):
            terminal.read(0.25)
            before.append((len(terminal.output), now))
            now = size
            packed = struct.pack("HHHH", size[1], size[0], 0, 0)
            fcntl.ioctl(terminal._master, termios.TIOCSWINSZ, packed)
            os.killpg(terminal.process.pid, signal.SIGWINCH)
        terminal.wait_for(b"31.5 tok/s", timeout=60)
        settled(terminal, now, before)
        terminal.send("\x11")
        assert terminal.process.wait(20) == 0
        terminal.read(0.2)
        check_bytes(terminal.output)
        check_restored(terminal.output)
