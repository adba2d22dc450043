"""The automaton against a plain matcher on small grammars, and its costs on large ones."""

from __future__ import annotations

import random
import time
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.constrained.automaton import Automaton, State
from inference.constrained.grammar import Alt, Chars, Grammar, Node, Ref, Repeat, Seq, Text

CHAR = Alt(
    (
        Chars(((0x20, 0x21), (0x23, 0x5B), (0x5D, 0xD7FF), (0xE000, 0x10FFFF))),
        Seq((Text("\\"), Chars(((0x6E, 0x6E), (0x74, 0x74))))),
    )
)
RULES: dict[str, Node] = {
    "pairs": Alt((Text("ab"), Seq((Text("a"), Ref("pairs"), Text("b"))))),
    "chain": Alt((Seq(()), Seq((Text("a"), Ref("chain"))), Text("bb"))),
    "some": Repeat(Chars(((0x61, 0x62),)), 0, 2),
    "endless": Seq((Text("a"), Ref("endless"))),
}
ALPHABET, LONGEST = "ab", 6
TEXTS = ["".join(text) for size in range(LONGEST + 1) for text in product(ALPHABET, repeat=size)]

leaves = st.one_of(
    st.sampled_from(["", "a", "b", "ab", "ba", "aa"]).map(Text),
    st.sampled_from([((0x61, 0x61),), ((0x61, 0x62),)]).map(Chars),
    st.sampled_from(sorted(RULES)).map(Ref),
)


def _deeper(nodes: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    several = st.lists(nodes, min_size=1, max_size=3).map(tuple)
    counts = st.tuples(st.integers(0, 2), st.one_of(st.none(), st.integers(0, 2)))
    return st.one_of(
        several.map(Seq),
        several.map(Alt),
        st.builds(
            lambda node, n: Repeat(node, n[0], None if n[1] is None else n[0] + n[1]),
            nodes,
            counts,
        ),
    )


nodes = st.recursive(leaves, _deeper, max_leaves=8)


def ends(node: Node, text: str, at: int) -> set[int]:
    """Where a match of `node` in `text` from `at` on may end: the definition, written down."""
    if isinstance(node, Text):
        return {at + len(node.text)} if text.startswith(node.text, at) else set()
    if isinstance(node, Chars):
        fits = at < len(text) and any(a <= ord(text[at]) <= b for a, b in node.ranges)
        return {at + 1} if fits else set()
    if isinstance(node, Seq):
        found = {at}
        for part in node.parts:
            found = {end for begin in found for end in ends(part, text, begin)}
        return found
    if isinstance(node, Alt):
        return {end for choice in node.choices for end in ends(choice, text, at)}
    if isinstance(node, Ref):
        return ends(RULES[node.name], text, at)
    found, now, rounds = set[int](), {at}, 0
    history: set[tuple[int, frozenset[int]]] = set()
    while now and (node.most is None or rounds <= node.most):
        if rounds >= node.least:
            found |= now
        mark = (min(rounds, node.least), frozenset(now))
        if mark in history:
            break
        history.add(mark)
        now = {end for begin in now for end in ends(node.node, text, begin)}
        rounds += 1
    return found


def follow(automaton: Automaton, text: str) -> State | None:
    return automaton.advance(automaton.start(), text.encode())


@settings(max_examples=400, deadline=None)
@given(nodes)
def test_it_accepts_what_a_plain_matcher_accepts_and_knows_the_shortest_way(node: Node) -> None:
    language = {text for text in TEXTS if len(text) in ends(node, text, 0)}
    try:
        automaton = Automaton(Grammar(node, RULES))
    except ValueError:
        assert not language
        return
    for text in TEXTS:
        state = follow(automaton, text)
        assert (state is not None and automaton.complete(state)) == (text in language)
        behind = [len(word) - len(text) for word in language if word.startswith(text)]
        if state is None:
            assert not behind
            continue
        distance = automaton.distance(state)
        if behind:
            assert distance == min(behind)
        else:  # its texts are longer than those that were tried
            assert distance > LONGEST - len(text)
        shortest = automaton.shortest(state)
        assert len(shortest) == distance
        last = automaton.advance(state, shortest)
        assert last is not None
        assert automaton.complete(last)
        for byte in b"abc":
            may = automaton.allowed(state) >> byte & 1 == 1
            assert may == (automaton.advance(state, bytes([byte])) is not None)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 0x10FFFF), st.integers(0, 3000)), min_size=1, max_size=4),
    st.lists(st.characters(exclude_categories=["Cs"]), max_size=20),
)
def test_characters_are_those_of_their_ranges(
    spans: list[tuple[int, int]], others: list[str]
) -> None:
    ranges: list[tuple[int, int]] = []
    for low, more in sorted(spans):
        high = min(low + more, 0x10FFFF)
        if (not ranges or low > ranges[-1][1] + 1) and (high < 0xD800 or low > 0xDFFF):
            ranges.append((low, high))
    if not ranges:
        return
    automaton = Automaton(Grammar(Chars(tuple(ranges))))
    near = {end + step for pair in ranges for end in pair for step in (-1, 0, 1)}
    chars = others + [chr(c) for c in near if 0 <= c <= 0x10FFFF and not 0xD800 <= c <= 0xDFFF]
    for char in chars:
        state = follow(automaton, char)
        inside = any(low <= ord(char) <= high for low, high in ranges)
        assert (state is not None and automaton.complete(state)) == inside


def test_a_character_may_come_byte_by_byte() -> None:
    automaton = Automaton(Grammar(Seq((Text('"'), Repeat(CHAR), Text('"')))))
    state = automaton.start()
    for byte in '"é🔥"'.encode():
        assert automaton.allowed(state) >> byte & 1
        after = automaton.advance(state, bytes([byte]))
        assert after is not None
        state = after
    assert automaton.complete(state)
    half = automaton.advance(automaton.start(), b'"\xf0\x9f')
    assert half is not None
    assert automaton.distance(half) == 3
    assert automaton.advance(half, b'"') is None
    assert automaton.advance(automaton.start(), b'"\xed\xa0\x80') is None  # a surrogate


def test_a_free_string_stays_in_one_state() -> None:
    automaton = Automaton(Grammar(Seq((Text('"'), Repeat(Ref("c")), Text('"'))), {"c": CHAR}))
    inside = follow(automaton, '"')
    assert follow(automaton, '"some text, 緊急') is inside


def test_a_count_of_a_billion_costs_nothing_and_is_held() -> None:
    node = Seq((Text('"'), Repeat(CHAR, 3, 10**9), Text('"')))
    automaton = Automaton(Grammar(node))
    assert [
        automaton.distance(s) for s in (follow(automaton, '"' + "x" * n) for n in range(6)) if s
    ] == [
        4,
        3,
        2,
        1,
        1,
        1,
    ]
    automaton = Automaton(Grammar(Seq((Repeat(Text("a"), 0, 2000), Text("b")))))
    assert follow(automaton, "a" * 2000 + "b")
    assert not follow(automaton, "a" * 2001)


def test_counts_that_do_not_touch_are_kept_apart() -> None:
    node = Seq((Alt((Text("a"), Text("aaaa"))), Repeat(Text("a"), 20, 20)))
    automaton = Automaton(Grammar(node))
    states = {n: follow(automaton, "a" * n) for n in range(30)}
    assert [n for n, state in states.items() if state and automaton.complete(state)] == [21, 24]


def test_distances_of_astronomic_size_are_still_numbers() -> None:
    rules: dict[str, Node] = {f"r{n}": Seq((Ref(f"r{n + 1}"),) * 2) for n in range(100)}
    automaton = Automaton(Grammar(Ref("r0"), {**rules, "r100": Text("x")}))
    assert automaton.distance(automaton.start()) == 2**100


@pytest.mark.parametrize(
    "node",
    [
        Repeat(Repeat(Text("a"), 0, 100), 0, 100),
        Repeat(Repeat(Repeat(Text("a"), 1, None), 2, 50), 3, None),
        Seq((Repeat(CHAR, 0, 5000), Text("a"), Repeat(CHAR, 0, 5000), Text("a"), Repeat(CHAR))),
        Seq(tuple(Repeat(Alt((Text("a"), Text("aa"))), 0, 30) for _ in range(20))),
        Alt(tuple(Seq((Repeat(Text("a"), n), Text("b"))) for n in range(50))),
        Repeat(Alt((Seq((Text("a"), Repeat(Text("a"), 0, 20))), Text("aaa"))), 0, 10**9),
    ],
)
def test_ambiguity_does_not_blow_up(node: Node) -> None:
    automaton = Automaton(Grammar(node))
    begin = time.process_time()
    state = follow(automaton, "a" * 400)
    assert state is not None
    assert time.process_time() - begin < 2
    assert len(state.stacks) < 1000


def test_loops_over_the_empty_text_end() -> None:
    empty = Repeat(Repeat(Alt((Seq(()), Text("a"))), 0, None), 10**9, None)
    automaton = Automaton(Grammar(Seq((empty, Text("b")))))
    assert automaton.distance(automaton.start()) == 1
    assert follow(automaton, "aaab")


def test_a_rule_that_begins_with_itself_is_refused() -> None:
    for node in (
        Alt((Text("x"), Seq((Ref("r"), Text("y"))))),
        Alt((Text("x"), Seq((Repeat(Text("z"), 0, 1), Ref("r"), Text("y"))))),
    ):
        with pytest.raises(ValueError, match="begins with itself"):
            Automaton(Grammar(Ref("r"), {"r": node}))


def test_a_grammar_without_a_finite_text_is_refused() -> None:
    with pytest.raises(ValueError, match="no finite text"):
        Automaton(Grammar(Ref("endless"), RULES))


def test_the_caches_are_bounded_and_forgetting_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node = Seq((Repeat(Alt((Text("a"), Text("ab"), Text("b"))), 5, 3000), Text("c")))
    texts = ["".join(random.Random(n).choices("ab", k=800)) for n in range(3)]
    full = [follow(Automaton(Grammar(node)), text) for text in texts]
    monkeypatch.setattr("inference.constrained.automaton._STEPS_KEPT", 50)
    monkeypatch.setattr("inference.constrained.automaton._CELLS_KEPT", 120)
    automaton = Automaton(Grammar(node))
    for text, expected in zip(texts, full, strict=True):
        state = follow(automaton, text)
        assert state is not None
        assert expected is not None
        assert (state.mask, state.dist) == (expected.mask, expected.dist)
        assert len(automaton._cells) < 300
        assert len(automaton._steps) <= 51


def test_deep_nesting_is_followed() -> None:
    value = Alt((Text("[]"), Seq((Text("["), Ref("v"), Text("]")))))
    automaton = Automaton(Grammar(Ref("v"), {"v": value}))
    state = follow(automaton, "[" * 5000)
    assert state is not None
    assert automaton.shortest(state) == b"]" * 5000


def test_loops_over_one_body_are_one_wherever_their_counts_came_from() -> None:
    letters = Chars(((0x61, 0x63),))
    node = Seq((Text('"'), Alt(tuple(Repeat(letters, n % 3, n) for n in range(2, 500))), Text('"')))
    automaton = Automaton(Grammar(node))
    for size in (0, 1, 2, 250, 499):
        state = follow(automaton, '"' + "a" * size)
        assert state is not None
        assert len(state.stacks) <= 3
        assert automaton.distance(state) == 1
    assert not follow(automaton, '"' + "a" * 500)
    apart = Alt((Repeat(letters, 2, 3), Repeat(letters, 5, 8), Repeat(letters, 7, 9)))
    automaton = Automaton(Grammar(Seq((apart, Text("x")))))
    ended = [n for n in range(12) if follow(automaton, "a" * n + "x")]
    assert ended == [2, 3, 5, 6, 7, 8, 9]
