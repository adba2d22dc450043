"""Calls of the real engine in a session: a random model, which only the grammar holds."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import tekken
import tiny
from direct_engine import DirectEngine
from mistral_tui.choices import ModelChoice, SamplingChoice, ToolsChoice
from mistral_tui.happenings import CallsWait, Happening, Note, ReplyText
from mistral_tui.history.store import AsyncStore
from mistral_tui.room import Conversing
from mistral_tui.tools.definition import Definition
from mistral_tui.tools.toolbox import Toolbox

TOOL = Definition(
    "look_up",
    "Looks a word up.",
    {
        "type": "object",
        "properties": {
            "word": {"type": "string", "maxLength": 12},
            "how": {"type": "string", "enum": ["fast", "well"]},
        },
        "required": ["word", "how"],
    },
)


@pytest.fixture(scope="module", params=["v3", "v7", "v11", "v13"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / request.param
    tekken.write(folder, request.param)
    size = tekken.content(request.param)["config"]["default_vocab_size"]
    params = {**tiny.PARAMS, "vocab_size": size, "max_position_embeddings": 4096}
    return tiny.write(folder, params, tiny.random_weights(params))


@asynccontextmanager
async def session(
    folder: Path, **sampling: float
) -> AsyncIterator[tuple[Conversing, list[Happening]]]:
    store = await AsyncStore.open(None)
    told: list[Happening] = []
    made = Conversing(
        store,
        DirectEngine(),
        told.append,
        choice=ModelChoice(str(folder)),
        sampling=SamplingChoice(**{"temperature": 1.0, "max_tokens": 120, **sampling}),  # type: ignore[arg-type]
        tools=ToolsChoice(("look_up",), "any", (TOOL,)),
        toolbox=Toolbox((TOOL,)),
    )
    try:
        await made.load()
        yield made, told
    finally:
        await store.close()


def pieces(told: list[Happening]) -> list[str]:
    return [piece.stage for e in told if isinstance(e, ReplyText) for piece in e.calls]


async def test_a_call_comes_whole_and_its_replay_is_the_same(folder: Path) -> None:
    for seed in range(3):
        async with session(folder, seed=seed) as (made, told):
            await made.say("Look something up.")
            (waits,) = [e for e in told if isinstance(e, CallsWait) and e.calls][-1:]
            one = waits.calls[0]
            assert one.problem == ""
            assert json.loads(one.call.arguments)["how"] in ("fast", "well")
            assert pieces(told)[0] == "begun"
            assert pieces(told)[-1] == "finished"
            await made.replay()
            notes = [event.sentence for event in told if isinstance(event, Note)]
            assert "gave the same" in notes[-1], notes


async def test_a_call_that_is_cut_goes_on_to_its_end(folder: Path) -> None:
    """The room was taken away in the middle: as after a stop."""
    async with session(folder, seed=5, max_tokens=4) as (made, told):
        await made.say("Look something up.")
        assert not made.deciding  # four tokens are no call
        assert [part.type for part in made.messages[-1].parts] == ["text", "broken"]
        await made.replay()
        assert "gave the same" in [e.sentence for e in told if isinstance(e, Note)][-1]
        made.tuning._said["max_tokens"] = 200
        await made.go_on()
        assert made.deciding
        assert [part.type for part in made.messages[-1].parts][1] == "call"
        assert made.messages[-1].calls[0].name == "look_up"


async def test_results_go_back_and_the_model_answers(folder: Path) -> None:
    async with session(folder, seed=7) as (made, told):
        await made.say("Look something up.")
        while made.deciding:
            waits = [e for e in told if isinstance(e, CallsWait) and e.calls][-1]
            await made.answer_call(waits.calls[0], "a word is a word")
        roles = [message.role for message in made.messages]
        assert roles[:3] == ["user", "assistant", "tool"]
        assert roles[-1] == "assistant"
