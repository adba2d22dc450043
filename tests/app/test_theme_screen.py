"""Choosing a look, and files of looks that change while the app runs."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fake_engine import FakeEngine, ask, chat, each_size, screen_text, toasts, wait_until
from mistral_tui import looks, themes
from mistral_tui.screens.themes import ThemeScreen

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from terminal import Terminal

OCEAN = 'name = "ocean"\nprimary = "#0088cc"\nbackground = "{ground}"\n'


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in ("DATA", "STATE", "CONFIG", "CACHE"):
        monkeypatch.setenv(f"MISTRAL_TUI_{name}", str(tmp_path / name.lower()))
    monkeypatch.setattr(looks, "_WATCH_SECONDS", 0.05)
    folder = tmp_path / "config" / "themes"
    folder.mkdir(parents=True)
    return folder


def write(path: Path, text: str) -> None:
    """As editors do: a new file in the place of the old one."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


async def test_each_look_is_shown_as_it_is_marked_and_esc_gives_the_old_one_back(
    tmp_path: Path,
) -> None:
    async with chat(FakeEngine(), size=(120, 40)) as (app, pilot):
        await pilot.press("f9")
        await wait_until(pilot, lambda: isinstance(app.screen, ThemeScreen))
        seen = [app.theme]
        for _ in range(4):
            await pilot.press("j")
            await pilot.pause()
            seen.append(app.theme)
        assert len(set(seen)) == 5
        assert "A heading" in screen_text(app)
        assert themes.remembered(tmp_path / "state") == ""
        await pilot.press("escape")
        await wait_until(pilot, lambda: not isinstance(app.screen, ThemeScreen))
        assert app.theme == seen[0] == "mistral-dark"
        await pilot.press("ctrl+t")
        assert themes.remembered(tmp_path / "state") == "mistral-light"


async def test_enter_keeps_a_look_for_the_next_time(tmp_path: Path) -> None:
    async with chat(FakeEngine()) as (app, pilot):
        await pilot.press("f9")
        await wait_until(pilot, lambda: isinstance(app.screen, ThemeScreen))
        await pilot.press("k")
        await pilot.pause()
        chosen = app.theme
        await pilot.press("enter")
        await wait_until(pilot, lambda: not isinstance(app.screen, ThemeScreen))
        assert app.theme == chosen != "mistral-dark"
    async with chat(FakeEngine()) as (app, _):
        assert app.theme == chosen


async def test_the_list_fits_every_size_and_has_stock_and_own_looks(folders: Path) -> None:
    write(folders / "o.toml", OCEAN.format(ground="#001122"))
    async with chat(FakeEngine()) as (app, pilot):
        await pilot.press("f9")
        await wait_until(pilot, lambda: isinstance(app.screen, ThemeScreen))
        async for width, _ in each_size(pilot):
            text = screen_text(app)
            assert "mistral-dark" in text
            assert "How does this look?" in text
            assert max(map(len, text.splitlines())) <= width
        assert "ocean  yours, dark" in screen_text(app)
        assert "dracula" in screen_text(app)


async def test_dark_and_light_go_together() -> None:
    async with chat(FakeEngine()) as (app, pilot):
        app.theme = "midnight"
        await pilot.press("ctrl+t")
        assert app.theme == "paper"
        await pilot.press("ctrl+t")
        assert app.theme == "midnight"
        app.theme = "dracula"
        await pilot.press("ctrl+t")
        assert app.theme == "mistral-light"


async def test_a_changed_file_shows_at_once(folders: Path, tmp_path: Path) -> None:
    path = folders / "ocean.toml"
    write(path, OCEAN.format(ground="#001122"))
    async with chat(FakeEngine(), theme_name="ocean") as (app, pilot):
        await ask(pilot, "Hello")
        assert app.current_theme.background == "#001122"
        write(path, OCEAN.format(ground="#223344"))
        await wait_until(pilot, lambda: app.current_theme.background == "#223344")
        await pilot.pause()
        grounds = {
            segment.style.bgcolor.name
            for strip in app.screen._compositor.render_strips()
            for segment in strip
            if segment.style and segment.style.bgcolor
        }
        assert "#223344" in grounds
        assert "#001122" not in grounds
        assert app.theme == "ocean"
        # A bad edit keeps the last good look and is said once.
        write(path, "name = ")
        await wait_until(pilot, lambda: any("ocean.toml" in toast for toast in toasts(app)))
        await pilot.pause(0.3)
        assert sum("ocean.toml" in toast for toast in toasts(app)) == 1
        assert app.current_theme.background == "#223344"
        write(path, OCEAN.format(ground="#445566"))
        await wait_until(pilot, lambda: app.current_theme.background == "#445566")
        # What looking at files does is not the user's choice.
        assert themes.remembered(tmp_path / "state") in ("", "ocean")


async def test_new_and_removed_files_come_and_go(folders: Path) -> None:
    async with chat(FakeEngine()) as (app, pilot):
        path = folders / "ocean.toml"
        write(path, OCEAN.format(ground="#001122"))
        await wait_until(pilot, lambda: "ocean" in app.available_themes)
        path.unlink()
        await wait_until(pilot, lambda: "ocean" not in app.available_themes)
        write(path, OCEAN.format(ground="#001122"))
        await wait_until(pilot, lambda: "ocean" in app.available_themes)
        app.theme = "ocean"
        path.unlink()  # the one that is on stays until another is chosen
        await pilot.pause(0.3)
        assert app.theme == "ocean"
        assert screen_text(app)


@pytest.mark.parametrize("theme", [theme.name for theme in themes.load_themes()[0] if theme.ansi])
def test_only_the_sixteen_colours_reach_the_terminal(theme: str, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    themes.remember(tmp_path / "state", theme)
    output = seen_in_a_terminal(tmp_path)
    assert re.search(rb"\x1b\[[0-9;]*3[0-7]", output)
    rich = re.findall(rb"\x1b\[(?:[0-9;]*;)?[34]8;[25];[0-9;]*m[^\x1b]{0,40}", output)
    assert rich == []


def test_without_colours_none_reach_the_terminal(tmp_path: Path) -> None:
    output = seen_in_a_terminal(tmp_path, NO_COLOR="1")
    for sgr in re.findall(rb"\x1b\[([0-9;]*)m", output):
        if b"8;2;" in sgr:  # Textual turns colours to greys
            parts = [int(part) for part in sgr.split(b";") if part]
            for at in [n for n, part in enumerate(parts) if part in (38, 48)]:
                red, green, blue = parts[at + 2 : at + 5]
                assert red == green == blue


def seen_in_a_terminal(tmp_path: Path, **env: str) -> bytes:
    import json

    script = tmp_path / "script.json"
    script.write_text(json.dumps({"replies": [["# Head\n\n`code` **bold**\n\n> quote"]]}))
    names = ("STATE", "CONFIG", "DATA")
    own = {f"MISTRAL_TUI_{name}": os.environ[f"MISTRAL_TUI_{name}"] for name in names}
    program = str(Path(__file__).parents[1] / "scripted_app.py")
    with Terminal([sys.executable, program, str(script)], env={**own, **env}) as terminal:
        terminal.wait_for(b"Fake-7B", timeout=40)
        terminal.send("hi\r")
        terminal.wait_for(b"31.5", timeout=40)
        terminal.send("\t")
        terminal.read(0.3)
        terminal.send("\x1bOP")
        terminal.read(0.5)
        terminal.send("\x1b")
        terminal.read(0.3)
        terminal.send("\x11")
        assert terminal.process.wait(20) == 0
        terminal.read(0.2)
        return terminal.output
