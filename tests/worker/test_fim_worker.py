"""Filling in through the engine process: it gives way, and chat and code keep their caches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

import filling
from engine_bench import GREEDY, HELLO, Bench, failed, finished, ids_of
from inference.api import (
    Counted,
    CountTokens,
    Ends,
    Event,
    FillInMiddle,
    Finished,
    Generate,
    SamplingParams,
    Tokens,
)
from mistral_tui.engine_client import LocalEngine

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXACT = SamplingParams(temperature=0, max_tokens=48)
ENDLESS = SamplingParams(temperature=5.0, max_tokens=3000, seed=1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bench(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    folder: Path = filling.make(tmp_path_factory.mktemp("models") / "filling")
    bench = Bench(LocalEngine(tmp_path_factory.mktemp("log") / "engine.log"), folder)
    await bench.engine.start()
    await bench.load(folder)
    assert bench.ready, bench.loading[-1]
    yield bench
    await bench.engine.close()


def text_of(events: list[Event], middle: int = 0) -> str:
    return "".join(e.text for e in events if isinstance(e, Tokens) and e.middle == middle)


async def test_a_middle_comes_through_the_process_as_it_was_meant(bench: Bench) -> None:
    ends = Ends(suffix=True, block=True, blank_lines=1, lines=40)
    for prefix, middle, suffix in filling.EXAMPLES[:3]:
        request = FillInMiddle(
            bench.engine.next_id(), prefix, suffix, EXACT, ends=ends, middles=3, window=2048
        )
        events = await bench.run(request)
        assert [text_of(events, n) for n in range(3)] == [middle] * 3
        done = finished(events)
        assert (done.reasons, done.left_out) == (("stop",) * 3, (0, 0))
        assert done.usage.completion_tokens == len(ids_of(events))


async def test_chat_and_code_keep_their_caches(bench: Bench) -> None:
    """Each is there for the other's next request, whichever came in between."""
    prefix, _, suffix = filling.EXAMPLES[0]
    asked: list[Finished] = []
    for _ in range(2):
        asked.append(finished(await bench.say()))
        request = FillInMiddle(bench.engine.next_id(), prefix, suffix, EXACT)
        asked.append(finished(await bench.run(request)))
    for first, second in ((asked[0], asked[2]), (asked[1], asked[3])):
        assert second.prompt_ids == first.prompt_ids
        assert second.usage.reused_tokens == first.usage.prompt_tokens - 1


@pytest.mark.parametrize("middles", [1, 3])
@pytest.mark.parametrize("other", ["chat", "count", "newer"])
async def test_filling_in_gives_way_to_whatever_comes(
    bench: Bench, other: str, middles: int
) -> None:
    engine = bench.engine
    prefix, middle, suffix = filling.EXAMPLES[1]
    begun = asyncio.Event()
    events: list[Event] = []

    async def old() -> None:
        request = FillInMiddle(engine.next_id(), prefix, suffix, ENDLESS, middles=middles)
        async for event in engine.submit(request):
            events.append(event)
            if isinstance(event, Tokens):
                begun.set()

    task = asyncio.create_task(old())
    await begun.wait()
    match other:
        case "chat":
            new = await bench.run(Generate(engine.next_id(), HELLO, GREEDY))
            assert finished(new).reason in ("length", "stop")
        case "count":
            assert isinstance((await bench.run(CountTokens(engine.next_id(), HELLO)))[-1], Counted)
        case "newer":
            new = await bench.run(FillInMiddle(engine.next_id(), prefix, suffix, EXACT))
            assert text_of(new) == middle
    await task
    done = finished(events)
    assert done.reason == "cancelled"
    assert "cancelled" in done.reasons
    assert done.usage.completion_tokens == len(ids_of(events)) < 3000 * middles


async def test_of_several_that_wait_only_the_newest_is_drawn(bench: Bench) -> None:
    engine = bench.engine
    prefix, middle, suffix = filling.EXAMPLES[2]

    async def fill(sampling: SamplingParams) -> list[Event]:
        return await bench.run(FillInMiddle(engine.next_id(), prefix, suffix, sampling))

    chat = asyncio.create_task(
        bench.say(sampling=SamplingParams(temperature=5.0, max_tokens=150, seed=2))
    )
    await asyncio.sleep(0)
    tasks = []
    for _ in range(4):
        tasks.append(asyncio.create_task(fill(EXACT)))
        await asyncio.sleep(0)
    answers = await asyncio.gather(*tasks)
    assert finished(await chat).reason != "cancelled"  # only filling in gives way
    for events in answers[:-1]:
        assert finished(events).reason == "cancelled"
        assert not ids_of(events)
    assert text_of(answers[-1]) == middle


async def test_a_cancel_ends_it_and_the_next_one_is_whole(bench: Bench) -> None:
    engine = bench.engine
    prefix, middle, suffix = filling.EXAMPLES[3]
    request = FillInMiddle(engine.next_id(), prefix, suffix, ENDLESS, middles=2)
    events: list[Event] = []
    async for event in engine.submit(request):
        events.append(event)
        if isinstance(event, Tokens):
            engine.cancel(request.id)
    assert finished(events).reason == "cancelled"
    waiting = FillInMiddle(engine.next_id(), prefix, suffix, EXACT)
    engine.cancel(waiting.id)  # before it is sent
    assert failed(await bench.run(waiting)).kind == "cancelled"
    again = await bench.run(FillInMiddle(engine.next_id(), prefix, suffix, EXACT))
    assert text_of(again) == middle


async def test_typing_along_reuses_all_that_did_not_change(bench: Bench) -> None:
    """Taken and typed text behind the same beginning: what both prompts begin with is kept."""
    prefix, _, suffix = filling.EXAMPLES[5]
    head = "import os\n\n\n" * 40
    held: list[int] = []
    for typed in ("", "\n    x", "yz = 1", "\n    "):
        prefix += typed
        request = FillInMiddle(bench.engine.next_id(), head + prefix, suffix, EXACT)
        events = await bench.run(request)
        done = finished(events)
        prompt = list(done.prompt_ids)
        common = 0
        while common < min(len(held), len(prompt)) and held[common] == prompt[common]:
            common += 1
        if held:
            assert done.usage.reused_tokens == min(common, len(prompt) - 1)
            assert done.usage.reused_tokens > 200
        held = prompt + ids_of(events)[:-1]
        prefix += text_of(events)
