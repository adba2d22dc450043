"""The app under the Pilot: help, palette, looks, copying, and hostile texts in all of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual import events
from textual.command import CommandPalette

from fake_engine import (
    FakeEngine,
    Load,
    Reply,
    ask,
    card,
    chat,
    last_row,
    screen_rows,
    screen_text,
    toasts,
    wait_until,
    words_on_screen,
)
from mistral_tui import clipboard, paths, themes
from mistral_tui.actions import ACTIONS
from mistral_tui.clipboard import CopyResult
from mistral_tui.history.store import Store
from mistral_tui.screens.help import HelpScreen

HOSTILE = (
    "\x1b[31mred\x1b[0m \x1b]52;c;aGk=\x07 \x9b2J [/INST] [bold]b[/bold] [@click=app.quit]q[/] "
    "\u202eevil\u202c \x00\x08\x7f \ud800 </s> $error"
)


@pytest.fixture(autouse=True)
def private_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATA", "STATE", "CONFIG"):
        monkeypatch.setenv(f"MISTRAL_TUI_{name}", str(tmp_path / name.lower()))


# ── help, palette, themes ───────────────────────────────────────────────────────────


async def test_help_opens_lists_every_action_and_closes() -> None:
    async with chat(FakeEngine(), size=(120, 60)) as (app, pilot):
        for closing in ("f1", "escape"):
            await pilot.press("f1")
            await wait_until(pilot, lambda: isinstance(app.screen, HelpScreen))
            await pilot.pause()
            page = ""
            for _ in range(8):
                page += screen_text(app)
                await pilot.press("pagedown")
            for action in ACTIONS:
                assert action.help.split()[0] in page
                assert action.shown_key in page
            assert "/models/fake" in page
            assert "engine.log" in page
            await pilot.press(closing)
            assert not isinstance(app.screen, HelpScreen)
        await pilot.press("x")
        assert app.prompt.text == "x"


async def test_the_palette_finds_every_action_by_its_title() -> None:
    async with chat(FakeEngine(), size=(120, 40)) as (app, pilot):
        for action in ACTIONS:
            if not action.palette:
                continue
            await pilot.press("ctrl+p")
            await wait_until(pilot, lambda: isinstance(app.screen, CommandPalette))
            app.screen.query_one("Input").value = action.title  # type: ignore[attr-defined]
            shown = action.help[:50]
            await wait_until(pilot, lambda shown=shown: shown in screen_text(app))  # type: ignore[misc]
            await pilot.press("escape")
            await wait_until(pilot, lambda: not isinstance(app.screen, CommandPalette))


async def test_a_chosen_look_is_remembered() -> None:
    async with chat(FakeEngine()) as (app, pilot):
        assert app.theme == "mistral-dark"
        await pilot.press("ctrl+t")
        assert app.theme == "mistral-light"
    async with chat(FakeEngine()) as (app, pilot):
        assert app.theme == "mistral-light"
        await pilot.press("ctrl+t")
        assert app.theme == "mistral-dark"
        assert themes.remembered(paths.state_dir()) == "mistral-dark"
        app.theme = "nord"  # as the palette does
        await pilot.pause()
    async with chat(FakeEngine(), theme_name="mistral-light") as (app, _):
        assert app.theme == "mistral-light"
    assert themes.remembered(paths.state_dir()) == "nord"  # an option is for once


async def test_an_unknown_theme_is_said() -> None:
    async with chat(FakeEngine(), theme_name="\x1b[31mneon[/]") as (app, _):
        assert any("There is no theme 'neon[/]'" in message for message in toasts(app))
        assert screen_text(app)


# ── copying ─────────────────────────────────────────────────────────────────────────

CODE = "Two:\n\n```python\nprint(1)\n```\n\nand\n\n```\ntwo\n```\n"


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    texts: list[str] = []

    def copy(text: str, **_: object) -> CopyResult:
        texts.append(text)
        return CopyResult(True, "test", "Copied to the clipboard (test).")

    monkeypatch.setattr(clipboard, "copy", copy)
    return texts


async def test_the_answer_and_its_code_blocks_are_copied(copied: list[str]) -> None:
    async with chat(FakeEngine([Reply((CODE,))])) as (app, pilot):
        await pilot.press("ctrl+o", "ctrl+g")
        await wait_until(pilot, lambda: len(toasts(app)) == 2)
        assert copied == []
        await ask(pilot, "code")
        await pilot.press("ctrl+o")
        await wait_until(pilot, lambda: copied == [CODE])
        for count in (2, 3, 4):
            await pilot.press("ctrl+g")
            await wait_until(pilot, lambda count=count: len(copied) == count)  # type: ignore[misc]
        assert [text.strip() for text in copied[1:]] == ["two", "print(1)", "two"]
        assert any("Copied to the clipboard (test)." in message for message in toasts(app))


async def test_a_copy_that_fails_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    result = CopyResult(False, "", "Nothing was copied: [bold]xclip\x1b[0m failed.")
    monkeypatch.setattr(clipboard, "copy", lambda *_, **__: result)
    async with chat(FakeEngine(), size=(120, 40)) as (app, pilot):
        await ask(pilot, "hi")
        await pilot.press("ctrl+o")
        await wait_until(pilot, lambda: "[bold]xclip failed." in " ".join(toasts(app)))
        await wait_until(pilot, lambda: "[bold]xclip failed." in words_on_screen(app))
        assert [n.severity for n in app._notifications] == ["error"]


async def test_y_copies_only_in_the_conversation(copied: list[str]) -> None:
    async with chat(FakeEngine()) as (app, pilot):
        await ask(pilot, "hi")
        await pilot.press("y")
        assert app.prompt.text == "y"
        await pilot.press("tab")
        assert app.focused is app.transcript
        await pilot.press("y")
        await wait_until(pilot, lambda: copied == ["Hello there."])
        await pilot.press("tab", "z")
        assert app.prompt.text == "yz"


async def test_y_copies_what_is_selected(copied: list[str]) -> None:
    async with chat(FakeEngine([Reply(("alpha beta",))])) as (app, pilot):
        await ask(pilot, "hi")
        await pilot.press("tab")
        row = next(y for y, text in enumerate(screen_rows(app)) if "alpha" in text)
        column = screen_rows(app)[row].index("alpha")
        await pilot.mouse_down(offset=(column, row))
        await pilot.hover(offset=(column + 5, row))
        await pilot.mouse_up(offset=(column + 5, row))
        await pilot.press("y")
        await wait_until(pilot, lambda: copied)
        assert copied == ["alpha"]


# ── hostile texts ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "size"),
    [(HOSTILE, (120, 40)), ("x" * 100_000, (60, 20))],
    ids=["escapes", "no space"],
)
async def test_hostile_texts_anywhere_reach_no_terminal(
    text: str, size: tuple[int, int], tmp_path: Path
) -> None:
    path = tmp_path / "c.db"
    seed = Store(path)
    conversation = seed.create_conversation(model_name=text, model_path=text)
    seed.set_title(conversation.id, text)
    question = seed.add_message(conversation.id, None, "user", text)
    reply = seed.begin_reply(conversation.id, question.id)
    seed.append_chunk(reply.id, text)
    seed.finish_reply(reply.id, "complete", finish_reason=text)
    seed.set_draft(conversation.id, text)
    seed.close()
    evil = card(name=text, path=text, notice=text, tokenizer=text, dtype=text, device=text)
    engine = FakeEngine(
        [Reply([text], fails=("internal", text)), Reply([text[:50]] * 3, lost=True)],
        [
            Load(progress=[(text, 1, 2)], fails=("checkpoint", text)),
            Load(progress=[(text, 1, 0)], card=evil),
        ],
    )
    async with chat(engine, path=path, size=size, reopen=True) as (app, pilot):
        await wait_until(pilot, lambda: app.prompt.text)
        assert screen_text(app)
        await pilot.press("ctrl+n", "ctrl+r")
        await wait_until(pilot, lambda: app.session.engine == "ready")
        await pilot.pause()
        assert screen_text(app)
        await pilot.press("f1")
        await pilot.pause()
        assert screen_text(app)
        await pilot.press("escape")
        app.post_message(events.Paste(text))
        await pilot.pause()
        assert screen_text(app)
        await pilot.press("enter")
        await wait_until(pilot, lambda: len(app.session.messages) == 2)
        await pilot.pause(0.1)
        assert screen_text(app)
        for key in ("up", "pageup", "pageup", "ctrl+end", "tab", "g", "G", "ctrl+t"):
            await pilot.press(key)
            assert screen_text(app)
        await pilot.press("tab", "enter")
        await wait_until(pilot, lambda: app.session.engine == "lost")
        await pilot.pause(0.1)
        assert screen_text(app)
        assert len(last_row(app)) == size[0]
        await pilot.press("ctrl+p")
        await pilot.pause()
        assert "\x1b" not in app.export_screenshot()
