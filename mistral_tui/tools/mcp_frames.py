"""What the app and the process that talks to MCP servers say to each other: JSON with its length.

To the host: `{"do": "start", "name", "server": {…}, "timeout"}`, `{"do": "stop", "name"}`,
`{"do": "call", "id", "name", "tool", "arguments", "timeout"}`, `{"do": "cancel", "id"}`.
To the app: `{"is": "process", "name", "pid"}`, `{"is": "state", "name", "state", "sentence",
"version", "tools": [[target, description, parameters], …]}`,
`{"is": "result", "id", "text", "error", "cut", "seconds"}`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

MOST_FRAME = 8 << 20


class FrameError(Exception):
    """Bytes that are no frame of ours."""


def encode(message: Mapping[str, Any]) -> bytes:
    """A message with its length before it (4 bytes, the high one first).

    Raises:
        FrameError: it is too large, or has something in it that JSON has not.
    """
    try:
        body = json.dumps(message, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise FrameError(str(error)) from None
    if len(body) > MOST_FRAME:
        raise FrameError("too large")
    return len(body).to_bytes(4, "big") + body


async def read(reader: asyncio.StreamReader) -> dict[str, Any] | None:
    """The next message; None when the other end is gone.

    Raises:
        FrameError: what came is no message.
    """
    try:
        length = int.from_bytes(await reader.readexactly(4), "big")
        if length > MOST_FRAME:
            raise FrameError("too large")
        message = json.loads(await reader.readexactly(length))
    except (asyncio.IncompleteReadError, OSError):
        return None
    except (ValueError, RecursionError) as error:
        raise FrameError(str(error)) from None
    if not isinstance(message, dict):
        raise FrameError("no object")
    return message
