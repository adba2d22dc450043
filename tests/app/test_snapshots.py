"""Every screen at two sizes, in every theme: what stands where, and in which style.

`make snapshots` writes them anew (and pictures to look at, see tests/pictures.py); look at the
difference before you keep it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.pilot import Pilot

import scenes_of_code  # noqa: F401 (adds its scenes)
from fake_engine import chat, wait_until
from mistral_tui import themes
from mistral_tui.app import ChatApp
from scenes import SCENES, steady, still, styled_rows

FOLDER = Path(__file__).parents[1] / "snapshots"
WRITE = os.environ.get("SNAPSHOTS") == "write"
THEMES = [theme.name for theme in themes.load_themes()[0]]


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("DATA", "STATE", "CONFIG", "CACHE"):
        monkeypatch.setenv(f"MISTRAL_TUI_{name}", str(tmp_path / name.lower()))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return None


@pytest.mark.parametrize(
    ("name", "size"),
    [
        pytest.param(name, size, id=f"{name}-{size[0]}x{size[1]}")
        for name, scene in SCENES.items()
        for size in scene.sizes
    ],
)
async def test_the_screen_is_as_it_was(name: str, size: tuple[int, int]) -> None:
    scene = SCENES[name]
    styles: dict[str, str] = {}
    async with chat(
        scene.engine(), size=size, theme_name=THEMES[0], settled=False, **scene.options
    ) as (app, pilot):
        app.animation_level = "none"
        await wait_until(pilot, lambda: app.session.engine not in ("off", "loading"))
        await scene.play(pilot, app)
        await still(pilot, app)
        texts: dict[str, str] = {}
        for theme in THEMES:
            app.theme = theme
            rows = await settled(pilot, app)
            text = "\n".join("".join(part for part, _ in row).rstrip() for row in rows)
            texts[theme] = steady(text) + "\n"
            runs = [[(len(part), style) for part, style in row] for row in rows]
            styles[theme] = hashlib.sha256(json.dumps(runs).encode()).hexdigest()[:16]
    first = texts[THEMES[0]]
    if name != "the_themes":  # it says which one is on
        for theme, text in texts.items():
            assert text == first, f"the theme {theme} changes the layout"
    compare(f"{name}-{size[0]}x{size[1]}", first, styles)


async def settled(pilot: Pilot[int], app: ChatApp) -> list[list[tuple[str, str]]]:
    """What is drawn once nothing changes any more."""
    rows = styled_rows(app)
    for _ in range(50):
        await pilot.pause(0.02)
        before, rows = rows, styled_rows(app)
        if rows == before:
            break
    return rows


def compare(name: str, text: str, styles: dict[str, str]) -> None:
    """With what is kept; written anew where that is asked for."""
    path = FOLDER / f"{name}.txt"
    marks = "".join(f"{theme} {mark}\n" for theme, mark in styles.items())
    now = f"{text}\n{marks}"
    if WRITE:
        FOLDER.mkdir(exist_ok=True)
        path.write_text(now)
        return
    assert path.exists(), "there is no snapshot yet: make snapshots"
    before, _, kept = path.read_text().rpartition("\n\n")
    assert text.rstrip("\n") == before.rstrip("\n")
    assert marks == kept, "only the styles changed: look at them, then make snapshots"


def test_no_snapshot_is_left_over() -> None:
    known = {f"{name}-{w}x{h}.txt" for name, scene in SCENES.items() for w, h in scene.sizes}
    assert {path.name for path in FOLDER.glob("*.txt")} == known
