"""Choosing a look, and files of looks that change while the app runs."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.segment import Segment
from rich.style import Style
from textual.color import Color

from fake_engine import FakeEngine, ask, chat, each_size, screen_text, toasts, wait_until
from mistral_tui import looks, themes
from mistral_tui.screens.themes import ThemeScreen
from mistral_tui.widgets.palette import contrast

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
            assert "doubtful" in text
            assert max(map(len, text.splitlines())) <= width
        text = screen_text(app)
        assert "ocean  yours, dark" in text
        assert "dracula" in text
        assert "high-contrast-light  high contrast" in text
        assert "ansi  16 colours" in text
        assert "Something went wrong" in text


async def test_a_look_whose_file_is_gone_can_be_passed_over(folders: Path) -> None:
    write(folders / "o.toml", OCEAN.format(ground="#001122"))
    async with chat(FakeEngine()) as (app, pilot):
        await pilot.press("f9")
        await wait_until(pilot, lambda: isinstance(app.screen, ThemeScreen))
        (folders / "o.toml").unlink()
        await wait_until(pilot, lambda: "ocean" not in app.available_themes)
        for _ in range(12):
            await pilot.press("j")
        await pilot.pause()
        await pilot.press("escape")
        assert app.theme == "mistral-dark"


async def test_no_colour_shows_in_the_preview_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with chat(FakeEngine()) as (app, pilot):
        await pilot.press("f9")
        await wait_until(pilot, lambda: isinstance(app.screen, ThemeScreen))
        await pilot.pause()
        colours = {
            color
            for strip in app.screen._compositor.render_strips()
            for segment in strip
            if segment.style
            for color in (segment.style.color, segment.style.bgcolor)
            if color is not None and not color.is_default
        }
        assert colours == set()


async def test_dark_and_light_go_together() -> None:
    async with chat(FakeEngine()) as (app, pilot):
        app.theme = "midnight"
        await pilot.press("ctrl+t")
        assert app.theme == "paper"
        await pilot.press("ctrl+t")
        assert app.theme == "midnight"
        for name in ("dracula", "moss", "ansi"):  # and back, wherever one came from
            app.theme = name
            await pilot.press("ctrl+t")
            assert app.theme == "mistral-light"
            await pilot.press("ctrl+t")
            assert app.theme == name


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


async def test_what_is_wrong_with_one_file_is_not_said_for_each_change(folders: Path) -> None:
    write(folders / "bad.toml", "name =")
    path = folders / "ocean.toml"
    write(path, OCEAN.format(ground="#001122"))
    async with chat(FakeEngine(), theme_name="ocean") as (app, pilot):
        for ground in ("#112233", "#223344"):
            write(path, OCEAN.format(ground=ground))
            await wait_until(pilot, lambda g=ground: app.current_theme.background == g)
        assert sum("bad.toml" in toast for toast in toasts(app)) == 1
        # A file that is renamed within does not leave its old name behind, bad neighbours or not.
        write(path, OCEAN.format(ground="#334455").replace("ocean", "lake"))
        await wait_until(pilot, lambda: "lake" in app.available_themes)
        app.theme = "lake"
        write(path, OCEAN.format(ground="#334455").replace("ocean", "pond"))
        await wait_until(pilot, lambda: "pond" in app.available_themes)
        assert app.theme == "lake"


async def test_a_stock_theme_comes_back_when_ones_own_of_its_name_goes(folders: Path) -> None:
    path = folders / "nord.toml"
    write(path, OCEAN.format(ground="#001122").replace("ocean", "nord"))
    async with chat(FakeEngine()) as (app, pilot):
        assert app.available_themes["nord"].background == "#001122"
        path.unlink()
        await wait_until(pilot, lambda: app.available_themes["nord"].background == "#2E3440")


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


COLOUR = rb"\x1b\[(?:[0-9;]*;)?(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])(?:;[0-9;]*)?m"


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb", "COLORTERM": ""}])
def test_without_colours_none_reach_the_terminal(tmp_path: Path, env: dict[str, str]) -> None:
    output = seen_in_a_terminal(tmp_path, **env)
    assert re.findall(COLOUR, output) == []
    for shape in (b"1", b"4", b"7"):  # bold, underlined, reversed: these tell what is what
        assert re.search(rb"\x1b\[(?:[0-9;]*;)?" + shape + rb"[;m]", output), shape
    assert "┏".encode() in output  # the prompt has the keys


def test_no_color_that_is_empty_says_nothing(tmp_path: Path) -> None:
    assert b"8;2;" in seen_in_a_terminal(tmp_path, NO_COLOR="")


@pytest.mark.parametrize("term", ["xterm", "screen"])
def test_sixteen_colours_get_a_look_made_of_them(tmp_path: Path, term: str) -> None:
    output = seen_in_a_terminal(tmp_path, TERM=term, COLORTERM="")
    assert b"\x1b[1;35" in output  # magenta, as the terminal has it
    assert not re.search(rb"[34]8;[25];", output)
    assert not (tmp_path / "state" / "theme").exists()  # nobody chose it


@pytest.mark.parametrize("term", ["xterm-256color", "tmux-256color"])
def test_256_colours_stay_near_the_theme(tmp_path: Path, term: str) -> None:
    output = seen_in_a_terminal(tmp_path, TERM=term, COLORTERM="")
    assert not re.search(rb"[34]8;2;", output)
    assert b"38;5;254" in output  # the text is a light grey, not pink
    assert b"48;5;233" in output


def test_the_nearest_of_256_colours_keeps_the_contrast() -> None:
    for look in themes.load_themes()[0]:
        if look.ansi:
            continue
        names = ("foreground", "background", "surface", "panel")
        near = {name: shown_in_256(getattr(look, name)) for name in names}
        for ground in names[1:]:
            assert contrast(near["foreground"], near[ground]) >= 7, look.name
            spread = near[ground].rgb
            assert max(spread) - min(spread) <= 40, (look.name, ground)  # no ground turns pink


def shown_in_256(value: str) -> Color:
    color = Color.parse(value)
    style = Style(color=color.rich_color)
    [segment] = looks.Nearest().apply([Segment("x", style)], color)
    assert segment.style is not None
    assert segment.style.color is not None
    return Color(*segment.style.color.get_truecolor())


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
        terminal.send("words\x1b[1;2D\x1b[1;2D")  # some of it selected
        terminal.read(0.3)
        terminal.send("\x1b[20~")  # the themes
        terminal.read(0.6)
        terminal.send("\x1b")
        terminal.read(0.3)
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


async def test_esc_after_the_old_looks_file_is_gone(folders: Path) -> None:
    path = folders / "ocean.toml"
    write(path, OCEAN.format(ground="#001122"))
    async with chat(FakeEngine(), theme_name="ocean") as (app, pilot):
        await pilot.press("f9")
        await wait_until(pilot, lambda: isinstance(app.screen, ThemeScreen))
        await pilot.press("k")
        await wait_until(pilot, lambda: app.theme != "ocean")
        path.unlink()
        await wait_until(pilot, lambda: "ocean" not in app.available_themes)
        await pilot.press("escape")
        await wait_until(pilot, lambda: not isinstance(app.screen, ThemeScreen))
        assert app.theme == "mistral-dark"
