"""Tool calls in a conversation: the rounds of answers and calls, and what runs.

A call waits until it has a result on disk; so what waits is told from the messages alone, and
nothing of it is lost with the window.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from typing import Any

from inference import api
from inference.calls import ToolCall
from mistral_tui import call_states, prompts
from mistral_tui.call_states import Open
from mistral_tui.conversation import Session
from mistral_tui.happenings import CallIs, CallsWait, Note, Settled, Trouble, Waiting
from mistral_tui.history.schema import Message, StoreError
from mistral_tui.sanitize import one_line
from mistral_tui.tools.consent import SETTING, By, Permissions
from mistral_tui.tools.definition import Definition, Outcome
from mistral_tui.tools.toolbox import Toolbox, ToolError

_STOPPED = "The user stopped this call."


class Calling(Session):
    """A session whose model may call tools."""

    def __init__(self, *args: Any, toolbox: Toolbox | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self.toolbox = toolbox or Toolbox()
        self.toolbox.changed = self._tools_changed
        self.permissions = Permissions()
        self._under = 0  # how deep in what is under way
        self._running: asyncio.Future[Any] | None = None  # what Esc stops beside the model
        self._stopped = False  # by the user, of what is under way
        self._rounds_since = 0  # a message: rounds are counted from there
        self._beside: set[asyncio.Task[None]] = set()
        self._bringing: asyncio.Task[None] | None = None  # what waiting calls need
        self._asks = 0  # how often it was told what waits
        # What came of calls and could not be saved: they are not run again.
        self._unsaved: dict[tuple[int, int], tuple[Outcome, By, str]] = {}

    @property
    def answering(self) -> bool:
        return super().answering or self._under > 0

    @property
    def deciding(self) -> bool:
        """Whether calls wait for the user."""
        return not self.answering and bool(call_states.pending(self.messages))

    @contextlib.asynccontextmanager
    async def _under_way(self) -> AsyncIterator[None]:
        """What a stop ends as a whole; nothing else is begun meanwhile."""
        if not self.answering:
            self._stopped = False
        self._under += 1
        try:
            yield
        finally:
            self._under -= 1
            if not self._under:
                self._tell(Settled(self._stopped))

    def cancel(self) -> None:
        if self.answering:
            self._stopped = True
        if self._running is not None:
            self._running.cancel()
        super().cancel()

    def _ended(self) -> bool:
        return self._stopped

    async def _idle(self) -> None:
        await super()._idle()
        while self._under or self._request:
            await asyncio.sleep(0.005)

    # ── what the model is told ──────────────────────────────────────────────────────

    def _tools(self, branch: Sequence[Message] | None) -> tuple[tuple[api.Tool, ...], str]:
        card = self.card
        if card is None or "tools" not in card.capabilities or not self.choice.instruct:
            return (), "auto"
        known = {tool.name: tool for tool in self.toolbox.definitions}
        found = [known[name] for name in self.tuning.tools if name in known]
        tools = tuple(tool.told() for tool in found if not self.toolbox.uncallable(tool))
        last = (self.messages if branch is None else branch)[-1:]
        again = any(message.role == "tool" for message in last)
        return tools, prompts.choice_of(self.tuning.tool_choice, tools, again=again)

    async def _make_ready(self) -> bool:
        """Bring up what the tools of this conversation need; False if the user stopped that."""
        if not self.tuning.tools:
            return True
        ready = self.toolbox.ready(self.tuning.tools, lambda said: self._tell(Note(said)))
        try:
            problems = await self._stoppable(ready)
        except Exception as error:  # the answer is not to fail for it
            problems = [f"Tools could not be looked at: {one_line(str(error), 300)}"]
        for problem in problems or ():
            self._tell(Note(problem))
        return problems is not None

    async def _stoppable(self, work: Coroutine[Any, Any, Any]) -> Any:
        """What comes of some work; None if the user stopped it."""
        self._running = asyncio.ensure_future(work)
        if self._stopped:
            self._running.cancel()
        try:
            return await self._running
        except asyncio.CancelledError:
            self._running.cancel()
            if not self._stopped:  # we ourselves are ended
                raise
            return None
        finally:
            self._running = None

    # ── the rounds ──────────────────────────────────────────────────────────────────

    async def _answer(self) -> None:
        """Have the model answer, and go on with what comes of its calls, until it has none."""
        async with self._under_way():
            if not await self._make_ready() or self._stopped:
                self.waiting = False
                self._over(self._request)
                return
            while await self._one_reply() and await self._settle():
                pass

    async def _settle(self) -> bool:
        """Run what may run unasked; whether every call has its result and the model goes on."""
        while open_ := call_states.pending(self.messages):
            one = open_[0]
            tool = self._tool(one.call)
            by = await self._permission(tool)
            problem = await self._problem(tool, one.call.arguments) if tool and by else ""
            if tool is None or not by or problem or self._stopped:
                await self._tell_waiting()
                return False
            if not await self._run(one, tool, by, one.call.arguments):
                await self._tell_waiting()
                return False
        self._ask_nothing()
        if not self.messages or self.messages[-1].role != "tool" or self._stopped:
            return False
        most = self.tuning.tool_rounds
        if call_states.rounds(self.messages, self._rounds_since) >= most:
            self._tell(Note(f"The model called tools {most} times in a row: go on lets it go on."))
            return False
        self.waiting = self.engine != "ready"
        return not self.waiting

    async def _settle_and_answer(self) -> None:
        if await self._settle():
            await self._answer()

    async def _permission(self, tool: Definition | None) -> By | None:
        """The consent that a call has already, as it is on disk now; None: it has to ask."""
        if tool is None or self.conversation is None:
            return None
        if not self.permissions.given(tool, self.conversation.id):
            return None
        try:
            await self.load_permissions()  # it may have been revoked in another window
        except StoreError:
            return None
        return self.permissions.given(tool, self.conversation.id) or None

    async def load_permissions(self) -> None:
        """Read what the user has allowed, perhaps in another window."""
        self.permissions = Permissions.load(await self._store.get_setting(SETTING, ""))
        self.toolbox.allowed_servers.clear()
        self.toolbox.allowed_servers.update(self.permissions.servers)

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

    # ── running ─────────────────────────────────────────────────────────────────────

    async def _run(self, one: Open, tool: Definition, by: By, arguments: str) -> bool:
        """Run a call and keep what came of it; False if the rounds end with it."""
        asked = "" if _same(arguments, one.call.arguments) else arguments
        if not (parent := await self._still_waits(one)) or self._stopped:
            return False
        self._tell(CallIs(one.message.id, one.number, one.call, "running", asked=asked))
        if ran := self._unsaved.get((one.message.id, one.number)):
            kept = await self._keep(one, parent, *ran)
            if kept:
                del self._unsaved[one.message.id, one.number]
            return kept and not self._stopped
        outcome: Outcome | None
        try:
            told: Mapping[str, Any] = await self._checked(tool, arguments)
            run = self.toolbox.run(tool, told, timeout=self.tuning.tool_timeout)
            outcome = await self._stoppable(run)
        except Exception as error:  # of a tool nothing may end the chat
            outcome = Outcome(one_line(f"{type(error).__name__}: {error}", 400), error=True)
        if outcome is None:
            outcome, by = Outcome(_STOPPED, error=True), "stopped"
        kept = await self._keep(one, parent, outcome, by, asked)
        if not kept:
            self._unsaved[one.message.id, one.number] = (outcome, by, asked)
            self._tell(Note("The tool has run; what came of it is saved when you decide again."))
        return kept and not self._stopped

    async def _still_waits(self, one: Open) -> int:
        """The message that a result comes below; 0: another window has decided on the call."""
        _, messages = await self._store.load_conversation(one.message.conversation_id)
        there = {(other.message.id, other.number) for other in call_states.pending(messages)}
        if (one.message.id, one.number) in there:
            return messages[-1].id
        await self._show(one.message.conversation_id)
        self._tell(Note("This call was decided on in another window."))
        return 0

    async def _keep(
        self, one: Open, parent: int, outcome: Outcome, by: By, asked: str = ""
    ) -> bool:
        """Put a result on disk; False if the disk refused, which is told."""
        meta: dict[str, Any] = {"call": one.call.id, "name": one.call.name, "by": by}
        meta |= {"dropped": True} if one.message.dropped else {}  # with its turn
        meta |= {"error": True} if outcome.error else {}
        meta |= {"cut": True} if outcome.cut else {}
        meta |= {"seconds": round(outcome.seconds, 3)} if outcome.seconds else {}
        meta |= {"asked": asked} if asked else {}
        try:
            message = await self._store.add_message(
                one.message.conversation_id, parent, "tool", outcome.text, meta=meta
            )
        except StoreError as error:
            self._stopped = True
            self._tell(CallIs(one.message.id, one.number, one.call, "waiting"))
            self._tell(Trouble(str(error)))
            return False
        if not self.messages or self.messages[-1].id != parent:
            self._stopped = True  # another conversation is in view by now
            return True
        self.messages.append(message)
        self._tell(call_states.answered(one.message.id, one.number, one.call, message))
        return True

    # ── what waits ──────────────────────────────────────────────────────────────────

    async def waiting_calls(self) -> tuple[Waiting, ...]:
        """The calls that wait for the user, in order; the first one is checked."""
        open_ = call_states.pending(self.messages)
        return tuple([await self._waiting(one, first=not n) for n, one in enumerate(open_)])

    async def _waiting(self, one: Open, *, first: bool) -> Waiting:
        where = (one.message.id, one.number, one.call)
        tool = self._tool(one.call)
        if tool is None:
            said = f"There is no tool {one_line(one.call.name, 64)} in this conversation."
            if one.call.name in self.tuning.tools:
                said = self.toolbox.why_missing(one.call.name)
            return Waiting(*where, by_hand=True, problem=said)
        problem = await self._problem(tool, one.call.arguments) if first else ""
        return Waiting(*where, tool.source, tool.kind == "manual", problem, tool.identity)

    async def _tell_waiting(self) -> None:
        self._asks += 1
        asks, leaf = self._asks, self.messages[-1].id if self.messages else 0
        waiting = await self.waiting_calls()
        # Else there is newer news, or another conversation is in view.
        if asks == self._asks and leaf == (self.messages[-1].id if self.messages else 0):
            self._tell(CallsWait(waiting))

    def _ask_nothing(self) -> None:
        self._asks += 1
        self._tell(CallsWait())

    def _tools_changed(self) -> None:
        if self.deciding:
            self._start_beside(self._tell_waiting())

    def _start_beside(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        async def guarded() -> None:
            try:
                await work
            except Exception as error:
                self._tell(Trouble(one_line(str(error), 300)))

        task = asyncio.ensure_future(guarded())
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)
        return task

    def _bring_up(self) -> None:
        """Bring up what the calls that wait need, so that they can be decided on."""
        if self._bringing is None or self._bringing.done():
            self._bringing = self._start_beside(self._bring_tools())

    async def _bring_tools(self) -> None:
        await self.toolbox.ready(self.tuning.tools, lambda said: self._tell(Note(said)))
        if self.deciding:
            await self._tell_waiting()

    async def new(self) -> None:
        await super().new()
        self._ask_nothing()

    async def _show(self, conversation_id: str, focus: int | None = None) -> None:
        await super()._show(conversation_id, focus)
        await self._tell_waiting()
        if call_states.pending(self.messages):
            self._bring_up()

    async def close_tools(self) -> None:
        """End what runs for the tools."""
        for task in self._beside:
            task.cancel()
        await asyncio.gather(*self._beside, return_exceptions=True)
        await self.toolbox.close()


def _same(one: str, other: str) -> bool:
    """Whether two JSON texts mean the same."""
    if one == other:
        return True
    try:
        first, second = (json.dumps(json.loads(text), sort_keys=True) for text in (one, other))
        return first == second
    except (ValueError, RecursionError):
        return False
