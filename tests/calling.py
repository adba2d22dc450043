"""A session that calls tools: a scripted engine, a real store, tools that do what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fake_engine import FakeEngine, Load, Reply, card
from mistral_tui.choices import ModelChoice, ToolsChoice
from mistral_tui.happenings import CallIs, CallsWait, Happening, Note, Trouble
from mistral_tui.history.store import AsyncStore
from mistral_tui.room import Conversing
from mistral_tui.tools.definition import Definition, Outcome
from mistral_tui.tools.toolbox import Toolbox

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "minLength": 2}},
    "required": ["city"],
}
WEATHER = Definition("weather", "The weather.", CITY, "builtin", "built in", "x:y")
CLOCK = Definition("clock", "The time.", kind="builtin", source="built in", target="x:z")
ASK = Definition("ask_user", "Asks.", kind="manual", source="a file")
PARIS, ROME = ("weather", '{"city": "Paris"}'), ("weather", '{"city": "Rome"}')
CAN = card(capabilities=("instruct", "tools"))


class Box(Toolbox):
    """Runs what the test says."""

    def __init__(self, tools: tuple[Definition, ...] = (WEATHER, CLOCK, ASK)) -> None:
        super().__init__(tools)
        self.ran: list[tuple[str, dict[str, Any]]] = []
        self.outcome = Outcome("22 degrees", seconds=0.25)
        self.gate: asyncio.Event | None = None
        self.killed = 0
        self.slow: asyncio.Event | None = None

    async def ready(self, names: Any, say: Any = None) -> list[str]:
        if self.slow is not None:
            say("Starting a server …")
            await self.slow.wait()
        return await super().ready(names)

    async def run(
        self, tool: Definition, arguments: Mapping[str, Any], *, timeout: float = 60
    ) -> Outcome:
        self.ran.append((tool.name, dict(arguments)))
        if self.gate is not None:
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.killed += 1
                raise
        return self.outcome


class Window:
    """A session, its engine and tools, and what it told."""

    def __init__(self, store: AsyncStore, *replies: Reply, tools: tuple[str, ...], **more: Any):
        self.store = store
        self.engine = FakeEngine(replies, [Load(card=more.pop("card", CAN))])
        self.box = more.pop("box", None) or Box()
        self.told: list[Happening] = []
        self.session = Conversing(
            store,
            self.engine,
            self.told.append,
            choice=ModelChoice("some/folder"),
            tools=ToolsChoice(tools, more.pop("choice", None)),
            toolbox=self.box,
        )

    @property
    def said(self) -> list[tuple[str, str]]:
        return [(m.role, m.text) for m in self.session.messages]

    @property
    def waiting(self) -> CallsWait:
        return [event for event in self.told if isinstance(event, CallsWait)][-1]

    @property
    def notes(self) -> list[str]:
        return [event.sentence for event in self.told if isinstance(event, Note | Trouble)]

    def states(self, number: int = 0) -> list[str]:
        return [e.state for e in self.told if isinstance(e, CallIs) and e.number == number]


@asynccontextmanager
async def window(
    *replies: Reply, tools: tuple[str, ...] = ("weather", "clock", "ask_user"), **more: Any
) -> AsyncIterator[Window]:
    store = await AsyncStore.open(more.pop("path", None))
    opened = Window(store, *replies, tools=tools, **more)
    try:
        await opened.session.load()
        yield opened
    finally:
        await store.close()


def calls(*calls: tuple[str, str], **more: Any) -> Reply:
    return Reply(words=more.pop("words", ()), calls=calls, **more)
