"""A window that talks at random, as a process of its own: for soaks and kill loops.

    python tests/walker.py DATABASE SEED STEPS [MODEL …]

With models it has the real engine process and switches between them; without, the fake engine.
Each message that the session tells to be on disk is printed before anything else happens, and
at the end one JSON object.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
import tempfile
from pathlib import Path

from fake_engine import FakeEngine, Reply
from mistral_tui.choices import ModelChoice, SamplingChoice
from mistral_tui.engine_client import EngineClient, LocalEngine
from mistral_tui.happenings import ContextFull, Happening, Opened, ReplyText, Said
from mistral_tui.history.schema import Message, StoreError
from mistral_tui.history.store import AsyncStore
from mistral_tui.room import Conversing

_STEPS = ("say", "say", "say", "edit", "again", "on", "walk", "delete", "undo", "copy", "new")


class _Endless(FakeEngine):
    """Says a little, slowly enough to be interrupted."""

    async def _answer(self, request):  # type: ignore[no-untyped-def]
        self.replies = [Reply(words=["word "] * 12, pause=0.002)]
        async for event in super()._answer(request):
            yield event


class Walker:
    def __init__(self, store: AsyncStore, engine: EngineClient, seed: int, models: list[str]):
        self.numbers = random.Random(seed)
        self.models = models
        self.full = 0
        self.texts = 0
        self.told: list[str] = []
        self.known: set[int] = set()
        self.session = Conversing(
            store,
            engine,
            self.hear,
            choice=ModelChoice(models[0] if models else "fake"),
            sampling=SamplingChoice(temperature=0.8, max_tokens=12),
        )

    def hear(self, event: Happening) -> None:
        if isinstance(event, Said):
            self.on_disk(event.message)
        elif isinstance(event, Opened):  # an edited message comes this way
            for message in event.messages:
                self.on_disk(message)
        self.full += isinstance(event, ContextFull)
        self.texts += isinstance(event, ReplyText)

    def on_disk(self, message: Message) -> None:
        if message.role == "user" and message.id not in self.known:
            self.known.add(message.id)
            self.told.append(message.text)
            print(json.dumps(message.text), flush=True)

    async def step(self, number: int) -> None:
        """One thing that a user might do; the last answer may be stopped in the middle."""
        session, numbers = self.session, self.numbers
        users = [m for m in session.messages if m.role == "user"]
        what = numbers.choice(_STEPS)
        if self.models and numbers.random() < 0.02:
            await session.switch(numbers.choice(self.models))
            return
        if what == "say" or not users:
            text = f"{numbers.getrandbits(40):x} message {number} " + "and more " * 10
            work = session.say(text)
        elif what == "edit":
            text = f"{numbers.getrandbits(40):x} edited {number}"
            work = session.edit(numbers.choice(users).id, text)
        elif what == "again":
            work = session.regenerate()
        elif what == "on":
            work = session.go_on()
        else:
            several = [m.id for m in session.messages if session.siblings[m.id].count > 1]
            if what == "walk" and several:
                await session.walk(numbers.choice(several), numbers.choice((-1, 1)))
            elif what == "delete" and numbers.random() < 0.3:
                await session.delete(numbers.choice(session.messages).id)
            elif what == "undo":
                await session.undo()
            elif what == "copy" and numbers.random() < 0.3:
                await session.copy_branch()
            elif what == "new" and numbers.random() < 0.2:
                await session.new()
            return
        full = self.full
        asking = asyncio.create_task(work)
        if numbers.random() < 0.3:
            await asyncio.sleep(numbers.random() * 0.05)
            session.cancel()
        await asking
        if self.full > full:
            await session.drop_oldest()


def resident_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return next(int(x.split()[1]) / 1e3 for x in status.splitlines() if x.startswith("VmRSS"))


async def main() -> None:
    path, seed, steps, *models = sys.argv[1:]
    store = await AsyncStore.open(Path(path))
    log = Path(tempfile.mkdtemp()) / "engine.log"
    engine: EngineClient = LocalEngine(log) if models else _Endless()
    walker = Walker(store, engine, int(seed), models)
    await walker.session.load()
    assert walker.session.engine == "ready", walker.session.trouble
    memory = 0.0
    refused = 0
    for number in range(int(steps)):
        try:
            await walker.step(number)
        except StoreError:
            refused += 1  # the other window is writing there
        if number == 40:
            memory = resident_mb()
    result = {
        "told": len(walker.told),
        "texts": walker.texts,
        "full": walker.full,
        "refused": refused,
        "grown_mb": resident_mb() - memory,
    }
    with contextlib.suppress(StoreError):
        await walker.session.stop()
    await engine.close()
    await store.close()
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
