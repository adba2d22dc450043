"""Pictures of the real app, for the README and the docs: `make screenshots`.

    python tests/pictures.py [--all FOLDER] [--themes NAME,…] [--sizes 100x30,…]

Without options it writes docs/pictures/: the chat and the token view with the real starter
model, other screens with a scripted engine, dark and light. `--all` writes every scene of the
snapshots instead, in every theme, to be looked at.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from textual.pilot import Pilot

import scenes_of_code  # noqa: F401 (adds its scenes)
from fake_engine import ask, chat, screen_text, wait_until
from inference import starter
from mistral_tui import themes
from mistral_tui.app import ChatApp
from mistral_tui.choices import SamplingChoice
from mistral_tui.engine_client import LocalEngine
from scenes import SCENES, Scene, still

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "pictures"
SIZE = (100, 30)
DOCUMENTED = ("a_change", "a_call_waits", "finding", "the_themes", "the_help", "the_history")
LOOKS = ("mistral-dark", "mistral-light")


def cleaned(svg: str) -> str:
    """Without fonts from elsewhere: the reader's own monospaced one will do. The names that are
    drawn anew each time become steady, so that a picture changes only with what it shows."""
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.S)
    return re.sub(r"terminal-\d+-", "t-", svg)


async def real_chat(pilot: Pilot[int], app: ChatApp) -> None:
    """Two questions to the real starter model."""
    await wait_until(pilot, lambda: app.session.engine == "ready", 60)
    for prompt in (
        "What is the capital of France?",
        "Write a Python function that reverses a string, with a short explanation.",
    ):
        before = len(app.session.messages)
        app.prompt.put(prompt)
        await pilot.press("enter")
        await wait_until(
            pilot,
            lambda before=before: (  # type: ignore[misc]
                len(app.session.messages) == before + 2 and not app.session.answering
            ),
            120,
        )
    await pilot.pause(0.3)


async def real_tokens(pilot: Pilot[int], app: ChatApp) -> None:
    """The token view of what it said, at an uncertain place."""
    await wait_until(pilot, lambda: app.session.engine == "ready", 60)
    await ask(pilot, "Tell me a fact about the sea, in two sentences.")
    await pilot.press("f2")
    await pilot.pause(0.3)
    await pilot.press("n", "n")
    await pilot.pause(0.3)


async def take(
    out: Path,
    play: Callable[[Pilot[int], ChatApp], Awaitable[None]],
    theme: str,
    size: tuple[int, int],
    scene: Scene | None = None,
) -> None:
    """One picture, of a scene or of the real model."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("STATE", "CONFIG"):
            os.environ[f"MISTRAL_TUI_{name}"] = folder
        os.environ.setdefault("MISTRAL_TUI_DATA", str(starter.folder().parents[1]))
        here = Path.cwd()
        os.chdir(folder)
        try:
            if scene is not None:
                engine, options = scene.engine(), dict(scene.options)
            else:
                engine = LocalEngine(Path(folder) / "engine.log")  # type: ignore[assignment]
                sampling = SamplingChoice(seed=3, max_tokens=220)
                options = {"model": str(starter.ensure()), "sampling": sampling}
            async with chat(engine, size=size, theme_name=theme, settled=False, **options) as (
                app,
                pilot,
            ):
                app.animation_level = "none"
                await play(pilot, app)
                await still(pilot, app)
                assert screen_text(app).strip()
                out.parent.mkdir(parents=True, exist_ok=True)
                out.write_text(cleaned(app.export_screenshot(title="mistral-tui")))
        finally:
            os.chdir(here)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", type=Path, help="write every scene to this folder")
    parser.add_argument("--scenes", default="", help="only these")
    parser.add_argument("--themes", default="")
    parser.add_argument("--sizes", default="")
    options = parser.parse_args()
    sizes = [tuple(map(int, size.split("x"))) for size in options.sizes.split(",") if size]
    looks = [name for name in options.themes.split(",") if name]
    if options.all is not None:
        names = [name for name in options.scenes.split(",") if name] or list(SCENES)
        for theme in looks or [theme.name for theme in themes.load_themes()[0]]:
            for name in names:
                for width, height in sizes or [(80, 24), (120, 40)]:
                    out = options.all.absolute() / f"{name}-{theme}-{width}x{height}.svg"
                    await take(out, SCENES[name].play, theme, (width, height), SCENES[name])
        return
    for theme in looks or LOOKS:
        look = theme.removeprefix("mistral-")
        await take(FOLDER / f"chat-{look}.svg", real_chat, theme, SIZE)
        await take(FOLDER / f"tokens-{look}.svg", real_tokens, theme, (120, 32))
        code = SCENES["code_assistant"]
        await take(FOLDER / f"code-{look}.svg", code.play, theme, (120, 32), code)
        for name in DOCUMENTED:
            out = FOLDER / f"{name.removeprefix('the_')}-{look}.svg"
            await take(out, SCENES[name].play, theme, SIZE, SCENES[name])


if __name__ == "__main__":
    asyncio.run(main())
