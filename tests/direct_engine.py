"""The real engine as an `EngineClient`, in the process of the test: every id can be looked at."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator

from inference.api import Event, Failed, Finished, Generate, LoadModel, Ready, Request
from inference.engine import Engine
from inference.errors import InferenceError
from inference.loading import load_engine


class DirectEngine:
    """Serves requests at once; keeps each request for an answer with its end."""

    def __init__(self) -> None:
        self.engine: Engine | None = None
        self.answered: list[tuple[Generate, Finished]] = []
        self._ids = itertools.count(1)
        self._cancelled: set[int] = set()

    @property
    def alive(self) -> bool:
        return True

    def next_id(self) -> int:
        return next(self._ids)

    async def start(self) -> None:
        pass

    async def submit(self, request: Request) -> AsyncIterator[Event]:
        try:
            if isinstance(request, LoadModel):
                self.engine = load_engine(request.model, device="cpu", threads=1)
                assert self.engine.card is not None
                yield Ready(request.id, self.engine.card, 0.0)
                return
            assert self.engine is not None
            for event in self.engine.run(request, lambda: request.id in self._cancelled):  # type: ignore[arg-type]
                await asyncio.sleep(0)
                if isinstance(event, Finished) and isinstance(request, Generate):
                    self.answered.append((request, event))
                yield event
        except InferenceError as error:
            yield Failed(request.id, error.kind, str(error))

    def cancel(self, request_id: int) -> None:
        self._cancelled.add(request_id)

    silent_who = "engine"
    can_restart = True

    def lost(self, request_id: int = 0) -> Failed:
        return Failed(request_id, "worker_lost", "It is gone.")

    def silent_for(self) -> float:
        return 0.0

    async def close(self) -> None:
        pass
