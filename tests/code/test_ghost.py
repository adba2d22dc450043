"""A suggestion by itself: what is typed, erased and taken of it, and several of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mistral_tui.code.ghost import Ghost

TEXT = st.text(alphabet="ab \n\t(é.", max_size=40)


def ghost(*texts: str, complete: bool = True) -> Ghost:
    made = Ghost()
    for middle, text in enumerate(texts):
        made.add(middle, text)
    made.complete = complete
    return made


@given(TEXT, st.lists(st.tuples(st.booleans(), st.integers(1, 5))))
def test_what_is_typed_and_erased_of_it_moves_a_border_within_its_text(
    text: str, steps: list[tuple[bool, int]]
) -> None:
    made = ghost(text, complete=False)
    at = 0
    for typed, count in steps:
        if typed:
            part = text[at : at + count]
            assert made.typed(part) == bool(part)
            at += len(part)
        else:
            part = text[max(0, at - count) : at]
            assert made.erased(part) == bool(part)
            at -= len(part)
        assert (made.used, made.text) == (text[:at], text[at:])


@given(TEXT, TEXT)
def test_only_what_it_says_can_be_typed_and_only_what_was_typed_erased(
    text: str, other: str
) -> None:
    made = ghost(text, complete=False)
    typed = made.typed(other)
    assert typed == bool(other and text.startswith(other))
    assert made.erased(other) == typed
    assert made.used == ""


@given(TEXT)
def test_its_words_and_its_lines_are_all_of_it(text: str) -> None:
    for piece in (Ghost.next_word, Ghost.next_line):
        made, taken = ghost(text, complete=False), ""
        while part := piece(made):
            assert made.typed(part)
            taken += part
        assert taken == text


def test_a_word_has_the_space_before_it_and_a_line_no_break_behind_it() -> None:
    made = ghost("  return total(1)\n    x")
    assert made.next_word() == "  return"
    assert made.next_line() == "  return total(1)"
    assert made.typed("  return total(1)")
    assert made.next_line() == "\n    x"


def test_the_end_of_a_complete_one_is_not_typed_and_that_of_an_open_one_is() -> None:
    assert not ghost("ab").typed("ab")
    made = ghost("ab", complete=False)
    assert made.typed("ab")
    assert made.text == ""
    made.add(0, "c")
    assert made.text == "c"


def test_those_that_say_the_same_or_another_beginning_are_no_choice() -> None:
    made = ghost("one", "one", "oak", "two", "o")
    assert made.place == (1, 4)
    assert made.typed("o")
    assert made.choices == [0, 2]
    assert made.step(1)
    assert made.text == "ak"
    assert not made.step(1)
    assert made.step(-1)
    assert made.text == "ne"


def test_how_many_there_are_counts_those_that_are_not_shown() -> None:
    assert Ghost().count == 0
    assert ghost("a", "a", "").count == 3
