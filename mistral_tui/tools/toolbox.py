"""All tools that a window knows, wherever they come from, and the way to run one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mistral_tui import paths
from mistral_tui.sanitize import one_line
from mistral_tui.tools import builtin, limits
from mistral_tui.tools.definition import Definition, Outcome
from mistral_tui.tools.errors import ToolError

if TYPE_CHECKING:
    from mistral_tui.tools.mcp import McpServers, ServerState

__all__ = ["ToolError", "Toolbox"]

_STATES = {"starting": "being started", "off": "not started yet"}


def _nothing() -> None:
    pass


class Toolbox:
    """Tools by name. Of two with one name the first counts: the project's files, the user's,
    Python functions, what is built in, then MCP servers."""

    def __init__(
        self,
        tools: Sequence[Definition] = (),
        *,
        modules: Sequence[str] = (),
        folder: Path | None = None,
        changed: Callable[[], None] = _nothing,
    ) -> None:
        """`tools` go before all others; `modules` are those whose functions are tools; `folder`
        is the working folder (None: the current one)."""
        self.folder = folder or Path.cwd()
        self.problems: list[str] = []
        self.allowed_servers: set[str] = set()
        """Digests of the servers of projects that the user said yes to."""
        self.servers: McpServers | None = None
        self._given = tuple(tools)
        self._modules = tuple(modules)
        self.changed = changed
        """Called whenever there may be other tools."""
        self._files: tuple[Definition, ...] = ()
        self._functions: tuple[Definition, ...] | None = None
        self._told: list[str] = []  # problems of functions
        self._entry_problems: tuple[str, ...] = ()
        self._entries: dict[str, str] = {}  # digests of the servers' entries
        self._reading = asyncio.Lock()
        self._uncallable: dict[str, str] = {}

    # ── what there is ───────────────────────────────────────────────────────────────

    @property
    def definitions(self) -> list[Definition]:
        """Every tool that is known now, in the order in which they count."""
        found: dict[str, Definition] = {}
        for tool in (*self._given, *self._files, *(self._functions or ()), *builtin.DEFINITIONS):
            found.setdefault(tool.name, tool)
        for state in self.states.values():
            for tool in state.definitions:
                found.setdefault(tool.name, tool)
        return list(found.values())

    @property
    def states(self) -> Mapping[str, ServerState]:
        """The MCP servers."""
        return self.servers.states if self.servers else {}

    def find(self, name: str) -> Definition | None:
        """The tool of a name."""
        return next((tool for tool in self.definitions if tool.name == name), None)

    def uncallable(self, tool: Definition) -> str:
        """Why no call of a tool can be written; empty: it can, as far as `ready` has looked."""
        return self._uncallable.get(tool.identity, "")

    def check(self, tool: Definition, arguments: str) -> dict[str, Any]:
        """The arguments of a call, from their JSON text.

        Raises:
            ToolError: they are not what the tool takes; a sentence with the place.
        """
        from mistral_tui.tools import schema

        return schema.check_arguments(tool, arguments or "{}")

    async def refresh(self, *, functions: bool = True) -> None:
        """Look at the files again, and at the Python modules (`functions`)."""
        from mistral_tui.tools import files

        found, problems = await asyncio.to_thread(files.available, paths.config_dir(), self.folder)
        self._files = tuple(found)
        if functions and self._modules:
            from mistral_tui.tools.functions import describe

            told, more = await describe(self._modules, self.folder)
            self._functions, self._told = tuple(told), list(more)
        else:
            self._functions = self._functions or ()
        await self._know_servers()
        self.problems = [*problems, *self._told, *self._entry_problems, *self._twice()]
        self.changed()

    async def _know_servers(self) -> None:
        """Read which servers there are; where that has changed, those that run are ended."""
        from mistral_tui.tools import mcp_config
        from mistral_tui.tools.mcp import McpServers

        async with self._reading:
            config = paths.config_dir()
            servers, problems = await asyncio.to_thread(mcp_config.load, config, self.folder)
            entries = {server.name: server.digest for server in servers}
            self._entry_problems = tuple(problems)
            if self.servers is not None:
                if entries == self._entries:
                    return
                await self.servers.close()
            self._entries = entries
            log = paths.log_dir() / "mcp.log"
            self.servers = McpServers(
                servers, log=log, allowed=self.allowed_servers, changed=lambda: self.changed()
            )

    def _twice(self) -> list[str]:
        known = {tool.name: tool for tool in self.definitions}
        sources = (*self._files, *(self._functions or ()))
        return [
            f"The tool {one_line(tool.name, 64)} of {one_line(tool.source, 100)} is hidden by that "
            f"of {one_line(known[tool.name].source, 100)}."
            for tool in sources
            if known[tool.name] != tool
        ]

    async def ready(
        self, names: Collection[str], say: Callable[[str], None] = lambda said: None
    ) -> list[str]:
        """Bring up what these tools need: read the files, start the servers. What takes its time
        is said on the way, what cannot be had in the end, a sentence each."""
        if not names:
            return []
        missing = await self._bring_up(names, say)
        return missing + await asyncio.to_thread(self._look_at, names)

    def _look_at(self, names: Collection[str]) -> list[str]:
        """A sentence for each tool that is there and that no call can be written of."""
        tools = [tool for name in names if (tool := self.find(name)) is not None]
        for tool in tools:
            if tool.identity not in self._uncallable:
                self._uncallable[tool.identity] = _why_uncallable(tool)
        return [said for tool in tools if (said := self._uncallable[tool.identity])]

    async def _bring_up(self, names: Collection[str], say: Callable[[str], None]) -> list[str]:
        known = {tool.name for tool in (*self._given, *builtin.DEFINITIONS)}
        if set(names) <= known:
            return []
        await self.refresh(functions=self._functions is None)
        missing = [name for name in names if self.find(name) is None]
        if missing and self.servers is not None:
            from mistral_tui.tools.mcp_results import fitting

            wanted = {
                server
                for server in self.states
                if self.states[server].state in ("off", "starting")  # failed: the user restarts it
                and any(name.startswith(fitting(server, "", ()) + "_") for name in missing)
            }
            if wanted:
                say(f"Starting {one_line(', '.join(sorted(wanted)), 200)} …")
                await self.servers.start(wanted)
        return [self.why_missing(name) for name in names if self.find(name) is None]

    def why_missing(self, name: str) -> str:
        """Why a tool that was named is not there, in a sentence."""
        from mistral_tui.tools.mcp_results import fitting

        for server, state in self.states.items():
            if name.startswith(fitting(server, "", ()) + "_") and state.state != "ready":
                said = state.sentence or f"it is {_STATES.get(state.state, 'not running')}."
                return f"{one_line(name, 64)}: the MCP server {one_line(server, 40)}: {said}"
        return f"There is no tool {one_line(name, 64)}; the tools screen lists all."

    # ── servers ─────────────────────────────────────────────────────────────────────

    async def start_servers(self, names: Collection[str] | None = None) -> None:
        """Start those that may run (None: all)."""
        if self.servers is None:
            await self._know_servers()
        if self.servers is not None and self.states:
            await self.servers.start(names)

    async def stop_server(self, name: str) -> None:
        """End a server, if it runs."""
        if self.servers is not None:
            await self.servers.stop(name)

    def digest(self, server: str) -> str:
        """What names an entry of a project's file in a stored permission; empty: unknown."""
        return self._entries.get(server, "")

    # ── running ─────────────────────────────────────────────────────────────────────

    async def run(
        self,
        tool: Definition,
        arguments: Mapping[str, Any],
        *,
        timeout: float = limits.TIMEOUT_SECONDS,
    ) -> Outcome:
        """Run a call. Whatever goes wrong is an outcome; a cancelled task ends what runs."""
        if tool.kind == "mcp" and self.servers is not None:
            return await self.servers.call(tool, arguments, timeout=timeout)
        if tool.kind in ("builtin", "python"):
            from mistral_tui.tools import process

            return await process.run(tool, arguments, folder=self.folder, timeout=timeout)
        return limits.outcome("No one but you can answer this call.", error=True)

    async def close(self) -> None:
        """End the servers."""
        if self.servers is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self.servers.close()


def _why_uncallable(tool: Definition) -> str:
    """Why no call of a tool can be written, or none of the model's layouts takes it."""
    from jsonschema import Draft7Validator, SchemaError

    from inference.constrained import json_schema

    try:
        Draft7Validator.check_schema(tool.parameters)  # as mistral-common does
        json_schema.compile_parameters(tool.parameters)
    except (SchemaError, json_schema.SchemaError) as error:
        said = error.message if isinstance(error, SchemaError) else str(error)
        return f"{one_line(tool.name, 64)} cannot be called: {one_line(said, 300)}"
    return ""
