"""A session on the real engine, without an app: what it shows and tells can be looked at."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from direct_engine import DirectEngine
from inference.api import Message as Turn
from mistral_tui.branches import Branches
from mistral_tui.choices import ModelChoice, SamplingChoice
from mistral_tui.happenings import Happening, Note
from mistral_tui.history.store import AsyncStore

WARM = SamplingChoice(temperature=1.0, max_tokens=6)


class Window:
    """A session on the real engine, and what it told."""

    def __init__(self, store: AsyncStore, folder: Path, sampling: SamplingChoice = WARM) -> None:
        self.store = store
        self.engine = DirectEngine()
        self.told: list[Happening] = []
        self.session = Branches(
            store,
            self.engine,
            self.told.append,
            choice=ModelChoice(str(folder)),
            sampling=sampling,
        )

    @property
    def texts(self) -> list[tuple[str, str]]:
        return [(m.role, m.text) for m in self.session.messages]

    @property
    def notes(self) -> list[str]:
        return [event.sentence for event in self.told if isinstance(event, Note)]

    def check(self) -> None:
        """The last answer was asked with the ids of the branch that is in view now."""
        assert self.engine.engine is not None
        tokenizer = self.engine.engine.tokenizer
        request, done = self.engine.answered[-1]
        shown = self.session.messages
        assert shown[-1].role == "assistant"
        turns = []
        for message in shown[:-1]:
            known = message.realization(tokenizer.fingerprint)
            ids = known.ids if known else ()
            turns.append(Turn(message.role, message.text, ids, tokenizer.fingerprint))
        expected = tokenizer.encode_chat(turns)
        assert list(done.prompt_ids)[: len(expected)] == expected
        reply = shown[-1].realization(tokenizer.fingerprint)
        if reply is not None:
            beginning = list(done.prompt_ids[len(expected) :])
            assert list(reply.ids[: len(beginning)]) == beginning
        assert request.slot == "chat"


@asynccontextmanager
async def window(
    folder: Path, path: Path | None = None, **options: object
) -> AsyncIterator[Window]:
    store = await AsyncStore.open(path)
    opened = Window(store, folder, **options)  # type: ignore[arg-type]
    try:
        await opened.session.load()
        assert opened.session.engine == "ready"
        yield opened
    finally:
        await store.close()
