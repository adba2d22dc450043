"""Where a middle ends: each rule by example, and what holds for any text in any pieces."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.api import Ends
from inference.middle import MiddleEnds

SUFFIX = Ends(suffix=True)
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
        # A value of several lines is not ended inside.
        ("const f = ", ";\n", "() => {\n  a();\n  b();\n};\nmore();\n",
         "() => {\n  a();\n  b();\n}"),
        ("x = [", ",\n", "{\n  'a': 1,\n  'b': 2\n},\nmore,\n", "{\n  'a': 1,\n  'b': 2\n}"),
        ("each(", ");\n", "x => {\n  a(x);\n});\nmore();\n", "x => {\n  a(x);\n}"),
        # Brackets in strings and comments open nothing.
        ("print(", ")\n", '"(")\nfoo()\n', '"("'),
        ("f(", ")\n", "a,  # (see below\n  b)\nc\n", "a,  # (see below\n  b"),
        ("f(", ")\n", "\n// :(\na)\nb\n", "\n// :(\na"),
        # The model ended there: it means it.
        ("print(", ")", "f(a)", "f(a)"),
        ("print(", ")", "f(a))", "f(a))"),
    ],
)  # fmt: skip
def test_a_short_suffix_ends_a_middle_only_where_it_closes_what_was_open(
    prefix: str, suffix: str, text: str, middle: str
) -> None:
    assert shown(SUFFIX, prefix, suffix, text) == middle
    # As a stop string it is found at once.
    told = text.split(suffix)[0]
    assert shown(Ends(), prefix, suffix, text, stop=(suffix,)) == told


@pytest.mark.parametrize(
    ("prefix", "suffix", "text", "middle"),
    [
        # A sibling may begin as the one behind the cursor does.
        ("    fn a() {\n    }", "\n\n    #[test]\n    fn b() {\n    }\n",
         "\n\n    #[test]\n    fn c() {\n    }\n\n    #[test]\n    fn b() {\n",
         "\n\n    #[test]\n    fn c() {\n    }"),
        ("    }", "\n\n    @Override\n    public int hashCode() {\n",
         "\n\n    @Override\n    public boolean equals() {\n        return o;\n    }\n", None),
        ("        return self._a\n", "\n    @property\n    def c(self):\n",
         "\n    @property\n    def b(self):\n        return self._b\n", None),
        ("        case 1:\n            ", "\n            break;\n        case 4:\n",
         "a();\n            break;\n        case 2:\n            b();\n", None),
        ("    def a(self):\n        self.reset()\n        x()\n\n",
         "        self.reset()\n        z()\n",
         "    def b(self):\n        self.reset()\n        y()\n", None),
        ("    f.a(self.x)\n    f.b(", "self.x)\n    f.c()\n", "self.x)\n    f.d(self.x)\n", None),
        # Four frequent lines are no sibling.
        ("aaaa\nbbbb\ncccc\ndddd\n", "aaaa\nbbbb\ncccc\ndddd\n",
         "x\naaaa\nbbbb\ncccc\ndddd\n", "x\n"),
        # There is one `else` at most.
        ("if a:\n    b\nelse:\n    c\nif x:", "\nelse:\n    d\n",
         "\n    e\nelse:\n    f\n", "\n    e"),
        # What the model ends with such a line repeats it.
        ("return total\n", "\nreturn total\n\ndef g():\n", "x\nreturn total\n", "x"),
        ("    @abc\n    x\n", "\n    @abc\n    y\n", "    z\n\n    @abc", "    z"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("step", [1, 1000])
def test_a_line_that_is_frequent_ends_a_middle_only_with_the_one_behind_it(
    prefix: str, suffix: str, text: str, middle: str | None, step: int
) -> None:
    expected = text if middle is None else middle
    assert shown(SUFFIX, prefix, suffix, text, step=step) == expected


def test_where_another_rule_ends_a_middle_no_line_is_left_that_the_suffix_repeats() -> None:
    prefix = "def f():\n    return total\n\n\ndef g():\n    "
    suffix = "\n    return total\n\n\ndef h():\n"
    text = "total = 1\n    return total\n\n\ndef other():\n"
    assert shown(SUFFIX, prefix, suffix, text) == text
    for ends in (ALL, Ends(True, lines=1), Ends(True, blank_lines=0)):
        assert shown(ends, prefix, suffix, text) == "total = 1"
    # A bracket may be the middle's own: the line behind it says whether it is.
    suffix = "\n}\n\nint main() {\n"
    text = "a {\n}\n\n\nint "
    ends = Ends(True, blank_lines=1)
    assert shown(ends, "", suffix, text + "main() {\n") == "a {"
    assert shown(ends, "", suffix, text + "other() {\n") == "a {\n}"
    middle = MiddleEnds(ends, "", suffix)
    assert middle.feed("a {\n}" + "\n" * 12) == "a {\n}"
    assert middle.hit  # such a line is not waited for without end


@pytest.mark.parametrize("step", [1, 3, 1000])
def test_of_a_middle_that_was_cut_only_what_is_certain_is_shown(step: int) -> None:
    for prefix, suffix, text, middle in (
        ("def f():\n    ", "\n    return total\n", "x = 1\n    return to", "x = 1"),
        ("def f():\n    ", "\n    return total\n", "x = 1\n    return total", "x = 1"),
        ("def f(", "    return total", "x):\n    ret", "x):"),
        ("if a:", "\nfoo()\n", "\n    b\n\nel", "\n    b"),
        ("if a:", "\nfoo()\n", "\n    b\n# whose", "\n    b"),
        ("if a:", "\nfoo()\n", "\n    b\nelse:\n    c(", "\n    b\nelse:\n    c("),
    ):
        ended = MiddleEnds(ALL, prefix, suffix)
        out = "".join(ended.feed(text[at : at + step]) for at in range(0, len(text), step))
        ended.cut()
        assert out + ended.flush() == middle
    whole = MiddleEnds(Ends(), "", "\n")
    whole.cut()
    assert whole.feed("a \n") + whole.flush() == "a \n"


def test_what_a_stop_string_cuts_in_two_belongs_to_the_block_as_a_whole() -> None:
    for suffix in ("where = 1", "return sum"):
        text = f"\n    b\nelse{suffix}\nmore"
        assert shown(Ends(True, True), "if a:", suffix, text) == "\n    b"
    assert shown(Ends(True, True), " ", "return sum", "\n# a\nreturn sum") == ""
    assert (
        shown(Ends(True, True), "if a:", ":\n    c(1)", "\n    b\nelse:\n    c(1)")
        == "\n    b\nelse"
    )


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
            [
                *("", "a", "return sum", "total)", ")", "}", "else:", "end", "if x {", "f(a)"),
                *("{", "# a", "#if a", "/* a", "*/", "out:", "b();", '"""', "`", "end = 1"),
                *("{% else %}", "</p>", "@a", "break;", "while (a);", "do", "elsewhere"),
            ]
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
STOPS = st.sampled_from([(), ("return",), ("\n\n", "}"), ("return", "\nreturn sum", "sum\n}")])


@settings(max_examples=500, deadline=None)
@given(ENDS, TEXTS, TEXTS, TEXTS, STOPS, st.lists(st.integers(1, 9), max_size=30), st.booleans())
def test_any_pieces_show_the_same_and_nothing_is_taken_back(
    ends: Ends,
    prefix: str,
    suffix: str,
    text: str,
    stop: tuple[str, ...],
    cuts: list[int],
    cut: bool,
) -> None:
    whole, pieces = (MiddleEnds(ends, prefix, suffix, stop) for _ in range(2))
    if cut:
        whole.cut()
        pieces.cut()
    expected = whole.feed(text) + whole.flush()
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


def test_of_several_ends_the_first_one_counts() -> None:
    """Also where another one is clear before it."""
    text = "    a\nreturn sum"
    assert shown(Ends(True, True), "", "a\nreturn sum\n", text) == "    "
    assert shown(Ends(True, True), "", "a\nreturn sum\n", text + "\nmore\n") == "    "
    assert shown(Ends(True, True), "", "a\nreturn other\n", text + "\nmore\n") == "    a"


@pytest.mark.parametrize("step", [1, 2, 1000])
def test_of_several_stop_strings_the_one_that_begins_first_counts(step: int) -> None:
    stop = ("return", "\nreturn sum")
    for text, middle in (
        ("a\nreturn sum", "a"),
        ("a\nreturn x", "a\n"),
        ("a\nreturn", "a\n"),
        ("a return sum", "a "),
        ("a\nretur", "a\nretur"),
    ):
        assert shown(Ends(), "", "", text, stop=stop, step=step) == middle


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
    # Of several rules the first end counts, but for spaces before it.
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
    prefix = prefix.replace("return", "turn").replace("total", "all")  # what is there tells less
    for suffix in ("return sum", "    return sum", ")", "\n    total)\n"):
        whole = before + suffix + text
        told = whole.split(suffix)[0]
        assert shown(Ends(), prefix, suffix, whole, stop=(suffix,), step=5) == told
        if suffix != ")":
            out = shown(SUFFIX, prefix, suffix, whole, step=5)
            assert told.startswith(out)
            if "\n" not in suffix:
                assert out == told
