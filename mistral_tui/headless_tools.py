"""Tools without a UI: what `-p` may run is said on the command line; all else is denied."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from inference.api import CallPiece, Failed, Generate, Message, ModelCard
from inference.calls import ToolCall
from mistral_tui.config.user_files import FileProblem, read_text
from mistral_tui.engine_client import EngineClient
from mistral_tui.headless import Reply, print_line, stream
from mistral_tui.prompts import call_id, choice_of, error_told
from mistral_tui.sanitize import one_line
from mistral_tui.tools import limits
from mistral_tui.tools.definition import Definition, Outcome
from mistral_tui.tools.errors import ToolError
from mistral_tui.tools.toolbox import Toolbox


@dataclass(frozen=True, slots=True)
class Tools:
    """What the command line says of tools: those that may be called, by name; those that may
    run; and files that hold the results of others."""

    names: tuple[str, ...] = ()
    named: bool = True  # on the command line, not by the config
    choice: str = "auto"
    given: tuple[Definition, ...] = ()
    allowed: frozenset[str] = frozenset()
    results: Mapping[str, Path] = field(default_factory=dict)
    modules: tuple[str, ...] = ()
    rounds: int = 10
    timeout: float = limits.TIMEOUT_SECONDS


@dataclass(frozen=True, slots=True)
class Called:
    """A call and what came of it; `status`: run, given, denied or failed."""

    call: ToolCall
    status: str
    outcome: Outcome

    def as_json(self) -> dict[str, Any]:
        """The published keys of a call; they stay."""
        return {
            "name": self.call.name,
            "arguments": _json(self.call.arguments),
            "id": self.call.id,
            "status": self.status,
            "result": self.outcome.text,
        }


class TooManyRounds(Exception):
    """The model would call for ever."""


class Rounds:
    """Has a model answer, and its calls run, until it has said what it wants to say."""

    def __init__(self, tools: Tools, card: ModelCard, client: EngineClient) -> None:
        self._tools, self._card, self._client = tools, card, client
        self._box = Toolbox(tools.given, modules=tools.modules)
        self.called: list[Called] = []
        self.unfinished = ""
        """The call that the last reply broke off, if it did."""

    async def answer(self, request: Generate, *, show: bool) -> Reply | Failed:
        """The last reply; `called` has the calls before it.

        Raises:
            ToolError: a tool that was named is not there; a sentence.
            TooManyRounds: a sentence.
        """
        try:
            return await self._answer(request, show)
        finally:
            await self._box.close()

    async def _answer(self, request: Generate, show: bool) -> Reply | Failed:
        names = self._tools.names
        problems = await self._box.ready(names)
        definitions = {
            name: tool
            for name in names
            if (tool := self._box.find(name)) and not self._box.uncallable(tool)
        }
        if definitions and "tools" not in self._card.capabilities:
            name = one_line(self._card.name)
            problems.insert(0, f"{name} cannot call tools: its tokenizer has no tool tokens.")
            definitions = {}
        if problems and self._tools.named:
            raise ToolError(problems[0])
        for problem in problems:  # the config's are for any model
            print_line(sys.stderr, f"mistral-tui: {problem}")
        told = tuple(tool.told() for tool in definitions.values())
        choice = choice_of(self._tools.choice, told, again=False)
        request = replace(request, tools=told, tool_choice=choice)
        for round_ in range(self._tools.rounds + 1):
            reply = await stream(request, self._client, show=show)
            if isinstance(reply, Failed):
                return reply
            calls = self._calls(reply.calls)
            if not calls or self.unfinished or reply.finished.reason != "stop":
                return reply
            if round_ == self._tools.rounds:
                break
            said = Message("assistant", reply.text, tuple(reply.ids), self._card.fingerprint, calls)
            results = [await self._one(call, definitions.get(call.name)) for call in calls]
            request = replace(
                request,
                id=self._client.next_id(),
                messages=(*request.messages, said, *results),
                tool_choice=choice_of(choice, told, again=True),
            )
        raise TooManyRounds(
            f"The model called tools {self._tools.rounds} times in a row and was stopped; "
            "tool_rounds in config.toml sets how often it may."
        )

    def _calls(self, pieces: Sequence[CallPiece]) -> tuple[ToolCall, ...]:
        calls: list[ToolCall] = []
        self.unfinished = ""
        for piece in pieces:
            if piece.stage == "finished":
                taken = {call.id for call in calls} | {one.call.id for one in self.called}
                calls.append(ToolCall(piece.name, piece.text, call_id(piece.id, taken)))
            elif piece.stage == "broken":
                self.unfinished = piece.reason
        return tuple(calls)

    async def _one(self, call: ToolCall, tool: Definition | None) -> Message:
        called = await self._run(call, tool)
        self.called.append(called)
        shown = f"{one_line(call.name, 64)} {one_line(call.arguments, 300)}"
        name = one_line(call.name, 64)
        by_hand = tool is not None and tool.kind == "manual"
        offer = f"--tool-result {name}=FILE answers" if by_hand else f"--allow-tool {name} allows"
        how = {
            "run": f"run, {called.outcome.seconds:.1f} s",
            "given": "result given",
            "failed": f"failed: {one_line(called.outcome.text, 300)}",
            "denied": f"denied; {offer} it",
        }[called.status]
        print_line(sys.stderr, f"mistral-tui: {shown}: {how}")
        text = called.outcome.text
        text = error_told(text) if called.outcome.error else text
        return Message("tool", text, call_id=call.id, tool_name=call.name)

    async def _run(self, call: ToolCall, tool: Definition | None) -> Called:
        if tool is None:
            return Called(call, "failed", limits.outcome("There is no such tool.", error=True))
        try:
            arguments = self._box.check(tool, call.arguments)
            if (path := self._tools.results.get(call.name)) is not None:
                shown = one_line(str(path), 200)
                most = limits.MOST_BYTES
                text = await asyncio.to_thread(read_text, path, shown, most)
                return Called(call, "given", limits.outcome(text.rstrip("\n")))
        except (ToolError, FileProblem) as error:
            return Called(call, "failed", limits.outcome(str(error), error=True))
        except FileNotFoundError:
            return Called(call, "failed", limits.outcome("There is no result.", error=True))
        if call.name not in self._tools.allowed or tool.kind == "manual":
            said = "The user did not allow this call."
            return Called(call, "denied", limits.outcome(said, error=True))
        outcome = await self._box.run(tool, arguments, timeout=self._tools.timeout)
        return Called(call, "failed" if outcome.error else "run", outcome)


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
