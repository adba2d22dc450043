"""The code panel when things happen at once: slow disks, keys ahead of their messages, two
windows, and answers that stream."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual import events

from coding import area, coding, panel, say
from fake_engine import Middles, Reply, screen_text, toasts, wait_until
from mistral_tui.code import files, recovery
from mistral_tui.code.errors import CodeError
from mistral_tui.code.files import open_file
from mistral_tui.screens.diff import DiffScreen
from mistral_tui.screens.files import OpenFileScreen
from mistral_tui.screens.unsaved import UnsavedScreen

SOURCE = "def f(a):\n    b = a\n\n\ndef g():\n    return 2\n"


@pytest.fixture(autouse=True)
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATA", "STATE", "CONFIG", "CACHE"):
        monkeypatch.setenv(f"MISTRAL_TUI_{name}", str(tmp_path / name.lower()))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@pytest.fixture
def file() -> Path:
    path = Path("a.py").absolute()
    path.write_text(SOURCE)
    return path


def slowed(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, seconds: float = 0.4) -> None:
    """As a busy network disk."""
    real: Callable[..., Any] = getattr(module, name)

    def slow(*args: Any, **options: Any) -> Any:
        time.sleep(seconds)
        return real(*args, **options)

    monkeypatch.setattr(module, name, slow)


def crashed(path: Path, text: str) -> None:
    """What a window kept of a file before it died."""
    recovery.keep(open_file(path), text)
    recovery._presences.popitem()[1].leave()


# ── nothing that was written is lost ────────────────────────────────────────────────


async def test_what_is_typed_while_it_is_saved_keeps_the_file_open(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with coding(file) as (app, pilot, _):
        slowed(monkeypatch, files, "save")
        await pilot.press("x", "alt+w")
        await wait_until(pilot, lambda: isinstance(app.screen, UnsavedScreen))
        await pilot.press("enter")
        await wait_until(pilot, lambda: not isinstance(app.screen, UnsavedScreen))
        await pilot.press("y")
        await wait_until(pilot, lambda: "stays open" in " ".join(toasts(app)))
        assert file.read_text() == "x" + SOURCE
        assert area(app).text == "xy" + SOURCE


async def test_a_save_here_leaves_what_another_window_lost(file: Path) -> None:
    async with coding(file) as (app, pilot, _):
        crashed(file, "of a window that died\n")
        await pilot.press("x", "ctrl+s")
        await wait_until(pilot, lambda: file.read_text() == "x" + SOURCE)
        await wait_until(pilot, lambda: not panel(app).files.all[0].disk.locked())
        found = recovery.kept(file)
        assert found is not None
        assert found.text == "of a window that died\n"


async def test_consent_to_write_over_is_for_what_was_seen(file: Path) -> None:
    async with coding(file) as (app, pilot, _):
        await pilot.press("m")
        file.write_text("theirs\n")
        await pilot.press("ctrl+s")
        await wait_until(pilot, lambda: len(toasts(app)) == 1)
        file.write_text("theirs, later\n")
        await pilot.press("ctrl+s")
        await wait_until(pilot, lambda: sum("again writes" in said for said in toasts(app)) == 2)
        assert file.read_text() == "theirs, later\n"
        await pilot.press("ctrl+s")
        await wait_until(pilot, lambda: file.read_text() == "m" + SOURCE)


async def test_old_changes_to_a_file_that_is_newer_now_ask_first(file: Path) -> None:
    crashed(file, "old changes\n")
    file.write_text("newer\n")
    async with coding(file) as (app, pilot, _):
        await wait_until(pilot, lambda: area(app).text == "old changes\n")
        await pilot.press("ctrl+s")
        await wait_until(pilot, lambda: "again writes over" in " ".join(toasts(app)))
        assert file.read_text() == "newer\n"
        await pilot.press("ctrl+s")
        await wait_until(pilot, lambda: file.read_text() == "old changes\n")
        await wait_until(pilot, lambda: recovery.kept(file) is None)


async def test_a_copy_of_what_is_saved_is_no_copy(file: Path) -> None:
    crashed(file, SOURCE)
    async with coding(file) as (app, pilot, _):
        await wait_until(pilot, lambda: recovery.kept(file) is None)
        assert toasts(app) == []


async def test_changes_that_are_dropped_do_not_come_back(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with coding(file) as (app, pilot, _):
        slowed(monkeypatch, recovery, "keep")
        await pilot.press("x")
        await wait_until(pilot, lambda: panel(app).files.all[0].disk.locked())
        await pilot.press("ctrl+q", "ctrl+q")  # twice: it is asked once
        await wait_until(pilot, lambda: isinstance(app.screen, UnsavedScreen))
        await pilot.press("down", "down", "enter")
        await wait_until(pilot, lambda: app.return_code is not None or not app.is_running)
    assert recovery.kept(file) is None
    assert file.read_text() == SOURCE


async def test_a_key_right_before_leaving_counts(file: Path) -> None:
    async with coding(file) as (app, pilot, _):
        app.post_message(events.Key("x", "x"))
        app.post_message(events.Key("ctrl+q", None))
        await wait_until(pilot, lambda: isinstance(app.screen, UnsavedScreen))
        await pilot.press("escape")
        assert area(app).text == "x" + SOURCE


async def test_what_is_copied_from_a_hostile_file_is_pasted_safely() -> None:
    path = Path("evil.py").absolute()
    path.write_text("\x1b[31mred\n")
    async with coding(path) as (app, pilot, _):
        await pilot.press("shift+end", "ctrl+c", "ctrl+f", "ctrl+a", "ctrl+v")
        await pilot.pause()
        assert "red" in screen_text(app)  # fails on anything that could command a terminal
        assert "\x1b" not in app.clipboard


async def test_closing_twice_asks_once(file: Path) -> None:
    async with coding(file) as (app, pilot, _):
        await pilot.press("x", "alt+w", "alt+w")
        await wait_until(pilot, lambda: isinstance(app.screen, UnsavedScreen))
        await pilot.press("down", "down", "enter")
        await wait_until(pilot, lambda: not panel(app).files.all)
        assert not isinstance(app.screen, UnsavedScreen)
        assert file.read_text() == SOURCE


async def test_one_file_that_cannot_be_kept_does_not_cost_the_others(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Path("b.py").absolute()
    other.write_text("1\n")
    real = recovery.keep

    def keep(kept: files.CodeFile, text: str) -> None:
        if kept.path == file:
            raise CodeError("What is not saved cannot be kept: No space left.")
        real(kept, text)

    async with coding(file, other) as (app, pilot, _):
        monkeypatch.setattr(recovery, "keep", keep)
        await pilot.press("x", "ctrl+pagedown", "y")
        await wait_until(pilot, lambda: recovery.kept(other) is not None)
        await pilot.press("z")
        app.exit(143)
    assert "a.py: What is not saved cannot be kept" in capsys.readouterr().err
    found = recovery.kept(other)
    assert found is not None
    assert found.text == "yz1\n"


async def test_a_touched_file_is_no_other_file(file: Path) -> None:
    async with coding(file) as (app, pilot, _):
        await pilot.press("x")
        file.touch()
        opened = panel(app).files.all[0]
        before = opened.file.signature
        panel(app).files.look()
        await wait_until(pilot, lambda: opened.file.signature != before)
        assert toasts(app) == []


# ── suggestions ─────────────────────────────────────────────────────────────────────

KEYS = (
    *("a", "b", "a", "b", "space", "enter", "backspace", "tab", "left", "right", "up", "delete"),
    *("ctrl+right", "ctrl+down", "ctrl+z", "ctrl+y", "ctrl+@", "alt+n", "escape"),
)


class Endless(list[Middles]):
    """Suggestions of odd pieces, as many as are asked for."""

    def __init__(self, dice: random.Random) -> None:
        super().__init__([Middles()])
        self._dice = dice

    def pop(self, index: Any = 0) -> Middles:
        pieces = ("a", "b", " ", "\n    ", "ab")
        return Middles(tuple(self._dice.choices(pieces, k=20) for _ in range(3)))


async def walk(seed: int, steps: int) -> int:
    """Random keys without waiting for what comes of them; how many suggestions were looked at,
    each where it was asked for."""
    dice, seen = random.Random(seed), 0
    async with coding(Path("a.py")) as (app, pilot, engine):
        engine.middles = Endless(dice)
        edited, completer = area(app), panel(app).suggesting.completer
        edited.move_cursor((1, 9))
        for step in range(steps):
            key = dice.choice(KEYS)
            known = {"space": " ", "tab": "\t", "enter": "\r"}
            edited.post_message(events.Key(key, known.get(key, key if len(key) == 1 else None)))
            for _ in range(dice.choice((0, 1, 3, 10, 30, 100))):
                await asyncio.sleep(0)
            if dice.random() < 0.2:
                await asyncio.sleep(0.012)
            if len(edited.text) > 600:
                edited.text = "x\n  y"
            if step % 3 == 0:
                await pilot.pause()
                ghost = edited.ghost
                if ghost is not None:
                    seen += 1
                    prefix, suffix = completer._asked
                    assert (prefix + ghost.used, suffix) == edited.place(), step
    return seen


@pytest.fixture
def hasty(tmp_path: Path, file: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.toml").write_text("[code]\nfim_pause = 0.05\n")


@pytest.mark.parametrize("seed", range(2))
async def test_a_suggestion_stands_only_where_it_was_asked_for(seed: int, hasty: None) -> None:
    assert await walk(seed, 250) > 3


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2, 22))
async def test_a_suggestion_stands_only_where_it_was_asked_for_long(seed: int, hasty: None) -> None:
    assert await walk(seed, 2000) > 30


async def test_more_that_cannot_be_had_leaves_the_suggestion_whole(file: Path) -> None:
    answer = Reply(["a", "b"], holds_at=1)
    async with coding(file, middles=[Middles((("ab",),))], replies=[answer]) as (
        app,
        pilot,
        engine,
    ):
        await pilot.press("ctrl+@")
        await wait_until(pilot, lambda: (g := area(app).ghost) is not None and g.complete)
        ghost = area(app).ghost
        app._sender.message("hello")
        await wait_until(pilot, lambda: app.session.answering)
        await pilot.press("alt+n")
        await wait_until(pilot, lambda: "The model is answering." in toasts(app))
        assert ghost is not None
        assert ghost.complete
        assert len(engine.holes) == 1
        answer.release.set()
        await wait_until(pilot, lambda: not app.session.answering)


async def test_leaving_the_code_stops_the_engine(file: Path) -> None:
    slow = Middles((("one",),), gate=asyncio.Event())
    async with coding(file, middles=[slow]) as (app, pilot, engine):
        await pilot.press("ctrl+@")
        await wait_until(pilot, lambda: engine.holes)
        await pilot.press("f6")
        await wait_until(pilot, lambda: engine.holes[0].id in engine.cancelled)
        app.panel.focus_code()  # type: ignore[union-attr]
        await pilot.press("x", "f6")  # before the pause is over
        await pilot.pause(0.5)
        assert len(engine.holes) == 1


# ── which file, which block ─────────────────────────────────────────────────────────


async def test_open_files_are_found_again_by_their_own_names() -> None:
    deep = Path(*["a_long_name_of_a_folder"] * 6, "deep.py").absolute()
    odd = Path("odd\x07.py").absolute()
    for path in (deep, odd):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1\n")
    async with coding(deep, odd) as (app, pilot, _):
        await wait_until(pilot, lambda: len(panel(app).files.all) == 2)
        for count, typed in enumerate(("deep", "odd")):
            await pilot.press("f7", *typed)
            await wait_until(pilot, lambda: isinstance(app.screen, OpenFileScreen))
            await pilot.pause(0.3)
            await pilot.press("enter")
            await wait_until(pilot, lambda: not isinstance(app.screen, OpenFileScreen))
            await pilot.pause(0.1)
            assert len(panel(app).files.all) == 2, toasts(app)
            assert panel(app).current is panel(app).files.all[count]


async def test_names_that_begin_with_a_tilde_are_names() -> None:
    path = Path("~$x.py").absolute()
    path.write_text("1\n")
    async with coding(path) as (app, _pilot, _engine):
        await app.open_files(("~nouser/x.py", "~$x.py"))
        assert len(toasts(app)) == 1
        assert area(app).text == "1\n"


async def test_a_block_is_applied_not_inserted_when_a_file_is_opened_for_it(file: Path) -> None:
    said = "```python\ndef g():\n    return 3\n```\n"
    async with coding(replies=[Reply([said])]) as (app, pilot, _):
        await say(pilot, "make it 3")
        app.transcript.focus()
        await pilot.press("a")
        await wait_until(pilot, lambda: isinstance(app.screen, OpenFileScreen))
        await pilot.press(*"a.py")
        await pilot.pause(0.3)
        await pilot.press("enter")
        await wait_until(pilot, lambda: isinstance(app.screen, DiffScreen))


async def test_a_block_that_is_still_written_is_not_taken(file: Path) -> None:
    answer = Reply(["```py\nx = ", "1\n```\n"], holds_at=1)
    async with coding(file, replies=[answer]) as (app, pilot, _):
        app._sender.message("go")
        await wait_until(pilot, lambda: app.session.running_message_id is not None)
        await wait_until(pilot, lambda: "x = " in app.transcript.text(app.transcript.keys[-1]))
        app.action_insert_block()
        await wait_until(pilot, lambda: "This answer is still being written." in toasts(app))
        assert area(app).text == SOURCE
        answer.release.set()
        await wait_until(pilot, lambda: not app.session.answering)


async def test_names_in_quoted_code_attach_nothing(file: Path) -> None:
    Path("b.py").write_text("secret\n")
    file.write_text("@b.py\ndef f(): ...\n")
    async with coding(file) as (app, pilot, engine):
        await pilot.press("alt+q")
        await wait_until(pilot, lambda: app.prompt.has_focus)
        app.prompt.put(app.prompt.full_text + "and @b.py?")  # as a draft comes back
        await pilot.press("enter")
        await wait_until(pilot, lambda: engine.asked)
        ((_, text),) = engine.said[0]
        assert text.count("secret") == 1  # by what was written, not by what was quoted
        before, _, _ = text.partition("secret")
        assert "and @b.py?" in before
