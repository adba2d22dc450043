"""The writer thread on a real socket: complete, in order, and never in the model's way."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from inference import outbox, wire
from inference.api import (
    Event,
    Failed,
    Finished,
    Heartbeat,
    LoadProgress,
    PrefillProgress,
    Timings,
    Tokens,
    Usage,
)
from inference.outbox import Outbox

DONE = Finished(1, "stop", Usage(1, 0, 1), Timings(0.0, 0.0, 0.0, 0.0), 0)


@dataclass
class Pair:
    """An outbox and the socket at which its frames arrive."""

    outbox: Outbox
    reader: socket.socket

    def block(self) -> None:
        """Give the writer more than the socket holds, while nobody reads."""
        self.outbox.put(Failed(9, "blocker", "x" * 2_000_000))
        while self.outbox._pending:
            time.sleep(0.001)

    def events(self) -> list[Event]:
        """Close, then all that arrives, heartbeats aside."""
        received: list[Event] = []
        reading = threading.Thread(target=lambda: received.extend(self._rest()))
        reading.start()
        self.outbox.close(timeout=20)
        reading.join(20)
        assert not reading.is_alive()
        return received

    def next(self) -> Event | None:
        """The next event, a heartbeat too."""
        return wire.receive(self.reader)  # type: ignore[return-value]

    def _rest(self) -> Iterator[Event]:
        while (event := self.next()) is not None:
            if not isinstance(event, Heartbeat):
                yield event


@pytest.fixture
def pair() -> Iterator[Pair]:
    theirs, ours = socket.socketpair()
    with ours, theirs:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        ours.settimeout(30)
        yield Pair(Outbox(theirs), ours)


def token(n: int, request: int = 1) -> Tokens:
    return Tokens(request, (n,), (-n / 8,), f"{n} ")


def joined(events: list[Event], request: int = 1) -> Tokens:
    ours = [event for event in events if isinstance(event, Tokens) and event.id == request]
    return Tokens(
        request,
        tuple(n for event in ours for n in event.ids),
        tuple(p for event in ours for p in event.logprobs),
        "".join(event.text for event in ours),
    )


def expected(count: int, request: int = 1) -> Tokens:
    numbers = range(count)
    text = "".join(f"{n} " for n in numbers)
    return Tokens(request, tuple(numbers), tuple(-n / 8 for n in numbers), text)


@pytest.mark.parametrize("seed", range(4))
def test_tokens_arrive_complete_and_in_order_whatever_the_timing(pair: Pair, seed: int) -> None:
    chance = random.Random(seed)
    for n in range(400):
        pair.outbox.put(token(n))
        if chance.random() < 0.15:
            time.sleep(chance.choice((0.0, 0.001, 0.005, 0.025)))
    pair.outbox.put(DONE)
    events = pair.events()
    assert joined(events) == expected(400)
    assert events[-1] == DONE


def test_a_burst_of_tokens_is_sent_in_few_batches(pair: Pair) -> None:
    for n in range(1000):
        pair.outbox.put(token(n))
    events = pair.events()
    assert joined(events) == expected(1000)
    assert len(events) < 100


def test_the_first_token_does_not_wait_for_a_second(pair: Pair) -> None:
    pair.outbox.put(token(0))
    assert pair.next() == expected(1)


def test_tokens_of_two_requests_are_never_joined(pair: Pair) -> None:
    for n in range(50):
        pair.outbox.put(token(n, request=1))
        pair.outbox.put(token(n, request=2))
    events = pair.events()
    assert len(events) == 100
    assert joined(events, 1) == expected(50, 1)
    assert joined(events, 2) == expected(50, 2)


def test_tokens_of_middles_are_joined_each_with_its_own(pair: Pair) -> None:
    def middle(n: int, number: int) -> Tokens:
        return replace(token(n), middle=number)

    pair.block()
    for n in range(50):
        for number in (0, 1, 2):
            pair.outbox.put(middle(n, number))
    assert len(pair.outbox._pending) == 3
    pair.outbox.put(token(0, request=2))
    pair.outbox.put(middle(50, 1))  # not past another request's
    events = pair.events()[1:]
    assert events[:3] == [replace(expected(50), middle=number) for number in (0, 1, 2)]
    assert events[3:] == [token(0, request=2), middle(50, 1)]


def test_interleaved_middles_are_sent_in_few_batches(pair: Pair) -> None:
    for n in range(1000):
        for number in (0, 1):
            pair.outbox.put(replace(token(n), middle=number))
    events = pair.events()
    assert len(events) < 200
    for number in (0, 1):
        ours = [e for e in events if isinstance(e, Tokens) and e.middle == number]
        assert replace(joined(list(ours)), middle=0) == expected(1000)


def test_a_reader_that_does_not_read_blocks_nobody_and_loses_nothing(pair: Pair) -> None:
    pair.block()
    count = 10_000
    for n in range(count):
        pair.outbox.put(token(n))  # would never return if it waited for the reader
    # One event holds all that waits: the memory is that of the reply.
    assert len(pair.outbox._pending) == 1
    pair.outbox.put(DONE)
    events = pair.events()
    assert [type(event) for event in events] == [Failed, Tokens, Finished]
    assert joined(events) == expected(count)


def test_heartbeats_do_not_pile_up_for_a_sleeping_reader_and_go_on_afterwards(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "HEARTBEAT_SECONDS", 0.01)
    pair.block()
    time.sleep(0.3)
    first = pair.next()
    while isinstance(first, Heartbeat):  # sent before the blocker
        first = pair.next()
    assert isinstance(first, Failed)
    pair.outbox.put(token(0))
    seen = [pair.next() for _ in range(5)]
    assert joined([event for event in seen if event is not None]) == expected(1)
    assert sum(isinstance(event, Heartbeat) for event in seen) == 4


def test_a_silent_engine_sends_heartbeats(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "HEARTBEAT_SECONDS", 0.01)
    assert [pair.next() for _ in range(3)] == [Heartbeat()] * 3


def test_waiting_progress_is_replaced_by_newer_progress(pair: Pair) -> None:
    pair.block()
    for n in range(1000):
        pair.outbox.put(LoadProgress(1, "fetching", n, 1000))
    for n in range(1000):
        pair.outbox.put(LoadProgress(1, "reading", n, 1000))
    for n in range(1000):
        pair.outbox.put(PrefillProgress(2, n, 1000, 0))
    pair.outbox.put(PrefillProgress(3, 1, 1, 0))
    assert pair.events()[1:] == [
        LoadProgress(1, "fetching", 999, 1000),
        LoadProgress(1, "reading", 999, 1000),
        PrefillProgress(2, 999, 1000, 0),
        PrefillProgress(3, 1, 1, 0),
    ]


def test_events_of_different_kinds_keep_their_order(pair: Pair) -> None:
    sent: list[Event] = []
    for request in range(1, 40):
        sent += [
            PrefillProgress(request, 4, 4, 0),
            Tokens(request, (1,), (-1.0,), "a"),
            Finished(request, "stop", Usage(1, 0, 1), Timings(0.0, 0.0, 0.0, 0.0), 0),
            Failed(request, "request", "No."),
        ]
    for event in sent:
        pair.outbox.put(event)
    assert pair.events() == sent


def test_closing_sends_what_is_pending_without_a_nap(pair: Pair) -> None:
    pair.outbox.put(token(0))
    pair.outbox.put(token(1))
    assert joined(pair.events()) == expected(2)
    assert not pair.outbox._thread.is_alive()


def test_closing_gives_up_on_a_reader_that_does_not_read(pair: Pair) -> None:
    pair.block()
    pair.outbox.close(timeout=0.2)  # returns


def test_a_reader_that_is_gone_ends_the_thread_quietly(pair: Pair) -> None:
    pair.reader.close()
    for n in range(100):
        pair.outbox.put(token(n))
    pair.outbox._thread.join(10)
    assert not pair.outbox._thread.is_alive()


def test_an_event_that_cannot_be_sent_ends_the_connection_instead_of_hanging_it(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    pair.outbox.put(Tokens(1, (object(),), (0.0,), ""))  # type: ignore[arg-type]
    while (event := pair.next()) is not None:
        assert isinstance(event, Heartbeat)
    assert "not JSON serializable" in caplog.text
