"""One MCP server in the host process: started, agreed with, listed, called, ended."""

from __future__ import annotations

import asyncio
import math
import signal
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from mistral_tui.sanitize import one_line
from mistral_tui.tools import limits, mcp_results
from mistral_tui.tools.definition import Outcome
from mistral_tui.tools.mcp_transports import Http, Log, Stdio

if TYPE_CHECKING:
    from mcp.client.session import ClientSession
    from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher

Tell = Callable[[dict[str, Any]], None]
"""Called with a message for the app."""

_MOST_PAGES = 100
_LIST_SECONDS = 30.0
_RELIST_SECONDS = 0.5  # between two looks at a list that changes and changes
_LISTEN_AGAIN_SECONDS = 5.0
_MOST_WORDS = 200


class Session:
    """A server from its start to its end; `run` once, in a task of its own."""

    def __init__(
        self, name: str, entry: Mapping[str, Any], timeout: float, tell: Tell, log: Log
    ) -> None:
        self.name = name
        self.pid = 0
        self._entry, self._timeout = entry, timeout
        self._tell_app, self._write_log = tell, log
        self._session: ClientSession | None = None
        self._over = asyncio.Event()  # the server ended, or is to end
        self._stale = asyncio.Event()  # its list of tools changed
        self._stopping = False
        self._scope: Any = None
        self._trouble = ""
        self._last_words = ""
        self._listing = mcp_results.Listing()
        self._rows: list[mcp_results.Row] = []
        self._version = ""
        self._link = self._transport()

    def _transport(self) -> Stdio | Http:
        entry = self._entry
        if entry["kind"] == "http":
            return Http(entry["url"], dict(entry["headers"]))
        from mcp.client.stdio import get_default_environment

        argv = [entry["command"], *entry["args"]]
        env = get_default_environment() | dict(entry["env"])
        cwd = entry["cwd"] or None
        return Stdio(self.name, argv, env, cwd, self._log, self._spawned, self._over)

    def _log(self, name: str, line: str) -> None:
        if line.strip():
            self._last_words = one_line(line, _MOST_WORDS)
        self._write_log(name, line)

    def _spawned(self, pid: int) -> None:
        self.pid = pid
        self._tell_app({"is": "process", "name": self.name, "pid": pid})

    def stop(self) -> None:
        """Ask for the end; `run` then returns within a few seconds."""
        self._stopping = True
        self._over.set()
        if self._scope is not None and self._session is None:
            self._scope.cancel()  # it is still starting

    async def run(self) -> None:
        """Serve until the server ends or is stopped; every end is told as a state."""
        import anyio

        self._tell("starting")
        if self._stopping:
            self._tell("off")
            return
        ready = timed_out = False
        error: BaseException | None = None
        try:
            with anyio.CancelScope(deadline=anyio.current_time() + self._timeout) as scope:
                self._scope = scope
                async with self._link.streams() as (read, write):
                    from mcp.client.session import ClientSession
                    from mcp_types import Implementation

                    async with ClientSession(
                        dispatcher=self._dispatcher(read, write),
                        client_info=Implementation(name="mistral-tui", version=_our_version()),
                        logging_callback=self._logged,
                        message_handler=self._noticed,
                    ) as session:
                        await _agree(session)
                        await self._list(session)
                        scope.deadline = math.inf
                        ready = True
                        self._session = session
                        self._tell("ready", self._listing.sentence)
                        await self._serve(session)
            timed_out = scope.cancelled_caught and not self._stopping
        except Exception as caught:
            error = _first(caught)
        self._session = None
        self.pid = 0
        if self._stopping:
            self._tell("off")
        else:
            self._tell("failed", self._why(error, ready, timed_out))

    def _tell(self, state: str, sentence: str = "") -> None:
        self._tell_app(
            {
                "is": "state",
                "name": self.name,
                "state": state,
                "sentence": sentence,
                "version": self._version,
                "tools": self._rows if state == "ready" else [],
            }
        )

    def _why(self, error: BaseException | None, ready: bool, timed_out: bool) -> str:
        who = f"The MCP server {one_line(self.name, 64)}"
        words = f" Its last words: {self._last_words}" if self._last_words else ""
        if timed_out:
            return f"{who} did not get ready within {self._timeout:g} seconds.{words}"
        if isinstance(self._link, Stdio):
            if isinstance(error, OSError | ValueError) and self._link.returncode is None:
                return self._not_started(who, error)
            if self._link.trouble:
                return f"{who} was ended: it {self._link.trouble}."
            if _is_closed(error) or (ready and error is None):
                return f"{who} {_ended(self._link.returncode)}.{words}"
        elif self._link.status in (401, 403):
            return (
                f"{who} wants a login (HTTP {self._link.status}): put a key for it into headers "
                "in its entry."
            )
        elif self._link.status and not ready:
            return f"{who} answered with HTTP {self._link.status}: look at its url."
        elif self._trouble or _is_closed(error):
            return f"{who}: the connection was lost."
        elif not ready and _is_unreachable(error):
            return f"{who} cannot be reached: look whether it runs, and at its url."
        what = one_line(str(error) if error else "", 160) or type(error).__name__
        return f"{who} cannot be used: {what.rstrip('.')}."

    def _not_started(self, who: str, error: BaseException) -> str:
        command = one_line(str(self._entry["command"]), 80)
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            if self._entry["cwd"] and error.filename == self._entry["cwd"]:
                return f"{who} cannot be started: its folder cwd is not there."
            return f"{who} cannot be started: the command {command} is not found."
        why = getattr(error, "strerror", None) or str(error)
        return f"{who} cannot be started with {command}: {one_line(why, 100)}."

    def _dispatcher(self, read: Any, write: Any) -> JSONRPCDispatcher[Any]:
        """The official one, but a tool that is no good does not spoil the list."""
        from mcp.shared.dispatcher import CallOptions
        from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher

        outer = self

        class Dispatcher(JSONRPCDispatcher[Any]):
            async def send_raw_request(
                self,
                method: str,
                params: Mapping[str, Any] | None,
                opts: CallOptions | None = None,
                *,
                _related_request_id: str | int | None = None,
            ) -> dict[str, Any]:
                raw = await super().send_raw_request(
                    method, params, opts, _related_request_id=_related_request_id
                )
                if method == "tools/list" and isinstance(raw.get("tools"), list):
                    raw = {**raw, "tools": outer._listing.add(raw["tools"])}
                return raw

        return Dispatcher(read, write)

    async def _logged(self, params: Any) -> None:
        self._log(self.name, f"{params.level}: {one_line(str(params.data)[:4000], 1000)}")

    async def _noticed(self, message: Any) -> None:
        from mcp_types import ToolListChangedNotification

        if isinstance(message, ToolListChangedNotification):
            self._stale.set()

    async def _list(self, session: ClientSession) -> None:
        """Read the whole list anew.

        Raises:
            MCPError, ValidationError: the server does not give it.
        """
        from mcp_types import PaginatedRequestParams

        info, able = session.server_info, session.server_capabilities
        if info is not None:
            self._version = one_line(f"{info.name} {info.version}", 80)
        listing = self._listing = mcp_results.Listing()
        names: set[str] = set()
        cursor: str | None = None
        if able is not None and able.tools is not None:
            for _ in range(_MOST_PAGES):
                params = None if cursor is None else PaginatedRequestParams(cursor=cursor)
                page = await session.list_tools(params=params)
                names.update(tool.name for tool in page.tools)
                cursor = page.next_cursor
                if not cursor or listing.full:
                    break
            if cursor:
                listing.stop()
        # The library drops some for what their schemas say about HTTP headers.
        self._rows = [row for row in listing.rows if row[0] in names]

    async def _serve(self, session: ClientSession) -> None:
        import anyio
        from mcp_types.version import MODERN_PROTOCOL_VERSIONS

        able = session.server_capabilities
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._relist, session)
            if (
                session.protocol_version in MODERN_PROTOCOL_VERSIONS
                and able is not None
                and able.tools is not None
                and able.tools.list_changed
            ):
                tasks.start_soon(self._listen, session)
            await self._over.wait()
            tasks.cancel_scope.cancel()

    async def _relist(self, session: ClientSession) -> None:
        import anyio
        from mcp import MCPError
        from pydantic import ValidationError

        while True:
            await self._stale.wait()
            self._stale.clear()
            try:
                with anyio.fail_after(_LIST_SECONDS):
                    await self._list(session)
            except (MCPError, ValidationError, TimeoutError, RuntimeError) as error:
                self._write_log(self.name, f"no new list of tools: {one_line(str(error), 200)}")
            else:
                self._tell("ready", self._listing.sentence)
            await anyio.sleep(_RELIST_SECONDS)

    async def _listen(self, session: ClientSession) -> None:
        """Since 2026 a server tells of changes only those who ask."""
        import anyio
        from mcp import MCPError
        from mcp.client.subscriptions import SubscriptionLost, listen

        while True:
            try:
                async with listen(session, tools_list_changed=True) as changes:
                    async for _ in changes:
                        pass  # `_noticed` hears of each, too
            except (MCPError, SubscriptionLost, RuntimeError) as error:
                self._write_log(self.name, f"no notice of changes: {one_line(str(error), 200)}")
            await anyio.sleep(_LISTEN_AGAIN_SECONDS)
            self._stale.set()  # what happened meanwhile

    async def call(self, tool: str, arguments: dict[str, Any], timeout: float) -> Outcome:
        """Call a tool; whatever goes wrong is in the outcome. A call that is cancelled, or is not
        over in time, is taken back with the server."""
        from mcp import MCPError
        from mcp_types import (
            CONNECTION_CLOSED,
            REQUEST_TIMEOUT,
            CallToolRequest,
            CallToolRequestParams,
            CallToolResult,
            InputRequiredResult,
        )
        from pydantic import TypeAdapter

        who = f"The MCP server {one_line(self.name, 64)}"
        if self._session is None:
            return _error(f"{who} is not running.")
        adapter: TypeAdapter[CallToolResult | InputRequiredResult] = TypeAdapter(
            CallToolResult | InputRequiredResult
        )
        try:
            # Not `call_tool`: it checks what comes against a schema of the server's making, and
            # patterns in such a one can take for ever.
            result = await self._session.send_request(
                CallToolRequest(params=CallToolRequestParams(name=tool, arguments=arguments)),
                adapter,
                request_read_timeout_seconds=timeout,
            )
            if isinstance(result, InputRequiredResult):
                return _error(f"{who} asks for more input during the call, which it cannot get.")
            return mcp_results.answer(result)
        except MCPError as error:
            if error.code == CONNECTION_CLOSED:
                self._trouble = "lost"
                self._over.set()
                return _error(f"{who} ended during the call, or its connection did.")
            if error.code == REQUEST_TIMEOUT:
                return _error(f"The tool gave no answer within {timeout:g} seconds.")
            return _error(f"{who} refused the call: {one_line(error.message, 300)}")
        except Exception as error:  # of the library, on what a server sends
            self._write_log(self.name, f"call: {type(error).__name__}: {one_line(str(error), 500)}")
            return _error(f"{who} gave an answer that is not as the protocol wants it.")


async def _agree(session: ClientSession) -> None:
    """The handshake, of the new kind where the server knows it, else of the old one."""
    from mcp import MCPError
    from mcp_types import CONNECTION_CLOSED, UNSUPPORTED_PROTOCOL_VERSION
    from pydantic import ValidationError

    try:
        await session.discover()
        return
    except MCPError as error:
        if error.code == CONNECTION_CLOSED:
            raise
    except (RuntimeError, ValidationError):
        pass
    try:
        await session.initialize()
    except MCPError as error:
        if error.code != UNSUPPORTED_PROTOCOL_VERSION:
            raise
        await session.discover()  # it started slowly, and took the first question after all


def _error(text: str) -> Outcome:
    return limits.outcome(text, error=True)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _is_closed(error: BaseException | None) -> bool:
    from mcp import MCPError
    from mcp_types import CONNECTION_CLOSED

    return isinstance(error, MCPError) and error.code == CONNECTION_CLOSED


def _is_unreachable(error: BaseException | None) -> bool:
    import httpx2

    return isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)


def _ended(code: int | None) -> str:
    if code is None:
        return "closed its output"
    if code >= 0:
        return f"ended by itself (code {code})"
    if -code in (signal.SIGKILL, signal.SIGTERM):
        return "was killed"
    return f"crashed ({signal.strsignal(-code)})"


def _our_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("mistral-tui")
    except PackageNotFoundError:
        return "0"
