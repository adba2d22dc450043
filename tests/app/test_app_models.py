"""The app on models of each kind: tiny random checkpoints, the real tokenizers, the real worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import hf
import tiny
from fake_engine import ask, chat, screen_text, wait_until
from mistral_tui.choices import ModelChoice, SamplingChoice
from mistral_tui.engine_client import LocalEngine

GREEDY = SamplingChoice(temperature=0.0, max_tokens=12)
CODESTRAL = {"n_heads": 6, "n_kv_heads": 1, "dim": 96}
MIXTRAL = {"moe": {"num_experts": 8, "num_experts_per_tok": 2}}


@pytest.fixture(autouse=True)
def private_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISTRAL_TUI_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("MISTRAL_TUI_CONFIG", str(tmp_path / "config"))


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("name", "changes"), [("Mixtral-8x7B", MIXTRAL), ("Codestral-22B", CODESTRAL)]
)
async def test_it_opens_chats_and_stops(tmp_path: Path, name: str, changes: dict[str, Any]) -> None:
    folder = tiny.make(tmp_path / name, dtype=torch.bfloat16, max_position_embeddings=16384,
                       endless=True, **changes)  # fmt: skip
    # EOS has a logit of 0, far from the 100 likeliest: no answer ends by itself.
    sampling = SamplingChoice(temperature=0.7, top_k=100, seed=1)
    options = {"model": str(folder), "sampling": sampling}
    async with chat(LocalEngine(tmp_path / "log"), size=(120, 40), **options) as (app, pilot):
        assert app.session.engine == "ready", screen_text(app)
        assert name in screen_text(app)
        assert ("active" in screen_text(app)) == ("moe" in changes)
        for number in range(2):
            app.prompt.put("Write me a function that computes fibonacci in Rust")
            await pilot.press("enter")
            await wait_until(pilot, lambda: app.session.running_message_id)
            await wait_until(pilot, lambda: app.status.status.tokens >= 5)
            await pilot.press("escape")
            await wait_until(pilot, lambda: not app.session.answering)
            assert len(app.session.messages) == 2 * (number + 1)
            assert app.session.messages[-1].status == "cancelled"
        assert app.status.status.reused > 10


@pytest.mark.timeout(120)
async def test_a_base_model_goes_on_with_what_was_written(tmp_path: Path) -> None:
    folder = tiny.make(tmp_path / "7B-base")
    choice = ModelChoice(str(folder), instruct=False)
    async with chat(LocalEngine(tmp_path / "log"), choice=choice, sampling=GREEDY) as (app, pilot):
        await ask(pilot, "Once upon a time")
        first = app.session.messages[-1]
        realization = first.realizations[0]
        assert len(realization.ids) == 12
        await ask(pilot, " and then")
        status = app.status.status
        # Nothing but the two texts and the first answer stands in the prompt, all of it reused.
        assert status.reused >= 12
        assert status.prompt < status.reused + 8


@pytest.mark.timeout(120)
async def test_a_hugging_face_folder_with_several_tokenizers_says_what_it_took(
    tmp_path: Path,
) -> None:
    folder = hf.write(tmp_path / "hf", tiny.PARAMS, tiny.random_weights(tiny.PARAMS))
    for version in ("v1", "v3"):
        source = tiny.data_file(version)
        (folder / f"tokenizer.model.{version}").write_bytes(source.read_bytes())
    engine = LocalEngine(tmp_path / "log")
    async with chat(engine, size=(120, 40), model=str(folder), sampling=GREEDY) as (app, pilot):
        assert app.session.engine == "ready", screen_text(app)
        assert "tokenizer.model.v3" in screen_text(app)
        await ask(pilot, "Hello")
        assert len(app.session.messages) == 2


@pytest.mark.timeout(170)
async def test_settings_search_and_another_model_on_the_real_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MISTRAL_TUI_DATA", str(tmp_path / "data"))
    first = tiny.make(tmp_path / "models" / "First-7B", max_position_embeddings=2048)
    tiny.make(tmp_path / "models" / "Second-7B", seed=9, max_position_embeddings=1024)
    engine = LocalEngine(tmp_path / "log")
    async with chat(engine, size=(120, 40), model=str(first), sampling=GREEDY) as (app, pilot):
        await ask(pilot, "A question about lighthouses")
        assert len(app.session.messages[1].realizations[0].ids) == 12
        # Settings: five tokens from now on.
        await pilot.press("f3")
        await wait_until(pilot, lambda: "max tokens" in screen_text(app))
        app.screen.query_one("#max_tokens").value = "5"  # type: ignore[attr-defined]
        await pilot.press("enter")
        await wait_until(pilot, lambda: "max tokens 12 → 5" in screen_text(app))
        await ask(pilot, "Another one")
        assert len(app.session.messages[3].realizations[0].ids) == 5
        # Another model goes on; what the first one wrote is read anew.
        await pilot.press("f5")
        await wait_until(pilot, lambda: "Second-7B" in screen_text(app))
        await pilot.press("down")
        await pilot.press("enter")
        await wait_until(
            pilot, lambda: app.session.card and app.session.card.name == "Second-7B", 60
        )
        await wait_until(pilot, lambda: app.session.engine == "ready")
        await ask(pilot, "And now?")
        assert app.status.status.reused == 0
        assert len(app.session.messages) == 6
        fingerprints = {m.realizations[0].fingerprint for m in app.session.messages[1::2]}
        assert len(fingerprints) == 2
        # What was said is found again.
        await pilot.press("ctrl+n")
        await wait_until(pilot, lambda: not app.session.messages)
        await pilot.press("ctrl+l")
        await wait_until(pilot, lambda: "Conversations" in screen_text(app))
        await pilot.press(*"lightho")
        await wait_until(pilot, lambda: "about lighthouses" in screen_text(app))
        await pilot.press("enter")
        await wait_until(pilot, lambda: len(app.session.messages) == 6)
        await pilot.press("f8")
        await wait_until(pilot, lambda: app.session.engine == "off")
