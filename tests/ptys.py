"""Commands in a terminal, as from a shell; what they draw, and how they leave it.

    with ptys.run(["mistral-tui", "starter"], size=(100, 30)) as terminal:
        terminal.wait_for("Message")  # anywhere on the screen
        terminal.send("hello\\r")
        terminal.resize(60, 20)
        terminal.send(ptys.CTRL_Q)
        assert terminal.wait() == 0
        terminal.check_restored()

A small shell owns the terminal and gives it to the command, so that it stays when that ends.
Whatever was started ends with the `with`, whole trees of processes, also those that left theirs.
What fails says what was on the screen. Linux only.
"""

from __future__ import annotations

import contextlib
import copy
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import pyte

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
"""Where `mistral-tui` and `torchrun` are."""
CTRL_Q = "\x11"
F4 = "\x1bOS"
# The emulator does not know these and would draw them: the keyboard protocol, questions.
UNKNOWN = re.compile(rb"\x1b\[[<>]\d*u|\x1b\[\?\d+\$p")
_CUT = re.compile(rb"\x1b[^A-Za-z\x07]*\Z")
MODES = {"?1049": False, "?25": True, "?1000": False, "?1003": False, "?1006": False,
         "?2004": False, "?1004": False, "?7": True}  # fmt: skip
"""How the terminal must be left: alternate screen, cursor, mouse, pastes, focus, line wrap."""
_MARK = "PTYS_MARK"

# Leader of the session that the terminal controls. Reports the command's pid and, at its end, its
# exit code (-n: signal n); stays until its standard error, a pipe, is closed at the other end.
_SHELL = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
report, stay = int(sys.argv[1]), int(sys.argv[2])
pid = os.fork()
if pid == 0:
    os.close(report), os.close(stay)
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    try:
        os.execvp(sys.argv[3], sys.argv[3:])
    finally:
        os._exit(127)
os.write(report, b"%d\\n" % pid)
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
os.tcsetpgrp(0, os.getpid())
os.write(report, b"%d\\n" % code)
os.read(stay, 1)
"""

# What torchrun does to a rank, without torch: a session of its own, its variables; output perhaps
# to a file. SIGTERM is passed on.
_TORCHRUN = """
import os, signal, subprocess, sys
out = open(sys.argv[1], "w") if sys.argv[1] else None
ours = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
env = {**os.environ, **ours, "TORCHELASTIC_RUN_ID": "none"}
rank = subprocess.Popen(sys.argv[2:], start_new_session=True, stdout=out, stderr=out, env=env)
signal.signal(signal.SIGTERM, lambda *_: rank.terminate())
code = rank.wait()
sys.exit(code if code >= 0 else 128 - code)
"""


def run(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
    size: tuple[int, int] = (100, 30),
) -> Pty:
    """Start a command in a terminal of `size` (columns, rows); use it in a `with`. `env` is added
    to the environment; names without a folder are looked for beside this Python first."""
    return Pty([str(part) for part in command], env or {}, cwd or ROOT, size)


def like_torchrun(command: Sequence[str | Path], *, output: Path | None = None) -> list[str]:
    """A command that starts `command` as torchrun starts rank 0 of 1, in no time; `output`: the
    file that its standard output and error go to (`-r 3`)."""
    words = [str(part) for part in command]
    return [sys.executable, "-c", _TORCHRUN, str(output or ""), *words]


def check_restored(output: bytes) -> None:
    """Fails unless the last bytes for each mode leave the terminal as it was found."""
    found = re.findall(r"\x1b\[(\?\d+)([hl])", output.decode(errors="replace"))
    last = {name: state for name, state in found}
    for mode, on in MODES.items():
        assert last.get(mode) == ("h" if on else "l"), mode


class _Screen(pyte.Screen):
    """The emulator's screen, with the alternate one that it lacks."""

    _normal: tuple[Any, Any] | None = None

    def set_mode(self, *modes: int, **kwargs: Any) -> None:
        if 1049 in modes and kwargs.get("private") and self._normal is None:
            self._normal = copy.deepcopy(self.buffer), copy.copy(self.cursor)
            self.erase_in_display(2)
        super().set_mode(*modes, **kwargs)

    def reset_mode(self, *modes: int, **kwargs: Any) -> None:
        if 1049 in modes and kwargs.get("private") and self._normal is not None:
            (self.buffer, self.cursor), self._normal = self._normal, None
        super().reset_mode(*modes, **kwargs)


class Pty:
    """A command in a terminal. `before`: the terminal's modes at its start."""

    def __init__(
        self, command: list[str], env: Mapping[str, str], cwd: str | Path, size: tuple[int, int]
    ) -> None:
        self._master, self._slave = pty.openpty()
        self.size = size
        self._set_size(size)
        self.before = termios.tcgetattr(self._slave)
        self.output = b""
        """All that was written, since the start."""
        self._screen = _Screen(*size)
        self._stream = pyte.ByteStream(self._screen)
        self._cut = b""
        self._mark = uuid.uuid4().hex
        self._reported = b""
        self._report, report = os.pipe()
        stay, self._stay = os.pipe()
        base = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
        base["PATH"] = f"{BIN}{os.pathsep}{base.get('PATH', '')}"
        base["PYTHONPATH"] = f"{ROOT}{os.pathsep}{ROOT / 'tests'}"
        terminal = {"TERM": "xterm-256color", "COLORTERM": "truecolor", _MARK: self._mark}
        self._shell = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _SHELL, str(report), str(stay), *command],
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            pass_fds=(report, stay),
            start_new_session=True,
            env={**base, **terminal, **env},
            cwd=cwd,
        )
        os.close(report)
        os.close(stay)
        self.pid = self._next_report(10)
        """The command's process."""

    def __enter__(self) -> Pty:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        while pids := self.processes():  # some may be started meanwhile
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
        self._shell.kill()
        self._shell.wait()
        for descriptor in (self._stay, self._report):
            os.close(descriptor)
        self.hang_up()

    # ── what a person does ──────────────────────────────────────────────────────────

    def send(self, keys: str) -> None:
        """Type."""
        os.write(self._master, keys.encode())

    def resize(self, columns: int, rows: int) -> None:
        """Another size; the foreground group gets SIGWINCH from the terminal itself."""
        self.read(0)
        self.size = (columns, rows)
        self._screen.resize(rows, columns)
        self._set_size(self.size)

    def hang_up(self) -> None:
        """Close the terminal, as when its window is closed or a connection is lost."""
        for descriptor in (self._master, self._slave):
            if descriptor >= 0:
                os.close(descriptor)
        self._master = self._slave = -1

    # ── what is to be seen ──────────────────────────────────────────────────────────

    @property
    def rows(self) -> list[str]:
        """What is drawn, each row as wide as the terminal."""
        self.read(0)
        rows, columns = range(self._screen.lines), range(self._screen.columns)
        return ["".join(self._screen.buffer[y][x].data for x in columns) for y in rows]

    @property
    def text(self) -> str:
        """What is drawn, without spaces at the ends of rows."""
        return "\n".join(row.rstrip() for row in self.rows).strip("\n")

    def read(self, seconds: float) -> None:
        """Take what is written within `seconds`."""
        end = time.monotonic() + seconds
        while self._master >= 0:
            ready, _, _ = select.select([self._master], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                return
            self._draw(os.read(self._master, 1 << 16))

    def wait_for(self, wanted: str | Callable[[str], object], seconds: float = 30) -> str:
        """Until a text is on the screen, or until `wanted`, given what is on it, is true; the
        screen's text."""
        return self.wait_until(
            lambda: wanted in self.text if isinstance(wanted, str) else wanted(self.text),
            f"{wanted!r} on the screen",
            seconds,
        )

    def wait_until(
        self,
        true: Callable[[], object],
        what: str = "it",
        seconds: float = 30,
        *,
        over: bool = False,
    ) -> str:
        """Until `true()`; the screen's text. Fails at once if the command ends before, unless
        `over`: it may."""
        end = time.monotonic() + seconds
        while not true():
            if not over and (code := self.code) is not None:
                self.read(0.1)
                if true():
                    break
                raise AssertionError(self._explain(f"{what}: the command ended before ({code})"))
            if time.monotonic() > end:
                raise AssertionError(self._explain(f"{what}: not within {seconds} s"))
            self.read(0.05)
            if self._master < 0:
                time.sleep(0.05)
        return self.text

    # ── how it ends ─────────────────────────────────────────────────────────────────

    @property
    def code(self) -> int | None:
        """The command's exit code (-n: signal n); None while it runs."""
        if len(self._lines()) < 2 and select.select([self._report], [], [], 0)[0]:
            self._reported += os.read(self._report, 64)
        return int(lines[1]) if len(lines := self._lines()) > 1 else None

    def wait(self, seconds: float = 30) -> int:
        """The command's exit code, once it has ended and all it wrote is drawn."""
        self.wait_until(lambda: self.code is not None, "the end of the command", seconds)
        self.read(0.1)
        code = self.code
        assert code is not None
        return code

    @property
    def modes(self) -> list[Any]:
        """The terminal's modes now (`termios.tcgetattr`)."""
        return termios.tcgetattr(self._slave)

    def check_restored(self) -> None:
        """Fails unless modes, screen, cursor and mouse are as they were found."""
        self.read(0.1)
        try:
            check_restored(self.output)
            assert self.modes == self.before, "the modes of termios"
        except AssertionError as error:
            raise AssertionError(self._explain(f"The terminal is not restored: {error}")) from error

    def processes(self, *words: str) -> dict[int, str]:
        """All processes of this terminal that still run, with their command lines; with `words`
        only those whose command line has them all."""
        found = {}
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit() or folder.name == str(self._shell.pid):
                continue
            with contextlib.suppress(OSError):
                if f"{_MARK}={self._mark}".encode() not in (folder / "environ").read_bytes():
                    continue
                line = (folder / "cmdline").read_text(errors="replace").replace("\0", " ").strip()
                if all(word in line for word in words):
                    found[int(folder.name)] = line
        return found

    def children(self, pid: int | None = None) -> list[int]:
        """The processes that a process (the command) has started and that still run."""
        parent = self.pid if pid is None else pid
        found = []
        for other in self.processes():
            with contextlib.suppress(OSError):
                stat = Path(f"/proc/{other}/stat").read_text().rpartition(")")[2].split()
                if int(stat[1]) == parent and stat[0] != "Z":
                    found.append(other)
        return sorted(found)

    # ── within ──────────────────────────────────────────────────────────────────────

    def _lines(self) -> list[bytes]:
        return self._reported.split(b"\n")[:-1]

    def _next_report(self, seconds: float) -> int:
        while not self._lines():
            assert select.select([self._report], [], [], seconds)[0], "the shell did not start"
            self._reported += os.read(self._report, 64)
        return int(self._lines()[0])

    def _draw(self, written: bytes) -> None:
        self.output += written
        written = UNKNOWN.sub(b"", self._cut + written)
        self._cut = cut[0] if (cut := _CUT.search(written[-64:])) else b""
        self._stream.feed(written[: len(written) - len(self._cut)])

    def _set_size(self, size: tuple[int, int]) -> None:
        packed = struct.pack("HHHH", size[1], size[0], 0, 0)
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, packed)

    def _explain(self, what: str) -> str:
        frame = "─" * self.size[0]
        running = "\n".join(f"{pid} {line[:150]}" for pid, line in self.processes().items())
        end = repr(self.output[-400:])
        return f"{what}\n{frame}\n{self.text}\n{frame}\nrunning:\n{running}\nlast bytes: {end}"
