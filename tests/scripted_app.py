"""The real app on a scripted engine, as a program of its own: for tests in a real terminal.

    python tests/scripted_app.py SCRIPT.json

The script has `replies` (each a list of the texts that come one after another), and perhaps
`thinking` for all, `pause` (seconds before each text), `stored` (messages of a conversation that
is opened), `title`, and `fails` (the sentence with which the engine fails at the last reply).
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from fake_engine import FakeEngine, Load, Reply, card
from mistral_tui.app import ChatApp
from mistral_tui.choices import ModelChoice, SamplingChoice
from mistral_tui.engine_client import EngineClient
from mistral_tui.history.store import AsyncStore


class Engine(FakeEngine):
    """Says what the script says."""

    def __init__(self, script: dict[str, Any]) -> None:
        pause = float(script.get("pause", 0))
        replies = [
            Reply(words, pause=pause, thinking=script.get("thinking", ()), sure=(0.97, 0.3))
            for words in script["replies"]
        ]
        if "fails" in script and replies:
            replies[-1].fails = ("memory", script["fails"])
        super().__init__(replies, [Load(card=card(name=script.get("name", "Fake-7B")))])


async def main(path: Path) -> int:
    script = json.loads(path.read_text("utf-8", "surrogatepass"))
    store = await AsyncStore.open(path.with_suffix(".db"))
    key = ""
    if stored := script.get("stored"):
        conversation = await store.create_conversation(
            model_name=stored[0], model_path="x", system_prompt=""
        )
        key, parent = conversation.id, None
        for number, text in enumerate(stored):
            role = "assistant" if number % 2 else "user"
            parent = (await store.add_message(key, parent, role, text)).id
        await store.set_title(key, script.get("title", ""))

    async def connect() -> tuple[EngineClient, AsyncStore]:
        return Engine(script), store

    app = ChatApp(ModelChoice("some/folder"), connect, sampling=SamplingChoice(), resume=key)
    try:
        await app.run_async()
    finally:
        await app.leave()
    return app.return_code or 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(Path(sys.argv[1]))))
