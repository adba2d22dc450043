"""What is told of a reply while it is drawn: candidates, thinking, and measuring afterwards."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
import torch

import tekken
import tiny
from inference.api import (
    Candidate,
    Event,
    Finished,
    Generate,
    Measure,
    Message,
    SamplingParams,
    Tokens,
)
from inference.engine import Engine
from inference.errors import RequestError
from inference.loading import load_engine
from inference.reply import ReplyStream
from inference.sampling import likeliest
from inference.tokenizer import Tokenizer

USER = Message("user", "Tell me something.")
GREEDY = SamplingParams(temperature=0, max_tokens=20)
DRAWN = SamplingParams(temperature=1.5, max_tokens=40, seed=11)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tiny.make(tmp_path_factory.mktemp("models") / "tiny")
    return load_engine(str(folder), device="cpu", threads=1)


@pytest.fixture(scope="module")
def thinker(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return Tokenizer.from_folder(tekken.write(tmp_path_factory.mktemp("tekken"), "v13").parent)


def tokens(events: list[Event]) -> Tokens:
    """All that was told of the tokens, as one event."""
    told = [event for event in events if isinstance(event, Tokens)]
    return Tokens(
        told[0].id,
        tuple(i for event in told for i in event.ids),
        tuple(p for event in told for p in event.logprobs),
        "".join(event.text for event in told),
        "".join(event.thinking for event in told),
        tuple(place for event in told for place in event.places),
    )


# ── candidates ──────────────────────────────────────────────────────────────────────


def test_the_likeliest_are_those_of_a_sorted_softmax() -> None:
    logits = torch.randn(300, generator=torch.Generator().manual_seed(1)) * 4
    wanted = logits.log_softmax(-1).sort(descending=True)
    told = likeliest(logits, 5)
    assert [token for token, _ in told] == wanted.indices[:5].tolist()
    assert [p for _, p in told] == pytest.approx(wanted.values[:5].tolist(), abs=1e-5)
    assert likeliest(logits, 0) == ()
    assert len(likeliest(logits[:3], 5)) == 3


def test_without_being_asked_no_candidates_are_told(engine: Engine) -> None:
    assert tokens(list(engine.run(Generate(1, (USER,), GREEDY)))).places == ()


def test_each_place_has_its_candidates_and_the_drawn_one_among_them(engine: Engine) -> None:
    told = tokens(list(engine.run(Generate(1, (USER,), DRAWN, candidates=5))))
    assert len(told.places) == len(told.ids) == 40
    outsiders = 0
    for token, logprob, place in zip(told.ids, told.logprobs, told.places, strict=True):
        ids = [candidate.id for candidate in place]
        assert len(set(ids)) == len(ids)
        assert token in ids
        assert place[ids.index(token)].logprob == pytest.approx(logprob, abs=1e-4)
        ranked = [c.logprob for c in place[:5]]
        assert ranked == sorted(ranked, reverse=True)
        assert sum(math.exp(c.logprob) for c in place) <= 1 + 1e-5
        outsiders += len(place) == 6
    assert outsiders  # at this temperature


def test_the_candidates_do_not_change_what_is_drawn(engine: Engine) -> None:
    plain = tokens(list(engine.run(Generate(1, (USER,), DRAWN))))
    asked = tokens(list(engine.run(Generate(2, (USER,), DRAWN, candidates=5))))
    assert (plain.ids, plain.text) == (asked.ids, asked.text)


def test_the_pieces_of_the_drawn_tokens_are_the_text(engine: Engine) -> None:
    for seed in range(5):
        params = replace(DRAWN, seed=seed)
        told = tokens(list(engine.run(Generate(1, (USER,), params, candidates=3))))
        chosen = [
            next(c for c in place if c.id == token)
            for token, place in zip(told.ids, told.places, strict=True)
        ]
        joined = b"".join(
            c.piece.encode("utf-8", "surrogateescape") for c in chosen if not c.control
        )
        assert joined.decode("utf-8", "replace") == told.text


def test_an_unlikely_candidate_is_told_only_as_one_of_the_two_first(thinker: Tokenizer) -> None:
    reply = ReplyStream(1, thinker)
    first, second, third = (thinker.encode_text(word)[-1] for word in ("one", "two", "three"))
    (place,) = reply.add(first, -0.001, ((first, -0.001), (second, -9.0), (third, -9.5))).places
    assert [c.id for c in place] == [first, second]


def test_control_tokens_are_told_by_their_names(thinker: Tokenizer) -> None:
    reply = ReplyStream(1, thinker)
    word = thinker.encode_text("one")[-1]
    (place,) = reply.add(word, -1.0, ((word, -1.0), (thinker.eos_id, -1.2))).places
    assert place[1] == Candidate(thinker.eos_id, -1.2, "</s>", control=True)


# ── thinking ────────────────────────────────────────────────────────────────────────


def thought(thinker: Tokenizer, thinking: str, text: str) -> list[int]:
    begin, end = thinker.thinking_ids
    assert begin is not None
    assert end is not None
    plain = thinker.encode_text
    return [begin, *plain(thinking)[1:], end, *plain(text)[1:], thinker.eos_id]


def split(reply: ReplyStream, ids: list[int]) -> tuple[str, str]:
    told = [reply.add(token, -0.1) for token in ids]
    if (rest := reply.end()) is not None:
        told.append(rest)
    whole = tokens(list(told))
    return whole.thinking, whole.text


def test_thinking_is_told_apart_from_the_text(thinker: Tokenizer) -> None:
    assert thinker.has_thinking
    ids = thought(thinker, "Let me see… 🐎", "The answer is 4.")
    assert split(ReplyStream(1, thinker), ids) == ("Let me see… 🐎", "The answer is 4.")


def test_stop_strings_are_looked_for_in_the_text_only(thinker: Tokenizer) -> None:
    ids = thought(thinker, "Stop! STOP here", "Say it. STOP and more")
    thinking, text = split(ReplyStream(1, thinker, stop=["STOP"]), ids)
    assert (thinking, text) == ("Stop! STOP here", "Say it. ")


def test_what_a_stop_string_held_back_comes_before_thinking(thinker: Tokenizer) -> None:
    ids = [*thinker.encode_text("a ST")[1:], *thought(thinker, "hm", "OP b")]
    assert split(ReplyStream(1, thinker, stop=["STOP"]), ids) == ("hm", "a STOP b")


@pytest.mark.parametrize("seed", range(20))
def test_a_continued_reply_goes_on_in_the_right_place(thinker: Tokenizer, seed: int) -> None:
    ids = thought(thinker, "日本語 thinking 🐎🐎", "and the 日本語 answer")
    whole = split(ReplyStream(1, thinker), ids)
    at = random.Random(seed).randrange(len(ids))
    before = ReplyStream(1, thinker)
    begun = tokens([before.add(token, -0.1) for token in ids[: at + 1]])
    thinking, text = split(ReplyStream(1, thinker, open_reply=ids[: at + 1]), ids[at + 1 :])
    assert (begun.thinking + thinking, begun.text + text) == whole


def test_raw_text_has_no_thinking(thinker: Tokenizer) -> None:
    ids = thought(thinker, "hm", "yes")
    assert split(ReplyStream(1, thinker, chat=False), ids) == ("", "hmyes")


def test_a_reply_of_thinking_alone_stays_in_the_prompt(thinker: Tokenizer) -> None:
    begin, _ = thinker.thinking_ids
    assert begin is not None
    ids = (begin, *thinker.encode_text("not done")[1:])
    reply = Message("assistant", "", ids, thinker.fingerprint)
    prompt, open_reply = thinker.encode_reply([USER, reply])
    assert tuple(open_reply) == ids
    assert tuple(prompt[-len(ids) :]) == ids
    closed = thinker.encode_reply([USER, reply, USER])[0]
    assert thinker.eos_id in closed
    place = closed.index(begin)
    assert tuple(closed[place : place + len(ids) + 1]) == (*ids, thinker.eos_id)
    foreign = replace(reply, fingerprint="another")
    assert begin not in thinker.encode_reply([USER, foreign, USER])[0]


# ── measuring ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("chunk", [1, 3, 7, 64])
def test_measuring_gives_what_was_told_while_drawing(engine: Engine, chunk: int) -> None:
    drawn = list(engine.run(Generate(1, (USER,), DRAWN, candidates=4)))
    told = tokens(drawn)
    reply = Message("assistant", told.text, told.ids, engine.tokenizer.fingerprint)
    again = Engine(engine.model, engine.tokenizer, prefill_chunk=chunk)
    events = list(again.run(Measure(2, (USER, reply), candidates=4)))
    measured = tokens(events)
    assert measured.ids == told.ids
    assert (measured.text, measured.thinking) == ("", "")
    assert measured.logprobs == pytest.approx(told.logprobs, abs=1e-3)
    for one, other in zip(measured.places, told.places, strict=True):
        assert [c.id for c in one] == [c.id for c in other]
        assert [c.piece for c in one] == [c.piece for c in other]
    assert isinstance(events[-1], Finished)
    # The cache then holds the conversation: the next turn reads only what is new.
    follow = Generate(3, (USER, reply, USER), GREEDY)
    done = next(e for e in again.run(follow) if isinstance(e, Finished))
    assert done.usage.reused_tokens >= len(told.ids)


def test_an_edited_answer_is_measured_by_its_text(engine: Engine) -> None:
    reply = Message("assistant", "Something else entirely.")
    measured = tokens(list(engine.run(Measure(2, (USER, reply), candidates=2))))
    pieces = [
        next(c.piece for c in place if c.id == token)
        for token, place in zip(measured.ids, measured.places, strict=True)
    ]
    assert "".join(pieces) == reply.text


def test_there_must_be_an_answer_to_measure(engine: Engine) -> None:
    with pytest.raises(RequestError, match="no answer to measure"):
        list(engine.run(Measure(2, (USER,))))


def test_measuring_can_be_cancelled(engine: Engine) -> None:
    reply = Message("assistant", "word " * 40)
    events = list(engine.run(Measure(2, (USER, reply)), cancelled=lambda: True))
    assert isinstance(events[-1], Finished)
    assert events[-1].reason == "cancelled"
