"""A real MCP server, written with the official package: `mcp_server.py` speaks on its stdin and
stdout, `mcp_server.py http` at an address of its own, whose port is its first line of output."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from typing import Any

from mcp.server.mcpserver import Context, MCPServer
from mcp_types import CallToolResult, ImageContent, TextContent

server = MCPServer("real", version="1.2", log_level="ERROR")
cancelled: list[str] = []


@server.tool()
def add(a: int, b: int) -> CallToolResult:
    """Adds two numbers."""
    return CallToolResult(content=[TextContent(text=str(a + b))])


@server.tool()
def environment(name: str) -> str:
    """A variable of the server's environment."""
    return os.environ.get(name, "(none)")


@server.tool()
def fail() -> str:
    """Fails."""
    raise ValueError("there is no such thing")


@server.tool()
async def slow(seconds: float, mark: str = "") -> str:
    """Takes its time; makes the file `mark` when it began."""
    try:
        if mark:
            with open(mark, "w") as file:  # noqa: PTH123
                file.write("begun")
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        cancelled.append("slow")
        raise
    return "slept"


@server.tool()
def taken_back() -> str:
    """Which calls were cancelled."""
    return ",".join(cancelled) or "none"


@server.tool()
def facts() -> dict[str, Any]:
    """Structured content."""
    return {"city": "Paris", "people": 2}


@server.tool()
def picture() -> CallToolResult:
    """A picture and a word."""
    blocks = [TextContent(text="here:"), ImageContent(data="A" * 16384, mime_type="image/png")]
    return CallToolResult(content=list(blocks))


@server.tool()
def child() -> str:
    """Starts a process of its own that does not end; its id."""
    return str(subprocess.Popen(["sleep", "600"]).pid)


@server.tool()
async def grow(ctx: Context) -> str:
    """Offers one more tool, and says so."""
    server.add_tool(lambda: "new", name="grown", description="A new one.")
    await ctx.notify_tools_changed()
    return "grown"


def main() -> None:
    if sys.argv[1:] != ["http"]:
        server.run("stdio")
        return
    import uvicorn

    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    print(sock.getsockname()[1], flush=True)
    app = server.streamable_http_app(host="127.0.0.1")
    uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[sock])


if __name__ == "__main__":
    main()
