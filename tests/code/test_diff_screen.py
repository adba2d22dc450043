"""The change of a file before it is made: parts, keys, and what is drawn."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.color import Color
from textual.pilot import Pilot

from fake_engine import FakeEngine, chat, each_size, screen_rows, screen_text, toasts, wait_until
from mistral_tui.app import ChatApp
from mistral_tui.code.hunks import hunks, merge
from mistral_tui.screens.diff import DiffScreen
from mistral_tui.widgets.diff_view import DiffView, visible
from mistral_tui.widgets.palette import contrast

OLD = "".join(f"line {n}\n" for n in range(1, 41))
NEW = OLD.replace("line 5\n", "five\n").replace("line 20\n", "").replace("line 35\n", "a\nb\n")


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATA", "STATE", "CONFIG", "CACHE"):
        monkeypatch.setenv(f"MISTRAL_TUI_{name}", str(tmp_path / name.lower()))


@asynccontextmanager
async def shown(
    old: str, new: str, *, title: str = "src/a.py", how: str = "replaces lines 1–40",
    size: tuple[int, int] = (80, 40), theme: str = "",
) -> AsyncIterator[tuple[ChatApp, Pilot[int], list[str | None]]]:  # fmt: skip
    """The screen over the chat, and what it was dismissed with."""
    given: list[str | None] = []
    async with chat(FakeEngine(), size=size, theme_name=theme) as (app, pilot):
        app.push_screen(DiffScreen(title, old, new, how), given.append)
        await wait_until(pilot, lambda: " leaves" in screen_text(app))
        yield app, pilot, given


def view(app: ChatApp) -> DiffView:
    return app.screen.query_one(DiffView)


async def test_all_parts_are_taken_at_first_and_enter_applies_them() -> None:
    async with shown(OLD, NEW) as (app, pilot, given):
        text = screen_text(app)
        assert "src/a.py" in text
        assert "Replaces lines 1–40. 3 parts are taken." in text
        assert "▸  [x] 1 of 3 · +1 -1" in text
        rows = screen_rows(app)
        gone = next(n for n, row in enumerate(rows) if "-" in row and "line 5" in row)
        assert "5 - line 5" in rows[gone]
        assert "+ five" in rows[gone + 1]
        assert "⋯ 8 unchanged lines" in text
        await pilot.press("enter")
        assert given == [NEW]


async def test_parts_are_left_and_taken_one_by_one() -> None:
    async with shown(OLD, NEW) as (app, pilot, given):
        await pilot.press("j", "space")
        await pilot.pause()
        text = screen_text(app)
        assert "▸  [ ] 2 of 3 · -1 · left out" in text
        assert "2 of 3 parts are taken" in text
        await pilot.press("d", "k", "space")  # none, then the first only
        await pilot.pause()
        assert "1 of 3 parts are taken" in screen_text(app)
        await pilot.press("enter")
        parts = hunks(OLD, NEW)
        assert given == [merge(OLD, parts, {0})]
        assert given[0] == OLD.replace("line 5\n", "five\n")


async def test_esc_and_taking_nothing_change_nothing() -> None:
    async with shown(OLD, NEW) as (app, pilot, given):
        await pilot.press("escape")
        assert given == [None]
        app.push_screen(DiffScreen("a", OLD, NEW, "a patch"), given.append)
        await wait_until(pilot, lambda: isinstance(app.screen, DiffScreen))
        await pilot.press("d")
        await pilot.pause()
        assert "No part is taken: nothing would change." in screen_text(app)
        await pilot.press("enter")
        await wait_until(pilot, lambda: len(given) == 2)
        assert given[1] is None
        assert "Nothing was changed: no part is taken." in toasts(app)
        app.push_screen(DiffScreen("a", OLD, OLD, "a patch"), given.append)
        await wait_until(pilot, lambda: isinstance(app.screen, DiffScreen))
        await pilot.pause()
        assert "Nothing changes: the file has this already (a patch)." in screen_text(app)
        await pilot.press("j", "space", "a", "enter")
        await wait_until(pilot, lambda: len(given) == 3)
        assert given[2] is None


async def test_a_part_larger_than_the_view_is_read_through_with_the_same_keys() -> None:
    new = "".join(f"new {n}\n" for n in range(100)) + OLD.replace("line 40\n", "")
    async with shown(OLD, new, size=(80, 24)) as (app, pilot, _):
        seen = screen_text(app)
        for _ in range(12):
            assert view(app).marked == 0
            if "new 99" in seen:
                break
            await pilot.press("down")
            await pilot.pause()
            seen += screen_text(app)
        assert all(f"+ new {n} " in seen for n in range(100))
        await pilot.press("down")
        assert view(app).marked == 1
        await pilot.press("up", "up")
        await pilot.pause()
        assert view(app).marked == 0


async def test_the_mouse_marks_a_part_and_toggles_it_at_its_head() -> None:
    async with shown(OLD, NEW) as (app, pilot, _):
        rows = screen_rows(app)
        head = next(n for n, row in enumerate(rows) if "2 of 3" in row)
        await pilot.click(offset=(12, head + 1))
        assert (view(app).marked, view(app).taken) == (1, {0, 1, 2})
        await pilot.click(offset=(12, head))
        await pilot.pause()
        assert view(app).taken == {0, 2}


async def test_nothing_in_a_file_reaches_the_terminal_or_is_hidden() -> None:
    evil = "a\x1b[31mb\x1b]52;c;QUJD\x07 [red]x[/] [/] \u202egnp\u200b \x9b2J\ttab\r\n"
    async with shown("a\n", evil, title="\x1b[2J[b]x", how="\x1b[31mhow [b]") as (app, _, _):
        text = "\n".join(screen_rows(app))
        assert "\x1b" not in text
        assert "\x9b" not in text
        assert "▫[31mb" in text  # what is in it stays in sight
        assert "]52;c;QUJD" in text
        assert "[red]x[/] [/]" in text
        assert "‹U+202E›gnp▫" in text
        assert "tab␍" in text
        assert "[b]x" in text
        assert "How [b]." in text


async def test_a_long_line_is_seen_to_its_end() -> None:
    words = " ".join(f"w{n}" for n in range(90))
    wide = "日本語" * 60
    async with shown("a\n", f"{words}\n{wide}\n") as (app, _, _):
        text = screen_text(app)
        assert all(f"w{n}" in text for n in range(0, 90, 20))
        assert "w89" in text
        assert text.count("本") == 60
        assert "↪" in text


@pytest.mark.parametrize("char", ["a", "中", "\t"])
async def test_of_a_very_long_line_the_beginning_is_shown_and_all_is_applied(char: str) -> None:
    old, new = f"x{char * 300_000}\n", f"y{char * 300_000}\n"
    async with shown(old, new, size=(120, 60)) as (app, pilot, given):
        seen = screen_text(app)
        assert view(app).virtual_size.height < 400
        for _ in range(12):
            if "… 298,001 characters more" in seen:
                break
            await pilot.press("j")
            await pilot.pause()
            seen = screen_text(app)
        assert "… 298,001 characters more" in seen
        await pilot.press("enter")
        assert given == [new]


async def test_a_last_line_break_is_told() -> None:
    async with shown("a\nb", "a\nb\n") as (app, _, _):
        rows = screen_rows(app)
        gone = next(n for n, row in enumerate(rows) if "- b" in row)
        assert "(no line break at the end)" in rows[gone + 1]
        assert "+ b" in rows[gone + 2]


async def test_it_fits_every_size_with_its_keys() -> None:
    async with shown(OLD, NEW) as (app, pilot, _):
        async for width, height in each_size(pilot):
            await pilot.pause()
            rows = screen_rows(app)
            assert max(map(len, rows)) <= width
            box = app.screen.query_one("Vertical").region
            assert box.height <= height
            assert "1 of 3" in screen_text(app)
            if width >= 80:
                assert "Enter applies · Esc leaves" in screen_text(app)


async def test_changed_keys_are_shown_and_work(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.toml").write_text("[keys.diff]\ntoggle = '['\n")
    async with shown(OLD, NEW) as (app, pilot, _):
        assert "[ toggles" in screen_text(app)
        await pilot.press("[")
        assert view(app).taken == {1, 2}


async def test_ten_thousand_lines_are_laid_out_and_walked() -> None:
    old = "".join(f"value_{n} = {n}\n" for n in range(10_000))
    new = "".join(f"value_{n} = {n + (n % 40 == 0)}\n" for n in range(10_000))
    async with shown(old, new) as (app, pilot, given):
        assert "1 of 250" in screen_text(app)
        for _ in range(3):
            await pilot.press("j")
        await pilot.pause()
        assert "value_120 = 121" in screen_text(app)
        await pilot.press("enter")
        assert given == [new]


@pytest.mark.parametrize("theme", ["mistral-dark", "mistral-light", "textual-light", "nord"])
async def test_both_sides_can_be_read_and_told_apart(theme: str) -> None:
    async with shown(OLD, NEW, theme=theme) as (app, _, _):
        code = view(app)._palette.code
        for name in ("inserted", "deleted", "text"):
            style = code[name]
            assert style.color is not None
            assert style.bgcolor is not None
            ink, ground = (Color(*c.get_truecolor()) for c in (style.color, style.bgcolor))
            assert contrast(ink, ground) >= 4.5, name
        assert code["inserted"].color != code["deleted"].color


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("plain\n", "plain"),
        ("\tx\n", "    x"),
        ("a\u200bb", "a▫b"),
        ("a\r\n", "a␍"),
        ("a\u2028b", "a▫b"),
        ("\ud800", "\ufffd"),
        ("\x1b[31m", "▫[31m"),
        ("a\ufe0fb\ufe00", "a▫b▫"),
        ("a\u200cb\u200d", "a▫b▫"),
        ("\U0001d173x\u061c", "▫x‹U+061C›"),
        ("e\u0301é中😀", "e\u0301é中😀"),
    ],
)
def test_what_is_hidden_is_made_visible(line: str, expected: str) -> None:
    assert visible(line) == expected
