"""Hours of talk in minutes: two windows on one database, and windows that are killed."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import pytest

import tiny

WALKER = Path(__file__).parents[1] / "walker.py"


def _walk(*args: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(WALKER), *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _texts(database: Path) -> set[str]:
    """What the user said, wherever it is: in view, beside it, or in the bin."""
    with sqlite3.connect(database) as db:
        rows = db.execute("SELECT content FROM messages WHERE role = 'user'").fetchall()
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    return {part["text"] for (content,) in rows for part in json.loads(content)}


def _lines(out: IO[str] | None) -> list[str]:
    assert out is not None
    return out.read().splitlines()


def _told(lines: list[str]) -> list[str]:
    """The complete lines that are texts; a kill may have cut the last one."""
    found = []
    for line in lines:
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, str):
            found.append(value)
    return found


def test_a_killed_window_loses_nothing_that_was_said(tmp_path: Path) -> None:
    _kill_loop(tmp_path / "c.db", 3, seed=1)


@pytest.mark.soak
def test_a_hundred_killed_windows(tmp_path: Path) -> None:
    total = _kill_loop(tmp_path / "c.db", 100, seed=2)
    print(f"100 kills, {total} messages said, all there")


def _kill_loop(database: Path, rounds: int, seed: int) -> int:
    numbers = random.Random(seed)
    said: list[str] = []
    for number in range(rounds):
        walker = _walk(database, seed * 1000 + number, 100_000)
        assert walker.stdout is not None
        first = walker.stdout.readline()  # it is under way
        time.sleep(numbers.random() * 1.0)
        walker.send_signal(signal.SIGKILL)
        said += _told([first, *_lines(walker.stdout)])
        walker.wait()
        missing = set(said) - _texts(database)
        assert not missing, missing
    assert len(said) > 2 * rounds
    return len(said)


@pytest.mark.soak
def test_two_windows_of_500_steps(tmp_path: Path) -> None:
    models = [
        tiny.make(tmp_path / name, max_position_embeddings=context, seed=seed)
        for name, context, seed in (("small", 224, 1), ("other", 352, 2))
    ]
    database = tmp_path / "c.db"
    walkers = [_walk(database, seed, 500, *models) for seed in (1, 2)]
    results, said = [], []
    for walker in walkers:
        lines = _lines(walker.stdout)
        assert walker.wait() == 0
        results.append(json.loads(lines[-1]))
        said += _told(lines)
    print(results)
    assert set(said) <= _texts(database)
    assert all(result["full"] for result in results)  # contexts did overflow
    assert all(result["grown_mb"] < 50 for result in results)
