"""One engine over several turns: reuse, cancel, stop, limits."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

import tiny
from inference.api import (
    Complete,
    Counted,
    CountTokens,
    Event,
    FillInMiddle,
    Finished,
    Generate,
    Message,
    PrefillProgress,
    SamplingParams,
    Tokens,
)
from inference.engine import Engine
from inference.errors import ContextFull, RequestError, SettingError
from inference.loading import load_engine

GREEDY = SamplingParams(temperature=0, max_tokens=12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def engine(folder: Path) -> Engine:
    return load_engine(str(folder), device="cpu", threads=1)


def run(
    engine: Engine, request: Generate | Complete | FillInMiddle
) -> tuple[str, list[int], Finished]:
    text, ids, last = "", [], None
    for event in engine.run(request):
        if isinstance(event, Tokens):
            text += event.text
            ids += event.ids
        elif isinstance(event, Finished):
            last = event
    assert last is not None
    return text, ids, last


def test_the_second_turn_computes_only_its_new_tokens(engine: Engine) -> None:
    first = (Message("user", "Tell me something."),)
    text, ids, done = run(engine, Generate(1, first, GREEDY))
    assert done.usage.reused_tokens == 0
    assert done.usage.completion_tokens == len(ids) == 12
    reply = Message("assistant", text, tuple(ids), engine.tokenizer.fingerprint)
    second = (*first, reply, Message("user", "More."))
    computed: list[int] = []
    for event in engine.run(Generate(2, second, GREEDY)):
        if isinstance(event, PrefillProgress):
            computed.append(event.done)
        if isinstance(event, Finished):
            usage, prompt = event.usage, event.prompt_ids
    # Everything but the last drawn token was in the cache.
    assert usage.reused_tokens == done.usage.prompt_tokens + len(ids) - 1
    assert list(prompt[: done.usage.prompt_tokens + len(ids)]) == [*done.prompt_ids, *ids]
    assert computed[0] == usage.reused_tokens
    assert computed[-1] == usage.prompt_tokens


def test_reuse_does_not_change_the_answer(engine: Engine, folder: Path) -> None:
    first = (Message("user", "Tell me something."),)
    text, ids, _ = run(engine, Generate(1, first, GREEDY))
    reply = Message("assistant", text, tuple(ids), engine.tokenizer.fingerprint)
    second = (*first, reply, Message("user", "More."))
    _, warm, warm_done = run(engine, Generate(2, second, GREEDY))
    fresh = load_engine(str(folder), device="cpu", threads=1)
    _, cold, cold_done = run(fresh, Generate(2, second, GREEDY))
    assert warm == cold
    assert warm_done.prompt_ids == cold_done.prompt_ids
    assert warm_done.usage.reused_tokens > 0 == cold_done.usage.reused_tokens


def test_an_edited_turn_reuses_what_is_before_it(engine: Engine, folder: Path) -> None:
    long = "word " * 60
    run(engine, Generate(1, (Message("user", long + "one"),), GREEDY))
    edited = Generate(2, (Message("user", long + "two"),), GREEDY)
    _, warm, done = run(engine, edited)
    assert done.usage.reused_tokens >= 60
    _, cold, _ = run(load_engine(str(folder), device="cpu", threads=1), edited)
    assert warm == cold


def test_the_same_prompt_again_still_computes_one_token(engine: Engine) -> None:
    request = Generate(1, (Message("user", "Hi"),), GREEDY)
    _, ids, done = run(engine, request)
    _, again, second = run(engine, request)
    assert again == ids
    assert second.usage.reused_tokens == done.usage.prompt_tokens - 1


def test_slots_do_not_evict_each_other(engine: Engine) -> None:
    chat = Generate(1, (Message("user", "Hello there"),), GREEDY)
    run(engine, chat)
    run(engine, Complete(2, "def f():", GREEDY, slot="code"))
    _, _, done = run(engine, chat)
    assert done.usage.reused_tokens == done.usage.prompt_tokens - 1
    assert engine.cache_nbytes > 0


def test_cancel_takes_effect_within_a_token(engine: Engine) -> None:
    seen: list[Event] = []
    stop = threading.Event()
    request = Generate(1, (Message("user", "Hi"),), SamplingParams(temperature=0, max_tokens=50))
    for event in engine.run(request, stop.is_set):
        seen.append(event)
        if sum(isinstance(e, Tokens) for e in seen) == 5:
            stop.set()
    last = seen[-1]
    assert isinstance(last, Finished)
    assert last.reason == "cancelled"
    assert last.usage.completion_tokens == 5


def test_cancel_takes_effect_within_a_prefill_chunk_and_its_work_is_kept(engine: Engine) -> None:
    engine._chunk = 16
    request = Generate(1, (Message("user", "word " * 100),), GREEDY)
    chunks = 0
    stop = threading.Event()
    for event in engine.run(request, stop.is_set):
        if isinstance(event, PrefillProgress) and event.done:
            chunks += 1
            if chunks == 2:
                stop.set()
        last = event
    assert isinstance(last, Finished)
    assert last.reason == "cancelled"
    assert last.usage.completion_tokens == 0
    _, _, done = run(engine, request)
    assert done.usage.reused_tokens == 32


def test_a_seed_repeats_exactly_and_is_reported(engine: Engine) -> None:
    hot = SamplingParams(temperature=1.0, max_tokens=10)
    message = (Message("user", "Hi"),)
    # From here on both reuse the same: a prompt that is read in other chunks gives logits that
    # differ in the last bit, which is enough for a model whose words are all about as likely.
    run(engine, Generate(0, message, hot))
    _, ids, done = run(engine, Generate(1, message, hot))
    again = SamplingParams(temperature=1.0, max_tokens=10, seed=done.seed)
    _, repeated, second = run(engine, Generate(2, message, again))
    assert repeated == ids
    assert second.seed == done.seed


def test_stop_strings_end_the_answer_and_are_not_shown(engine: Engine) -> None:
    request = Generate(1, (Message("user", "Hi"),), GREEDY)
    whole, ids, _ = run(engine, request)
    middle = whole[len(whole) // 2 :][:3]
    stopped = Generate(2, request.messages, GREEDY, stop=("never seen", middle))
    text, fewer, done = run(engine, stopped)
    assert text == whole[: whole.index(middle)]
    assert len(fewer) < len(ids)
    assert done.reason == "stop"


def test_the_end_token_stops_and_shows_nothing(folder: Path) -> None:
    engine = load_engine(str(folder), device="cpu", threads=1)
    request = Generate(1, (Message("user", "Hi"),), GREEDY)
    _, ids, _ = run(engine, request)
    engine.tokenizer.stop_ids = frozenset({ids[3]})
    _, ended, done = run(engine, request)
    assert ended == ids[: ids.index(ids[3]) + 1]
    assert done.reason == "stop"


def test_the_context_is_a_limit_with_a_reason(engine: Engine) -> None:
    message = (Message("user", "word " * 480),)
    _, ids, done = run(engine, Generate(1, message, SamplingParams(temperature=0)))
    assert done.reason == "context_full"
    assert done.usage.prompt_tokens + len(ids) == engine.context == 512
    with pytest.raises(ContextFull, match="context is 512"):
        run(engine, Generate(2, (Message("user", "word " * 600),), GREEDY))
    run(engine, Generate(3, (Message("user", "Hi"),), GREEDY))  # and nothing is broken


def test_counting_completing_and_filling_in(engine: Engine) -> None:
    messages = (Message("user", "How many?"),)
    (counted,) = engine.run(CountTokens(1, messages))
    _, _, done = run(engine, Generate(2, messages, GREEDY))
    assert counted == Counted(1, done.usage.prompt_tokens)
    _, _, raw = run(engine, Complete(3, "Once upon a time", GREEDY))
    assert list(raw.prompt_ids) == engine.tokenizer.encode_text("Once upon a time")
    _, _, fim = run(engine, FillInMiddle(4, "def f(", "return x", GREEDY))
    assert list(fim.prompt_ids) == engine.tokenizer.fim_ids("def f(", "return x")


def test_bad_requests_are_one_sentence_and_do_no_harm(engine: Engine) -> None:
    with pytest.raises(SettingError):
        run(engine, Generate(1, (Message("user", "x"),), SamplingParams(temperature=-1)))
    with pytest.raises(RequestError):
        run(engine, Generate(1, (), GREEDY))
    run(engine, Generate(2, (Message("user", "Hi"),), GREEDY))


def test_padding_rows_of_the_embedding_are_never_drawn(tmp_path: Path) -> None:
    folder = tiny.make(tmp_path / "padded", vocab_size=32768 + 512)
    engine = load_engine(str(folder), device="cpu", threads=1)
    hot = SamplingParams(temperature=50.0, max_tokens=200, seed=1)
    _, ids, _ = run(engine, Generate(1, (Message("user", "Hi"),), hot))
    assert len(ids) > 100
    assert max(ids) < 32768


def test_starter_answers_paris_and_reuses_its_first_turn(starter_folder: Path) -> None:
    engine = load_engine(str(starter_folder))
    assert engine.card is not None
    question = Message("user", "What is the capital of France?")
    greedy = SamplingParams(temperature=0, max_tokens=16)
    text, ids, done = run(engine, Generate(1, (question,), greedy))
    assert "Paris" in text
    assert done.reason == "stop"
    reply = Message("assistant", text, tuple(ids), engine.card.fingerprint)
    more = (question, reply, Message("user", "And of Italy?"))
    _, _, second = run(engine, Generate(2, more, greedy))
    assert second.usage.reused_tokens == done.usage.prompt_tokens + len(ids) - 1


def test_an_unfinished_reply_goes_on_as_if_it_had_not_stopped(engine: Engine) -> None:
    """Cut anywhere and continued, a greedy reply is the whole one; all before is reused."""
    user = Message("user", "Tell me a story about a fox.")
    whole = replace(GREEDY, max_tokens=24)
    text, ids, _ = run(engine, Generate(1, (user,), whole))
    fingerprint = engine.tokenizer.fingerprint
    for cut in (1, 7, 23):
        part = engine.tokenizer.decode(ids[:cut])
        known = Message("assistant", part, tuple(ids[:cut]), fingerprint)
        rest = replace(GREEDY, max_tokens=24 - cut)
        more_text, more, done = run(engine, Generate(2, (user, known), rest))
        assert done.continued == cut
        assert list(done.prompt_ids[-cut:]) == list(ids[:cut])
        assert [*ids[:cut], *more] == list(ids)
        assert part.endswith("\ufffd") or part + more_text == text
        assert done.usage.reused_tokens >= len(done.prompt_ids) - 1
        assert done.usage.cache_nbytes == engine.cache_nbytes > 0
