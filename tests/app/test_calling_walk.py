"""A walk at random through conversations with calls: whatever is done in whatever order, the
model is told what its layout takes, and no call has two results."""

from __future__ import annotations

import asyncio
import random
import shutil
from pathlib import Path

import pytest

import tekken
import tiny
from fake_engine import FakeEngine, Load, Reply, card
from inference.tokenizer import Tokenizer
from mistral_tui import call_states
from mistral_tui.choices import ModelChoice, ToolsChoice
from mistral_tui.happenings import Happening, Trouble
from mistral_tui.history.schema import Message
from mistral_tui.history.store import AsyncStore
from mistral_tui.room import Conversing
from mistral_tui.tools.definition import Definition, Outcome
from mistral_tui.tools.toolbox import Toolbox

CAN = card(capabilities=("instruct", "tools"))
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = (
    Definition("weather", "The weather.", CITY, "builtin", "built in", "x:y"),
    Definition("ask_user", "Asks.", source="a file"),
)


class Box(Toolbox):
    """Every tool takes a moment, and some fail."""

    def __init__(self, random_: random.Random) -> None:
        super().__init__(TOOLS)
        self._random = random_

    async def run(self, *args: object, **options: object) -> Outcome:  # type: ignore[override]
        await asyncio.sleep(self._random.random() * 0.01)
        return Outcome("it is so", error=self._random.random() < 0.2)


class Walk:
    """One session, and what may be done in it."""

    def __init__(self, store: AsyncStore, seed: int) -> None:
        self.random = random.Random(seed)
        self.engine = FakeEngine([], [Load(card=CAN)])
        self.told: list[Happening] = []
        self.session = Conversing(
            store,
            self.engine,
            self.told.append,
            choice=ModelChoice("some/folder"),
            tools=ToolsChoice(("weather", "ask_user")),
            toolbox=Box(self.random),
        )
        self.store = store

    def reply(self) -> Reply:
        calls = []
        for _ in range(self.random.choice((0, 0, 1, 1, 2, 3))):
            fits = self.random.random() < 0.85
            arguments = '{"city": "Paris"}' if fits else '{"town": 3}'
            calls.append(self.random.choice((("weather", arguments), ("ask_user", "{}"))))
        cut = bool(calls) and self.random.random() < 0.1
        words = self.random.choice(((), ("Well", " then."))) if calls else ("Done", ".")
        pause = self.random.choice((0.0, 0.0, 0.003))
        return Reply(
            words, calls=calls, breaks=cut, reason="length" if cut else "stop", pause=pause
        )

    async def step(self) -> None:
        session, messages = self.session, self.session.messages
        self.engine.replies = [self.reply() for _ in range(30)]
        some = self.random.choice(messages) if messages else None
        waiting = await session.waiting_calls()
        what = self.random.choice(
            ("say", "say", "decide", "decide", "decide", "regenerate", "go_on", "edit", "delete",
             "undo", "walk", "new", "open", "drop", "copy", "replay")
        )  # fmt: skip
        if what == "say":
            await session.say(f"message {self.random.randint(0, 99)}")
        elif what == "decide" and waiting:
            await self.decide(waiting[0])
        elif what in ("regenerate", "go_on", "undo", "new", "replay"):
            await getattr(session, what)()
        elif what == "edit" and some is not None:
            await session.edit(some.id, "another text")
        elif what == "delete" and some is not None:
            await session.delete(some.id)
        elif what == "walk" and some is not None:
            await session.walk(some.id, self.random.choice((-1, 1)))
        elif what == "open":
            found = await self.store.list_conversations(5)
            if found:
                await session.open(self.random.choice(found).id)
        elif what == "drop" and some is not None:
            await session.toggle_dropped(some.id)
        elif what == "copy" and some is not None and self.random.random() < 0.3:
            await session.copy_branch(some.id)

    async def decide(self, one: object) -> None:
        session = self.session
        how = self.random.choice(("run", "run", "here", "edit", "hand", "deny"))
        assert hasattr(one, "by_hand")
        if one.by_hand or one.problem or how in ("hand", "deny"):
            answer = session.deny_call if how == "deny" else session.answer_call
            await answer(one, "by hand")  # type: ignore[arg-type]
        else:
            arguments = '{"city": "Rome"}' if how == "edit" else None
            by = "conversation" if how == "here" else "once"
            await session.run_call(one, by, arguments)  # type: ignore[arg-type]

    def check(self) -> None:
        assert not self.session.answering
        _check_branch(self.session.messages)


def _check_branch(branch: list[Message]) -> None:
    """Each result has its call right above, and no call has two."""
    for place, message in enumerate(branch):
        if message.role != "tool":
            continue
        above = place - 1
        while branch[above].role == "tool":
            assert branch[above].call_id != message.call_id
            above -= 1
        assert message.call_id in {call.id for call in branch[above].calls}
    states = list(call_states.states(branch))
    assert len({(s.message_id, s.number) for s in states}) == len(states)


def tokenizers(folder: Path) -> list[Tokenizer]:
    made = []
    for version in ("v2", "v3", "v7"):
        (folder / version).mkdir()
        shutil.copy(tiny.data_file(version), folder / version / f"tokenizer.model.{version}")
        made.append(Tokenizer.from_folder(folder / version))
    tiny_ones = [tekken.write(folder / version, version) for version in ("v11", "v13")]
    return [*made, *map(Tokenizer.from_file, tiny_ones)]


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_is_done_the_model_is_told_what_it_takes(seed: int, tmp_path: Path) -> None:
    await walk_and_check(seed, tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 150))
async def test_longer_walks(seed: int, tmp_path: Path) -> None:
    await walk_and_check(seed, tmp_path, steps=400)


async def walk_and_check(seed: int, tmp_path: Path, steps: int = 120) -> None:
    """Walk, and look at every branch and at all that the model was asked."""
    store = await AsyncStore.open(tmp_path / "c.db")
    walk = Walk(store, seed)
    try:
        await walk.session.load()
        for _ in range(steps):
            task = asyncio.create_task(walk.step())
            if walk.random.random() < 0.25:  # something else comes in between
                await asyncio.sleep(walk.random.random() * 0.02)
                walk.session.cancel()
            await asyncio.wait_for(task, 20)
            walk.check()
        stored = [await store.load_conversation(c.id) for c in await store.list_conversations(99)]
        for _, messages in stored:
            _check_branch(messages)
        troubles = [event.sentence for event in walk.told if isinstance(event, Trouble)]
        assert troubles == []
        asked = [request for request in walk.engine.asked if request.messages]
        assert len(asked) > 10
        for tokenizer in tokenizers(tmp_path):
            for request in asked:
                assert tokenizer.encode_reply(request.messages, tools=request.tools)[0]
        assert any(m.role == "tool" for request in asked for m in request.messages)
    finally:
        await store.close()
