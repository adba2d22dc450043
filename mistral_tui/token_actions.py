"""The app's actions on the tokens of an answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from mistral_tui.view_actions import ViewActions

if TYPE_CHECKING:
    from mistral_tui.room import Conversing
    from mistral_tui.screens.tokens import Branching
    from mistral_tui.tokens import Record

_CHARACTERS = 4  # of a token, about


class TokenActions(ViewActions):
    """What the app can do with single tokens."""

    session: Conversing

    def action_tokens(self) -> None:
        """How sure the model was of the chosen answer, else of the one that is being written, or
        the last."""
        from mistral_tui.screens.tokens import TokensScreen

        session = self.session
        message_id = self._answer()
        if message_id is None:
            self.notify("There is no answer to look into yet.", markup=False)
            return

        def branched(where: Branching | None) -> None:
            if where is not None:
                self.start(
                    session.branch_at(where.message_id, where.record, where.index, where.candidate)
                )

        self.push_screen(
            TokensScreen(
                message_id,
                record=lambda: session.tokens_of(message_id),
                running=lambda: session.running_message_id == message_id,
                measure=lambda: self._measured(message_id),
                loaded=lambda: session.card if session.engine == "ready" else None,
                length=self._length(message_id),
            ),
            branched,
        )

    def _answer(self) -> int | None:
        """The answer to look into."""
        session = self.session
        running = session.running_message_id
        answers = [m.id for m in session.messages if m.role == "assistant"]
        answers += [running] if running is not None else []
        chosen = (key for key in answers if str(key) == self.transcript.message)
        return next(chosen, answers[-1] if answers else None)

    def _length(self, message_id: int) -> int:
        """About so many tokens it has."""
        for message in self.session.messages:
            if message.id == message_id:
                return -(-len(message.thinking + message.text) // _CHARACTERS)
        return 0

    async def _measured(self, message_id: int) -> Record | None:
        """The answer as the loaded model reads it; it stops reading if nobody waits any more.

        Raises:
            StoreError: the model is busy, or the answer is not in view.
        """
        from mistral_tui.history.schema import StoreError

        if self.session.answering:
            raise StoreError("An answer is being written: measure when it is done.")
        reading = asyncio.ensure_future(self.session.measure(message_id))
        try:
            return await asyncio.shield(reading)
        except asyncio.CancelledError:
            self.session.cancel()
            self.start(_end_of(reading))
            raise


async def _end_of(reading: asyncio.Future[Record | None]) -> None:
    await reading
