"""The editor: exact text, keys, what it draws, and suggestions at the cursor."""

from __future__ import annotations

import random

import pytest
from textual import events
from textual.geometry import Region
from textual.strip import Strip

from editing import editor, rows, suggest
from fake_engine import wait_until
from mistral_tui import keys
from mistral_tui.widgets.code.document import CodeDocument

CODE = "def f(x):\n    y = (x)\n    return y\n\n\nlast = 1\n"
HOSTILE = "a\x1b[2Jb\x9bc\u202ed\u200be\rf\x00\x7f\tg中h\u2028i\x0cj\x85k"


# ── text ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("text", ["", "\n", "a\r\nb\r\n", "a\rb", HOSTILE, "x\n\n\n", "no end"])
async def test_any_text_is_held_exactly(text: str) -> None:
    async with editor(text) as (_, area, _pilot):
        assert area.text == text
        area.load_text(text + "\x0c")
        assert area.text == text + "\x0c"


async def test_edits_undo_and_redo_are_those_of_a_string() -> None:
    chance = random.Random(3)
    pieces = ["a", "\n", "(", "é\r", "\u2028", '"""', "\t", "x\ny\n", ""]
    async with editor("start\n", language="python") as (_, area, pilot):
        texts = [area.text]
        for _ in range(60):
            lines = area.text.split("\n")
            places = []
            for _ in range(2):
                row = chance.randrange(len(lines))
                places.append((row, chance.randrange(len(lines[row]) + 1)))
            start, end = sorted(places)
            piece = chance.choice(pieces)
            before = [area.code.offset(place) for place in (start, end)]
            text = area.text
            area.history.checkpoint()
            area.replace(piece, start, end)
            assert area.text == text[: before[0]] + piece + text[before[1] :]
            if area.text != text or piece:
                texts.append(area.text)
        await pilot.pause()
        texts = texts[-40:]
        for text in reversed(texts[:-1]):
            area.undo()
            assert area.text == text
        for text in texts[1:]:
            area.redo()
            assert area.text == text


async def test_once_removed_it_can_still_be_painted() -> None:
    async with editor(CODE) as (_, area, _pilot):
        await area.remove()
        area._rich_style_cache.clear()  # as its class and focus do when they are taken away
        assert area.render_lines(Region(0, 0, 20, 3)) == [Strip.blank(20)] * 3


async def test_what_would_command_a_terminal_is_drawn_as_what_it_is_not() -> None:
    async with editor(HOSTILE + "\nnext") as (app, area, pilot):
        shown = rows(app)[0]
        assert "a␛[2Jb�c·d·e␍f␀␡" in shown
        assert "g中h·i␌j�k" in shown
        x = shown.index("g") - 3
        area.move_cursor((0, HOSTILE.index("g")))
        assert area.cursor_screen_offset.x - area.gutter_width == x
        await pilot.press("right", "right")
        assert area.cursor_location == (0, HOSTILE.index("h"))
        assert area.cursor_screen_offset.x - area.gutter_width == x + 3


async def test_a_paste_is_made_safe_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    async with editor() as (app, area, pilot):
        app.post_message(events.Paste("a\r\nb\x1b[31mc"))
        await pilot.pause()
        assert area.text == "a\nbc"
        assert area.cursor_location == (1, 2)
        monkeypatch.setattr("mistral_tui.widgets.code.area.MOST_PASTED", 5)
        app.post_message(events.Paste("too long"))
        await pilot.pause()
        assert area.text == "a\nbc"
        assert "too long to be pasted" in next(iter(app._notifications)).message


async def test_rewriting_is_one_edit_of_what_differs_and_can_be_undone() -> None:
    async with editor("a\nb\nc\nd\n") as (_, area, _pilot):
        area.move_cursor((3, 1))
        area.rewrite("a\nB\nB2\nc\nd\n")
        assert area.text == "a\nB\nB2\nc\nd\n"
        assert area.cursor_location == (4, 1)
        area.rewrite(area.text)
        area.undo()
        assert area.text == "a\nb\nc\nd\n"


async def test_putting_replaces_what_is_selected_in_one_step() -> None:
    async with editor("one two") as (_, area, _pilot):
        area.move_cursor((0, 4))
        area.move_cursor((0, 7), select=True)
        area.put("2\n3")
        assert (area.text, area.cursor_location) == ("one 2\n3", (1, 1))
        area.undo()
        assert area.text == "one two"


# ── keys ────────────────────────────────────────────────────────────────────────────


async def test_enter_keeps_the_indentation_and_adds_to_it_behind_an_opening() -> None:
    async with editor(language="python") as (_, area, pilot):
        await pilot.press(*"if x:", "enter", *"y(", "enter", "1", "enter", "2")
        assert area.text == "if x:\n    y(\n        1\n        2"


@pytest.mark.parametrize(("indent", "level"), [("  ", "  "), ("\t", "\t")])
async def test_tab_indents_and_shift_tab_takes_it_back(indent: str, level: str) -> None:
    async with editor("a\n\nb\nc", indent=indent) as (_, area, pilot):
        await pilot.press("tab", "x")
        assert area.text == f"{level}xa\n\nb\nc"
        area.load_text("a\n\nb\nc")
        await pilot.press("down", "down", "end", "shift+up", "shift+up", "tab", "tab")
        assert area.text == f"{level * 2}a\n\n{level * 2}b\nc"
        assert area.selected_lines() == (1, 3)
        await pilot.press("shift+tab")
        assert area.text == f"{level}a\n\n{level}b\nc"
        await pilot.press("ctrl+z")
        assert area.text == f"{level * 2}a\n\n{level * 2}b\nc"


async def test_backspace_takes_a_level_of_spaces_but_one_character_of_all_else() -> None:
    async with editor("        a b\n     c\n\td\n") as (_, area, pilot):
        for place, key, line in (
            ((0, 8), "backspace", "    a b"), ((0, 2), "backspace", "  a b"),
            ((0, 0), "backspace", "  a b"), ((0, 4), "backspace", "  ab"),
            ((1, 5), "backspace", "    c"), ((2, 1), "backspace", "d"),
        ):  # fmt: skip
            area.move_cursor(place)
            await pilot.press(key)
            assert area.document.get_line(place[0]) == line
        area.move_cursor((1, 1))
        area.move_cursor((1, 3), select=True)
        await pilot.press("backspace")
        assert area.document.get_line(1) == "  c"
    async with editor("    a", indent="\t") as (_, area, pilot):
        await pilot.press("right", "right", "backspace")
        assert area.text == "   a"


async def test_keys_that_come_at_once_are_done_in_their_order() -> None:
    async with editor() as (app, area, pilot):
        for key in ("a", "left", "b", "backspace", "c", "ctrl+w", "d", "home", "e", "ctrl+z", "f"):
            app.post_message(events.Key(key, key if len(key) == 1 else None))
        await pilot.pause()
        assert area.text == "fda"


async def test_what_no_terminal_may_see_is_cut_and_copied_as_it_is() -> None:
    async with editor("a\x1b[2J\ud800b\nnext") as (app, area, pilot):
        await pilot.press("shift+end", "ctrl+c")
        assert app.clipboard == "a\x1b[2J\ud800b"
        await pilot.press("ctrl+x")
        assert (app.clipboard, area.text) == ("a\x1b[2J\ud800b", "\nnext")
        await pilot.press("ctrl+v")
        assert area.text == "a\ufffdb\nnext"


async def test_tab_goes_to_the_next_level() -> None:
    async with editor("abc") as (_, area, pilot):
        await pilot.press("end", "tab")
        assert area.text == "abc "


async def test_the_keys_of_the_app_work_but_for_those_that_code_needs() -> None:
    async with editor(CODE * 5) as (app, area, pilot):
        await pilot.press("ctrl+l")
        assert app.told == ["history"]
        await pilot.press("pagedown")
        assert area.cursor_location == (11, 0)
        await pilot.press("ctrl+end")
        assert area.cursor_location == area.document.end
        assert app.told == ["history"]
        assert area.has_focus


async def test_the_keys_of_the_panel_are_handed_on() -> None:
    async with editor(CODE) as (app, area, pilot):
        await pilot.press("ctrl+s", "ctrl+f", "alt+w", "escape", "ctrl+@", "alt+n")
        await pilot.pause()
        assert app.told == [
            *("code.save", "code.find", "code.close", "code.dismiss", "code.complete"),
            "code.next",
        ]
        assert area.text == CODE


async def test_keys_that_were_changed_are_the_ones_that_work() -> None:
    keys.use({"code.take": ("ctrl+y",), "code.save": ("ctrl+k",)})
    try:
        async with editor("a = \n") as (app, area, pilot):
            suggest(area, "1", (0, 4))
            await pilot.press("ctrl+y", "ctrl+k", "tab")
            assert area.text == "a = 1   \n"
            assert app.told == ["taken '1'", "code.save"]
    finally:
        keys.use({})


async def test_selected_lines_leave_out_one_that_only_the_end_touches() -> None:
    async with editor("a\nb\nc") as (_, area, _pilot):
        assert area.selected_lines() == (1, 1)
        area.move_cursor((2, 0), select=True)
        assert (area.selected_lines(), area.selected_text) == ((1, 2), "a\nb\n")


async def test_a_search_selects_and_shows_what_it_finds() -> None:
    text = "x\n" * 50 + "Word\n" + "x\n" * 50 + "word"
    async with editor(text) as (app, area, _pilot):
        assert area.find("word", stay=True) == (1, 2)
        assert area.selected_text == "Word"
        assert any(row.endswith("Word") for row in rows(app)[2:-2])
        assert area.find("wor", stay=True) == (1, 2)
        assert area.find("word") == (2, 2)
        assert area.cursor_location == area.document.end
        assert area.find("word") == (1, 2)
        assert area.find("word", False) == (2, 2)
        assert area.find("Word") == (1, 1)
        assert area.find("none") == (0, 0)
        assert area.selected_text == "Word"


async def test_the_place_of_the_cursor_is_what_stands_around_it() -> None:
    async with editor(CODE) as (_, area, pilot):
        await pilot.press("down", "right")
        assert area.place() == (CODE[:11], CODE[11:])


# ── large files ─────────────────────────────────────────────────────────────────────


async def test_keys_and_pages_of_a_large_file_touch_what_is_near(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = "def f(x):\n    return (x + 1)  # é\n" * 5_000
    async with editor(text, language="python") as (app, area, pilot):
        await wait_until(pilot, lambda: area.syntax.done)
        area.move_cursor((5_001, 8))
        await pilot.pause()

        def whole(_: CodeDocument) -> str:
            raise AssertionError("all lines were joined")

        monkeypatch.setattr(CodeDocument, "text", property(whole))
        await pilot.press("x", "enter", "pagedown", "pageup", "left_parenthesis", "ctrl+z")
        area.place()
        await pilot.pause()
        monkeypatch.undo()
        cursor = f"{area.cursor_location[0] + 1}  "
        assert any(row.startswith(" " + cursor) for row in rows(app))
        assert len(area.syntax._spans) < 100
        assert area.text != text
