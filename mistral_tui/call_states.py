"""What has become of the tool calls of a branch, told from its messages alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from inference.calls import ToolCall
from mistral_tui.happenings import CallIs
from mistral_tui.history.parts import numbered
from mistral_tui.history.schema import Message
from mistral_tui.tools.consent import SAID


class Open(NamedTuple):
    """A call without a result: the `number`th of a message."""

    message: Message
    number: int
    call: ToolCall


def pending(branch: Sequence[Message]) -> list[Open]:
    """The calls at the end of a branch that have no result yet. Those of an answer that was
    broken off are never run."""
    place = len(branch) - 1
    while place >= 0 and branch[place].role == "tool":
        place -= 1
    if place < 0 or branch[place].role != "assistant" or branch[place].status != "complete":
        return []
    message = branch[place]
    answered = {result.call_id for result in branch[place + 1 :]}
    return [
        Open(message, number, call)
        for number, call in numbered(message.parts)
        if isinstance(call, ToolCall) and call.id not in answered
    ]


def rounds(branch: Sequence[Message], since: int = 0) -> int:
    """How often the model has called tools since the user's last message, or since the message
    of the id `since`."""
    count = 0
    for message in reversed(branch):
        if message.role == "user" or message.id <= since:
            break
        count += message.role == "assistant" and bool(message.calls)
    return count


def states(branch: Sequence[Message]) -> Iterator[CallIs]:
    """Each call of a branch, in order."""
    waiting = {(one.message.id, one.number) for one in pending(branch)}
    for place, message in enumerate(branch):
        if not message.calls:
            continue
        results: dict[str, Message] = {}
        for result in branch[place + 1 :]:
            if result.role != "tool":
                break
            results.setdefault(result.call_id, result)
        for number, call in numbered(message.parts):
            if not isinstance(call, ToolCall):
                continue
            found = results.get(call.id)
            if found is not None:
                yield answered(message.id, number, call, found)
            else:
                waits = (message.id, number) in waiting
                yield CallIs(message.id, number, call, "waiting" if waits else "unrun")


def answered(message_id: int, number: int, call: ToolCall, result: Message) -> CallIs:
    """A call with its result."""
    meta = result.meta
    by, seconds = str(meta.get("by", "")), _seconds(meta.get("seconds"))
    notes = [SAID.get(by, "")] if by != "denied" else []
    if seconds is not None and by not in ("hand", "denied"):
        notes.append(f"{seconds:.1f} s")
    if meta.get("cut") is True:
        notes.append("its end was cut off")
    return CallIs(
        message_id,
        number,
        call,
        "denied" if by == "denied" else "done",
        result.text,
        meta.get("error") is True,
        " · ".join(note for note in notes if note),
        str(meta.get("asked", "")),
    )


def _seconds(value: object) -> float | None:
    """A time that was kept; a foreign file can hold anything."""
    usual = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e7
    return float(value) if usual else None  # type: ignore[arg-type]
