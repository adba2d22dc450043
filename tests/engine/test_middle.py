"""Where a middle ends: each rule by example, and what holds for any text in any pieces."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.api import Ends
from inference.middle import MiddleEnds

SUFFIX = Ends(suffix=True)
BLOCK = Ends(block=True)
ALL = Ends(suffix=True, block=True, blank_lines=1, lines=8)


def shown(
    ends: Ends, prefix: str, suffix: str, text: str, *, stop: tuple[str, ...] = (), step: int = 1
) -> str:
    """What is shown of a text that comes in pieces of `step` characters."""
    middle = MiddleEnds(ends, prefix, suffix, stop)
    out = ""
    for start in range(0, len(text), step):
        out += middle.feed(text[start : start + step])
        assert text.startswith(out)
    return out + middle.flush()


# ── the suffix ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("prefix", "suffix", "text", "middle"),
    [
        # The reference's example.
        ("def add(", "    return sum", "a, b):\n    sum = a + b\n    return sum\n\n\nprint(",
         "a, b):\n    sum = a + b\n"),
        ("def f():\n    ", "\n    return total\n", "total = 1\n    check()\n    return total\n",
         "total = 1\n    check()"),
        ("def f():\n    ", "\n    return total\n", "total = 1  \n\n\n    return total \nmore",
         "total = 1"),
        # Short lines count up to the first that tells something.
        ("", "\n}\n\nint main() {\n", "x;\n}\n\n\n\nint main() {\n  y", "x;"),
        ("", "\n}\n\nint main() {\n", "x;\n}\n\nint other() {\n", None),
        ("", "\n\n    }\n    return x;\n", "a;\n    }\n    return y;\n    }\n    return x;\nb",
         "a;\n    }\n    return y;"),
        # Not part of another line, nor of another word.
        ("", "return sum\n", "return summary\nreturn sum_of\n", None),
        ("", "return sum\n", "x\n    return sum\ny", "x\n    "),
        ("", "\nreturn sum\n", "x\n    return sum\ny", None),
        ("print(", "total)\nnext_one()\n", "subtotal)\nprint(total)\nnext_one()\n",
         "subtotal)\nprint("),
        ("print(sub", "total)\nnext_one()\n", "total)\nnext_one()\n", ""),
        # The whole suffix is that text: anywhere.
        ("", "return sum", "x\nreturn summary", "x\n"),
        ("", "\r\n  return sum\r\n", "x\r\n  return sum\r\ny", "x"),
        # Line ends where the model has none left.
        ("", "\n    return total\n", "x\n    return total", "x"),
        ("", "   \n", "x\n\ny", None),
        ("", "", "x\n\ny", None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("step", [1, 3, 1000])
def test_a_middle_ends_where_it_goes_on_into_the_suffix(
    prefix: str, suffix: str, text: str, middle: str | None, step: int
) -> None:
    expected = text if middle is None else middle
    assert shown(SUFFIX, prefix, suffix, text, step=step) == expected


@pytest.mark.parametrize(
    ("prefix", "suffix", "text", "middle"),
    [
        ("print(", ")", "f(a), g(b))\nprint(c)\n", "f(a), g(b)"),
        ("print(", ")\n", "\n    f(a)\n)\nmore", "\n    f(a)\n"),
        ("def f(", "):\n    return total\n", "box):\n    total = box.width\n", "box"),
        ("def f(", "):\n    return total\n", "a=(1,), b=2):\n", "a=(1,), b=2"),
        ("if (x) {\n", "}\n", "  if (y) {\n}\n  z;\n}\nw", "  if (y) {\n}\n  z;\n"),
        ("x = ", ";", "f(';');\ny = 2;\n", "f(';')"),
        # The model ended there: it means it.
        ("print(", ")", "f(a)", "f(a)"),
        ("print(", ")", "f(a))", "f(a))"),
    ],
)
def test_a_short_suffix_ends_a_middle_only_where_it_closes_what_was_open(
    prefix: str, suffix: str, text: str, middle: str
) -> None:
    assert shown(SUFFIX, prefix, suffix, text) == middle
    # As a stop string it is found at once.
    told = text.split(suffix)[0]
    assert shown(Ends(), prefix, suffix, text, stop=(suffix,)) == told


# ── blocks ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("prefix", "text", "middle"),
    [
        ("def f():\n    ", "a\n    b\n        c\n\ndef g():\n    d\n", "a\n    b\n        c"),
        ("def f():", "\n    a\n    b\n\n\ndef g():\n    c\n", "\n    a\n    b"),
        ("def f():", "\n    a\n\n# next\nx = 1\n", "\n    a"),
        ("if a:", "\n    b\nelif c:\n    d\nelse:\n    e\nf()\n",
         "\n    b\nelif c:\n    d\nelse:\n    e"),
        ("if a:", "\n    b\nelsewhere()\n", "\n    b"),
        ("void f() {", "\n  a;\n}\n\nvoid g() {\n  b;\n}\n", "\n  a;\n}"),
        ("void f()", "\n{\n  a;\n}\n\nvoid g()\n{\n", "\n{\n  a;\n}"),
        ("for x in y; do", "\n\ta\n\tb\ndone\nc\n", "\n\ta\n\tb\ndone"),
        ("call(", "\n    a,\n    b,\n)\nc\n", "\n    a,\n    b,\n)"),
        # Nothing was opened: what follows at the same column is meant.
        ("x = ", "1\ny = 2\nz = 3\n", "1\ny = 2\nz = 3\n"),
        ("    x = ", "1\n    y = 2\nz = 3\n", "1\n    y = 2"),
        # Tabs.
        ("\t", "a\n\tb\n        c\n    d\n", "a\n\tb\n        c"),
        # At the beginning of a line the middle says itself how deep it is.
        ("", "a = 1\nb = 2\n\n\ndef c():\n    d\n\n\ne\n", None),
        ("def f():\n", "    a\n    b\n\nc\n", "    a\n    b"),
        ("    ", "a\n", "a\n"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("step", [1, 1000])
def test_a_middle_ends_where_its_block_ends(
    prefix: str, text: str, middle: str | None, step: int
) -> None:
    assert shown(BLOCK, prefix, "", text, step=step) == (text if middle is None else middle)


# ── lines ───────────────────────────────────────────────────────────────────────────


def test_a_middle_has_so_many_empty_lines_one_after_another() -> None:
    text = "a\n\nb\n\n  \n\nc\n"
    for most, middle in ((0, "a"), (1, "a\n\nb"), (2, "a\n\nb"), (3, text), (None, text)):
        assert shown(Ends(blank_lines=most), "x = ", "", text) == middle
    # The rest of the cursor's line is an empty line only where nothing stands before it.
    assert shown(Ends(blank_lines=0), "def f():", "", "\n    a\n") == "\n    a\n"
    assert shown(Ends(blank_lines=0), "    ", "", "\n    a\n") == ""


def test_a_middle_has_so_many_line_breaks() -> None:
    text = "a\nb\r\nc  \nd"
    for most, middle in ((0, "a"), (1, "a\nb"), (2, "a\nb\r\nc"), (3, text), (None, text)):
        assert shown(Ends(lines=most), "", "", text) == middle


def test_what_may_be_shown_is_shown_at_once() -> None:
    middle = MiddleEnds(ALL, "def f():\n    ", "\n    return total\n")
    pieces = ["total", " =", " box", ".", "width", "\n", "    ", "re", "ad(", "total", ")"]
    told = [middle.feed(piece) for piece in pieces]
    assert told == ["total", " =", " box", ".", "width", "", "", "", "\n    read(", "total", ")"]
    assert not middle.hit
    assert middle.feed("\n    return total") == ""
    assert middle.feed("\nx") == ""
    assert middle.hit
    assert middle.feed("y") + middle.flush() == ""


def test_without_ends_everything_is_shown_as_it_comes() -> None:
    middle = MiddleEnds(Ends(), "    ", "\n")
    for piece in ("a  ", "\n\n\n\n", "b\n", " "):
        assert middle.feed(piece) == piece
    assert not middle.hit


# ── anything ────────────────────────────────────────────────────────────────────────

LINES = st.lists(
    st.tuples(
        st.sampled_from(["", "    ", "        ", "\t"]),
        st.sampled_from(
            ["", "a", "return sum", "total)", ")", "}", "else:", "end", "if x {", "f(a)"]
        ),
        st.sampled_from(["", " ", "\r"]),
    ).map("".join),
    max_size=7,
)
TEXTS = LINES.map("\n".join)
ENDS = st.builds(
    Ends,
    st.booleans(),
    st.booleans(),
    st.none() | st.integers(0, 2),
    st.none() | st.integers(0, 4),
)
STOPS = st.sampled_from([(), ("return",), ("\n\n", "}")])


@settings(max_examples=500, deadline=None)
@given(ENDS, TEXTS, TEXTS, TEXTS, STOPS, st.lists(st.integers(1, 9), max_size=30))
def test_any_pieces_show_the_same_and_nothing_is_taken_back(
    ends: Ends, prefix: str, suffix: str, text: str, stop: tuple[str, ...], cuts: list[int]
) -> None:
    whole = MiddleEnds(ends, prefix, suffix, stop)
    expected = whole.feed(text) + whole.flush()
    pieces = MiddleEnds(ends, prefix, suffix, stop)
    out, at = "", 0
    for size in [*cuts, len(text)]:
        out += pieces.feed(text[at : at + size])
        at += size
        assert expected.startswith(out)
    assert out + pieces.flush() == expected
    assert pieces.hit == whole.hit
    assert text.startswith(expected)
    if ends == Ends() and not stop:
        assert expected == text


@settings(max_examples=300, deadline=None)
@given(ENDS, TEXTS, TEXTS, TEXTS)
def test_no_limit_is_passed(ends: Ends, prefix: str, suffix: str, text: str) -> None:
    out = shown(ends, prefix, suffix, text, step=4)
    if ends.lines is not None:
        assert out.count("\n") <= ends.lines
    if ends.blank_lines is not None:
        lines = out.split("\n")[1:-1]
        run = max(
            (len(r) for r in "".join(".-"[not n.strip()] for n in lines).split(".")), default=0
        )
        assert run <= ends.blank_lines
    # Each rule only ever makes a middle shorter, but for spaces at its end.
    for fewer in (
        replace(ends, block=False),
        replace(ends, suffix=False),
        replace(ends, lines=None),
        replace(ends, blank_lines=None),
    ):
        assert shown(fewer, prefix, suffix, text).startswith(out.rstrip())


@settings(max_examples=300, deadline=None)
@given(TEXTS, TEXTS, TEXTS)
def test_a_suffix_as_stop_string_is_the_references_rule(
    prefix: str, before: str, text: str
) -> None:
    for suffix in ("return sum", "    return sum", ")", "\n    total)\n"):
        whole = before + suffix + text
        told = whole.split(suffix)[0]
        assert shown(Ends(), prefix, suffix, whole, stop=(suffix,), step=5) == told
        if suffix != ")":
            out = shown(SUFFIX, prefix, suffix, whole, step=5)
            assert told.startswith(out)
            if "\n" not in suffix:
                assert out == told
