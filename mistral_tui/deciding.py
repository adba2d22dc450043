"""What the user decides on tool calls that wait: run, edit, answer by hand, deny; and what may
run unasked from then on."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from mistral_tui import call_states
from mistral_tui.call_states import Open
from mistral_tui.calling import Calling
from mistral_tui.config.layers import ConversationSettings
from mistral_tui.happenings import Note, Waiting
from mistral_tui.history.schema import StoreError
from mistral_tui.sanitize import one_line
from mistral_tui.tools.consent import SETTING, By
from mistral_tui.tools.definition import Definition, Outcome
from mistral_tui.tools.errors import ToolError

_DENIED = "The user did not allow this call."
_INSTEAD = "The user did not allow this call, and wrote the next message instead."
_GONE = "This call does not wait any more."


class Deciding(Calling):
    """A session in which the user decides on calls."""

    async def run_call(
        self, waiting: Waiting, by: By = "once", arguments: str | None = None
    ) -> bool:
        """Run a call that waits, perhaps with other arguments than the model's; False if it does
        not wait any more.

        Raises:
            ToolError: the tool is not the one that was asked about, or does not take that.
            StoreError: the permission could not be kept; nothing was run.
        """
        if (one := self._open(waiting)) is None:
            return False
        async with self._under_way():  # at once: the key may have been pressed twice
            tool = self._tool(waiting.call)
            if tool is None or tool.kind == "manual":
                raise ToolError(f"Only you can answer a call of {_name(waiting)}.")
            if tool.identity != waiting.identity:
                await self._tell_waiting()
                raise ToolError(f"The tool {_name(waiting)} has changed: look at it again.")
            asked = one.call.arguments if arguments is None else arguments.strip() or "{}"
            await self._checked(tool, asked)
            if by in ("always", "conversation"):
                await self._permit(tool, by)
            async with self._decided():
                await self._run(one, tool, by, asked)
                return one not in call_states.pending(self.messages)

    async def answer_call(self, waiting: Waiting, text: str) -> bool:
        """Answer a call in the place of the tool; False if the answer could not be kept."""
        return await self._answer_with(waiting, Outcome(text), "hand")

    async def deny_call(self, waiting: Waiting, reason: str = "") -> bool:
        """Do not run a call; the model is told why. False if that could not be kept."""
        said = f"{_DENIED} {reason.strip()}".strip()
        return await self._answer_with(waiting, Outcome(said, error=True), "denied")

    async def _answer_with(self, waiting: Waiting, outcome: Outcome, by: By) -> bool:
        if (one := self._open(waiting)) is None:
            return False
        async with self._under_way(), self._decided():
            parent = await self._still_waits(one)
            return bool(parent) and await self._keep(one, parent, outcome, by)

    async def say(self, text: str) -> None:
        if not self.deciding:
            if not self.answering:
                self._stopped = False
            await super().say(text)
            return
        async with self._under_way():
            self._ask_nothing()
            for one in call_states.pending(self.messages):
                parent, instead = await self._still_waits(one), Outcome(_INSTEAD, error=True)
                if not parent or not await self._keep(one, parent, instead, "denied"):
                    await self._tell_waiting()
                    raise StoreError("The message was not sent: the call could not be denied.")
            await super().say(text)

    def _open(self, waiting: Waiting) -> Open | None:
        """The call, if it still waits; else that is told."""
        where = (waiting.message_id, waiting.number)
        for one in () if self.answering else call_states.pending(self.messages):
            if (one.message.id, one.number) == where:
                return one
        self._tell(Note("Something else is under way." if self.answering else _GONE))
        return None

    @contextlib.asynccontextmanager
    async def _decided(self) -> AsyncIterator[None]:
        self._ask_nothing()
        try:
            yield
        except BaseException:
            await self._tell_waiting()
            raise
        if self._stopped:
            await self._tell_waiting()
        else:
            await self._settle_and_answer()

    # ── what may run unasked ────────────────────────────────────────────────────────

    async def _permit(self, tool: Definition, by: By) -> None:
        await self.load_permissions()
        if by == "always":
            self.permissions.allow_always(tool)
        elif self.conversation is not None:
            self.permissions.allow_here(tool, self.conversation.id)
        await self._keep_permissions()

    async def revoke(self, tool: Definition) -> bool:
        """Have a tool ask again; False if it did anyway."""
        await self.load_permissions()
        had = self.permissions.revoke(tool)
        if had:
            await self._keep_permissions()
        return had

    async def allow_server(self, name: str) -> None:
        """Start an MCP server that a project brings, now and from now on.

        Raises:
            ToolError: its entry is gone.
            StoreError: the permission could not be kept; nothing was started.
        """
        await self.load_permissions()
        if not (digest := self.toolbox.digest(name)):
            raise ToolError(f"There is no MCP server {one_line(name, 40)} any more.")
        self.permissions.servers[digest] = name
        await self._keep_permissions()
        await self.toolbox.start_servers([name])

    async def revoke_server(self, name: str) -> bool:
        """Stop an MCP server that a project brings, and have it ask again; False if it did."""
        await self.load_permissions()
        had = self.permissions.servers.pop(self.toolbox.digest(name), None) is not None
        if had:
            await self._keep_permissions()
            await self.toolbox.stop_server(name)
        return had

    async def _keep_permissions(self) -> None:
        await self._store.set_setting(SETTING, self.permissions.dump())
        self.toolbox.allowed_servers.clear()
        self.toolbox.allowed_servers.update(self.permissions.servers)

    async def change_settings(self, new: ConversationSettings) -> None:
        await super().change_settings(new)
        if self.deciding:
            self._bring_up()


def _name(waiting: Waiting) -> str:
    return one_line(waiting.call.name, 64)
