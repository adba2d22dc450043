"""The text of the editor: exact to the last character; its offsets, cells, places and hits."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from mistral_tui.code.languages import indent_of, language_of
from mistral_tui.widgets.code import cells as cells_module
from mistral_tui.widgets.code import edits
from mistral_tui.widgets.code.cells import Cells, LongCells, width_of_line
from mistral_tui.widgets.code.document import CodeDocument, CodeNavigator, CodeView, encoded

# All that Textual's own document takes for the end of a line, and other trouble.
STRANGE = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029\t\x00\x1b\x7f\x9b\u200b\u202e\ufe0f\u0301"
WORD = re.compile(r"\w").match
CHARS = "aé中👍(){} " + STRANGE + "\ud800"
TEXT = st.text(alphabet=CHARS, max_size=60)


def plain(text: str, offset: int) -> tuple[int, int]:
    before = text[:offset]
    return before.count("\n"), len(before) - before.rfind("\n") - 1


@given(TEXT, st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99), TEXT), max_size=6))
def test_edits_are_those_of_a_plain_string(text: str, edits: list[tuple[int, int, str]]) -> None:
    document = CodeDocument(text)
    assert document.text == text
    document.get_size(4)
    for one, other, new in edits:
        start, end = sorted((min(one, len(text)), min(other, len(text))))
        result = document.replace_range(plain(text, end), plain(text, start), new)
        assert result.replaced_text == text[start:end]
        text = text[:start] + new + text[end:]
        assert document.text == text
        assert result.end_location == plain(text, start + len(new))
        lines = text.split("\n")
        size = document.get_size(4)
        assert (size.width, size.height) == (max(Cells(s, 4).width for s in lines), len(lines))


@given(TEXT, st.integers(0, 3), st.data())
def test_offsets_lead_to_places_and_back(text: str, edits: int, data: st.DataObject) -> None:
    text = "x\n" * data.draw(st.sampled_from([0, 255, 256, 600])) + text
    document = CodeDocument(text)
    for _ in range(edits):
        at = data.draw(st.integers(0, len(text)))
        document.location(len(text))  # every mark is made
        document.replace_range(plain(text, at), plain(text, at), "é\nx")
        text = text[:at] + "é\nx" + text[at:]
    for at in (0, len(text) // 3, len(text) // 2, len(text)):
        place = plain(text, at)
        assert document.location(at) == place
        assert document.offset(place) == at
        assert document.byte_offset(place) == len(encoded(text[:at]))
    assert document.location(len(text) + 5) == document.end


@given(TEXT, st.integers(0, 9), st.integers(1, 8))
def test_every_character_has_its_cells_and_none_reaches_the_terminal(
    text: str, begin: int, tab: int
) -> None:
    line = text.replace("\n", "")
    cells = Cells(line, tab, begin)
    drawn = cells.text(0, len(line))
    assert not set(drawn) & set(STRANGE) - {"\u0301"}
    assert drawn.isprintable()
    assert cell_len(drawn) == cells.width
    assert "".join(cells.text(at, at + 1) for at in range(len(line))) == drawn
    for column in range(len(line)):
        x, after = cells.x(column), cells.x(column + 1)
        assert cell_len(cells.text(column, column + 1)) == after - x
        assert all(cells.column(cell) == column for cell in range(x, after))
        if line[column] == "\t":
            assert (begin + after) % tab == 0
    assert cells.column(cells.width + 3) == len(line)


@given(
    st.lists(st.text(CHARS.replace("\n", ""), max_size=30), min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 80), st.integers(0, 12), TEXT), max_size=8),
    st.integers(1, 8),
)
def test_a_long_line_is_laid_out_in_parts_as_a_short_one_is(
    texts: list[str], changes: list[tuple[int, int, str]], tab: int
) -> None:
    """Also after edits, of which each line takes over what it can; parts stay of one size."""
    line = "four" + "".join(text * 3 for text in texts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells_module, "_PART", 4)
        patch.setattr(cells_module, "_LAID_OUT", 2)
        long = LongCells(line, tab)
        for start, gone, text in changes:
            line = line[:start] + text.replace("\n", "") + line[start + gone :]
            if len(line) < 4:
                return
            long = LongCells(line, tab, long)
            lengths = [part.length for part in long._parts]
            assert sum(lengths) == len(line)
            assert len(lengths) == 1 or all(4 <= length < 8 for length in lengths)
        plain = Cells(line, tab)
        assert long.width == plain.width == width_of_line(line, tab)
        for column in range(len(line) + 1):
            assert long.x(column) == plain.x(column)
            assert long.text(column, column + 9) == plain.text(column, column + 9)
            assert long.strange(column, column + 9) == plain.strange(column, column + 9)
        for x in range(plain.width + 3):
            assert long.column(x) == plain.column(x)


@pytest.mark.parametrize("kind", ["abc é中\t", "é", "\x01", "e\u0301", "(", "👍"])
def test_of_a_line_of_a_megabyte_a_key_measures_what_changed(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = kind * (1_000_000 // len(kind))
    document = CodeDocument(text)
    view = CodeView(document, 4)
    document.get_size(4)
    measured = []
    part = cells_module._part
    monkeypatch.setattr(
        cells_module, "_part", lambda text, tab: (measured.append(len(text)), part(text, tab))[1]
    )
    for column in (500_000, 500_001, 3, 999_990):
        document.replace_range((0, column), (0, column), "x")
        document.get_size(4)
        view.location_to_offset((0, column + 1))
    document.replace_range((0, 400_000), (0, 400_000), "\n")
    document.get_size(4)
    assert sum(measured) < 30_000


@given(st.text("ab (.é\u0301\u3000", max_size=12), st.data())
def test_the_cursor_walks_by_words_as_in_other_fields(line: str, data: st.DataObject) -> None:
    bounds = [at for at in range(1, len(line)) if bool(WORD(line[at - 1])) != bool(WORD(line[at]))]
    walk = CodeNavigator(CodeView(CodeDocument(line), 4))
    column = data.draw(st.integers(0, len(line)))
    before = [at for at in bounds if at < len(line[:column].rstrip())]
    assert walk.word_left((0, column)) == (0, before[-1] if before else 0)
    begin = len(line) - len(line[column:].lstrip())
    behind = [at for at in bounds if at > begin]
    assert walk.word_right((0, column)) == (0, behind[0] if behind else len(line))


@pytest.mark.parametrize("tab", [1, 4])
def test_up_and_down_keep_the_cell_whatever_lies_before_it(tab: int) -> None:
    document = CodeDocument("中中中abc\n\tx\nabcdefgh\n\n" + "é" * 9)
    walk = CodeNavigator(CodeView(document, tab))
    assert walk.get_location_below((0, 3)) == (1, 2)
    walk.last_x_offset = 6
    assert walk.get_location_below((1, 1)) == (2, 6)
    assert walk.get_location_below((2, 6)) == (3, 0)
    assert walk.get_location_below((3, 0)) == (4, 6)
    assert walk.get_location_below((4, 6)) == (4, 9)
    assert walk.get_location_above((2, 6)) == (1, 2)
    assert walk.get_location_above((1, 2)) == (0, 3)
    assert walk.get_location_above((0, 3)) == (0, 0)


@given(TEXT, st.data())
def test_what_the_model_may_read_are_slices_around_the_cursor(
    text: str, data: st.DataObject
) -> None:
    cursor = data.draw(st.integers(0, len(text)))
    chars = data.draw(st.integers(1, 80))
    before, behind = edits.around(CodeDocument(text), plain(text, cursor), chars)
    assert text[:cursor].endswith(before)
    assert len(before) <= chars
    assert len(before) == cursor or len(before) >= min(cursor, chars - chars // 4 - 60)
    assert behind == text[cursor : cursor + chars]


def test_what_is_before_the_cursor_begins_at_a_line_that_stays_while_keys_are_typed() -> None:
    text = "".join(f"line {number}\n" for number in range(20_000))
    document = CodeDocument(text)
    begins = set()
    for typed in range(100):
        place = (15_000, typed)
        before, _ = edits.around(document, place, 4_000)
        begins.add(document.offset(place) - len(before))
        document.replace_range(place, place, "x")
    assert len(begins) == 1
    assert text[min(begins) - 1] == "\n"


LINES = st.lists(st.sampled_from(["a", "b", "", "a b"]), min_size=1, max_size=7)


@given(LINES, LINES)
@settings(max_examples=300)
def test_the_difference_of_two_texts_makes_one_the_other(old: list[str], new: list[str]) -> None:
    document = CodeDocument("\n".join(old))
    start, end, text = edits.difference(old, new)
    document.replace_range(start, end, text)
    assert document.text == "\n".join(new)
    if old == new:
        assert (start, text) == (end, "")


@given(st.text("ab\nA", max_size=30), st.text("abA", min_size=1, max_size=2), st.data())
def test_a_search_walks_all_places_both_ways(text: str, wanted: str, data: st.DataObject) -> None:
    sought = text if wanted != wanted.lower() else text.lower()
    starts: list[int] = []
    at = sought.find(wanted)
    while at >= 0:
        starts.append(at)
        at = sought.find(wanted, at + len(wanted))
    begin = data.draw(st.integers(0, len(text)))
    for forward in (True, False):
        hit = edits.find(text, wanted, begin, forward)
        if not starts:
            assert hit is None
            continue
        after = [s for s in starts if s >= begin]
        before = [s for s in starts if s < begin]
        expected = (after or starts)[0] if forward else (before or starts)[-1]
        assert hit == (expected, expected + len(wanted), starts.index(expected) + 1, len(starts))


def test_a_search_does_not_count_for_ever_and_goes_on_beyond_what_it_counted() -> None:
    most = edits.MOST_HITS
    text = "ab" * (2 * most)
    assert edits.find(text, "a", 0, True) == (0, 1, 1, most)
    last = len(text) - 2
    assert edits.find(text, "a", last, True) == (last, last + 1, 0, most)
    assert edits.find(text, "a", last, False) == (last - 2, last - 1, 0, most)
    assert edits.find(text, "a", 0, False) == (last, last + 1, 0, most)
    assert edits.find(text, "a", len(text), True) == (0, 1, 1, most)


@given(st.text("()[]{}x\n", max_size=40), st.data())
def test_a_bracket_finds_its_partner_and_that_one_finds_it(text: str, data: st.DataObject) -> None:
    lines = text.split("\n")
    places = [(row, at) for row, line in enumerate(lines) for at in range(len(line))]
    for row, at in places:
        found = edits.partner(lines, lines[row][at], (row, at))
        if found is not None:
            pair = lines[row][at] + lines[found[0]][found[1]]
            assert pair in ("()", "[]", "{}", ")(", "][", "}{")
    nested = ["f(a[1], {", "  'b': [2, (3)]", "})"]
    assert edits.partner(nested, "(", (0, 1)) == (2, 1)
    assert edits.partner(nested, "}", (2, 0)) == (0, 8)
    for lines, found in ((300, (300, 0)), (30_000, None)):
        assert edits.partner(["(", *["x"] * (lines - 1), ")"], "(", (0, 0)) == found


@pytest.mark.parametrize(
    ("before", "language", "lead"),
    [
        ("    x = 1", "python", "    "),
        ("if x:", "python", "    "),
        ("# so:", "python", ""),
        ("case 1:", "c", ""),
        ("  f(", "", "      "),
        ("\tif (x) {  ", "c", "\t    "),
    ],
)
def test_a_new_line_is_indented_as_the_one_before_or_one_further(
    before: str, language: str, lead: str
) -> None:
    assert edits.next_indent(before, "    ", language) == lead


@pytest.mark.parametrize(
    ("name", "first", "language"),
    [
        ("a.py", "", "python"), ("A.PY", "", "python"), ("x.h", "", "c"), ("x.hpp", "", "cpp"),
        ("x.tsx", "", "tsx"), ("Rakefile", "", "ruby"), ("run", "#!/usr/bin/env python3", "python"),
        ("run", "#! /bin/sh -e", "bash"), ("run", "#!/usr/bin/env -S node --x", "javascript"),
        ("run", "#!/opt/strange", ""), ("notes", "", ""), ("notes.txt", "", ""),
        ("feed", "<?xml version='1.0'?>", "xml"), (".bashrc", "", "bash"), ("a.py.txt", "", ""),
    ],
)  # fmt: skip
def test_the_language_is_told_by_the_name_or_the_first_line(
    name: str, first: str, language: str
) -> None:
    assert language_of(Path("some.rs") / name, first) == language


@pytest.mark.parametrize(
    ("text", "indent"),
    [
        ("", "    "),
        ("a\nb\n", "    "),
        ("a:\n  b\n  c:\n    d\n", "  "),
        ("a:\n    b(c,\n      d)\n    e:\n        f\n", "    "),
        ("a {\n\tb\n\tc {\n\t\td\n", "\t"),
        ("/*\n * x\n */\nint f() {\n   return 1;\n}\n", "   "),
    ],
)
def test_indentation_is_told_from_the_text(text: str, indent: str) -> None:
    assert indent_of(text) == indent
