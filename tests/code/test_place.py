"""`FILE:LINE:COLUMN` on a command line, and where it cuts a text."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_tui.code.errors import CodeError
from mistral_tui.code.place import Place, parse, split


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a.py:3", Place("a.py", 3)),
        ("a.py:3:4", Place("a.py", 3, 4)),
        ("-:3", Place("/dev/stdin", 3)),
        ("-:3:4", Place("/dev/stdin", 3, 4)),
        ("/a b/c.py:12", Place("/a b/c.py", 12)),
        ("a:b:3:4", Place("a:b", 3, 4)),
        ("C:x:3", Place("C:x", 3)),
        ("a:1:2:3", Place("a:1", 2, 3)),
        ("a\nb:3", Place("a\nb", 3)),
        ("a.py:0", Place("a.py", 0)),
        ("a.py", None),
        ("a.py:", None),
        ("a.py:3:", None),
        (":3", None),
        ("a.py:-3", None),
        ("a.py:+3", None),
        ("a.py:٣", None),
        ("a.py:x:3:y", None),
        ("a.py:" + "9" * 5000, None),
        ("", None),
    ],
)
def test_a_place_is_read(text: str, place: Place | None) -> None:
    assert parse(text) == place


def test_a_name_that_ends_in_a_number_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a:1").touch()
    assert parse("a:1:2") == Place("a:1", 2)
    Path("a").touch()
    assert parse("a:1:2") == Place("a", 1, 2)


@given(st.text(st.sampled_from("ab\n\r\x0c\u2028é😀"), max_size=30), st.data())
def test_every_place_cuts_where_it_says(text: str, data: st.DataObject) -> None:
    lines = text.split("\n")
    line = data.draw(st.integers(1, len(lines)))
    column = data.draw(st.none() | st.integers(1, len(lines[line - 1]) + 1))
    prefix, suffix = split(text, Place("x", line, column), "x")
    assert prefix + suffix == text
    assert prefix.count("\n") == line - 1
    last = prefix.split("\n")[-1]
    assert last == lines[line - 1][: None if column is None else column - 1]


@pytest.mark.parametrize(
    ("line", "column", "said"),
    [
        (0, None, r"x has no line 0: it has 3 lines, counted from 1\."),
        (4, None, r"x has no line 4: it has 3 lines"),
        (1, 0, r"Line 1 of x has no column 0: its columns count from 1, and its end is 3\."),
        (1, 4, r"Line 1 of x has no column 4"),
        (3, 2, r"Line 3 of x has no column 2: .* its end is 1\."),
    ],
)
def test_a_place_that_is_not_there_is_a_sentence(line: int, column: int | None, said: str) -> None:
    with pytest.raises(CodeError, match=said):
        split("ab\ncd\n", Place("x", line, column), "x")
