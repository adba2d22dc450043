"""Parts of a change: each subset of them is a text between the old and the new one."""

from __future__ import annotations

import random
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistral_tui.code.hunks import Hunk, hunks, merge, split

LINES = st.lists(st.sampled_from(["a", "b", "}", "", "    x", "\t", "é\u2028é"]), max_size=12)
TEXTS = st.builds(lambda lines, end: "\n".join(lines) + end, LINES, st.sampled_from(["", "\n"]))


@settings(max_examples=300, deadline=None)
@given(TEXTS, TEXTS, st.integers(0, 3))
def test_all_of_them_are_the_new_text_and_none_the_old(old: str, new: str, context: int) -> None:
    parts = hunks(old, new, context)
    assert merge(old, parts, range(len(parts))) == new
    assert merge(old, parts, ()) == old
    assert bool(parts) == (old != new)
    for before, after in pairwise(parts):
        assert after.start - before.end > context


@settings(max_examples=150, deadline=None)
@given(TEXTS, TEXTS)
def test_each_subset_changes_its_own_lines_only(old: str, new: str) -> None:
    parts = hunks(old, new, 0)
    for size in range(1, min(len(parts), 3)):
        for taken in combinations(range(len(parts)), size):
            text = merge(old, parts, taken)
            rest = hunks(text, new, 0)
            assert merge(text, rest, range(len(rest))) == new
            expected: list[str] = []
            at = 0
            for number in taken:
                expected += [*split(old)[at : parts[number].start], *parts[number].new]
                at = parts[number].end
            assert split(text) == split("".join([*expected, *split(old)[at:]]))


@settings(max_examples=200, deadline=None)
@given(TEXTS, TEXTS)
def test_the_signs_tell_both_sides(old: str, new: str) -> None:
    for part in hunks(old, new):
        sides = {
            sign: [line for mark, line in part.lines if mark in (" ", sign)] for sign in ("-", "+")
        }
        assert sides["-"] == split(old)[part.start : part.end]
        assert sides["+"] == split(new)[part.at : part.at + len(part.new)]
        assert sides["+"] == list(part.new)


def test_changes_that_are_near_are_one_part() -> None:
    old = "".join(f"{n}\n" for n in range(20))
    new = old.replace("3\n", "three\n", 1).replace("\n6\n", "\nsix\n").replace("12\n", "")
    near, far = hunks(old, new)
    assert (near.start, near.end, near.at) == (3, 7, 3)
    assert near.removed == ("3\n", "6\n")
    assert near.added == ("three\n", "six\n")
    assert far == Hunk(12, 13, 12, (("-", "12\n"),))
    assert merge(old, [near, far], {1}) == old.replace("12\n", "")
    assert len(hunks(old, new, 0)) == 3


@pytest.mark.parametrize(
    ("old", "new", "differ"),
    [("a\nb", "a\nb\n", True), ("a\nb\n", "a\nb", True), ("a\nb\n", "a\nc\n", False)],
)
def test_a_line_break_at_the_end_is_a_change(old: str, new: str, differ: bool) -> None:
    (part,) = hunks(old, new)
    assert part.ends_differ is differ
    assert merge(old, [part], {0}) == new


def test_only_a_line_feed_breaks_a_line() -> None:
    assert split("a\rb\x0cc\x85d\u2028e\nf") == ["a\rb\x0cc\x85d\u2028e\n", "f"]
    assert split("a\r\nb\r\n") == ["a\r\n", "b\r\n"]


def test_a_few_changes_in_a_hundred_thousand_lines_are_few_parts() -> None:
    old = [f"    value_{n} = {n % 7}\n" if n % 3 else "\n" for n in range(100_000)]
    new = list(old)
    for place in (10, 5_000, 77_777, 99_999):
        new[place] = "changed\n"
    del new[50_002:50_004]
    parts = hunks("".join(old), "".join(new))
    assert [part.start for part in parts] == [10, 5_000, 50_002, 77_777, 99_999]


def test_texts_that_are_dear_to_compare_end_in_fewer_parts() -> None:
    dice = random.Random(1)
    old, new = ("".join(dice.choice("ab") + "\n" for _ in range(60_000)) for _ in range(2))
    parts = hunks(old, new)
    assert 1 <= len(parts) < 1000
    assert merge(old, parts, range(len(parts))) == new
