"""The engine process's way up: a writer thread that batches tokens and never blocks the model."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from inference import wire
from inference.api import CallPiece, Event, Heartbeat, LoadProgress, PrefillProgress, Tokens

log = logging.getLogger(__name__)

BATCH_SECONDS = 0.02
HEARTBEAT_SECONDS = 1.0


class Outbox:
    """Events in, frames out, from a thread of its own.

    Tokens of one generation are joined for about 20 ms, and for as long as the reader
    does not read: a stopped UI costs no more memory than the reply itself, and neither
    delays the model nor a cancel. A heartbeat is sent each second.
    """

    def __init__(self, sock: socket.socket, beat: Callable[[], Heartbeat] = Heartbeat) -> None:
        self._sock = sock
        self._beat = beat
        self._pending: deque[Event] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        self._thread.start()

    def put(self, event: Event) -> None:
        """Hand over an event; returns at once."""
        with self._changed:
            place = self._place(event)
            joined = _join(self._pending[place], event) if place >= 0 else None
            if joined is not None:
                self._pending[place] = joined
                return  # the writer is awake already
            self._pending.append(event)
            self._changed.notify()

    def _place(self, event: Event) -> int:
        """Of the pending events the one that `event` may be joined with; -1 if there is none.
        The tokens of a middle go past those of the request's other ones."""
        place = len(self._pending) - 1
        if isinstance(event, Tokens):
            while place >= 0 and _is_other_middle(self._pending[place], event):
                place -= 1
        return place

    def close(self, timeout: float = 1.0) -> None:
        """Send what is pending and end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout)

    def _run(self) -> None:
        try:
            self._send()
        except Exception:
            log.exception("an event could not be sent")
        # Without this thread the other side must see an end rather than wait for ever.
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def _send(self) -> None:
        sent_tokens = 0.0
        while True:
            with self._changed:
                if not self._pending and not self._closing:
                    self._changed.wait(HEARTBEAT_SECONDS)
                if not self._pending:
                    if self._closing:
                        return
                    batch: list[Event] = [self._beat()]
                else:
                    # `put` does not notify for a joined token, so this is one nap a middle.
                    while all(isinstance(event, Tokens) for event in self._pending):
                        rest = sent_tokens + BATCH_SECONDS - time.monotonic()
                        if rest <= 0 or self._closing:
                            break
                        self._changed.wait(rest)
                    batch = list(self._pending)
                    self._pending.clear()
            if any(isinstance(event, Tokens) for event in batch):
                sent_tokens = time.monotonic()
            try:
                self._sock.sendall(b"".join(map(wire.encode, batch)))
            except OSError:
                return  # the other side is gone; the reader thread ends the process


def _is_other_middle(pending: Event, event: Tokens) -> bool:
    return isinstance(pending, Tokens) and pending.id == event.id and pending.middle != event.middle


def _join(last: Event, event: Event) -> Event | None:
    """One event that says what both say, or None."""
    match last, event:
        # Thinking comes before the text of one event, and calls after it.
        case (Tokens(), Tokens()) if (last.id, last.middle) == (event.id, event.middle) and not (
            (last.text and event.thinking) or (last.calls and (event.text or event.thinking))
        ):
            return replace(
                last,
                ids=last.ids + event.ids,
                logprobs=last.logprobs + event.logprobs,
                text=last.text + event.text,
                thinking=last.thinking + event.thinking,
                places=last.places + event.places,
                calls=_joined(last.calls, event.calls),
            )
        case (PrefillProgress(), PrefillProgress()) if last.id == event.id:
            return event
        case (LoadProgress(), LoadProgress()) if last.id == event.id and (
            last.stage == event.stage
        ):
            return event
    return None


def _joined(last: tuple[CallPiece, ...], more: tuple[CallPiece, ...]) -> tuple[CallPiece, ...]:
    """Pieces of the same arguments become one."""
    if not (last and more):
        return last + more
    before, after = last[-1], more[0]
    if before.stage == after.stage == "arguments" and before.index == after.index:
        return (*last[:-1], replace(before, text=before.text + after.text), *more[1:])
    return last + more
