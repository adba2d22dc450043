"""Tool calls on the screen: their entries in the transcript, as they are written and run."""

from __future__ import annotations

from collections.abc import Iterator

from inference.api import CallPiece
from mistral_tui import call_states
from mistral_tui.happenings import CallIs, Opened
from mistral_tui.history.parts import Broken, numbered
from mistral_tui.history.schema import Message
from mistral_tui.widgets.call_entry import CallEntry
from mistral_tui.widgets.transcript import Transcript


class CallView:
    """Draws calls below the message that they belong to."""

    def __init__(self, transcript: Transcript) -> None:
        self._transcript = transcript
        self._writing: dict[int, CallEntry] = {}  # by the number in the reply

    def begin(self, message_id: int) -> None:
        """A reply begins, or goes on: its calls are told anew."""
        self._writing = {}
        for key in [k for k in self._transcript.keys if k.startswith(f"call-{message_id}-")]:
            self._transcript.discard(key)

    def written(self, message_id: int, pieces: tuple[CallPiece, ...]) -> None:
        """What a reply brings of its calls."""
        for piece in pieces:
            entry = self._writing.get(piece.index)
            if entry is None:
                key = key_of(message_id, piece.index)
                entry = self._writing[piece.index] = self._transcript.call(key, piece.name)
            match piece.stage:
                case "arguments":
                    self._transcript.append(entry.key, piece.text)
                case "finished":
                    entry.show("writing", arguments=piece.text)
                    self._transcript.changed(entry)
                case "broken":
                    entry.show("broken")
                    self._transcript.changed(entry)

    def ended(self, message_id: int, stopped: bool) -> None:
        """A reply ended; calls of one that was `stopped` are never run."""
        for entry in self._writing.values():
            if entry.look == "writing":
                entry.show("unrun" if stopped else "waiting")
                self._transcript.changed(entry)
        self._writing = {}

    def show(self, event: CallIs) -> None:
        """What has become of a call."""
        entry = self._transcript.call(key_of(event.message_id, event.number), event.call.name)
        _update(entry, event)
        self._transcript.changed(entry)


def key_of(message_id: int, number: int) -> str:
    """The key of a call's entry."""
    return f"call-{message_id}-{number}"


def of_message(message: Message, states: dict[tuple[int, int], CallIs]) -> Iterator[CallEntry]:
    """The entries of a message's calls."""
    for number, one in numbered(message.parts):
        key = key_of(message.id, number)
        if isinstance(one, Broken):
            entry = CallEntry(key, one.name, one.raw)
            entry.show("broken")
        else:
            entry = CallEntry(key, one.name, one.arguments)
            state = states.get((message.id, number))
            _update(entry, state or CallIs(message.id, number, one, "unrun"))
        entry.dim = message.dropped
        yield entry


def states_of(event: Opened) -> dict[tuple[int, int], CallIs]:
    """By message and number, what has become of each call of a branch."""
    return {(one.message_id, one.number): one for one in call_states.states(event.messages)}


def _update(entry: CallEntry, event: CallIs) -> None:
    entry.show(
        event.state,
        arguments=event.call.arguments,
        asked=event.asked,
        result=event.result,
        error=event.error,
        note=event.note,
    )
