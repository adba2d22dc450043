"""What a tool, its definition or its arguments can be refused for."""

from __future__ import annotations


class ToolError(Exception):
    """Something about a tool that cannot be used; the message is one sentence."""
