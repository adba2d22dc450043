"""Conversations, settings and models: the screens over the chat, with keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import tiny
from fake_engine import FakeEngine, Load, Reply, ask, card, chat, each_size, screen_text, wait_until
from mistral_tui.choices import SamplingChoice
from mistral_tui.config.layers import ConversationSettings
from mistral_tui.screens.history import HistoryScreen
from mistral_tui.screens.models import ModelsScreen
from mistral_tui.screens.settings import SettingsScreen


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("DATA", "STATE", "CONFIG", "CACHE"):
        monkeypatch.setenv(f"MISTRAL_TUI_{name}", str(tmp_path / name.lower()))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return None


# ── conversations ───────────────────────────────────────────────────────────────────


async def test_conversations_are_listed_searched_and_opened_at_the_hit() -> None:
    engine = FakeEngine([Reply(words=["The ", "lighthouse ", "keeper."])])
    async with chat(engine, size=(110, 34)) as (app, pilot):
        await ask(pilot, "Tell me of the sea")
        await pilot.press("ctrl+n")
        await wait_until(pilot, lambda: not app.session.messages)
        await ask(pilot, "And of the mountains")
        await pilot.press("ctrl+l")
        await wait_until(pilot, lambda: isinstance(app.screen, HistoryScreen))
        await wait_until(pilot, lambda: "Tell me of the sea" in screen_text(app))
        text = screen_text(app)
        assert "Today" in text
        assert text.index("And of the mountains") < text.index("Tell me of the sea")
        await pilot.press(*"lighth")
        await wait_until(pilot, lambda: "lighthouse keeper" in screen_text(app))
        await pilot.press("down", "enter")
        await wait_until(pilot, lambda: not isinstance(app.screen, HistoryScreen))
        await wait_until(pilot, lambda: bool(app.session.messages))
        assert app.session.messages[0].text == "Tell me of the sea"
        assert app.transcript.cursor == str(app.session.messages[1].id)


async def test_conversations_are_renamed_pinned_deleted_and_brought_back() -> None:
    async with chat(FakeEngine(), size=(110, 34)) as (app, pilot):
        await ask(pilot, "First")
        await pilot.press("ctrl+n")
        await wait_until(pilot, lambda: not app.session.messages)
        await ask(pilot, "Second")
        await pilot.press("ctrl+l")
        await wait_until(pilot, lambda: "Second" in screen_text(app))
        await pilot.press("down")
        await pilot.press("down")  # the older one
        await pilot.press("r")
        await wait_until(pilot, lambda: "Rename" in screen_text(app))
        await pilot.press("ctrl+u", *"Harbour", "enter")
        await wait_until(pilot, lambda: "Harbour" in screen_text(app))
        await pilot.press("p")
        await wait_until(pilot, lambda: "Pinned" in screen_text(app))
        await pilot.press("d")
        await wait_until(pilot, lambda: "Harbour" not in screen_text(app))
        await pilot.press("u")
        await wait_until(pilot, lambda: "Harbour" in screen_text(app))
        await pilot.press("escape")
        await wait_until(pilot, lambda: not isinstance(app.screen, HistoryScreen))


async def test_what_is_typed_stays_with_its_conversation() -> None:
    async with chat(FakeEngine(), size=(110, 34)) as (app, pilot):
        await ask(pilot, "First")
        await pilot.press("ctrl+n")
        await wait_until(pilot, lambda: not app.session.messages)
        await ask(pilot, "Second")
        app.prompt.put("half of the second")
        for downs, expected in ((2, ""), (1, "half of the second")):
            await pilot.press("ctrl+l")
            await wait_until(pilot, lambda: "First" in screen_text(app))
            await pilot.press(*["down"] * downs)
            before = app.session.conversation
            await pilot.press("enter")
            await wait_until(pilot, lambda b=before: app.session.conversation != b)  # type: ignore[misc]
            await pilot.pause()
            await wait_until(pilot, lambda e=expected: app.prompt.text == e)  # type: ignore[misc]


async def test_an_export_lies_in_the_current_folder(tmp_path: Path) -> None:
    async with chat(FakeEngine(), size=(110, 34), path=tmp_path / "c.db") as (app, pilot):
        await ask(pilot, "Write this down")
        await pilot.press("ctrl+l")
        await wait_until(pilot, lambda: "Write this down" in screen_text(app))
        await pilot.press("down", "x")
        await wait_until(pilot, lambda: bool(list(tmp_path.glob("conversation-*.md"))))
        (file,) = tmp_path.glob("conversation-*.md")
        await wait_until(pilot, lambda: "Write this down" in file.read_text())


# ── settings ────────────────────────────────────────────────────────────────────────


async def test_settings_are_changed_shown_and_asked_with() -> None:
    engine = FakeEngine()
    async with chat(engine, size=(110, 40)) as (app, pilot):
        await ask(pilot, "Hello")
        assert engine.asked[-1].sampling.temperature == 0.5  # the model's own
        await pilot.press("f3")
        await wait_until(pilot, lambda: isinstance(app.screen, SettingsScreen))
        assert "0.5 (model)" in screen_text(app)
        app.screen.query_one("#temperature").value = "0.9"  # type: ignore[attr-defined]
        app.screen.query_one("#stop").value = '["###"]'  # type: ignore[attr-defined]
        app.screen.query_one("#safe_prompt").value = "on"  # type: ignore[attr-defined]
        await pilot.press("enter")
        await wait_until(pilot, lambda: "temperature 0.5 → 0.9" in screen_text(app))
        await ask(pilot, "Again")
        request = engine.asked[-1]
        assert request.sampling.temperature == 0.9
        assert request.stop == ("###",)
        assert request.safe_prompt
        # It is this conversation's own, and kept with it.
        conversation = app.session.conversation
        assert conversation is not None
        await pilot.press("ctrl+n")
        await ask(pilot, "Another conversation")
        assert engine.asked[-1].sampling.temperature == 0.5
        await app.session.open(conversation.id)
        await pilot.pause()
        assert "temperature 0.5 → 0.9" in screen_text(app)
        await ask(pilot, "Back here")
        assert engine.asked[-1].sampling.temperature == 0.9


async def test_a_preset_and_an_impossible_value() -> None:
    engine = FakeEngine()
    async with chat(engine, size=(110, 40), sampling=SamplingChoice(temperature=0.3)) as (
        app,
        pilot,
    ):
        await pilot.press("f3")
        await wait_until(pilot, lambda: isinstance(app.screen, SettingsScreen))
        app.screen.query_one("#top_p").value = "7"  # type: ignore[attr-defined]
        await wait_until(pilot, lambda: "top p is 7; it must be" in screen_text(app))
        await pilot.press("enter")
        assert isinstance(app.screen, SettingsScreen)  # it stays until that is mended
        app.screen.query_one("#top_p").value = ""  # type: ignore[attr-defined]
        app.screen.query_one("#preset").value = "creative"  # type: ignore[attr-defined]
        await pilot.press("enter")
        await wait_until(pilot, lambda: not isinstance(app.screen, SettingsScreen))
        await ask(pilot, "Hello")
        # What was said on the command line gives way to what is chosen now.
        assert engine.asked[-1].sampling.temperature == 0.8
        assert engine.asked[-1].sampling.min_p == 0.05
        assert app.session.tuning.own == ConversationSettings(preset="creative")
        # Elsewhere it still holds.
        await pilot.press("ctrl+n")
        await wait_until(pilot, lambda: not app.session.messages)
        await ask(pilot, "Another conversation")
        assert engine.asked[-1].sampling.temperature == 0.3


async def test_the_config_file_applies_and_its_mistakes_are_said(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.toml").write_text(
        "[sampling]\ntemperature = 0.11\ntop_p = 9\n[chat]\nsystem_prompt = 'Be brief.'\n"
    )
    engine = FakeEngine()
    async with chat(engine, size=(110, 40)) as (app, pilot):
        await wait_until(pilot, lambda: any("top_p" in n.message for n in app._notifications))
        assert any("line 3" in n.message for n in app._notifications)
        await ask(pilot, "Hello")
        assert engine.asked[-1].sampling.temperature == 0.11
        assert engine.said[-1][0] == ("system", "Be brief.")


async def test_the_look_of_the_config_gives_way_to_what_was_chosen(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.toml").write_text("[ui]\ntheme = 'mistral-light'\n")
    async with chat(FakeEngine()) as (app, pilot):
        assert app.theme == "mistral-light"
        await pilot.press("ctrl+t")
        assert app.theme == "mistral-dark"
    async with chat(FakeEngine()) as (app, _):
        assert app.theme == "mistral-dark"


# ── models ──────────────────────────────────────────────────────────────────────────


async def test_another_model_goes_on_with_the_conversation(tmp_path: Path) -> None:
    folder = tiny.make(tmp_path / "home" / "models" / "Tiny-7B")
    other = card(name="Tiny-7B", path=str(folder), fingerprint="other")
    engine = FakeEngine(loads=[Load(), Load(card=other)])
    async with chat(engine, size=(110, 34)) as (app, pilot):
        await ask(pilot, "Hello")
        await pilot.press("f5")
        await wait_until(pilot, lambda: isinstance(app.screen, ModelsScreen))
        await wait_until(pilot, lambda: "Tiny-7B" in screen_text(app))
        assert "context 512" in screen_text(app)
        await pilot.press("down", "enter")
        await wait_until(pilot, lambda: app.session.card is not None and app.session.card == other)
        assert engine.loads_asked[-1].model == str(folder)
        await ask(pilot, "And now?")
        assert len(engine.asked[-1].messages) == 3
        assert engine.asked[-1].messages[1].ids == ()  # another model's ids are not used


async def test_a_model_that_cannot_be_loaded_leaves_the_old_one() -> None:
    bad = Load(fails=("checkpoint", "It is damaged."))
    engine = FakeEngine(loads=[Load(), bad, Load()])
    async with chat(engine) as (app, pilot):
        await app.session.switch("/somewhere")
        assert app.session.engine == "ready"
        assert app.session.choice.model == "some/folder"
        await pilot.pause()
        assert "It is damaged." in screen_text(app) or any(
            "It is damaged." in n.message for n in app._notifications
        )


async def test_an_unloaded_model_is_loaded_again_with_the_next_key() -> None:
    engine = FakeEngine()
    async with chat(engine) as (app, pilot):
        await pilot.press("f8")
        await wait_until(pilot, lambda: app.session.engine == "off")
        await wait_until(pilot, lambda: "The model is unloaded" in screen_text(app))
        app.prompt.put("wait for me")
        await pilot.press("enter")
        await pilot.press("ctrl+r")
        await wait_until(pilot, lambda: len(app.session.messages) == 2)


async def test_the_screens_fit_every_size() -> None:
    async with chat(FakeEngine()) as (app, pilot):
        await ask(pilot, "A conversation")
        for key, kind in (("ctrl+l", HistoryScreen), ("f3", SettingsScreen), ("f5", ModelsScreen)):
            await pilot.press(key)
            await wait_until(pilot, lambda kind=kind: isinstance(app.screen, kind))  # type: ignore[misc]
            async for _ in each_size(pilot):
                screen_text(app)  # nothing that commands a terminal, nothing that breaks
            await pilot.press("escape")
            await wait_until(pilot, lambda kind=kind: not isinstance(app.screen, kind))  # type: ignore[misc]
