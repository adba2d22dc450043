"""Both mask engines let through the same tokens: those that the automaton takes."""

from __future__ import annotations

import gc
import json
import random
import shutil
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tekken
import tiny
from inference.api import Tool
from inference.constrained import masks
from inference.constrained.constraint import make_constraint
from inference.constrained.grammar import Alt, Chars, Grammar, Node, Ref, Repeat, Seq, Text
from inference.constrained.json_schema import compile_schema
from inference.constrained.masks import Language
from inference.constrained.vocabulary import Vocabulary, vocabulary
from inference.tokenizer import Tokenizer
from tool_schemas import SCHEMAS

_PLAIN = Chars(((0x20, 0x21), (0x23, 0x5B), (0x5D, 0xD7FF), (0xE000, 0x10FFFF)))
_ESCAPE = Seq((Text("\\"), Chars(((34, 34), (92, 92)))))
_STRING = Seq((Text('"'), Repeat(Alt((_PLAIN, _ESCAPE))), Text('"')))
_DIGIT = Chars(((48, 57),))
_WHOLE = Alt((Text("0"), Seq((Chars(((49, 57),)), Repeat(_DIGIT, 0, 8)))))
_NUMBER = Seq((Repeat(Text("-"), 0, 1), _WHOLE))
_COMMA = Seq((Text(","), Repeat(Text(" "), 0, 1)))


def _listed(opens: str, item: Node, closes: str) -> Node:
    more = Repeat(Seq((_COMMA, item)))
    return Seq((Text(opens), Alt((Text(""), Seq((item, more)))), Text(closes)))


_PAIR = Seq((_STRING, Text(":"), Repeat(Text(" "), 0, 1), Ref("value")))
GRAMMARS = {
    "any JSON": Grammar(
        Ref("value"),
        {
            "value": Alt((Ref("object"), _STRING, Ref("array"), _NUMBER, Text("true"), Text(""))),
            "object": _listed("{", _PAIR, "}"),
            "array": _listed("[", Ref("value"), "]"),
        },
    ),
    "prefixes": Grammar(Repeat(Alt((Text("get"), Text("get_x"), Text("é"), Text("ê"))), 1, 3)),
    "bounded": Grammar(Seq((Text('"'), Repeat(_PLAIN, 2, 5), Text('"')))),
    "a billion": Grammar(Seq((Text("<"), Repeat(_PLAIN, 3, 10**9), Text('"')))),
    "shared": Grammar(
        Seq((Ref("b"), Ref("b"))), {"b": Repeat(Ref("c"), 2, 2), "c": Repeat(_DIGIT, 1, 2)}
    ),
}


def _spm(folder: Path, version: str) -> Tokenizer:
    shutil.copy(tiny.data_file(version), folder / f"tokenizer.model.{version}")
    return Tokenizer.from_folder(folder)


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Vocabulary]:
    small = Tokenizer.from_file(tekken.write(tmp_path_factory.mktemp("tekken"), "v13"))
    large = _spm(tmp_path_factory.mktemp("spm"), "v3")
    return {"tekken": vocabulary(small, small.n_words + 7), "spm": vocabulary(large, 32768)}


def _walk(grammar: Grammar, words: Vocabulary, steps: int, seed: int) -> tuple[bytes, int]:
    """A random text, token by token, with both engines asked at each step for the mask."""
    rng = random.Random(seed)
    guided, own = (Language(grammar, words, engine) for engine in ("llguidance", "own"))
    follower = guided.follow()
    assert follower.guided
    state = own.automaton.start()
    text = b""
    for step in range(steps):
        mask = follower.mask(state)
        assert follower.guided
        assert mask is not None
        expected = own.exact(state)
        if not np.array_equal(mask, expected):
            differ = np.flatnonzero(mask != expected)[:5]
            raise AssertionError(
                f"behind {text[-80:]!r} llguidance says {mask[differ]} for "
                f"{[words.pieces[i] for i in differ]}"
            )
        allowed = np.flatnonzero(mask).tolist()
        if not allowed:
            assert own.automaton.complete(state)
            return text, step
        ends = [i for i in allowed if words.pieces[i][-1:] in b'"}],']
        token = rng.choice(ends if ends and rng.random() < 0.5 else allowed)
        after = own.automaton.advance(state, words.pieces[token])
        assert after is not None
        state = after
        text += words.pieces[token]
        follower.take(token)
    return text, steps


@pytest.mark.parametrize("name", GRAMMARS)
@pytest.mark.parametrize("which", ["tekken", "spm"])
def test_both_engines_allow_the_same(words: dict[str, Vocabulary], which: str, name: str) -> None:
    for seed in range(3):
        _, steps = _walk(GRAMMARS[name], words[which], 40, seed)
        assert steps


@pytest.mark.parametrize("name", SCHEMAS)
def test_both_engines_allow_the_same_for_tools(words: dict[str, Vocabulary], name: str) -> None:
    grammar = compile_schema(SCHEMAS[name])
    for which in ("tekken", "spm"):
        _, steps = _walk(grammar, words[which], 60, seed=1)
        assert steps


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_text_of_the_automaton_is_taken_byte_for_byte(
    words: dict[str, Vocabulary], name: str
) -> None:
    vocabulary = words["tekken"]
    language = Language(compile_schema(SCHEMAS[name]), vocabulary, "llguidance")
    automaton = language.automaton
    rng = random.Random(name)
    for length in (0, 20, 80):
        follower = language.follow()
        state = automaton.start()
        text = b""
        while len(text) < length and (allowed := automaton.allowed(state)):
            byte = rng.choice([b for b in range(256) if allowed >> b & 1 and b < 128] or [0])
            after = automaton.advance(state, bytes([byte]))
            if after is None:  # only the rest of a character may come
                break
            text += bytes([byte])
            state = after
        text += automaton.shortest(state)
        for byte in text:
            follower.take(tekken.N_SPECIAL + byte)
            assert follower.guided, text
        end = automaton.advance(automaton.start(), text)
        assert end is not None
        mask = follower.mask(end)
        assert mask is not None
        assert np.array_equal(mask, language.exact(end))


def test_many_options_are_not_too_deep(words: dict[str, Vocabulary]) -> None:
    for extra in ({}, {"rest": {"$ref": "#"}}):
        options = {f"option_{n}": {"type": "boolean"} for n in range(300)}
        grammar = compile_schema({"type": "object", "properties": {**options, **extra}})
        _, steps = _walk(grammar, words["tekken"], 60, seed=1)
        assert steps > 10


# ── when llguidance fails ─────────────────────────────────────────────────────────────


class _Broken:
    """A matcher that fails where it is told to."""

    def __init__(self, matcher: Any, where: str, after: int, error: BaseException | None) -> None:
        self._matcher, self._where, self._after, self._error = matcher, where, after, error

    def deep_copy(self) -> _Broken:
        return _Broken(self._matcher.deep_copy(), self._where, self._after, self._error)

    def __getattr__(self, name: str) -> Any:
        if name == self._where:
            self._after -= 1
            if self._after < 0:
                if self._error is not None:
                    raise self._error
                return lambda *_: False if name == "consume_token" else None
        return getattr(self._matcher, name)


class PanicException(BaseException):  # as pyo3 names its own
    pass


@pytest.mark.parametrize("where", ["compute_bitmask", "consume_token", "is_error"])
@pytest.mark.parametrize("after", [0, 3])
@pytest.mark.parametrize("error", [None, ValueError("no"), PanicException("a panic")])
def test_a_failing_llguidance_is_replaced_in_the_middle(
    words: dict[str, Vocabulary],
    where: str,
    after: int,
    error: BaseException | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if where == "is_error" and error is None:
        error = RuntimeError()
    language = Language(GRAMMARS["bounded"], words["tekken"], "llguidance")
    language._matcher = _Broken(language._matcher, where, after, error)
    follower = language.follow()
    state = language.automaton.start()
    for byte in b'"abc"':
        mask = follower.mask(state)
        expected = language.exact(state)
        if mask is None:  # wide, for our own
            assert not follower.guided
            assert expected[tekken.N_SPECIAL + byte]
        else:
            assert np.array_equal(mask, expected)
        follower.take(tekken.N_SPECIAL + byte)
        after_byte = language.automaton.advance(state, bytes([byte]))
        assert after_byte is not None
        state = after_byte
    assert not follower.guided
    assert "llguidance has failed" in caplog.text


def test_a_grammar_that_llguidance_does_not_take(
    words: dict[str, Vocabulary], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for text in ("start: [", "start: nowhere", ""):
        monkeypatch.setattr(masks, "lark", lambda _, text=text: text)
        language = Language(GRAMMARS["bounded"], words["tekken"], "auto")
        assert not language.follow().guided
    assert caplog.text.count("does not take") == 3


def test_without_llguidance_our_own_is_at_work(
    words: dict[str, Vocabulary], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    language = Language(GRAMMARS["bounded"], words["tekken"], "auto")
    follower = language.follow()
    assert not follower.guided
    mask = follower.mask(language.automaton.start())
    assert mask is not None
    pieces = {words["tekken"].pieces[i] for i in np.flatnonzero(mask)}
    assert pieces == {b'"', b'":', b'": ', b'": "', b'"}'}


def test_an_interrupt_is_no_failure(words: dict[str, Vocabulary]) -> None:
    language = Language(GRAMMARS["bounded"], words["tekken"], "llguidance")
    language._matcher = _Broken(language._matcher, "compute_bitmask", 0, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        language.follow().mask(language.automaton.start())


# ── the vocabulary ────────────────────────────────────────────────────────────────────


def test_a_text_is_spelled_by_the_longest_tokens(words: dict[str, Vocabulary]) -> None:
    small = words["tekken"]
    assert small.has_all_bytes
    ids = small.spell('{" good": "é🙂"}'.encode())
    assert ids is not None
    assert [small.pieces[i] for i in ids] == [
        b'{"', b" good", b'": "', "é".encode(), b"\xf0\x9f\x99", b"\x82", b'"}',
    ]  # fmt: skip
    assert small.spell(b"") == []


def test_the_trie_finds_what_trying_finds(words: dict[str, Vocabulary]) -> None:
    for which in words.values():
        for grammar in GRAMMARS.values():
            language = Language(grammar, which, "own")
            automaton, state = language.automaton, language.automaton.start()
            for _ in range(3):
                tried = [bool(p) and automaton.advance(state, p) is not None for p in which.pieces]
                assert language.exact(state).tolist() == tried
                token = random.Random(1).choice(np.flatnonzero(tried).tolist())
                after = automaton.advance(state, which.pieces[token])
                assert after is not None
                state = after


def test_nothing_is_kept_of_a_tokenizer_that_has_gone(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_file(tekken.write(tmp_path, "v13"))
    tools = [Tool("f", "", json.dumps(SCHEMAS["tree"]))]
    for engine in ("llguidance", "own"):
        constraint = make_constraint(tokenizer, tools, "any", 99, tokenizer.n_words, engine)
        assert constraint is not None
        for _ in range(9):
            token = constraint.forced()
            assert token is not None
            constraint.accept(token)
            constraint.exact_mask()
            constraint.mask()
    gone = weakref.ref(vocabulary(tokenizer, tokenizer.n_words))
    del tokenizer, constraint
    for _ in range(2):  # first the tokenizer, then what hung on it
        gc.collect()
    assert gone() is None


def test_what_is_remembered_has_an_end_between_replies(tmp_path: Path) -> None:
    bounded = Grammar(Repeat(Chars(((97, 122),)), 0, 5000))
    tokenizer = Tokenizer.from_file(tekken.write(tmp_path, "v3"))
    words = vocabulary(tokenizer, tokenizer.n_words)
    first = masks.language("bounded", lambda: bounded, words, "own")
    state = first.automaton.start()
    for _ in range(9000 // 2):
        after = first.automaton.advance(state, b"a")
        assert after is not None
        state = after
    assert first.automaton.kept > 8000
    again = masks.language("bounded", lambda: bounded, words, "own")
    assert again is first
    assert again.automaton.kept < 100
