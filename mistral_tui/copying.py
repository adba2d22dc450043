"""Copying answers and code blocks to the clipboard, and saying honestly what came of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from mistral_tui import clipboard
from mistral_tui.sanitize import sanitize

if TYPE_CHECKING:
    from mistral_tui.app import ChatApp


class Copier:
    """Knows which answer is the last one, and which of its code blocks is next."""

    def __init__(self, app: ChatApp) -> None:
        self._app = app
        self._of = ""  # the answer whose code blocks are walked
        self._walked = 0

    async def copy_answer(self) -> None:
        """The last answer as it was written (Markdown)."""
        if key := self.last_answer():
            await self.copy(self._app.transcript.text(key), "the answer")
        else:
            self._app.notify("There is no answer to copy yet.", markup=False)

    async def copy_code(self) -> None:
        """The last code block of the last answer; asked again, the one before."""
        key = self.last_answer()
        found = self._app.transcript.code_blocks(key) if key else []
        if not found:
            self._app.notify("There is no code block in the last answer.", markup=False)
            return
        self._walked = self._walked % len(found) + 1 if key == self._of else 1
        self._of = key
        _, code = found[-self._walked]
        await self.copy(code, f"code block {len(found) - self._walked + 1} of {len(found)}")

    async def copy(self, text: str, what: str) -> None:
        """`text`; the notice says where it went, or that it did not."""
        result = await asyncio.to_thread(clipboard.copy, text, write_osc52=self._app.write_raw)
        self._app.notify(
            f"{what.capitalize()}: {sanitize(result.sentence)}",
            severity="error" if result.ok is False else "information",
            markup=False,
        )

    def last_answer(self) -> str:
        """The key of the answer that is being written, else of the last one; or nothing."""
        session = self._app.session
        if session.running_message_id is not None:
            return str(session.running_message_id)
        answers = (m for m in reversed(session.messages) if m.role == "assistant")
        return next((str(m.id) for m in answers if m.text.strip()), "")
