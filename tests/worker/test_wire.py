"""Frames: what is sent comes out the same, and foreign bytes give `WireError` only."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import random
import socket
import struct
import threading
import typing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference import api, wire
from inference.api import (
    Cancel,
    CountTokens,
    Event,
    Failed,
    Finished,
    Generate,
    Heartbeat,
    LoadProgress,
    Message,
    Request,
    SamplingParams,
    Timings,
    Tokens,
    Usage,
)

KINDS: list[type[Any]] = [*typing.get_args(Request), *typing.get_args(Event)]
# Every code point, lone surrogates and pairs of them too, not only what UTF-8 can hold.
TEXT = st.text(st.characters(exclude_categories=())) | st.sampled_from(
    ["\ud800", "\ud83d\ude00", "\x00\x1b[31m", "\u2028é😀", '"\\', "type"]
)
LEAVES: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(-(2**70), 2**70),
    float: st.floats(allow_nan=False, allow_infinity=False),
    str: TEXT,
    bool: st.booleans(),
    type(None): st.none(),
}


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    """Random values of a field's type."""
    if dataclasses.is_dataclass(hint):
        return instances_of(typing.cast(type[Any], hint))
    args = typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        return st.lists(values_of(args[0]), max_size=6).map(tuple)
    if typing.get_origin(hint) is typing.Literal:
        return st.sampled_from(args)
    return st.one_of(*(LEAVES[arg] for arg in args or (hint,)))


def instances_of(kind: type[Any]) -> st.SearchStrategy[Any]:
    """Random instances of one of the contract's dataclasses."""
    hints = typing.get_type_hints(kind, vars(api))
    return st.builds(kind, **{name: values_of(hint) for name, hint in hints.items()})


def body_of(message: Request | Event) -> dict[str, Any]:
    return typing.cast(dict[str, Any], json.loads(wire.encode(message)[4:]))


def decode_json(body: Any) -> Request | Event:
    return wire.decode(json.dumps(body).encode())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_message_of_the_contract_comes_back_equal(kind: type[Any]) -> None:
    @settings(max_examples=40, deadline=None)
    @given(instances_of(kind))
    def round_trip(message: Request | Event) -> None:
        frame = wire.encode(message)
        assert wire.body_length(frame[:4]) == len(frame) - 4
        back = wire.decode(frame[4:])
        assert type(back) is type(message)
        assert back == message

    round_trip()


def test_long_tuples_come_back_as_tuples_of_the_same_type() -> None:
    ids = tuple(range(100_000))
    logprobs = tuple(-n / 7 for n in range(100_000))
    back = wire.decode(wire.encode(Tokens(1, ids, logprobs, "é" * 100_000))[4:])
    assert back == Tokens(1, ids, logprobs, "é" * 100_000)
    done = Finished(1, "stop", Usage(1, 0, 1), Timings(0.1, 0.2, 0.3, 4.0), 9, ids)
    assert wire.decode(wire.encode(done)[4:]) == done
    asked = Generate(7, tuple(Message("user", str(n), ids[:9], "f") for n in range(500)))
    assert wire.decode(wire.encode(asked)[4:]) == asked


def test_a_whole_number_is_good_for_a_float_and_becomes_one() -> None:
    back = decode_json(body_of(Generate(1, ())) | {"sampling": {"temperature": 1}})
    assert isinstance(back, Generate)
    assert type(back.sampling.temperature) is float
    back = decode_json({"type": "Tokens", "id": 1, "ids": [], "logprobs": [0, -1.5], "text": ""})
    assert isinstance(back, Tokens)
    assert [type(value) for value in back.logprobs] == [float, float]


def test_fields_that_have_defaults_may_be_left_out() -> None:
    assert decode_json({"type": "Heartbeat"}) == Heartbeat()
    assert decode_json({"type": "Generate", "id": 3, "messages": []}) == Generate(3, ())


HOSTILE = {
    "no JSON": b"{",
    "nothing": b"",
    "not UTF-8": b'{"type":"Heartbeat","id":\xff}',
    "a byte order mark of another encoding": b"\xff\xfe{\x00",
    "null": b"null",
    "a number": b"17",
    "a list": b"[]",
    "a string": b'"Heartbeat"',
    "no type": b"{}",
    "an unknown type": b'{"type":"Message","role":"user","text":""}',
    "a type that is a list": b'{"type":[]}',
    "a type that is an object": b'{"type":{}}',
    "an unknown field": b'{"type":"Heartbeat","id":1,"more":2}',
    "a private field": b'{"type":"Heartbeat","__class__":2}',
    "a missing field": b'{"type":"Cancel","id":1}',
    "a text for a number": b'{"type":"Cancel","id":1,"target":"2"}',
    "a truth value for a number": b'{"type":"Cancel","id":1,"target":true}',
    "a fraction for a whole number": b'{"type":"Cancel","id":1,"target":1.0}',
    "null for a number": b'{"type":"Cancel","id":1,"target":null}',
    "a number for a text": b'{"type":"Complete","id":1,"prompt":7}',
    "a number for a truth value": b'{"type":"LoadModel","id":1,"model":"m","fetch":1}',
    "an object for a list": b'{"type":"CountTokens","id":1,"messages":{}}',
    "a text for a list": b'{"type":"Complete","id":1,"prompt":"","stop":"abc"}',
    "numbers in a list of texts": b'{"type":"Complete","id":1,"prompt":"","stop":["a",1]}',
    "a truth value in a list of numbers": (
        b'{"type":"Tokens","id":1,"ids":[1,true],"logprobs":[],"text":""}'
    ),
    "null in a list of floats": b'{"type":"Tokens","id":1,"ids":[],"logprobs":[null],"text":""}',
    "a float beyond all floats": (
        b'{"type":"Tokens","id":1,"ids":[],"logprobs":[1' + b"0" * 400 + b'],"text":""}'
    ),
    "a number beyond all parsers": b'{"type":"Heartbeat","id":' + b"9" * 5000 + b"}",
    "a list for a dataclass": b'{"type":"Complete","id":1,"prompt":"","sampling":[]}',
    "an unknown field within": b'{"type":"Complete","id":1,"prompt":"","sampling":{"heat":1}}',
    "a wrong word": b'{"type":"CountTokens","id":1,"messages":[{"role":"root","text":""}]}',
    "a role that is a list": b'{"type":"CountTokens","id":1,"messages":[{"role":[],"text":""}]}',
    "messages that are numbers": b'{"type":"CountTokens","id":1,"messages":[1,2]}',
    "deep nesting": b"[" * 200_000 + b"]" * 200_000,
    "deep nesting in a field": b'{"type":"Heartbeat","id":' + b"[" * 900 + b"]" * 900 + b"}",
    "deep objects": b'{"type":"Heartbeat","id":' + b'{"a":' * 100_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_message_is_refused(name: str) -> None:
    with pytest.raises(wire.WireError) as caught:
        wire.decode(HOSTILE[name])
    assert len(str(caught.value)) < 400


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_give_a_wire_error_only(data: bytes) -> None:
    with pytest.raises(wire.WireError):
        wire.decode(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(KINDS), st.randoms(use_true_random=False), JSON)
def test_a_field_of_any_other_type_gives_a_wire_error_only(
    kind: type[Any], chance: random.Random, value: Any
) -> None:
    names = [field.name for field in dataclasses.fields(kind)]
    body = {"type": kind.__name__} | {name: value for name in names if chance.random() < 0.7}
    try:
        message = decode_json(body)
    except wire.WireError:
        return
    assert wire.decode(wire.encode(message)[4:]) == message


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_damaged_frame_gives_a_message_or_a_wire_error(place: int, byte: int) -> None:
    ask = Generate(5, (Message("user", "Hé\n", (1, 2), "f"),), SamplingParams(seed=3), ("x",))
    data = bytearray(wire.encode(ask)[4:])
    data[place % len(data)] = byte
    with contextlib.suppress(wire.WireError):
        assert type(wire.decode(bytes(data))) in KINDS


def test_an_absurd_length_is_refused_before_anything_is_read() -> None:
    assert wire.body_length(struct.pack(">I", wire.MOST_BYTES)) == wire.MOST_BYTES
    for length in (wire.MOST_BYTES + 1, 0xFFFF_FFFF):
        with pytest.raises(wire.WireError, match=str(length)):
            wire.body_length(struct.pack(">I", length))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"GET / HTTP/1.1\r\n")
        with pytest.raises(wire.WireError):
            wire.receive(ours)


def test_messages_are_received_whole_however_they_are_cut() -> None:
    sent: list[Request | Event] = [
        Cancel(1, 2),
        CountTokens(3, (Message("user", "x" * 300_000),)),
        LoadProgress(4, "reading", 5, 6),
        Failed(5, "internal", "No.", "detail"),
    ]
    data = b"".join(map(wire.encode, sent))
    chance = random.Random(0)
    ours, theirs = socket.socketpair()

    def trickle() -> None:
        rest = data
        while rest:
            size = chance.choice((1, 2, 3, 100, 70_000))
            theirs.sendall(rest[:size])
            rest = rest[size:]
        theirs.close()

    with ours:
        writer = threading.Thread(target=trickle)
        writer.start()
        received = []
        while (message := wire.receive(ours)) is not None:
            received.append(message)
        writer.join()
    assert received == sent


@pytest.mark.parametrize("kept", [0, 2, 4, 9])
def test_an_end_in_the_middle_of_a_frame_is_an_end(kept: int) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            theirs.sendall(wire.encode(Cancel(1, 2))[:kept])
        assert wire.receive(ours) is None
