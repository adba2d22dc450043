"""The app on a scripted engine with a file in the code panel."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from fake_engine import FakeEngine, Load, Middles, ask, card, chat, screen_text, wait_until
from mistral_tui.app import ChatApp
from mistral_tui.widgets.code.area import CodeArea
from mistral_tui.widgets.code.panel import CodePanel

ABLE = card(capabilities=("instruct", "fim"), name="Codestral-fake")


@asynccontextmanager
async def coding(
    *files: Path, middles: Sequence[Middles] = (), replies: Sequence[Any] = (), **options: Any
) -> AsyncIterator[tuple[ChatApp, Pilot[int], FakeEngine]]:
    """`fim`: False for a model that cannot fill in the middle."""
    able = options.pop("fim", True)
    engine = FakeEngine(replies, [Load(card=ABLE if able else card())])
    engine.middles = list(middles)
    options.setdefault("size", (120, 40))
    async with chat(engine, code=tuple(map(str, files)), **options) as (app, pilot):
        await wait_until(pilot, lambda: app.panel is not None)
        if files:
            await wait_until(pilot, lambda: app.panel and app.panel.area is not None)
            await wait_until(pilot, lambda: area(app).has_focus)
        yield app, pilot, engine


def panel(app: ChatApp) -> CodePanel:
    assert app.panel is not None
    return app.panel


def area(app: ChatApp) -> CodeArea:
    found = panel(app).area
    assert found is not None, screen_text(app)
    return found


async def say(pilot: Pilot[int], text: str) -> None:
    """Send something, wherever the keys go now, and wait for the answer."""
    app = pilot.app
    assert isinstance(app, ChatApp)
    app.prompt.focus()
    await pilot.pause()
    await ask(pilot, text)
