"""Colours of code in the editor: languages, themes, and what is missing or broken."""

from __future__ import annotations

import sys

import pytest
from rich.style import Style
from textual import events

from editing import EditorApp, editor, rows, suggest
from fake_engine import wait_until
from mistral_tui.themes import load_themes
from mistral_tui.widgets.code import syntax
from mistral_tui.widgets.code.document import CodeDocument
from mistral_tui.widgets.code.syntax import Syntax
from mistral_tui.widgets.palette import Palette

PYTHON = 'def f(x):\n    return "s", 12  # note\n'
SAMPLES = {
    "python": PYTHON,
    "rust": 'fn f(x: u8) -> u8 { let s = "s"; 12 } // note\n',
    "go": 'func f(x int) string { return "s" } // note\n',
    "java": 'class A { int f() { return 12; } String s = "s"; } // note\n',
    "javascript": 'function f() { return "s" + 12; } // note\n',
    "typescript": 'interface A { b: string }\nfunction f(): A { return 12; } // note "s"\n',
    "tsx": 'const a = () => { return <b c="s">{12}</b>; }; // note\n',
    "c": 'int f(int x) { return 12; } // note "s"\n',
    "cpp": 'class A { int f() { return 12; } }; // note\nauto s = "s";\n',
    "c-sharp": "class A { int F() { return 12; } } // note\n",
    "ruby": 'def f(x)\n  "s" + 12.to_s # note\nend\n',
    "php": '<?php function f($x) { return "s"; } // note\n',
    "lua": 'local function f(x) return "s", 12 end -- note\n',
    "bash": 'for x in a; do echo "s"; done # note\n',
    "sql": "SELECT a FROM b WHERE c = 's'; -- note\n",
    "json": '{"a": [12, true, "s"]}\n',
    "toml": 'a = "s" # note\nb = 12\n',
    "yaml": 'a: "s" # note\nb: 12\n',
    "css": "a { color: red; } /* note */\n",
    "html": '<a b="s">x</a><!-- note -->\n',
    "xml": '<a b="s">x</a><!-- note -->\n',
    "markdown": "# head\n\n- item `code`\n\n```py\nx\n```\n",
}


def roles(text: str, language: str) -> list[set[str]]:
    """The roles that a whole parse finds, by line."""
    document = CodeDocument(text)
    syntax = Syntax(document, language)
    while not syntax.parse(1):
        pass
    last = document.line_count - 1
    return [{role for *_, role in syntax.spans(row, 0, last)} for row in range(last + 1)]


def drawn(app: EditorApp, word: str) -> Style:
    """The style of the first row's first place with this word."""
    for y, row in enumerate(rows(app)):
        if word in row:
            strip = app.screen._compositor.render_strips()[y]
            x = row.index(word)
            return next(iter(strip.crop(x, x + 1))).style or Style()
    raise AssertionError(word)


@pytest.mark.parametrize("language", SAMPLES)
def test_every_language_is_coloured(language: str) -> None:
    found = set().union(*roles(SAMPLES[language], language))
    assert len(found - {"text", "variable"}) >= 2
    if "note" in SAMPLES[language]:
        assert "comment" in found


def test_spans_are_columns_also_behind_wide_characters() -> None:
    document = CodeDocument('é = "中👍" + f(1)  # ü\n')
    syntax = Syntax(document, "python")
    assert syntax.parse(5)
    line = document.get_line(0)
    found = {(line[start:end], role) for start, end, role in syntax.spans(0, 0, 0)}
    assert {('"中👍"', "string"), ("f", "function"), ("1", "number"), ("# ü", "comment")} <= found


def test_after_edits_the_colours_are_those_of_a_new_parse() -> None:
    text = PYTHON * 300
    document = CodeDocument(text)
    syntax = Syntax(document, "python")
    slices = 0
    for edit in ('"""', "", "é = (", "", "x\n\n", "\udc80"):
        start = (151, 4)
        end = (151, 7) if not edit else start
        document.replace_range(start, end, edit)
        if edit == "é = (":
            document.replace_range((151, 4), (151, 9), "")
        while not syntax.parse(0.0005):
            slices += 1
            syntax.spans(150, 150, 160)  # meanwhile there are some
    fresh = roles(document.text, "python")
    assert [{r for *_, r in syntax.spans(row, row, row + 9)} for row in range(len(fresh))] == fresh
    assert slices > 3


def test_files_and_lines_that_are_too_large_have_no_colours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    long = "x = 1  #" + "a" * syntax.LONGEST_COLOURED
    found = roles(f"{PYTHON}{long}\n{PYTHON}", "python")
    assert found[2] == set()
    assert found[0] == found[3] != set()
    huge = "#" + "a" * syntax.LONGEST_PARSED
    assert not any(roles(f"{PYTHON}{huge}\n{PYTHON}", "python"))
    document = CodeDocument(PYTHON)
    follows = Syntax(document, "python")
    assert follows.parse(5)
    assert follows.spans(0, 0, 0)
    document.replace_range((1, 0), (1, 0), f"\n{huge}\n")
    assert follows.parse(5)
    assert not follows.spans(0, 0, 0)
    monkeypatch.setattr(syntax, "MOST_COLOURED", 20)
    assert roles(PYTHON, "python") == [set()] * 3


@pytest.mark.parametrize("language", ["python", "javascript", "cpp"])
def test_what_makes_no_sense_is_looked_through_only_where_it_is_in_view(language: str) -> None:
    """A query of it all could take minutes: it takes the square of the parts."""
    document = CodeDocument(("(" * 100 + "\n") * 300)
    lost = Syntax(document, language)
    for row in (0, 150, 260):
        assert lost.parse(60)
        tree = lost._tree
        assert tree is not None
        assert tree.root_node not in lost._roots(tree, row, row + 39)
        for at in range(row, row + 40):
            assert all(stop <= 100 for _, stop, _ in lost.spans(at, row, row + 39))
        document.replace_range((row, 0), (row, 0), "x")


def test_code_keeps_its_colours_while_a_bracket_is_open() -> None:
    document = CodeDocument(PYTHON * 1_500)
    code = Syntax(document, "python")
    assert code.parse(60)
    document.replace_range((1_500, 0), (1_500, 0), "((\n")
    assert code.parse(60)
    assert code._tree is not None
    assert code._tree.root_node.has_error
    for row in (0, 1_502, 2_900):
        row -= row % 2
        found = {role for at in range(row, row + 30) for *_, role in code.spans(at, row, row + 30)}
        assert {"keyword", "string", "comment"} <= found


def test_a_broken_query_or_a_missing_grammar_means_no_colours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert roles(PYTHON, "cobol") == [set()] * 3
    syntax.grammar.cache_clear()
    try:
        monkeypatch.setattr(syntax, "_queries", lambda *_: iter(["(nonsense", "(module) @x"]))
        assert roles(PYTHON, "python") == [set()] * 3
        syntax.grammar.cache_clear()
        monkeypatch.setitem(sys.modules, "tree_sitter", None)
        assert syntax.grammar("python") is None
    finally:
        syntax.grammar.cache_clear()


async def test_without_tree_sitter_everything_else_works(monkeypatch: pytest.MonkeyPatch) -> None:
    syntax.grammar.cache_clear()
    monkeypatch.setitem(sys.modules, "tree_sitter", None)
    try:
        async with editor(PYTHON, language="python") as (app, area, pilot):
            await pilot.press("x")
            assert area.text == "x" + PYTHON
            assert rows(app)[0] == "1  xdef f(x):"
    finally:
        syntax.grammar.cache_clear()


async def test_code_looks_as_in_the_conversation_in_every_theme() -> None:
    async with editor(PYTHON, language="python") as (app, area, pilot):
        area.move_cursor((2, 0))
        for theme in load_themes()[0]:
            app.theme = theme.name
            await pilot.pause()
            code = Palette.from_variables(app.theme_variables).code
            for word, role in (("def", "keyword"), ('"s"', "string"), ("# note", "comment")):
                style, wanted = drawn(app, word), code[role]
                if theme.name != "ansi":
                    assert wanted.color is not None
                    assert (style.color, style.bgcolor) == (wanted.color, wanted.bgcolor), role
                assert (style.bold, style.italic) == (wanted.bold, wanted.italic), theme.name


async def test_a_suggestion_can_be_told_from_code_without_colours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with editor("a = \n", language="python") as (app, area, pilot):
        suggest(area, "11\n22", (0, 4))
        await pilot.pause()
        assert drawn(app, "22").italic
        assert not drawn(app, "a =").italic
        colours = area._palette_colours()
        assert colours.ghost.dim


async def test_a_language_that_is_set_later_colours_what_is_there() -> None:
    async with editor(PYTHON) as (app, area, pilot):
        area.move_cursor((2, 0))
        await pilot.pause()
        assert not drawn(app, "def").bold
        area.language = "python"
        await pilot.pause()
        assert drawn(app, "def").bold
        area.language = None
        await pilot.pause()
        assert not drawn(app, "def").bold


async def test_an_edit_that_turns_a_large_file_over_is_coloured_in_slices() -> None:
    async with editor(PYTHON * 10_000, language="python") as (app, area, pilot):
        await wait_until(pilot, lambda: area.syntax.done)
        area.move_cursor((0, 0))
        for _ in range(3):
            app.post_message(events.Key("quotation_mark", '"'))
        await wait_until(pilot, lambda: area.text.startswith('"""def'))
        await wait_until(pilot, lambda: area.syntax.done)
        await pilot.pause()
        code = Palette.from_variables(app.theme_variables).code
        assert drawn(app, "return").color == code["string"].color
