"""Lifelines, with the ends of ranks played here: strangers, losses, a leader that was asleep."""

from __future__ import annotations

import contextlib
import json
import queue
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from inference.parallel.lifeline import WITHOUT_A_WORD, Lifelines, Loss, last_lines
from inference.parallel.ranks import Ranks

NOBODY = 2**22 + 1
"""A process id that no process has."""


class Meeting:
    """Rank 0's ends, with what they tell."""

    def __init__(self, world: int) -> None:
        self.losses: queue.Queue[Loss] = queue.Queue()
        self.lines = Lifelines(Ranks(0, world, 0, world), self.losses.put)
        port, self.token = self.lines.address.split()
        self.port = int(port)
        self._joined: list[socket.socket] = []  # open as long as this is

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=5)

    def join(self, rank: int, log: Path | None = None, begin: int = 0) -> socket.socket:
        said = {"rank": rank, "pid": NOBODY, "host": socket.gethostname()}
        said |= {"log": str(log or ""), "begin": begin}
        line = self.connect()
        line.sendall(f"{self.token} {json.dumps(said)}\n".encode())
        self._joined.append(line)
        return line


@pytest.fixture
def meeting() -> Iterator[Meeting]:
    made = Meeting(3)
    yield made
    made.lines.bye()


def is_cut(line: socket.socket) -> bool:
    """Whether the other side closes it, within seconds."""
    with contextlib.suppress(ConnectionError):
        while data := line.recv(100):
            assert set(data) <= set(b"{}\n")  # beats
    return True


STRANGERS = [
    b"\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"[" * 60_000 + b"\n",
    b'wrong {"rank": 1}\n',
    "ключ {}\n".encode(),
    b"\xff\xfe\x00\n",
    b'{"rank": 1e999}\n',
    b"x" * 200_000,
]


@pytest.mark.parametrize("words", STRANGERS, ids=lambda words: repr(words[:12]))
def test_a_stranger_is_cut_and_the_ranks_still_meet(words: bytes, meeting: Meeting) -> None:
    stranger = meeting.connect()
    with contextlib.suppress(ConnectionError):
        stranger.sendall(words)
    assert is_cut(stranger)
    meeting.join(1), meeting.join(2)
    assert meeting.lines.wait(5) == []
    assert meeting.losses.empty()


@pytest.mark.parametrize("said", ['{"rank": 0}', '{"rank": 3}', "[]", '{"rank": 1}', "{", '"1"'])
def test_whoever_knows_the_token_but_is_no_rank_is_cut(said: str, meeting: Meeting) -> None:
    line = meeting.connect()
    line.sendall(f"{meeting.token} {said}\n".encode())
    assert is_cut(line)
    assert meeting.lines.wait(0) == [1, 2]


def test_a_second_one_of_the_same_rank_is_cut(meeting: Meeting) -> None:
    first = meeting.join(1)
    assert is_cut(meeting.join(1))
    first.sendall(b"{}\n")
    meeting.join(2)
    assert meeting.lines.wait(5) == []


def test_once_all_are_there_nobody_else_is_heard(meeting: Meeting) -> None:
    silent = meeting.connect()
    meeting.join(1), meeting.join(2)
    assert meeting.lines.wait(5) == []
    assert is_cut(silent)
    until = time.monotonic() + 5
    with contextlib.suppress(ConnectionRefusedError):  # the door closes a moment later
        while time.monotonic() < until:
            meeting.connect().close()
        raise AssertionError("the door is open")


def test_only_the_first_loss_is_told_with_the_end_of_its_log(
    meeting: Meeting, tmp_path: Path
) -> None:
    log = tmp_path / "rank2.log"
    log.write_text("of an earlier run\n" + "".join(f"line {n}\n" for n in range(99)))
    first, second = meeting.join(1), meeting.join(2, log, len("of an earlier run\n"))
    assert meeting.lines.wait(5) == []
    second.close()
    loss = meeting.losses.get(timeout=5)
    assert (loss.rank, loss.sentence) == (2, f"Rank 2 {WITHOUT_A_WORD}.")
    assert loss.tail.splitlines() == [f"line {n}" for n in range(87, 99)]
    first.close()
    with pytest.raises(queue.Empty):
        meeting.losses.get(timeout=0.5)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (b'{"failed": "No memory."}\n', "Rank 1 failed: No memory."),
        (b"nonsense\n", "Rank 1 said what makes no sense."),
        (b"x" * 100_000, "Rank 1 said what makes no sense."),
    ],
)
def test_what_a_rank_says_at_its_end(words: bytes, sentence: str, meeting: Meeting) -> None:
    lines = [meeting.join(1), meeting.join(2)]
    assert meeting.lines.wait(5) == []
    lines[0].sendall(words)
    lines[0].close()
    assert meeting.losses.get(timeout=5).sentence == sentence


def test_ranks_that_leave_when_told_to_are_no_loss(meeting: Meeting) -> None:
    lines = [meeting.join(1), meeting.join(2)]
    assert meeting.lines.wait(5) == []
    meeting.lines.bye()
    for line in lines:
        while b"bye" not in line.recv(100):
            pass
        line.close()
    with pytest.raises(queue.Empty):
        meeting.losses.get(timeout=0.5)


LEADER = """
import sys, time
import inference.parallel.lifeline as lifeline
from inference.parallel.ranks import Ranks
lifeline.SILENCE_SECONDS = 2.0
lines = lifeline.Lifelines(Ranks(0, 2, 0, 2), lambda loss: print(loss.sentence, flush=True))
print(lines.address, flush=True)
lines.wait(30)
print("met", flush=True)
time.sleep(60)
"""


def test_a_leader_that_was_asleep_blames_no_rank() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", LEADER], stdout=subprocess.PIPE, text=True, bufsize=1
    ) as leader:
        try:
            assert leader.stdout is not None
            port, token = leader.stdout.readline().split()
            line = socket.create_connection(("127.0.0.1", int(port)))
            said = {"rank": 1, "pid": NOBODY, "host": "elsewhere", "log": "", "begin": 0}
            line.sendall(f"{token} {json.dumps(said)}\n".encode())
            assert leader.stdout.readline() == "met\n"
            leader.send_signal(signal.SIGSTOP)
            time.sleep(4.5)  # the rank sleeps as well, as where all the machine does
            leader.send_signal(signal.SIGCONT)
            for _ in range(5):
                time.sleep(0.3)
                line.sendall(b"{}\n")
            assert not select.select([leader.stdout], [], [], 0)[0]
            said_of_it = leader.stdout.readline()  # now it is the rank that is silent
            assert said_of_it.startswith("Rank 1 on elsewhere has given no sign of life for 2 s")
        finally:
            leader.kill()


def test_the_end_of_a_log_is_of_this_run_and_short(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    assert last_lines(log) == ""
    log.write_bytes(b"earlier\n" + b"\xff now\n")
    assert last_lines(log, 8) == "\ufffd now"
    assert last_lines(log, 999) == ""  # it was cut meanwhile
    log.write_bytes(b"x" * 100_000)
    assert len(last_lines(log)) <= 8 << 10
