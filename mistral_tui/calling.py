"""Tool calls in a conversation: who runs them, who has to be asked, what came of them.

A call waits until it has a result on disk; so what waits is told from the messages alone, and
nothing of it is lost with the window.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from inference import api
from inference.calls import ToolCall
from mistral_tui import call_states
from mistral_tui.call_states import Open
from mistral_tui.conversation import Session
from mistral_tui.happenings import CallIs, CallsWait, Note, Settled, Trouble, Waiting
from mistral_tui.history.schema import Message, StoreError
from mistral_tui.sanitize import one_line
from mistral_tui.tools.consent import SETTING, By, Permissions
from mistral_tui.tools.definition import Definition, Outcome
from mistral_tui.tools.toolbox import Toolbox, ToolError

_DENIED = "The user did not allow this call."
_INSTEAD = "The user did not allow this call, and wrote the next message instead."
_STOPPED = "The user stopped this call."


class Calling(Session):
    """A session whose model may call tools."""

    def __init__(self, *args: Any, toolbox: Toolbox | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self.toolbox = toolbox or Toolbox()
        self.permissions = Permissions()
        self._settling = 0
        self._running: asyncio.Future[Any] | None = None  # what Esc stops beside the model
        self._stopped = False
        self._rounds_since = 0  # a message: rounds are counted from there

    @property
    def answering(self) -> bool:
        return super().answering or self._settling > 0

    @property
    def deciding(self) -> bool:
        """Whether calls wait for the user."""
        return not self.answering and bool(call_states.pending(self.messages))

    async def waiting_calls(self) -> tuple[Waiting, ...]:
        """The calls that wait for the user, in order."""
        return tuple([await self._waiting(one) for one in call_states.pending(self.messages)])

    # ── what the model is told ──────────────────────────────────────────────────────

    def _tools(self, branch: Sequence[Message] | None) -> tuple[tuple[api.Tool, ...], str]:
        card = self.card
        if card is None or "tools" not in card.capabilities or not self.choice.instruct:
            return (), "auto"
        found = [self.toolbox.find(name) for name in self.tuning.tools]
        tools = tuple(tool.told() for tool in found if tool is not None)
        choice = self.tuning.tool_choice
        last = (self.messages if branch is None else branch)[-1:]
        forced = choice not in ("auto", "none")
        if forced and any(message.role == "tool" for message in last):
            choice = "auto"  # else it would call for ever
        if not tools or (choice not in ("auto", "none", "any", *(tool.name for tool in tools))):
            choice = "auto"
        return tools, choice

    async def _make_ready(self) -> bool:
        """Bring up what the tools of this conversation need; False if the user stopped that."""
        if not self.tuning.tools:
            return True
        self._stopped = False
        ready = self.toolbox.ready(self.tuning.tools, lambda said: self._tell(Note(said)))
        self._running = asyncio.ensure_future(ready)
        try:
            problems = await self._running
        except asyncio.CancelledError:
            self._running.cancel()
            if not self._stopped:
                raise
            return False
        finally:
            self._running = None
        for problem in problems:
            self._tell(Note(problem))
        return True

    # ── the loop ────────────────────────────────────────────────────────────────────

    async def _answer(self) -> None:
        async with self._under_way():
            if await self._make_ready():
                await super()._answer()
                await self._settle()
            else:  # stopped before the model was asked
                self.waiting = False
                self._over(self._request)
                await self.take_back()

    @contextlib.asynccontextmanager
    async def _under_way(self) -> AsyncIterator[None]:
        self._settling += 1
        try:
            yield
        finally:
            self._settling -= 1
            if not self._settling:
                self._tell(Settled())

    async def _settle(self) -> None:
        """Run what may run unasked, and have the model go on when every call has its result."""
        self._stopped = False
        while open_ := call_states.pending(self.messages):
            one = open_[0]
            tool, by = self._tool(one.call), ""
            if tool is not None and self.conversation is not None:
                by = self.permissions.given(tool, self.conversation.id)
            if tool is None or not by or await self._problem(tool, one.call.arguments):
                await self._tell_waiting()
                return
            if not await self._run(one, tool, by, one.call.arguments):  # type: ignore[arg-type]
                await self._tell_waiting()
                return
        self._tell(CallsWait())
        if not self.messages or self.messages[-1].role != "tool" or self._stopped:
            return
        if call_states.rounds(self.messages, self._rounds_since) >= self.tuning.tool_rounds:
            many = self.tuning.tool_rounds
            self._tell(Note(f"The model called tools {many} times in a row: go on lets it go on."))
            return
        if self.engine == "ready":
            await self._answer()
        else:
            self.waiting = True

    async def _tell_waiting(self) -> None:
        self._tell(CallsWait(await self.waiting_calls()))

    async def _waiting(self, one: Open) -> Waiting:
        tool = self._tool(one.call)
        if tool is None:
            said = f"There is no tool {one.call.name} in this conversation."
            return Waiting(one.message.id, one.number, one.call, by_hand=True, problem=said)
        problem = await self._problem(tool, one.call.arguments)
        by_hand = tool.kind == "manual"
        return Waiting(one.message.id, one.number, one.call, tool.source, by_hand, problem)

    def _tool(self, call: ToolCall) -> Definition | None:
        """The tool of a call, if it is one of this conversation."""
        return self.toolbox.find(call.name) if call.name in self.tuning.tools else None

    async def _problem(self, tool: Definition, arguments: str) -> str:
        try:
            await self._checked(tool, arguments)
        except ToolError as error:
            return str(error)
        return ""

    async def _checked(self, tool: Definition, arguments: str) -> dict[str, Any]:
        # A foreign schema can make this slow.
        return await asyncio.to_thread(self.toolbox.check, tool, arguments)

    # ── what the user decides ───────────────────────────────────────────────────────

    async def run_call(self, waiting: Waiting, by: By = "once", arguments: str = "") -> None:
        """Run a call that waits, perhaps with other arguments than the model's.

        Raises:
            ToolError: the arguments are not what the tool takes.
            StoreError: the permission could not be kept; nothing was run.
        """
        one, tool = self._open(waiting), self._tool(waiting.call)
        if one is None:
            return
        if tool is None or tool.kind == "manual":
            raise ToolError(f"Only you can answer a call of {one_line(waiting.call.name, 64)}.")
        async with self._under_way():  # at once: the key may have been pressed twice
            await self._checked(tool, arguments or one.call.arguments)
            if by in ("always", "conversation"):
                await self._permit(tool, by)
            async with self._deciding():
                await self._run(one, tool, by, arguments or one.call.arguments)

    async def answer_call(self, waiting: Waiting, text: str) -> bool:
        """Answer a call in the place of the tool; False if the answer could not be kept."""
        return await self._decide(waiting, Outcome(text), "hand")

    async def deny_call(self, waiting: Waiting, reason: str = "") -> bool:
        """Do not run a call; the model is told why. False if that could not be kept."""
        said = f"{_DENIED} {reason.strip()}".strip()
        return await self._decide(waiting, Outcome(said, error=True), "denied")

    async def _decide(self, waiting: Waiting, outcome: Outcome, by: By) -> bool:
        if (one := self._open(waiting)) is None:
            self._tell(Note("This call does not wait any more."))
            return False
        async with self._deciding():
            return await self._keep(one, outcome, by)

    async def say(self, text: str) -> None:
        if self.deciding:
            for one in call_states.pending(self.messages):
                await self._keep(one, Outcome(_INSTEAD, error=True), "denied")
            self._tell(CallsWait())
        await super().say(text)

    async def revoke(self, tool: Definition) -> bool:
        """Have a tool ask again; False if it did anyway."""
        await self.load_permissions()
        if not self.permissions.revoke(tool):
            return False
        await self._store.set_setting(SETTING, self.permissions.dump())
        return True

    async def load_permissions(self) -> None:
        """Read what the user has allowed, perhaps in another window."""
        self.permissions = Permissions.load(await self._store.get_setting(SETTING, ""))
        self.toolbox.allowed_servers.update(self.permissions.servers)

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
        await self._store.set_setting(SETTING, self.permissions.dump())
        self.toolbox.allowed_servers.add(digest)
        await self.toolbox.start_servers([name])

    async def _permit(self, tool: Definition, by: By) -> None:
        await self.load_permissions()
        if by == "always":
            self.permissions.allow_always(tool)
        elif self.conversation is not None:
            self.permissions.allow_here(tool, self.conversation.id)
        await self._store.set_setting(SETTING, self.permissions.dump())

    def _open(self, waiting: Waiting) -> Open | None:
        """The call, if it still waits."""
        if self.answering:
            return None
        where = (waiting.message_id, waiting.number)
        for one in call_states.pending(self.messages):
            if (one.message.id, one.number) == where:
                return one
        return None

    @contextlib.asynccontextmanager
    async def _deciding(self) -> AsyncIterator[None]:
        async with self._under_way():
            self._tell(CallsWait())  # it is decided
            yield
            if self._stopped:
                self._stopped = False
                await self._tell_waiting()
            else:
                await self._settle()

    # ── running ─────────────────────────────────────────────────────────────────────

    async def _run(self, one: Open, tool: Definition, by: By, arguments: str) -> bool:
        """Run a call and keep what came of it; False if the user stopped it."""
        asked = arguments if arguments != one.call.arguments else ""
        self._tell(CallIs(one.message.id, one.number, one.call, "running", asked=asked))
        told: Mapping[str, Any] = await self._checked(tool, arguments)
        self._stopped = False
        self._running = asyncio.ensure_future(
            self.toolbox.run(tool, told, timeout=self.tuning.tool_timeout)
        )
        try:
            outcome = await self._running
        except asyncio.CancelledError:
            if not self._stopped:
                self._running.cancel()
                raise
            outcome, by = Outcome(_STOPPED, error=True), "stopped"
        finally:
            self._running = None
        return await self._keep(one, outcome, by, asked) and not self._stopped

    async def _keep(self, one: Open, outcome: Outcome, by: By, asked: str = "") -> bool:
        """Put a result on disk; False if the disk refused, which is told."""
        meta: dict[str, Any] = {"call": one.call.id, "name": one.call.name, "by": by}
        meta |= {"error": True} if outcome.error else {}
        meta |= {"cut": True} if outcome.cut else {}
        meta |= {"seconds": round(outcome.seconds, 3)} if outcome.seconds else {}
        meta |= {"asked": asked} if asked else {}
        parent = self.messages[-1].id
        try:
            message = await self._store.add_message(
                one.message.conversation_id, parent, "tool", outcome.text, meta=meta
            )
        except StoreError as error:
            self._stopped = True
            self._tell(CallIs(one.message.id, one.number, one.call, "waiting"))
            self._tell(Trouble(str(error)))
            return False
        self.messages.append(message)
        self._tell(call_states.answered(one.message.id, one.number, one.call, message))
        return True

    def cancel(self) -> None:
        if self._running is not None:
            self._stopped = True
            self._running.cancel()
        super().cancel()

    async def _idle(self) -> None:
        await super()._idle()
        while self._settling or self._request:
            await asyncio.sleep(0.005)

    # ── what is in view ─────────────────────────────────────────────────────────────

    async def new(self) -> None:
        await super().new()
        self._tell(CallsWait())

    async def _show(self, conversation_id: str, focus: int | None = None) -> None:
        await super()._show(conversation_id, focus)
        await self._tell_waiting()

    async def close_tools(self) -> None:
        """End what runs for the tools."""
        await self.toolbox.close()
