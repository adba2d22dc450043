from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.theme import BUILTIN_THEMES

from mistral_tui.sanitize import sanitize
from mistral_tui.widgets.highlight import highlight, sections
from mistral_tui.widgets.markdown import MarkdownDocument
from mistral_tui.widgets.palette import Palette

PALETTE = Palette.from_variables(BUILTIN_THEMES["textual-dark"].to_color_system().generate())

PARTS = [
    "# Heading\n",
    "Title\n---\n",
    "A paragraph with **bold**, *italic*, ~~struck~~ and `code`.\n",
    "soft\nbreak  \nhard break\\\nend\n",
    "- one\n- two\n  - inner\n  - inner\n\n    more\n- three\n",
    "1. first\n2. second\n\n3. third\n",
    "7) seven\n8) eight\n",
    "- [ ] open\n- [x] done\n",
    "> quoted\nlazy\n> > deeper\n\n",
    "```python\ndef f():\n    return '''x\n    y'''\n```\n",
    "~~~\nplain\n```\n~~~\n",
    "  ```js\n  let a = 1\n  ```\n",
    "    indented\n\n    code\n",
    "| a | b |\n|---|--:|\n| 1 | 漢字 and more words here |\n",
    "a | b\n",
    "--|--\n",
    "***\n",
    "[link](http://example.org/a) <http://b.example> ![alt](c.png)\n",
    "[ref]: http://example.org\n",
    "<div>html</div>\n",
    "漢字かな、混じり文。" * 8 + "\n",
    "👩‍👩‍👧‍👦 é e\u0301 🇫🇷\n",
    "x" * 90 + "\n",
    "#",
    "-",
    "1",
    "`",
    "``",
    "*",
    "|",
    "\n",
    "\n\n",
    "  ",
    "    ",
    "\t",
    "word ",
    "para of words " * 110,
    "".join(f"- item **{n}** of the list\n" for n in range(14)),
    "".join(f"{n}. item\n\n" for n in range(3, 14)),
    "```py\n" + "".join(f"x{n} = '{n}'  # note\n" for n in range(60)),
    "```\n",
]


def shown(text: str, width: int = 40) -> list[str]:
    document = MarkdownDocument(width, PALETTE, text)
    document.finish()
    return [strip.text.rstrip() for strip in document.lines]


def styled(document: MarkdownDocument) -> list[list[tuple[str, object]]]:
    return [[(segment.text, segment.style) for segment in strip] for strip in document.lines]


@settings(max_examples=250, deadline=None)
@given(
    st.lists(st.sampled_from(PARTS), max_size=7).map("".join),
    st.lists(st.integers(1, 300), min_size=1, max_size=12),
    st.integers(14, 60),
)
def test_any_chunking_ends_as_one_shot(text: str, sizes: list[int], width: int) -> None:
    whole = MarkdownDocument(width, PALETTE, text)
    whole.finish()
    streamed = MarkdownDocument(width, PALETTE)
    at = turn = 0
    while at < len(text):
        size = sizes[turn % len(sizes)]
        before = styled(streamed)
        streamed.append(text[at : at + size])
        assert styled(streamed)[: streamed.stable] == before[: streamed.stable]
        at, turn = at + size, turn + 1
        assert all(strip.cell_length <= width for strip in streamed.lines)
    streamed.finish()
    assert styled(streamed) == styled(whole)
    assert streamed.text == text
    assert streamed.code_blocks == whole.code_blocks


def test_a_long_name_of_a_language_is_cut_to_the_width() -> None:
    for name in ("a" * 60, "[link](http://example.org/a)", "日本語" * 10):
        document = MarkdownDocument(14, PALETTE, f"```{name}\nx\n```\n")
        document.finish()
        assert all(strip.cell_length == 14 for strip in document.lines[:2])


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=400), st.integers(1, 30))
def test_arbitrary_text_never_fails_nor_overflows(text: str, width: int) -> None:
    document = MarkdownDocument(width, PALETTE)
    for character in sanitize(text):
        document.append(character)
    document.finish()
    for strip in document.lines:
        assert sum(cell_len(segment.text) for segment in strip) <= max(4, width)


def test_a_list_hangs_and_numbers_line_up() -> None:
    assert shown("9. nine is a rather long item here\n10. ten", 24) == [
        " 9. nine is a rather",
        "    long item here",
        "10. ten",
    ]


def test_nested_lists_and_tasks() -> None:
    assert shown("- a\n  - b\n    - c\n- [x] done\n- [ ] open") == [
        "• a",
        "  ◦ b",
        "    ▪ c",
        "☑ done",
        "☐ open",
    ]


def test_line_breaks_of_the_answer_are_kept() -> None:
    assert shown("roses are red\nviolets are blue") == ["roses are red", "violets are blue"]


def test_a_link_shows_its_target_when_it_differs() -> None:
    assert shown("[docs](http://a.b/c) <http://a.b>", 60) == ["docs (http://a.b/c) http://a.b"]


def test_no_link_reaches_the_terminal_as_a_hyperlink() -> None:
    document = MarkdownDocument(60, PALETTE, "[x](http://a.b) <http://c.d>")
    assert not any(segment.style and segment.style.link for s in document.lines for segment in s)


def test_html_and_console_markup_show_as_written() -> None:
    assert shown("<b>x</b> [red]y[/red] [/INST]") == ["<b>x</b> [red]y[/red] [/INST]"]
    assert shown("<div>\n*a*\n</div>") == ["<div>", "a", "</div>"]


def test_character_references_cannot_smuggle_controls() -> None:
    [line] = shown("a&#13;b&#27;[31m&#x202e;c")
    assert line == "ab\ufffd[31m‹U+202E›c"
    assert shown("```py&#13;x\n1\n```")[0].strip() == "py&#13;x"


def test_a_late_underline_turns_a_paragraph_into_a_heading() -> None:
    document = MarkdownDocument(40, PALETTE)
    for piece in ("Title\n", "=", "==\n", "text"):
        document.append(piece)
    document.finish()
    assert [s.text for s in document.lines] == ["Title", "━━━━━", "text"]


def test_a_table_fits_and_wraps_by_words() -> None:
    text = "| name | text |\n|---|--:|\n| a | several words that wrap |\n| 漢字 | x |"
    lines = shown(text, 24)
    assert lines[0].startswith("name │")
    assert all(cell_len(line) <= 24 for line in lines)
    assert " ".join(" ".join(line.split("│")[1:]).strip() for line in lines[2:4]) == (
        "several words that wrap"
    )
    assert lines[-1] == "漢字 │                 x"


def test_a_table_too_wide_for_columns_becomes_records() -> None:
    header = "|" + "|".join(f"h{i}" for i in range(9)) + "|\n" + "|---" * 9 + "|\n"
    lines = shown(header + "|" + "|".join(f"some value {i}" for i in range(9)) + "|", 30)
    assert lines[0] == "h0: some value 0"
    assert lines[8] == "h8: some value 8"


def test_a_huge_word_wraps_by_cells() -> None:
    lines = shown("x" * 100_000, 50)
    assert len(lines) == 2_000
    assert "".join(lines) == "x" * 100_000


def test_chinese_wraps_without_a_leading_full_stop() -> None:
    lines = shown("漢字漢字漢字漢字漢。字", 18)
    assert lines == ["漢字漢字漢字漢字", "漢。字"]


def test_emoji_sequences_are_not_cut() -> None:
    family = "👩‍👩‍👧‍👦"
    assert "".join(shown(family * 30, 21)) == family * 30


def test_text_nested_beyond_reason_is_still_shown() -> None:
    assert "deep text" in " ".join(shown("> " * 200 + "deep text\n\nafter", 40))
    assert shown("> " * 200 + "deep\n\nafter", 40)[-1] == "after"


def test_code_blocks_are_given_as_written() -> None:
    text = "- item\n  ```sh\n  ls\t-l\n  ```\n\n```\na\n\n  b\n```\n\n    indented\n\n```py\nopen"
    document = MarkdownDocument(40, PALETTE, text)
    assert document.code_blocks == [
        ("sh", "ls\t-l"),
        ("", "a\n\n  b"),
        ("", "indented"),
        ("py", "open"),
    ]


def test_long_code_is_coloured_in_sections_that_lose_no_text() -> None:
    code = "".join(f"def f{n}():\n    '''doc\n\nx'''\n    return {n}\n\n\n" for n in range(300))
    parts = sections(code, "python")
    assert len(parts) > 3
    assert "".join(parts) == code
    assert all(part.startswith("def ") for part in parts)
    rows = highlight(code, "python", PALETTE)
    assert "\n".join("".join(text for text, _ in row) for row in rows) == code


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("```python\n" + "x = 1  # one\n" * 500, 60),
        ("".join(f"- item number {n}\n" for n in range(200)), 25),
        ("word " * 4_000, 60),
    ],
    ids=["fence", "list", "paragraph"],
)
def test_a_long_open_block_keeps_its_beginning(text: str, bound: int) -> None:
    document = MarkdownDocument(60, PALETTE)
    for at in range(0, len(text), 40):
        document.append(text[at : at + 40])
    before = list(document.lines)
    document.append("a few more words\n")
    kept = sum(old is new for old, new in zip(before, document.lines, strict=False))
    assert kept >= len(before) - bound


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("".join(f"def f{n}(x: int) -> int:\n    return x + {n}\n" for n in range(40)), 3),
        ("".join(f"- item {n} with `code` in it\n" for n in range(30)), 3),
        ("The harbour lies **quiet** while a light turns. " * 60, 8),
    ],
    ids=["code", "list", "paragraph"],
)
def test_what_grows_leaves_all_but_its_last_lines_as_they_were(text: str, bound: int) -> None:
    document = MarkdownDocument(60, PALETTE, "```python\n" if "def" in text else "")
    for at in range(0, len(text), 4):
        before = list(document.lines)
        document.append(text[at : at + 4])
        assert document.stable >= len(before) - bound
        kept = zip(before[: document.stable], document.lines, strict=False)
        assert all(old is new for old, new in kept)


def test_resize_lays_out_again() -> None:
    document = MarkdownDocument(40, PALETTE, "word " * 30)
    document.finish()
    document.resize(20)
    assert [s.text for s in document.lines] == [line for line in shown("word " * 30, 20)]
    assert document.text == "word " * 30
