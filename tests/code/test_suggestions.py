"""Suggestions in the editor: what is drawn of them, and what becomes of them."""

from __future__ import annotations

import random

import pytest
from rich.style import Style
from textual import events
from textual.widgets import Input

from editing import EditorApp, editor, rows, suggest
from mistral_tui.code.ghost import Ghost
from mistral_tui.widgets.code.area import CodeArea
from mistral_tui.widgets.code.canvas import TAB
from mistral_tui.widgets.code.cells import Cells

CODE = "def f(x):\n    y = (x)\n    return y\n\n\nlast = 1\n"


def style_at(app: EditorApp, x: int, y: int) -> Style:
    """The style that a cell is drawn in."""
    strip = app.screen._compositor.render_strips()[y]
    return next(iter(strip.crop(x, x + 1))).style or Style()


# ── suggestions: what is drawn ──────────────────────────────────────────────────────


async def test_a_suggestion_stands_between_the_lines_and_what_follows_it_behind_its_last() -> None:
    async with editor(CODE) as (app, area, pilot):
        suggest(area, "(1 +\n         2 * ", (1, 8))
        await pilot.pause()
        assert rows(app)[:5] == [
            "1  def f(x):",
            "2      y = (1 +",
            "            2 * (x)",
            "3      return y",
            "4",
        ]
        assert area.virtual_size.height == area.document.line_count + 1
        assert area.text == CODE
        for x, y in ((3 + 9, 1), (3 + 9, 2)):
            style = style_at(app, x, y)
            assert style.italic
        assert style_at(app, 3 + 8, 1) != style_at(app, 3 + 9, 1)  # the cursor
        assert not style_at(app, 3 + 14, 2).italic
        area.drop_ghost()
        await pilot.pause()
        assert rows(app)[1:3] == ["2      y = (x)", "3      return y"]


async def test_a_note_stands_behind_the_first_line_if_there_is_room() -> None:
    async with editor("a = \nb", size=(24, 6)) as (app, area, pilot):
        suggest(area, "1 +\n2", (0, 4))
        area.ghost_note = "2/3"
        await pilot.pause()
        assert rows(app)[:3] == ["1  a = 1 +  2/3", "   2", "2  b"]
        suggest(area, "1234567890123\n2", (0, 4))
        area.ghost_note = "2/3"
        await pilot.pause()
        assert rows(app)[0] == "1  a = 1234567890123"


async def test_what_is_suggested_reaches_no_terminal() -> None:
    async with editor("") as (app, area, pilot):
        suggest(area, "a\x1b[2J\u202e\nb\r", (0, 0))
        await pilot.pause()
        assert rows(app)[:2] == ["1  a␛[2J·", "   b␍"]


async def test_a_suggestion_below_the_last_row_is_scrolled_into_view() -> None:
    async with editor("\n".join(map(str, range(40)))) as (app, area, pilot):
        area.move_cursor((10, 2))
        await pilot.pause()
        assert area.scroll_offset.y == 0
        suggest(area, "a\nb\nc", (10, 2))
        await pilot.pause()
        assert rows(app)[-3:] == ["11  10a", "    b", "    c"]
        suggest(area, "\n".join("abcdefghijklmnopq"), (10, 2))
        await pilot.pause()
        assert rows(app)[0] == "11  10a"
        assert rows(app)[-1] == "    k"


async def test_more_text_does_not_pull_back_a_reader_who_scrolled_away() -> None:
    async with editor("\n".join(map(str, range(90)))) as (_, area, pilot):
        ghost = suggest(area, "a", (1, 0), complete=False)
        area.scroll_to(y=50, animate=False)
        ghost.add(0, "\nb\nc")
        area.refresh_ghost()
        await pilot.pause()
        assert area.scroll_offset.y == 50


# ── suggestions: what becomes of them ───────────────────────────────────────────────


async def test_typing_what_is_suggested_moves_nothing_on_the_screen() -> None:
    async with editor("if x:\n    \nend\n", language="python") as (app, area, pilot):
        ghost = suggest(area, "y(1)\n    z(2)\nw", (1, 4))
        await pilot.pause()
        before = rows(app)
        before = [row[3:] for row in before]
        for key in (*"y(1)", "enter", *"z(2"):
            await pilot.press("left_parenthesis" if key == "(" else key)
            assert [row[3:] for row in rows(app)][:5] == before[:5], key
        assert area.ghost is ghost
        assert area.text == "if x:\n    y(1)\n    z(2\nend\n"
        assert ghost.text == ")\nw"
        for _ in range(4):
            await pilot.press("backspace")
        assert ghost.text == "    z(2)\nw"  # a level of indentation goes at once
        assert not app.told


async def test_random_typing_along_keeps_text_and_suggestion_one() -> None:
    chance = random.Random(5)
    whole = "a(b)\n    c\n\nd"
    async with editor("<>") as (app, area, _pilot):
        ghost = suggest(area, whole, (0, 1), complete=False)
        at = 0
        for _ in range(80):
            if chance.random() < 0.6 and at < len(whole):
                step = chance.randrange(1, 4)
                area.insert(whole[at : at + step], maintain_selection_offset=False)
                at = min(len(whole), at + step)
            elif at:
                level = whole[:at].endswith("\n    ")
                area.action_delete_left()
                at -= 4 if level else 1
            assert area.text == f"<{whole[:at]}>"
            assert (area.ghost, ghost.text) == (ghost, whole[at:])
            assert area.view.gap == ghost.text.count("\n")
            assert (
                "".join(row[3:].strip() for row in rows(app))
                == "<" + "".join(whole.replace("\n", "").split()) + ">"
            )


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("x", "a = x\nb"), ("left", "a = \nb"), ("end", "a = \nb"), ("enter", "a = \n\nb"),
        ("backspace", "a =\nb"), ("delete", "a = b"), ("ctrl+z", "a = \nb"),
        ("pagedown", "a = \nb"), ("escape", "a = \nb"), ("shift+left", "a = \nb"),
    ],
)  # fmt: skip
async def test_any_other_edit_or_movement_drops_it_at_once(key: str, text: str) -> None:
    async with editor("a = \nb") as (app, area, pilot):
        suggest(area, "1\n2", (0, 4))
        await pilot.press(key)
        assert (area.ghost, area.text, app.told) == (None, text, ["dropped"])
        assert area.virtual_size.height == area.document.line_count


async def test_leaving_the_editor_or_pasting_drops_it() -> None:
    async with editor("a = \nb") as (app, area, pilot):
        suggest(area, "1\n2", (0, 4))
        app.query_one(Input).focus()
        await pilot.pause()
        assert (area.ghost, app.told) == (None, ["dropped"])
        area.focus()
        suggest(area, "1\n2", (0, 4))
        app.post_message(events.Paste("paste"))
        await pilot.pause()
        assert (area.ghost, area.text) == (None, "a = paste\nb")


@pytest.mark.parametrize(
    ("click", "place"),
    [((9, 4), (2, 6)), ((5, 1), (0, 4)), ((5, 2), (0, 4)), ((9, 2), (0, 7)), ((4, 0), (0, 1))],
)
async def test_a_click_goes_to_the_text_that_is_drawn_there(
    click: tuple[int, int], place: tuple[int, int]
) -> None:
    """Drawn are `a = 1`, `22`, `333 + b`, and the other two lines."""
    async with editor("a =  + b\n\nsecond line") as (_, area, pilot):
        suggest(area, "1\n22\n333", (0, 4))
        await pilot.pause()
        await pilot.click(CodeArea, offset=click)
        assert area.cursor_location == place
        assert area.ghost is None


async def test_nothing_moves_under_the_mouse_until_its_button_is_up() -> None:
    text = "".join(f"line {number}\n" for number in range(60))
    async with editor(text, size=(60, 30)) as (app, area, pilot):
        for scrolled in (0, 2, 20):
            area.scroll_to(y=scrolled, animate=False)
            suggest(area, "\n".join(f"ghost {number}" for number in range(6)), (scrolled + 3, 6))
            await pilot.pause()
            y = 4 + 5 + 1  # of the second line behind the suggestion
            line = f"line {scrolled + 5}"
            assert rows(app)[y].endswith(line)
            await pilot.mouse_down(area, offset=(area.gutter_width + 2, y))
            await pilot.pause()
            assert (area.ghost, app.told) == (None, ["dropped"])
            assert rows(app)[y].endswith(line)
            await pilot.hover(area, offset=(area.gutter_width + 5, y))
            assert area.selected_text == line[2:5]
            await pilot.mouse_up(area, offset=(area.gutter_width + 5, y))
            await pilot.pause()
            assert rows(app)[y - min(5, 5 - min(5, scrolled))].endswith(line)
            assert not any("ghost" in row for row in rows(app))
            assert area.virtual_size.height == area.document.line_count
            app.told.clear()


async def test_a_key_while_the_mouse_button_is_down_ends_what_was_left_of_it() -> None:
    async with editor("a\nb\nc") as (app, area, pilot):
        suggest(area, "1\n2", (0, 1))
        await pilot.mouse_down(area, offset=(4, 2))
        await pilot.pause()
        assert rows(app)[:4] == ["1  a1", "   2", "2  b", "3  c"]
        await pilot.press("x")
        assert rows(app)[:3] == ["1  a", "2  bx", "3  c"]
        await pilot.mouse_up(area, offset=(4, 1))
        assert area.text == "a\nbx\nc"


async def test_one_that_goes_above_the_view_moves_nothing_in_it() -> None:
    text = "".join(f"line {number}\n" for number in range(60))
    async with editor(text) as (app, area, pilot):
        suggest(area, "1\n2\n3", (1, 6))
        area.scroll_to(y=20, animate=False)
        await pilot.pause()
        before = [row[:12] for row in rows(app)]
        area.drop_ghost()
        await pilot.pause()
        assert [row[:12] for row in rows(app)] == before


async def test_far_to_the_right_a_suggestion_is_drawn_where_it_is() -> None:
    line = "".join(chr(97 + at % 26) for at in range(9_000))
    async with editor(line, size=(40, 8)) as (app, area, pilot):
        suggest(area, "ONE\nTWO", (0, 8_000))
        await pilot.pause()
        area.scroll_to(x=7_990, animate=False)
        await pilot.pause()
        assert rows(app)[:2] == ["1  " + line[7_990:8_000] + "ONE", ""]
        area.scroll_to(x=100, animate=False)
        await pilot.pause()
        assert rows(app)[:2] == ["1  " + line[100:137], "   " + line[8_097:8_134]]


async def test_tab_takes_all_of_it_as_one_step() -> None:
    async with editor("a = \nb") as (app, area, pilot):
        await pilot.press("end", "x", "backspace")
        suggest(area, "1 +\n2", (0, 4))
        await pilot.press("tab")
        assert (area.text, area.cursor_location) == ("a = 1 +\n2\nb", (1, 1))
        assert (area.ghost, app.told) == (None, ["taken '1 +\\n2'"])
        await pilot.press("x", "ctrl+z")
        assert area.text == "a = 1 +\n2\nb"
        await pilot.press("ctrl+z")
        assert area.text == "a = \nb"


async def test_words_and_lines_are_taken_one_by_one_and_the_rest_stays() -> None:
    async with editor("\nb") as (app, area, pilot):
        ghost = suggest(area, "one two\n  three\nfour", (0, 0))
        await pilot.press("ctrl+right")
        assert (area.text, ghost.text) == ("one\nb", " two\n  three\nfour")
        await pilot.press("ctrl+down", "ctrl+down")
        assert (area.text, ghost.text) == ("one two\n  three\nb", "\nfour")
        assert rows(app)[:4] == ["1  one two", "2    three", "   four", "3  b"]
        await pilot.press("ctrl+z")
        assert (area.text, area.ghost) == ("one two\nb", None)
        assert app.told == ["taken 'one'", "taken ' two'", "taken '\\n  three'", "dropped"]
        await pilot.press("ctrl+z", "ctrl+z")
        assert area.text == "\nb"


async def test_one_that_is_still_written_stays_when_all_of_it_was_taken() -> None:
    async with editor("") as (app, area, pilot):
        ghost = suggest(area, "one", (0, 0), complete=False)
        await pilot.press("tab")
        assert (area.text, area.ghost) == ("one", ghost)
        ghost.add(0, "\ntwo")
        area.refresh_ghost()
        await pilot.pause()
        assert rows(app)[:2] == ["1  one", "   two"]
        assert not area.take_ghost("all") or area.text == "one\ntwo"


async def test_without_a_suggestion_its_keys_do_what_they_do_in_an_editor() -> None:
    async with editor("one two") as (app, area, pilot):
        await pilot.press("ctrl+right", "ctrl+down", "tab")
        assert area.text == "one  two"
        area.show_ghost(Ghost())  # nothing of it has come yet
        assert not area.take_ghost("word")
        assert app.told == []


# ── anything at all ─────────────────────────────────────────────────────────────────

KEYS = [
    "left",
    "right",
    "up",
    "down",
    "home",
    "end",
    "pageup",
    "pagedown",
    "ctrl+home",
    "ctrl+end",
    "enter",
    "backspace",
    "delete",
    "tab",
    "shift+tab",
    "ctrl+right",
    "ctrl+down",
    "ctrl+left",
    "escape",
    "ctrl+z",
    "ctrl+y",
    "shift+up",
    "shift+down",
    "ctrl+k",
    "ctrl+u",
    "ctrl+w",
    "ctrl+x",
    "ctrl+v",
    "ctrl+shift+k",
    "a",
    "left_parenthesis",
    "b",
    "alt+delete",
]
CHARS = "ab(){}[]:é中👍\t\x1b\u202e\u200b\ud800\x0c\r\u0301 \n\"'#"


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_is_pressed_the_screen_the_size_and_the_suggestion_agree(seed: int) -> None:
    chance = random.Random(seed)

    def text(most: int) -> str:
        return "".join(chance.choice(CHARS) for _ in range(chance.randrange(most)))

    language, indent = chance.choice(["python", "cpp", ""]), chance.choice(["\t", "  "])
    async with editor(text(900), size=(30, 8), language=language, indent=indent) as (
        app,
        area,
        pilot,
    ):
        for _ in range(50):
            what = chance.random()
            if what < 0.3 and area.ghost is None:
                suggest(area, text(30), area.cursor_location, complete=chance.random() < 0.5)
            elif what < 0.4 and area.ghost is not None:
                area.ghost.add(0, text(9))
                area.refresh_ghost()
            elif what < 0.45:
                area.scroll_to(chance.randrange(60), chance.randrange(40), animate=False)
            elif what < 0.5:
                await pilot.click(CodeArea, offset=(chance.randrange(20), chance.randrange(5)))
            else:
                await pilot.press(chance.choice(KEYS))
            rows(app)
            below = area.ghost.text.count("\n") if area.ghost is not None else 0
            assert area.virtual_size.height == area.code.line_count + below
            widths = [Cells(line, TAB).width for line in area.code.lines]
            assert area.code.get_size(TAB).width == max(widths)
