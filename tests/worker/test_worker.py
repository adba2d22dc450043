"""The engine process through `LocalEngine`: a real process, a real socket, a tiny model."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

import pytest
import pytest_asyncio

import tiny
from engine_bench import GREEDY, HELLO, Bench, card_of, failed, finished, gone, ids_of
from inference.api import (
    Complete,
    Counted,
    CountTokens,
    Event,
    Failed,
    FillInMiddle,
    Finished,
    Generate,
    LoadModel,
    LoadProgress,
    Message,
    PrefillProgress,
    SamplingParams,
    Tokens,
)
from mistral_tui import engine_client
from mistral_tui.engine_client import LocalEngine

pytestmark = pytest.mark.asyncio(loop_scope="module")

ENDLESS = SamplingParams(temperature=0, max_tokens=60_000)
LONG = (Message("user", "word " * 30_000),)  # many seconds of prefill


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make(tmp_path_factory.mktemp("model") / "tiny", max_position_embeddings=65_536)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    bench = Bench(LocalEngine(tmp_path_factory.mktemp("log") / "engine.log"), folder)
    yield bench
    await bench.engine.close()


@pytest_asyncio.fixture(loop_scope="module")
async def bench(shared: Bench) -> Bench:
    """The shared engine with the tiny model loaded."""
    if not shared.engine.alive:
        await shared.engine.start()
        shared.loading = []
    if not shared.ready or card_of(shared.loading).path != str(shared.folder):
        await shared.load(shared.folder)
    assert shared.ready, shared.loading[-1]
    return shared


# ── loading ─────────────────────────────────────────────────────────────────────────


async def test_loading_reports_rising_progress_and_a_true_card(bench: Bench) -> None:
    events = await bench.load(bench.folder)
    card = card_of(events)
    assert all(isinstance(event, LoadProgress) for event in events[:-1])
    stages: dict[str, list[int]] = {}
    for event in events[:-1]:
        assert isinstance(event, LoadProgress)
        assert 0 <= event.done <= event.total
        stages.setdefault(event.stage, []).append(event.done)
    assert next(iter(stages)) == "starting the engine"
    assert all(done == sorted(done) for done in stages.values())
    size = (bench.folder / "consolidated.safetensors").stat().st_size
    assert 0.99 * size < stages["reading weights"][-1] <= size

    shape = card.shape
    assert (shape.dim, shape.n_layers, shape.n_heads, shape.n_kv_heads) == (64, 2, 4, 2)
    assert shape.vocab_size == 32768
    assert shape.n_params == sum(
        math.prod(weight.shape) for weight in tiny.random_weights(tiny.PARAMS).values()
    )
    assert (card.name, card.path) == ("tiny", str(bench.folder))
    assert (card.dtype, card.device, card.threads) == ("float32", "cpu", 1)
    assert card.context == 65_536
    assert {"instruct", "fim"} <= set(card.capabilities)
    assert card.fingerprint


def _break(folder: Path, how: str) -> Path:
    if how == "not there":
        return folder / "nowhere"
    if how == "empty":
        (folder / "empty").mkdir()
        return folder / "empty"
    tiny.make(folder / "model", n_layers=1)
    weights = folder / "model" / "consolidated.safetensors"
    tokenizer = folder / "model" / "tokenizer.model.v3"
    match how:
        case "a file":
            return weights
        case "weights cut off":
            os.truncate(weights, weights.stat().st_size // 2)
        case "weights of noise":
            weights.write_bytes(os.urandom(100_000))
        case "params of noise":
            (folder / "model" / "params.json").write_bytes(os.urandom(300))
        case "a tokenizer of noise":
            tokenizer.write_bytes(os.urandom(300_000))
        case "an empty tokenizer":
            tokenizer.write_bytes(b"")
        case "no tokenizer":
            tokenizer.unlink()
    return folder / "model"


@pytest.mark.parametrize(
    "how",
    ["not there", "empty", "a file", "weights cut off", "weights of noise", "params of noise",
     "a tokenizer of noise", "an empty tokenizer", "no tokenizer"],
)  # fmt: skip
async def test_a_broken_folder_is_named_in_a_sentence_and_the_engine_lives_on(
    bench: Bench, tmp_path: Path, how: str
) -> None:
    pid = bench.engine.pid
    failure = failed(await bench.load(_break(tmp_path, how)))
    assert failure.kind in ("checkpoint", "tokenizer")
    assert str(tmp_path) in failure.sentence
    if "tokenizer of noise" in how or "empty tokenizer" in how:  # seen only in loading
        assert failed(await bench.say()).kind == "request"
    else:  # the model that was there still is
        assert finished(await bench.say()).reason == "length"
    assert card_of(await bench.load(bench.folder))
    assert finished(await bench.say()).reason == "length"
    assert bench.engine.pid == pid


async def test_a_second_model_takes_the_place_of_the_first(bench: Bench, tmp_path: Path) -> None:
    first_card, first = card_of(bench.loading), ids_of(await bench.say())
    other = card_of(await bench.load(tiny.make(tmp_path / "other", n_layers=1, seed=5)))
    assert (other.name, other.shape.n_layers) == ("other", 1)
    assert other.fingerprint != first_card.fingerprint
    assert ids_of(await bench.say()) != first
    assert card_of(await bench.load(bench.folder)) == first_card
    assert ids_of(await bench.say()) == first


async def test_impossible_load_settings_are_refused(bench: Bench) -> None:
    for request in (
        LoadModel(bench.engine.next_id(), str(bench.folder), device="abacus"),
        LoadModel(bench.engine.next_id(), str(bench.folder), dtype="int3"),
        LoadModel(bench.engine.next_id(), str(bench.folder), threads=-2),
    ):
        bench.loading = await bench.run(request)
        assert failed(bench.loading).kind == "setting"


async def test_a_load_can_be_cancelled(bench: Bench) -> None:
    request = LoadModel(bench.engine.next_id(), str(bench.folder))
    bench.engine.cancel(request.id)  # even before it is sent
    bench.loading = await bench.run(request)
    assert failed(bench.loading).kind == "cancelled"


# ── answering ───────────────────────────────────────────────────────────────────────


async def test_an_answer_streams_and_finishes(bench: Bench) -> None:
    events = await bench.say(sampling=SamplingParams(temperature=0, max_tokens=300))
    kinds = [type(event) for event in events]
    assert kinds[0] is PrefillProgress
    assert kinds.count(Tokens) > 3
    assert kinds == sorted(kinds, key=[PrefillProgress, Tokens, Finished].index)
    end = finished(events)
    assert end.reason == "length"
    assert len(ids_of(events)) == end.usage.completion_tokens == 300
    assert len(end.prompt_ids) == end.usage.prompt_tokens > 0


async def test_a_second_turn_reuses_the_first(bench: Bench) -> None:
    first = await bench.say()
    text = "".join(event.text for event in first if isinstance(event, Tokens))
    reply = Message("assistant", text, tuple(ids_of(first)), card_of(bench.loading).fingerprint)
    second = finished(await bench.say((*HELLO, reply, Message("user", "And then?"))))
    assert second.usage.reused_tokens >= finished(first).usage.prompt_tokens
    assert list(second.prompt_ids[: len(finished(first).prompt_ids)]) == list(
        finished(first).prompt_ids
    )


async def test_the_same_seed_gives_the_same_answer(bench: Bench) -> None:
    warm = SamplingParams(temperature=1.0, max_tokens=20, seed=7)
    first, again = await bench.say(sampling=warm), await bench.say(sampling=warm)
    assert ids_of(first) == ids_of(again)
    assert finished(first).seed == 7
    other = await bench.say(sampling=SamplingParams(temperature=1.0, max_tokens=20, seed=8))
    assert ids_of(other) != ids_of(first)


async def test_text_code_and_counts_are_served_too(bench: Bench) -> None:
    engine = bench.engine
    raw = await bench.run(Complete(engine.next_id(), "Once upon a", GREEDY))
    assert len(ids_of(raw)) == 12
    code = await bench.run(FillInMiddle(engine.next_id(), "def f(", "return 1", GREEDY))
    assert len(ids_of(code)) == 12
    counted = (await bench.run(CountTokens(engine.next_id(), HELLO)))[-1]
    assert isinstance(counted, Counted)
    assert counted.tokens == finished(await bench.say()).usage.prompt_tokens


@pytest.mark.parametrize(
    "sampling",
    [
        SamplingParams(temperature=-1),
        SamplingParams(temperature=math.nan),
        SamplingParams(temperature=math.inf),
        SamplingParams(top_p=5),
        SamplingParams(max_tokens=0),
        SamplingParams(seed=2**80),
    ],
    ids=str,
)
async def test_an_impossible_setting_is_refused(bench: Bench, sampling: SamplingParams) -> None:
    assert failed(await bench.say(sampling=sampling)).kind == "setting"


async def test_a_request_that_cannot_be_served_says_why(bench: Bench) -> None:
    too_long = (Message("user", "word " * 70_000),)
    assert failed(await bench.say(too_long)).kind == "context_full"
    assert failed(await bench.say(())).kind != "internal"
    for text in ("lone \ud800 surrogate", "\x00", "<s>[INST]"):
        last = (await bench.say((Message("user", text),)))[-1]
        assert isinstance(last, Finished) or failed([last]).kind != "internal"
    assert finished(await bench.say()).reason == "length"


# ── cancelling ──────────────────────────────────────────────────────────────────────


async def test_a_cancel_stops_between_two_tokens(bench: Bench) -> None:
    request = Generate(bench.engine.next_id(), HELLO, ENDLESS)
    events: list[Event] = []
    before = 0
    async for event in bench.engine.submit(request):
        events.append(event)
        if not before and len(ids_of(events)) >= 20:
            before = len(ids_of(events))
            bench.engine.cancel(request.id)
    assert finished(events).reason == "cancelled"
    assert len(ids_of(events)) == finished(events).usage.completion_tokens
    # What was on its way, and at most one more: a model this small draws 400 in a second.
    assert len(ids_of(events)) - before < 200
    assert len(ids_of(await bench.say())) == 12


async def test_a_cancel_stops_between_two_chunks_of_the_prompt(bench: Bench) -> None:
    request = Generate(bench.engine.next_id(), LONG, GREEDY)
    progress: list[PrefillProgress] = []
    async for event in bench.engine.submit(request):
        if isinstance(event, PrefillProgress):
            progress.append(event)
            if event.done > 300:
                bench.engine.cancel(request.id)
    assert isinstance(event, Finished)
    assert (event.reason, event.usage.completion_tokens) == ("cancelled", 0)
    assert [one.done for one in progress] == sorted(one.done for one in progress)
    assert progress[-1].done < progress[-1].total // 2
    assert finished(await bench.say()).reason == "length"


async def test_a_waiting_request_can_be_cancelled(bench: Bench) -> None:
    running = Generate(bench.engine.next_id(), HELLO, ENDLESS)
    waiting = Generate(bench.engine.next_id(), HELLO, ENDLESS)
    after = Generate(bench.engine.next_id(), HELLO, GREEDY)
    tasks = [asyncio.create_task(bench.run(one)) for one in (running, waiting, after)]
    await asyncio.sleep(0.1)
    bench.engine.cancel(waiting.id)
    bench.engine.cancel(running.id)
    first, second, third = await asyncio.gather(*tasks)
    assert finished(first).reason == "cancelled"
    assert [type(event) for event in second] == [Failed]
    assert failed(second).kind == "cancelled"
    assert len(ids_of(third)) == 12


async def test_cancelling_what_is_over_or_never_was_does_nothing(bench: Bench) -> None:
    done = finished(await bench.say())
    bench.engine.cancel(done.id)
    bench.engine.cancel(987_654)
    assert finished(await bench.say()).reason == "length"


async def test_an_answer_that_nobody_reads_any_more_is_cancelled_and_reaches_nobody(
    bench: Bench,
) -> None:
    request = Generate(bench.engine.next_id(), HELLO, ENDLESS)
    async with aclosing(bench.engine.submit(request)) as events:  # type: ignore[type-var]
        async for event in events:
            if isinstance(event, Tokens):
                break
    # `say` fails on a foreign event; and it would wait for minutes behind an answer going on.
    assert len(ids_of(await bench.say())) == 12


# ── losing it, and getting it back ──────────────────────────────────────────────────


async def test_a_killed_engine_ends_the_answer_and_can_be_started_again(bench: Bench) -> None:
    request = Generate(bench.engine.next_id(), HELLO, ENDLESS)
    events: list[Event] = []
    async for event in bench.engine.submit(request):
        events.append(event)
        if isinstance(event, Tokens) and bench.engine.pid is not None:
            os.kill(bench.engine.pid, signal.SIGKILL)
    assert failed(events).kind == "worker_lost"
    assert "killed" in failed(events).sentence
    assert not bench.engine.alive
    assert bench.engine.pid is None
    assert bench.engine.silent_for() == 0
    assert failed(await bench.say()).kind == "worker_lost"
    bench.engine.cancel(request.id)  # harmless

    await bench.engine.start()
    assert failed(await bench.say()).sentence == "No model is loaded yet."
    assert card_of(await bench.load(bench.folder))
    assert len(ids_of(await bench.say())) == 12


async def test_an_interrupt_of_its_process_group_does_not_end_it(bench: Bench) -> None:
    assert bench.engine.pid is not None
    assert os.getpgid(bench.engine.pid) != os.getpgid(0)  # nor does the terminal's Ctrl+C
    request = Generate(bench.engine.next_id(), HELLO, SamplingParams(temperature=0, max_tokens=200))
    events = []
    async for event in bench.engine.submit(request):
        if isinstance(event, Tokens):
            os.killpg(bench.engine.pid, signal.SIGINT)
        events.append(event)
    assert len(ids_of(events)) == 200


async def test_silence_is_told_and_forgotten(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_client, "_SILENCE_SECONDS", 1.5)
    engine = bench.engine
    assert engine.pid is not None

    async def polled(wanted: Callable[[float], bool]) -> None:
        async with asyncio.timeout(20):
            while not wanted(engine.silent_for()):
                await asyncio.sleep(0.1)

    await polled(lambda silence: silence == 0)
    os.kill(engine.pid, signal.SIGSTOP)
    try:
        await polled(lambda silence: silence > 1.5)
    finally:
        os.kill(engine.pid, signal.SIGCONT)
    await polled(lambda silence: silence == 0)
    assert len(ids_of(await bench.say())) == 12

    engine.silent_for()
    time.sleep(2.0)  # this process is stopped, or the laptop asleep: no fault of the engine
    assert engine.silent_for() == 0
    await polled(lambda silence: silence == 0)


async def test_closing_ends_a_busy_engine(bench: Bench) -> None:
    pid = bench.engine.pid
    assert pid is not None
    request = Generate(bench.engine.next_id(), LONG, GREEDY)
    async for event in bench.engine.submit(request):
        if isinstance(event, PrefillProgress) and event.done > 300:
            async with asyncio.timeout(2):
                await bench.engine.close()
            assert gone(pid)
    assert failed([event]).kind == "worker_lost"
    assert not bench.engine.alive
