"""Mistral's code-assistant example with the `code` preset: the real engine process, a tiny model
that has learned both answers, two turns."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import overfit
import tiny
from inference.api import Event, Generate, Message, Request
from inference.tokenizer import Tokenizer
from mistral_tui.branches import Branches
from mistral_tui.choices import ModelChoice, SamplingChoice
from mistral_tui.config.layers import ConversationSettings
from mistral_tui.config.presets import BUILT_IN
from mistral_tui.engine_client import LocalEngine
from mistral_tui.happenings import Happening, ReplyEnded
from mistral_tui.history.store import AsyncStore

CODE = next(preset for preset in BUILT_IN if preset.name == "code")
SYSTEM = str(CODE.values["system_prompt"])
ASKED = "Write me a function that computes fibonacci in Rust"
RUST = """\
```rust
fn fibonacci(n: u64) -> u64 {
    match n {
        0 | 1 => n,
        _ => fibonacci(n - 1) + fibonacci(n - 2),
    }
}
```"""
THEN = "Translate it to Python"
PYTHON = """\
```python
def fibonacci(n: int) -> int:
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)
```"""


class Watched(LocalEngine):
    """The engine process; it keeps what it was asked."""

    def __init__(self, log_path: Path) -> None:
        super().__init__(log_path)
        self.asked: list[Generate] = []

    async def submit(self, request: Request) -> AsyncIterator[Event]:
        if isinstance(request, Generate):
            self.asked.append(request)
        async for event in super().submit(request):
            yield event


@pytest.fixture(scope="module", params=["v3", "v7"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that answers both, and nothing else."""
    folder = tmp_path_factory.mktemp("models") / request.param
    folder.mkdir()
    (folder / f"tokenizer.model.{request.param}").write_bytes(
        tiny.data_file(request.param).read_bytes()
    )
    tokenizer = Tokenizer.from_folder(folder)

    def ids(text: str) -> list[int]:
        encoded = tokenizer.instruct_tokenizer.tokenizer.encode(text, False, False)
        return [*encoded, tokenizer.eos_id]

    turns = [Message("system", SYSTEM), Message("user", ASKED)]
    first = tokenizer.encode_chat(turns)
    rust = ids(RUST)
    turns += [Message("assistant", RUST, tuple(rust), tokenizer.fingerprint), Message("user", THEN)]
    return overfit.teach(folder, [(first, rust), (tokenizer.encode_chat(turns), ids(PYTHON))])


def common(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    pairs = zip(one, other, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


@pytest.mark.timeout(120)
async def test_two_turns_with_the_code_preset(folder: Path, tmp_path: Path) -> None:
    told: list[Happening] = []
    engine = Watched(tmp_path / "engine.log")
    store = await AsyncStore.open(None)
    session = Branches(
        store, engine, told.append, choice=ModelChoice(str(folder)), sampling=SamplingChoice()
    )
    try:
        await session.load()
        assert session.engine == "ready"
        await session.change_settings(ConversationSettings("code"))
        for prompt in (ASKED, THEN):
            await session.say(prompt)
    finally:
        await engine.close()
        await store.close()
    assert [message.text for message in session.messages] == [ASKED, RUST, THEN, PYTHON]
    for asked in engine.asked:
        assert asked.sampling.max_tokens == 256
        assert asked.sampling.temperature == CODE.values["temperature"] <= 0.2
        assert asked.sampling.repetition_penalty == 1
        assert (asked.messages[0].role, asked.messages[0].text) == ("system", SYSTEM)
    first, second = (event.usage for event in told if isinstance(event, ReplyEnded))
    assert first is not None
    assert second is not None
    assert first.reused_tokens == 0
    # v3 has the system prompt in the last user turn, so that it moves: little is the same. Later
    # ones begin with it, and all of the first turn is.
    tokenizer = Tokenizer.from_folder(folder)
    turns = [Message("system", SYSTEM), Message("user", ASKED)]
    before = tokenizer.encode_chat(turns)
    replies = [message.realizations[0].ids for message in session.messages[1::2]]
    whole = [*turns, Message("assistant", RUST, replies[0], tokenizer.fingerprint)]
    prompt = tokenizer.encode_chat([*whole, Message("user", THEN)])
    assert second.prompt_tokens == len(prompt)
    same = common((*before, *replies[0]), tuple(prompt))
    assert second.reused_tokens == min(same, len(before) + len(replies[0]) - 1)
    assert (same > len(before)) is (folder.name == "v7")
