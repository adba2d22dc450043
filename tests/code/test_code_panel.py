"""The code panel in the app, on a scripted engine: suggestions, files, and the conversation."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.pilot import Pilot

from coding import area, coding, panel, say
from fake_engine import Middles, Reply, screen_text, toasts, wait_until, words_on_screen
from mistral_tui.app import ChatApp
from mistral_tui.code import recovery
from mistral_tui.screens.diff import DiffScreen
from mistral_tui.screens.files import OpenFileScreen
from mistral_tui.screens.unsaved import UnsavedScreen

SOURCE = "def f(a):\n    b = a\n\n\ndef g():\n    return 2\n"
LINES = Middles((("return b", "\n    # done"),))


@pytest.fixture(autouse=True)
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATA", "STATE", "CONFIG", "CACHE"):
        monkeypatch.setenv(f"MISTRAL_TUI_{name}", str(tmp_path / name.lower()))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@pytest.fixture
def file() -> Path:
    path = Path("a.py").absolute()
    path.write_text(SOURCE)
    return path


async def go(pilot: Pilot[int], app: ChatApp, row: int, column: int) -> None:
    area(app).move_cursor((row, column))
    await pilot.pause()


async def suggested(pilot: Pilot[int], app: ChatApp, text: str) -> None:
    await wait_until(pilot, lambda: (g := area(app).ghost) is not None and g.text == text)
    await wait_until(pilot, lambda: not panel(app).suggesting.completer.running)


# ── suggestions ─────────────────────────────────────────────────────────────────────


async def test_a_suggestion_comes_after_a_pause_and_is_taken_and_saved(file: Path) -> None:
    async with coding(file, middles=[LINES]) as (app, pilot, engine):
        await go(pilot, app, 1, 9)
        assert engine.holes == []  # a movement asks nothing
        await pilot.press("enter")
        await suggested(pilot, app, "return b\n    # done")
        assert "return b" in screen_text(app)
        assert "# done" in screen_text(app)
        assert "return b" not in area(app).text
        (hole,) = engine.holes
        assert (hole.prefix, hole.suffix) == ("def f(a):\n    b = a\n    ", SOURCE[19:])
        await pilot.press("tab")
        assert area(app).ghost is None
        await pilot.press("ctrl+s")
        await wait_until(pilot, lambda: "Saved" in " ".join(toasts(app)))
        assert file.read_text() == SOURCE.replace("a\n\n", "a\n    return b\n    # done\n\n")


async def test_typing_what_it_says_asks_nothing_and_another_key_drops_it(file: Path) -> None:
    async with coding(file, middles=[LINES]) as (app, pilot, engine):
        await go(pilot, app, 1, 9)
        await pilot.press("enter")
        await suggested(pilot, app, "return b\n    # done")
        for key in "return":
            await pilot.press(key)
        await suggested(pilot, app, " b\n    # done")
        await pilot.press("backspace")
        await suggested(pilot, app, "n b\n    # done")
        assert len(engine.holes) == 1
        engine.middles = [Middles(holds_at=0)]
        await pilot.press("x")
        assert area(app).ghost is None
        await wait_until(pilot, lambda: len(engine.holes) == 2)
        await pilot.press("left")
        await wait_until(pilot, lambda: engine.holes[1].id in engine.cancelled)


async def test_words_and_lines_are_taken_one_by_one_and_undone_one_by_one(file: Path) -> None:
    async with coding(file, middles=[LINES]) as (app, pilot, _):
        await go(pilot, app, 1, 9)
        await pilot.press("enter")
        await suggested(pilot, app, "return b\n    # done")
        await pilot.press("ctrl+right")
        await suggested(pilot, app, " b\n    # done")
        await pilot.press("ctrl+down")
        await suggested(pilot, app, "\n    # done")
        assert area(app).document.get_line(2) == "    return b"
        await pilot.press("ctrl+down")
        assert area(app).document.get_line(3) == "    # done"
        await pilot.press("ctrl+z")
        assert area(app).document.get_line(2) == "    return b"
        await pilot.press("ctrl+z")
        assert area(app).document.get_line(2) == "    return"


async def test_others_are_drawn_as_one_batch_and_walked(file: Path) -> None:
    several = Middles((("one",), ("two",), ("three",)))
    async with coding(file, middles=[Middles((("one",),)), several]) as (app, pilot, engine):
        await go(pilot, app, 1, 9)
        await pilot.press("ctrl+@")
        await suggested(pilot, app, "one")
        assert len(engine.holes) == 1
        await pilot.press("alt+n")
        await suggested(pilot, app, "two")
        assert [hole.middles for hole in engine.holes] == [1, 3]
        await wait_until(pilot, lambda: "2/3" in screen_text(app))
        await pilot.press("alt+n")
        await suggested(pilot, app, "three")
        await pilot.press("alt+p", "alt+p")
        await suggested(pilot, app, "one")
        assert len(engine.holes) == 2
        await pilot.press("alt+n", "tab")
        assert area(app).document.get_line(1) == "    b = atwo"


async def test_escape_dismisses_it_and_stops_the_engine(file: Path) -> None:
    slow = Middles((("one", "two"),), holds_at=1)
    answer = Reply(["a", "b"], holds_at=1)
    async with coding(file, middles=[slow], replies=[answer]) as (app, pilot, engine):
        await pilot.press("ctrl+@")
        await wait_until(pilot, lambda: (g := area(app).ghost) is not None and g.text == "one")
        await pilot.press("escape")
        assert area(app).ghost is None
        await wait_until(pilot, lambda: engine.holes[0].id in engine.cancelled)
        assert area(app).has_focus
        app.prompt.put("hello")
        app.prompt.action_send()
        await wait_until(pilot, lambda: app.session.running_message_id is not None)
        await pilot.press("ctrl+@")
        await wait_until(pilot, lambda: "The model is answering" in screen_text(app))
        assert len(engine.holes) == 1
        await pilot.press("escape")  # the trouble is told; nothing to dismiss
        await wait_until(pilot, lambda: not app.session.answering)


async def test_a_model_without_the_tokens_says_who_has_them(file: Path, tmp_path: Path) -> None:
    import tiny

    tiny.make(tmp_path / "models" / "Able-22B", tokenizer="v3")
    async with coding(file, fim=False, size=(200, 40)) as (app, pilot, engine):
        await wait_until(pilot, lambda: app._able)
        await pilot.press("x")
        await pilot.pause(0.4)
        assert engine.holes == []
        await pilot.press("ctrl+@")
        await wait_until(pilot, lambda: "Able-22B can" in screen_text(app))
        assert "Fake-7B has no tokens to fill in the middle" in screen_text(app)


async def test_the_setting_and_the_command_switch_it_off(file: Path, tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.toml").write_text("[code]\nfim_auto = false\nfim_pause = 0.05\n")
    async with coding(file) as (app, pilot, engine):
        await pilot.press("x")
        await pilot.pause(0.2)
        assert engine.holes == []
        app.action_auto_complete()
        await pilot.press("y")
        await wait_until(pilot, lambda: engine.holes)


# ── files ───────────────────────────────────────────────────────────────────────────


async def test_files_are_tabs(file: Path) -> None:
    other = Path("b.rs").absolute()
    other.write_text("fn main() {}\n")
    async with coding(file, other) as (app, pilot, _):
        await wait_until(pilot, lambda: "a.py  b.rs" in screen_text(app))
        await pilot.press("ctrl+pagedown")
        assert "fn main" in screen_text(app)
        await pilot.press("ctrl+pageup", "x")
        await wait_until(pilot, lambda: "a.py ●" in screen_text(app))
        await pilot.click("FileTabs", offset=(12, 0))
        assert "fn main" in screen_text(app)
        await pilot.press("alt+w")
        await wait_until(pilot, lambda: "b.rs" not in screen_text(app))
        await pilot.press("alt+w")
        await wait_until(pilot, lambda: isinstance(app.screen, UnsavedScreen))
        await pilot.press("escape")
        await wait_until(pilot, lambda: not isinstance(app.screen, UnsavedScreen))
        assert area(app).text == "x" + SOURCE
        await pilot.press("ctrl+z")
        await wait_until(pilot, lambda: "a.py ●" not in screen_text(app))
        await pilot.press("alt+w")
        await wait_until(pilot, lambda: app.viewed == "talk")
        assert app.prompt.has_focus


async def test_a_file_is_opened_by_part_of_its_path(file: Path) -> None:
    Path("src").mkdir()
    Path("src/wide_name.py").write_text("1\n")
    async with coding(file) as (app, pilot, _):
        await pilot.press("f7")
        await wait_until(pilot, lambda: isinstance(app.screen, OpenFileScreen))
        await pilot.press(*"wdnm")
        await wait_until(pilot, lambda: "src/wide_name.py" in screen_text(app))
        await pilot.press("enter")
        await wait_until(pilot, lambda: len(panel(app).files.all) == 2)
        await wait_until(pilot, lambda: area(app).text == "1\n")


async def test_what_cannot_be_opened_is_a_sentence(file: Path, tmp_path: Path) -> None:
    Path("bin").write_bytes(b"\x7fELF\0\0")
    wrong = [Path("bin"), tmp_path, Path("none/here.py"), Path("/dev/null")]
    async with coding(file) as (app, pilot, _):
        await app.open_files(tuple(map(str, wrong)))
        await pilot.pause()
        assert len(toasts(app)) == len(wrong)
        assert all(said.endswith(".") and "\n" not in said for said in toasts(app))
        assert len(panel(app).files.all) == 1
        await app.open_files(("new.py",))
        await pilot.press("1")
        await pilot.press("ctrl+s")
        await wait_until(pilot, lambda: Path("new.py").exists())
        assert Path("new.py").read_text() == "1"


async def test_somebody_elses_change_is_read_or_asked_about(file: Path) -> None:
    async with coding(file) as (app, pilot, _):
        file.write_text("theirs\n")
        panel(app).files.look()
        await wait_until(pilot, lambda: area(app).text == "theirs\n")
        await pilot.press("m")
        file.write_text("theirs again\n")
        panel(app).files.look()
        await wait_until(pilot, lambda: "the disk; your text" in " ".join(toasts(app)))
        assert area(app).text == "mtheirs\n"
        await pilot.press("ctrl+s")
        await wait_until(pilot, lambda: "again writes over it" in " ".join(toasts(app)))
        assert file.read_text() == "theirs again\n"
        await pilot.press("ctrl+s")
        await wait_until(pilot, lambda: file.read_text() == "mtheirs\n")


async def test_leaving_with_changes_asks(file: Path) -> None:
    async with coding(file) as (app, pilot, _):
        await pilot.press("x", "ctrl+q")
        await wait_until(pilot, lambda: isinstance(app.screen, UnsavedScreen))
        await pilot.press("escape")
        await wait_until(pilot, lambda: not isinstance(app.screen, UnsavedScreen))
        assert app.is_running
        await pilot.press("ctrl+s")
        await wait_until(pilot, lambda: file.read_text() == "x" + SOURCE)
        await pilot.press("ctrl+q")
        await wait_until(pilot, lambda: app.return_code is not None or not app.is_running)


async def test_what_was_not_saved_comes_back_and_can_be_undone(file: Path) -> None:
    async with coding(file) as (app, pilot, _):
        await pilot.press("x")
        app.exit(143)  # as a signal does
    assert file.read_text() == SOURCE
    async with coding(file) as (app, pilot, _):
        await wait_until(pilot, lambda: area(app).text == "x" + SOURCE)
        await wait_until(pilot, lambda: "are back" in words_on_screen(app))
        await pilot.press("ctrl+z")
        assert area(app).text == SOURCE
        await wait_until(pilot, lambda: recovery.kept(file) is None)


async def test_it_is_kept_while_the_app_runs(file: Path) -> None:
    async with coding(file) as (_, pilot, _engine):
        await pilot.press("x")
        await wait_until(pilot, lambda: recovery.kept(file) is not None)
        found = recovery.kept(file)
        assert found is not None
        assert found.text == "x" + SOURCE


async def test_a_hostile_file_commands_nothing() -> None:
    path = Path("evil.py").absolute()
    path.write_text("a = '\x1b]52;c;aGk=\x07'  # \x9b31m \u202e [bold]x[/bold]\n\x1b[2J\n" * 3)
    async with coding(path, middles=[Middles((("\x1b[31mred\n\x07",),))]) as (app, pilot, _):
        await pilot.press("ctrl+@")
        await wait_until(pilot, lambda: area(app).ghost is not None)
        assert "[bold]x[/bold]" in screen_text(app)  # which fails on control characters
        assert "\u202e" not in screen_text(app)


# ── with the conversation ───────────────────────────────────────────────────────────


async def test_selected_lines_go_into_the_message_with_path_and_lines(file: Path) -> None:
    async with coding(file) as (app, pilot, engine):
        area(app).selection = type(area(app).selection)((4, 0), (5, 12))
        await pilot.press("alt+q")
        await wait_until(pilot, lambda: app.prompt.has_focus)
        assert "lines 5–6" in app.prompt.text
        await pilot.press(*"why?")
        await pilot.press("enter")
        await wait_until(pilot, lambda: engine.asked)
        (_, text) = engine.said[0][-1]
        assert "`a.py`, lines 5–6:\n\n```python\ndef g():\n    return 2\n```\n" in text
        assert text.endswith("why?")


async def test_a_block_is_inserted_at_the_cursor_or_in_place_of_the_selection(file: Path) -> None:
    said = "Do this:\n\n```python\nif a:\n    b = 1\n```\n\nor\n\n```python\nb = 3\n```\n"
    async with coding(file, replies=[Reply([said])]) as (app, pilot, _):
        await say(pilot, "how?")
        await go(pilot, app, 1, 4)
        app.transcript.focus()
        await pilot.press("left_curly_bracket", "left_curly_bracket", "t")
        await wait_until(pilot, lambda: area(app).has_focus)
        assert area(app).text.split("\n")[1:4] == ["    if a:", "        b = 1b = a", ""]
        await pilot.press("ctrl+z")
        assert area(app).text == SOURCE
        area(app).selection = type(area(app).selection)((1, 4), (1, 9))
        app.transcript.choose("")
        app.transcript.focus()
        await pilot.press("t")  # the last block of the last answer
        assert area(app).document.get_line(1) == "    b = 3"


async def test_a_block_is_applied_after_a_look_at_the_change(file: Path) -> None:
    said = "```python\ndef g():\n    return 3\n```\n"
    async with coding(file, replies=[Reply([said]), Reply([said])]) as (app, pilot, _):
        await say(pilot, "make it 3")
        app.transcript.focus()
        await pilot.press("a")
        await wait_until(pilot, lambda: isinstance(app.screen, DiffScreen))
        await wait_until(pilot, lambda: "return 3" in screen_text(app))
        await pilot.press("escape")
        assert area(app).text == SOURCE
        app.transcript.focus()
        await pilot.press("a")
        await wait_until(pilot, lambda: isinstance(app.screen, DiffScreen))
        await pilot.press("enter")
        await wait_until(pilot, lambda: not isinstance(app.screen, DiffScreen))
        assert area(app).text == SOURCE.replace("2", "3")
        assert file.read_text() == SOURCE  # it is not saved by that
        app.transcript.focus()
        await pilot.press("a")
        await wait_until(pilot, lambda: "has this already" in " ".join(toasts(app)))


async def test_a_block_without_an_open_file_asks_for_one() -> None:
    async with coding(replies=[Reply(["```python\nx = 1\n```"])]) as (app, pilot, _):
        await say(pilot, "go")
        app.transcript.focus()
        await pilot.press("t")
        await wait_until(pilot, lambda: isinstance(app.screen, OpenFileScreen))
        await pilot.press(*"fresh.py")
        await wait_until(pilot, lambda: "fresh.py" in screen_text(app))
        await pilot.pause(0.2)
        await pilot.press("enter")
        await wait_until(pilot, lambda: app.panel is not None and app.panel.area is not None)
        await wait_until(pilot, lambda: area(app).text == "x = 1")


async def test_new_conversations_begin_with_the_preset(file: Path) -> None:
    async with coding(file, preset="code") as (_, pilot, engine):
        await say(pilot, "hello")
        assert engine.asked[0].sampling.max_tokens == 256
        assert engine.asked[0].messages[0].role == "system"
        await pilot.press("ctrl+n")
        await say(pilot, "again")
        assert engine.asked[1].sampling.max_tokens == 256


# ── places ──────────────────────────────────────────────────────────────────────────


async def test_the_code_stands_beside_the_conversation_or_above_it(file: Path) -> None:
    async with coding(file, size=(120, 40)) as (app, pilot, _):
        code, talk = panel(app).region, app.query_one("#talk").region
        assert code.right <= talk.x
        assert code.y == talk.y
        await pilot.resize_terminal(80, 24)
        await wait_until(pilot, lambda: panel(app).region.width == 80)
        code, talk = panel(app).region, app.query_one("#talk").region
        assert code.bottom <= talk.y
        assert talk.height >= 7
        await pilot.press("alt+z")
        await wait_until(pilot, lambda: panel(app).region.height == 23)
        assert area(app).has_focus
        await pilot.press("alt+z")
        await wait_until(pilot, lambda: app.query_one("#talk").region.height == 23)
        assert app.prompt.has_focus
        await pilot.press("f6")
        await wait_until(pilot, lambda: area(app).has_focus)
        assert app.viewed == "both"


async def test_keys_go_where_they_are_meant(file: Path) -> None:
    async with coding(file, replies=[Reply(), Reply()]) as (app, pilot, _):
        await pilot.press("f6")
        assert app.prompt.has_focus
        await say(pilot, "hello")
        await pilot.press("tab")
        assert app.transcript.has_focus
        await pilot.press("tab")
        assert app.prompt.has_focus
        await pilot.press("f6", "tab")
        assert area(app).text.startswith("    def f")
        assert area(app).has_focus
        await pilot.press("shift+tab")
        assert area(app).text == SOURCE


async def test_the_search_walks_the_file(file: Path) -> None:
    async with coding(file) as (app, pilot, _):
        await pilot.press("ctrl+f", *"def")
        await wait_until(pilot, lambda: "1 of 2" in screen_text(app))
        await pilot.press("enter")
        await wait_until(pilot, lambda: "2 of 2" in screen_text(app))
        await pilot.press("up")
        await wait_until(pilot, lambda: "1 of 2" in screen_text(app))
        assert area(app).selected_text == "def"
        await pilot.press("escape")
        await wait_until(pilot, lambda: area(app).has_focus)
        assert app.transcript.finding == ""
