"""Token by token: the record of an answer, branching in it, measuring one; the real engine."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tiny
from fake_engine import FakeEngine, Reply, ask, chat, eventually
from inference.api import Candidate, Generate
from mistral_tui import tokens
from mistral_tui.choices import SamplingChoice
from mistral_tui.happenings import Note
from mistral_tui.history import places
from mistral_tui.history.export import to_json
from mistral_tui.history.importing import import_file
from mistral_tui.history.store import Store
from windows import Window, window

LONG = SamplingChoice(temperature=1.3, max_tokens=30, seed=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make(tmp_path_factory.mktemp("models") / "tiny", max_position_embeddings=4096)


def last(w: Window) -> tokens.Record:
    record = w.session.tokens_of(w.session.messages[-1].id)
    assert record is not None
    return record


# ── on disk ─────────────────────────────────────────────────────────────────────────

candidates = st.builds(
    Candidate,
    st.integers(0, 2**32 - 1),
    st.floats(-90, 0).map(lambda p: round(p, 4)),
    st.binary(max_size=8).map(lambda b: b.decode("utf-8", "surrogateescape")),
    st.booleans(),
)


@given(st.lists(st.lists(candidates, max_size=6).map(tuple), max_size=20))
def test_places_come_back_as_they_were(told: list[places.Place]) -> None:
    kept = places.unpack(places.pack(told))
    assert kept == (tuple(told) if any(told) else ())
    assert places.of_rows(places.rows(places.pack(told))) == kept


@pytest.mark.parametrize(
    "blob",
    [b"", b"x", b"\x78\x9c", places.pack([(Candidate(1, -1.0, "a"),)])[:-8]],
)
def test_damaged_places_are_none(blob: bytes) -> None:
    assert places.unpack(blob) == ()


@pytest.mark.parametrize(
    "rows",
    [None, {}, [[1]], [[[1, 2, "a"]]], [[[-1, -1.0, "a"]]], [[[1, -1.0, 5]]], [[["1", -1.0, "a"]]]],
)
def test_foreign_places_are_checked(rows: object) -> None:
    with pytest.raises(ValueError, match="no "):
        places.of_rows(rows)


def test_a_bomb_is_not_unpacked() -> None:
    import zlib

    assert places.unpack(zlib.compress(b" " * (65 << 20))) == ()


# ── the record ──────────────────────────────────────────────────────────────────────


def test_the_tokens_of_a_character_show_where_it_is_complete() -> None:
    pieces = [piece.decode("utf-8", "surrogateescape") for piece in (b"a", b"\xe2\x98", b"\xba!")]
    told = [(Candidate(n, -0.5, piece),) for n, piece in enumerate(pieces)]
    record = tokens.record("f", [0, 1, 2], [-0.5] * 3, told)
    assert [token.text for token in record.tokens] == ["a", "", "☺!"]
    assert record.complete


def test_control_tokens_show_their_name_and_end_thinking() -> None:
    names = [("[THINK]", True), ("hm", False), ("[/THINK]", True), ("yes", False), ("</s>", True)]
    told = [(Candidate(n, -0.5, name, control),) for n, (name, control) in enumerate(names)]
    record = tokens.record("f", range(5), [-0.5] * 5, told)
    assert [t.text for t in record.tokens] == ["", "hm", "", "yes", ""]
    assert [t.name for t in record.tokens] == ["[THINK]", "", "[/THINK]", "", "</s>"]
    assert [t.thinking for t in record.tokens] == [True, True, False, False, False]
    branch = record.branch(3, Candidate(9, -2.0, "no"))
    assert (branch.thinking, branch.text, branch.over) == ("hm", "no", False)
    assert record.branch(3, Candidate(4, -2.0, "</s>", True)).over


# ── with the engine ─────────────────────────────────────────────────────────────────


def test_a_branch_has_no_text_of_its_calls() -> None:
    pieces = ["Well", "[TOOL_CALLS]", '[{"name"', ": 1"]
    told = [
        (Candidate(n, -1.0, piece, control=piece.startswith("[T")),)
        for n, piece in enumerate(pieces)
    ]
    record = tokens.record("f", [0, 1, 2, 3], [-1.0] * 4, told)
    branch = record.branch(3, Candidate(9, -2.0, ": 2"))
    assert (branch.text, branch.over) == ("Well", False)
    assert branch.realization.ids == (0, 1, 2, 9)
    begun = record.branch(0, Candidate(1, -2.0, "[TOOL_CALLS]", True))
    assert (begun.text, begun.over) == ("", False)


async def test_an_answer_keeps_its_tokens_over_a_restart(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    async with window(folder, path, sampling=LONG) as w:
        await w.session.say("one")
        record = last(w)
        message = w.session.messages[-1]
        assert record.complete
        assert "".join(token.text for token in record.tokens) == message.text
        assert tuple(t.id for t in record.tokens) == message.realizations[0].ids
        conversation = message.conversation_id
    async with window(folder, path) as w:
        await w.session.open(conversation)
        assert last(w) == record


async def test_branching_goes_on_from_the_chosen_token(folder: Path) -> None:
    async with window(folder, sampling=LONG) as w:
        await w.session.say("one")
        await w.session.say("two")
        record, old = last(w), w.session.messages[-1]
        index = 7
        other = next(c for c in record.tokens[index].candidates if c.id != record.tokens[index].id)
        await w.session.branch_at(old.id, record, index, other)
        new = w.session.messages[-1]
        assert w.session.siblings[new.id].ids == (old.id, new.id)
        made = new.realizations[0]
        before = tuple(token.id for token in record.tokens[:index])
        assert made.ids[: index + 1] == (*before, other.id)
        assert len(made.ids) > index + 1
        again = last(w)
        assert again.complete
        assert again.tokens[:index] == record.tokens[:index]
        assert "".join(token.text for token in again.tokens) == new.text
        w.check()
        request, done = w.engine.answered[-1]
        assert isinstance(request, Generate)
        assert tuple(done.prompt_ids[-index - 1 :]) == (*before, other.id)
        assert done.continued == index + 1
        # All that was before the place is in the cache still.
        assert done.usage.reused_tokens >= done.usage.prompt_tokens - 2
        # What was there is there still, word for word.
        assert await w.session.walk(new.id, -1)
        assert w.session.messages[-1].text == old.text


@pytest.mark.parametrize("index", [0, 29])
async def test_branching_at_both_ends(folder: Path, index: int) -> None:
    async with window(folder, sampling=LONG) as w:
        await w.session.say("one")
        record, old = last(w), w.session.messages[-1]
        place = record.tokens[index].candidates
        other = next(c for c in place if c.id != record.tokens[index].id and c.piece.strip())
        await w.session.branch_at(old.id, record, index, other)
        assert w.session.messages[-1].realizations[0].ids[index] == other.id
        w.check()


async def test_a_branch_that_ends_there_asks_for_nothing(folder: Path) -> None:
    async with window(folder, sampling=LONG) as w:
        await w.session.say("one")
        record, old = last(w), w.session.messages[-1]
        assert w.engine.engine is not None
        end = Candidate(w.engine.engine.tokenizer.eos_id, -3.0, "</s>", control=True)
        asked = len(w.engine.answered)
        await w.session.branch_at(old.id, record, 5, end)
        assert len(w.engine.answered) == asked
        new = w.session.messages[-1]
        assert new.text == "".join(token.text for token in record.tokens[:5])
        assert new.realizations[0].ids[-1] == end.id
        await w.session.branch_at(new.id, record, 0, end)
        assert w.session.messages[-1].id == new.id
        assert any("cannot end before" in note for note in w.notes)
        await w.session.say("two")
        w.check()


async def test_another_models_answer_is_not_branched(folder: Path) -> None:
    async with window(folder, sampling=LONG) as w:
        await w.session.say("one")
        message = w.session.messages[-1]
        foreign = tokens.Record("another", last(w).tokens)
        await w.session.branch_at(message.id, foreign, 3, foreign.tokens[3].candidates[0])
        assert isinstance(w.told[-1], Note)
        assert "Another model wrote" in w.told[-1].sentence
        assert w.session.messages[-1].id == message.id


async def test_an_edited_answer_is_measured_and_branched(folder: Path) -> None:
    async with window(folder, sampling=LONG) as w:
        await w.session.say("one")
        await w.session.edit(w.session.messages[-1].id, "Something that no model said.")
        edited = w.session.messages[-1]
        assert w.session.tokens_of(edited.id) is None
        record = await w.session.measure(edited.id)
        assert record is not None
        assert record.complete
        assert "".join(token.text for token in record.tokens) == edited.text
        assert all(token.logprob < 0 for token in record.tokens)
        other = next(c for c in record.tokens[2].candidates if c.id != record.tokens[2].id)
        await w.session.branch_at(edited.id, record, 2, other)
        assert w.session.messages[-1].realizations[0].ids[2] == other.id
        w.check()


async def test_measuring_says_what_drawing_told(folder: Path) -> None:
    async with window(folder, sampling=LONG) as w:
        await w.session.say("one")
        told = last(w)
        measured = await w.session.measure(w.session.messages[-1].id)
        assert measured is not None
        assert [t.id for t in measured.tokens] == [t.id for t in told.tokens]
        for one, other in zip(measured.tokens, told.tokens, strict=True):
            assert one.logprob == pytest.approx(other.logprob, abs=1e-3)
        await w.session.say("two")
        w.check()


async def test_a_record_goes_with_copies_exports_and_imports(folder: Path, tmp_path: Path) -> None:
    import json

    path = tmp_path / "c.db"
    async with window(folder, path, sampling=LONG) as w:
        await w.session.say("one")
        record = last(w)
        await w.session.copy_branch()
        assert last(w) == record
        conversation = w.session.messages[0].conversation_id
    store = Store(path)
    exported = tmp_path / "out.json"
    exported.write_text(
        json.dumps({"conversations": [to_json(*store.load_tree(conversation))]}, default=list)
    )
    store.close()
    other = Store(tmp_path / "other.db")
    import_file(other, exported)
    (found,) = other.all_ids()
    (answer,) = (m for m in other.load_conversation(found)[1] if m.role == "assistant")
    assert tokens.of_realization(answer.realizations[0]) == record
    other.close()


async def test_a_running_answer_has_its_tokens_so_far() -> None:
    reply = Reply([f"w{n} " for n in range(9)], holds_at=4)
    async with chat(FakeEngine([reply])) as (app, pilot):
        app.prompt.put("Go")
        await pilot.press("enter")
        session = app.session
        await eventually(lambda: session.running_message_id)
        key = session.running_message_id
        assert key is not None
        await eventually(lambda: len(getattr(session.tokens_of(key), "tokens", ())) == 4)
        record = session.tokens_of(key)
        assert record is not None
        assert [token.text for token in record.tokens] == ["w0 ", "w1 ", "w2 ", "w3 "]
        assert math.exp(record.tokens[1].logprob) == pytest.approx(0.75)
        reply.release.set()
        await eventually(lambda: not session.answering)


async def test_what_is_kept_is_small() -> None:
    async with chat(FakeEngine([Reply([f"word{n} " for n in range(500)])])) as (app, pilot):
        await ask(pilot, "Go")
        (made,) = app.session.messages[-1].realizations
        assert len(made.places) < 30 * 500
