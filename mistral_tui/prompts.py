"""What the engine is told of a stored message, and which tools a stored answer was asked with."""

from __future__ import annotations

import json
import secrets
import string
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from inference import api
from mistral_tui.history.schema import Message

_LETTERS = string.ascii_letters + string.digits


def told(branch: Sequence[Message]) -> list[Message]:
    """What the model reads of a branch: all but the turns that are left out, each as a whole,
    and of these the last one, too, as it is the one that is answered."""
    last = max((n for n, m in enumerate(branch) if m.role == "user"), default=0)
    read: list[Message] = []
    out = False  # of the turn
    for n, message in enumerate(branch):
        if message.role == "user":
            out = message.dropped
        if n >= last or not (out or message.dropped):
            read.append(message)
    return read


def as_told(message: Message, fingerprint: str) -> api.Message:
    """A message for the model of that fingerprint."""
    known = message.realization(fingerprint)
    ids, known_by = (known.ids, known.fingerprint) if known else ((), "")
    text = _result(message) if message.role == "tool" else message.text
    name = str(message.meta.get("name", "")) if message.role == "tool" else ""
    return api.Message(
        message.role, text, ids, known_by, message.calls, message.call_id, tool_name=name
    )


def _result(message: Message) -> str:
    """What the model gets of a tool's result: an error is called one, and arguments that the
    user put in the place of its own are said."""
    told: dict[str, Any] = {
        "error" if message.meta.get("error") is True else "result": message.text
    }
    if asked := message.meta.get("asked"):
        try:
            arguments = json.loads(str(asked))
        except (ValueError, RecursionError):
            arguments = str(asked)
        told = {"note": "The user changed the arguments.", "arguments": arguments, **told}
    elif "result" in told:
        return message.text
    return json.dumps(told, ensure_ascii=False)


def error_told(sentence: str) -> str:
    """What the model gets of a call that failed."""
    return json.dumps({"error": sentence}, ensure_ascii=False)


def call_id(written: str, taken: Container[str]) -> str:
    """The model's own id for a call, or another one where it has none, or one that is taken."""
    while not written or written in taken:
        written = "".join(secrets.choice(_LETTERS) for _ in range(9))
    return written


def choice_of(choice: str, tools: Sequence[api.Tool], *, again: bool) -> str:
    """The tool choice that makes sense for these tools; what is forced is forced once: not
    `again`, else the model would call for ever."""
    forced = choice == "any" or choice in (tool.name for tool in tools)
    if tools and (choice == "none" or (forced and not again)):
        return choice
    return "auto"


def tools_noted(branch: Sequence[Message], request: api.Generate) -> dict[str, Any]:
    """What is kept with an answer of the tools that it was asked with: nothing, where these are
    those of the answers before it."""
    meta: dict[str, Any] = {}
    if request.tools != tools_of(branch):
        meta["tools"] = [asdict(tool) for tool in request.tools]
    if request.tool_choice != "auto":
        meta["tool_choice"] = request.tool_choice
    return meta


def tools_of(branch: Sequence[Message]) -> tuple[api.Tool, ...]:
    """The tools that the last answer of a branch was asked with."""
    for message in reversed(branch):
        told = message.meta.get("tools") if message.role == "assistant" else None
        if isinstance(told, list):
            return tuple(tool for one in told if (tool := _tool(one)))
    return ()


def _tool(told: object) -> api.Tool | None:
    """A tool as it lies on disk; None for what is none."""
    if not isinstance(told, Mapping):
        return None
    values = [told.get(key) for key in ("name", "description", "parameters")]
    return api.Tool(*map(str, values)) if all(isinstance(v, str) for v in values) else None
