"""For tests of the engine process: run requests, look at their events, see processes end."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from inference.api import (
    Event,
    Failed,
    Finished,
    Generate,
    LoadModel,
    Message,
    ModelCard,
    Ready,
    Request,
    SamplingParams,
    Tokens,
)
from mistral_tui.engine_client import LocalEngine

GREEDY = SamplingParams(temperature=0, max_tokens=12)
HELLO = (Message("user", "Hello"),)


@dataclass
class Bench:
    """An engine and the events of its last load."""

    engine: LocalEngine
    folder: Path
    loading: list[Event] = field(default_factory=list)

    @property
    def ready(self) -> bool:
        return self.engine.alive and bool(self.loading) and isinstance(self.loading[-1], Ready)

    async def load(self, folder: Path | str) -> list[Event]:
        self.loading = await self.run(LoadModel(self.engine.next_id(), str(folder), threads=1))
        return self.loading

    async def run(self, request: Request) -> list[Event]:
        """A request's events; none may be another's."""
        events = [event async for event in self.engine.submit(request)]
        assert {event.id for event in events} == {request.id}
        return events

    async def say(
        self, messages: tuple[Message, ...] = HELLO, sampling: SamplingParams = GREEDY
    ) -> list[Event]:
        return await self.run(Generate(self.engine.next_id(), messages, sampling))


def card_of(events: list[Event]) -> ModelCard:
    assert isinstance(events[-1], Ready)
    return events[-1].card


def ids_of(events: list[Event]) -> list[int]:
    return [n for event in events if isinstance(event, Tokens) for n in event.ids]


def finished(events: list[Event]) -> Finished:
    assert isinstance(events[-1], Finished), events[-1]
    return events[-1]


def failed(events: list[Event]) -> Failed:
    """The failure that events end with, its sentence being one."""
    last = events[-1]
    assert isinstance(last, Failed), last
    assert last.sentence.endswith(".")
    assert last.sentence[0].isupper() or last.sentence[0] in "/~"
    assert "\n" not in last.sentence
    assert "Traceback" not in last.sentence
    return last


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody waits for counts."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return state.stdout.strip() in ("", "Z", "Zs")
