"""A small MCP server: what time it is. `pip install "mistral-tui[mcp]"` brings what it needs."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from mcp.server.mcpserver import MCPServer

server = MCPServer("clock", version="1.0", log_level="WARNING")


@server.tool()
def now(zone: str = "") -> str:
    """The date and the time now, in a time zone such as Europe/Paris."""
    zone = zone or os.environ.get("CLOCK_ZONE", "")
    return datetime.now(ZoneInfo(zone) if zone else UTC).isoformat("T", "minutes")


if __name__ == "__main__":
    server.run("stdio")
