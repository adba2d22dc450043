"""The chat under torchrun, on a terminal, with the real processes of all ranks."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import ptys

_SEQUENCE = re.compile(r"\x1b(\[[0-9;?<>=]*[A-Za-z]|[\]()][^\x07]*\x07?)")


def env(tmp_path: Path) -> dict[str, str]:
    """Folders of its own."""
    names = ("STATE", "CONFIG", "DATA", "CACHE")
    return {f"MISTRAL_TUI_{name}": str(tmp_path / name) for name in names}


def command(ranks: int, *words: str | Path) -> list[str]:
    """`mistral-tui …` under torchrun."""
    given = [str(word) for word in words]
    return ["torchrun", "--nproc-per-node", str(ranks), "--no-python", "mistral-tui", *given]


@dataclass
class Chat:
    """One that runs."""

    terminal: ptys.Pty
    folder: Path

    def wait_loaded(self) -> None:
        self.terminal.wait_for(lambda text: "fp32 cpu" in text, 90)

    def ask(self, text: str) -> None:
        """Send a message and wait for words of the answer; then type without sending."""
        self.terminal.send(f"{text}\r")
        self.terminal.wait_for(lambda text: "tok/s" in text)
        self.terminal.send("a draft")
        self.terminal.wait_for("a draft")
        self.terminal.read(1.2)  # what is typed and said is on disk soon

    def kill(self, who: str, number: signal.Signals) -> None:
        """Send a signal to `torchrun`, `ui`, `engine`, or `rank1` …"""
        os.kill(self.pids[who], number)

    @property
    def pids(self) -> dict[str, int]:
        (engine,) = self.terminal.processes("inference.worker")
        found = {"torchrun": self.terminal.pid, "engine": engine}
        for pid in self.terminal.children():
            words = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
            rank = re.search(r"(?:^|\0)RANK=(\d+)\0", words)
            assert rank is not None
            found["ui" if rank[1] == "0" else f"rank{rank[1]}"] = pid
        return found

    def wait_gone(self, seconds: float) -> None:
        terminal = self.terminal
        terminal.wait_until(lambda: not terminal.processes(), "the end of all", seconds, over=True)

    @property
    def said(self) -> str:
        """All that was written, without what only moves and colours."""
        return _SEQUENCE.sub("", self.terminal.output.decode(errors="replace"))

    @property
    def message(self) -> str:
        """What the chat said when it left, and torchrun after it, without line ends."""
        _, found, said = self.said.partition("mistral-tui: ")
        return found + " ".join(said.split())

    def stored(self) -> tuple[list[tuple[str, str]], str]:
        """(role, status) of all messages on disk, and the draft."""
        with contextlib.closing(sqlite3.connect(self.folder / "DATA" / "conversations.db")) as disk:
            messages = disk.execute("select role, status from messages order by id").fetchall()
            drafts = disk.execute("select draft from conversations").fetchall()
        return messages, drafts[0][0] if drafts else ""


@contextlib.contextmanager
def chat(model: Path, tmp_path: Path, ranks: int) -> Iterator[Chat]:
    """The chat with a model, held by so many ranks."""
    with ptys.run(command(ranks, model), env=env(tmp_path)) as terminal:
        yield Chat(terminal, tmp_path)
