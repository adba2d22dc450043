"""Our messages as mistral-common's: roles, tools, calls and their results."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import Any

from jsonschema import Draft7Validator
from mistral_common.protocol.instruct.messages import (
    AssistantMessage,
    SystemMessage,
    ToolMessage,
    UserMessage,
)
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.protocol.instruct.tool_calls import Function, FunctionCall
from mistral_common.protocol.instruct.tool_calls import Tool as TheirTool
from mistral_common.protocol.instruct.tool_calls import ToolCall as TheirCall

from inference.api import Message, Tool
from inference.calls import ToolCall, clean
from inference.errors import InferenceError, RequestError
from inference.tokenizer_files import brief, is_failure

# The guardrail of Mistral's own API (its documentation, "Guardrailing"); mistral-common has it
# no more.
SAFE_PROMPT = (
    "Always assist with care, respect, and truth. Respond with utmost utility yet securely. "
    "Avoid harmful, unethical, prejudiced, or negative content. Ensure replies promote fairness "
    "and positivity."
)

# Stands for the text of a reply that has none yet, only thinking: its ids go in its place.
NO_TEXT = "…"
_ID = re.compile(r"[a-zA-Z0-9]{9}")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_UNANSWERED = '{"error": "This call was not run."}'


def prepared(messages: Sequence[Message], *, safe_prompt: bool, version: int) -> list[Message]:
    """The messages that have a place in a prompt, in the shape that every layout takes: no half
    characters, ids of calls of nine letters and digits, exactly one result for each call.
    `safe_prompt` puts Mistral's guardrail before the system prompt."""
    clean = [_clean(m) for m in messages]
    clean = [m for m in clean if m.text or m.ids or m.calls or m.role == "tool"]
    if safe_prompt:
        first = clean[0].text if clean and clean[0].role == "system" else ""
        words = f"{SAFE_PROMPT}\n\n{first}".strip()
        clean = [Message("system", words), *clean[bool(first) :]]
    return _paired(_begun(clean), joined=version == 2)


def converted(message: Message, *, both: bool) -> Any:
    """mistral-common's message. `both`: text and calls may stand in one turn; else calls go
    before."""
    match message.role:
        case "system":
            return SystemMessage(content=message.text)
        case "user":
            return UserMessage(content=message.text)
        case "tool":
            name = message.tool_name or None
            return ToolMessage(content=message.text, tool_call_id=message.call_id, name=name)
    text = message.text if both or not message.calls else ""
    if not message.calls:
        return AssistantMessage(content=text or NO_TEXT)
    calls = [
        TheirCall(id=c.id, function=FunctionCall(name=c.name, arguments=c.arguments or "{}"))
        for c in message.calls
    ]
    return AssistantMessage(content=text or None, tool_calls=calls)


def key_of(message: Any) -> tuple[str, tuple[tuple[str, str], ...]]:
    """What tells one of mistral-common's assistant turns from another, before and after its
    normalization."""
    text = message.content if isinstance(message.content, str) else ""
    return text, tuple((call.id, call.function.name) for call in message.tool_calls or ())


def tools_of(tools: Sequence[Tool]) -> list[TheirTool] | None:
    """mistral-common's definitions; None for none.

    Raises:
        RequestError: one is no tool, or two have one name.
    """
    made: list[TheirTool] = []
    for tool in tools:
        if any(tool.name == other.function.name for other in made):
            raise RequestError(f"There are two tools {tool.name!r:.80}; a name is for one.")
        made.append(_their_tool(tool))
    return made or None


@lru_cache(maxsize=256)
def _their_tool(tool: Tool) -> TheirTool:
    """Checked once, not with every prompt; what is wrong is said with its name."""
    shown = f"{tool.name!r:.80}"
    if not _NAME.fullmatch(tool.name):
        raise RequestError(
            f"The tool {shown} has no possible name: letters, digits, _ and -, at most 64."
        )
    with one_sentence(f"The tool {shown} cannot be told to the model"):
        parameters = parsed_parameters(tool)
        Draft7Validator.check_schema(parameters)  # as mistral-common does
        description = clean(tool.description)
        function = Function(name=tool.name, description=description, parameters=parameters)
        return TheirTool(function=function)


def parsed_parameters(tool: Tool) -> dict[str, Any]:
    """A tool's schema, no lone surrogate in it.

    Raises:
        RequestError: it is no JSON object.
    """
    try:
        # Through JSON once more: an escape can spell half a character.
        written = json.dumps(json.loads(tool.parameters), ensure_ascii=False)
        parameters = json.loads(clean(written))
    except (ValueError, RecursionError):
        parameters = None
    if not isinstance(parameters, dict):
        raise RequestError(f"The parameters of the tool {tool.name!r:.80} are no JSON object.")
    return parameters


def call_id(written: str) -> str:
    """An id as the layouts want it: nine letters and digits; the same one for the same text."""
    if _ID.fullmatch(written):
        return written
    number = int.from_bytes(hashlib.sha256(written.encode("utf-8", "replace")).digest()[:8])
    digits = []
    for _ in range(9):
        number, digit = divmod(number, 36)
        digits.append(_DIGITS[digit])
    return "".join(digits)


def _clean(message: Message) -> Message:
    calls = tuple(
        ToolCall(clean(c.name), clean(c.arguments), call_id(c.id or f"{n} {c.name}"))
        for n, c in enumerate(message.calls)
    )
    known = call_id(message.call_id) if message.call_id else ""
    return replace(message, text=clean(message.text), calls=calls, call_id=known)


def _begun(messages: list[Message]) -> list[Message]:
    """The messages such that no call stands before the first of the user's: no layout has a place
    for that."""
    first = next((n for n, m in enumerate(messages) if m.role == "user"), len(messages))
    before = [replace(m, calls=(), ids=()) if m.calls else m for m in messages[:first]]
    before = [m for m in before if (m.text or m.ids) and m.role != "tool"]
    return [*before, *messages[first:]]


def _paired(messages: Sequence[Message], *, joined: bool) -> list[Message]:
    """Each call with its result behind it, in order, and no result without its call. `joined`:
    several results of one turn become one, as v2 has it."""
    out: list[Message] = []
    place = 0
    while place < len(messages):
        message = messages[place]
        place += 1
        if message.role == "tool":
            continue  # of no call
        out.append(message)
        results: dict[str, Message] = {}
        while place < len(messages) and messages[place].role == "tool":
            results.setdefault(messages[place].call_id, messages[place])
            place += 1
        if not message.calls or (place == len(messages) and not results):
            continue  # a last turn is continued
        answers = [
            replace(
                results.get(call.id, Message("tool", _UNANSWERED)),
                call_id=call.id,
                tool_name=call.name,
            )
            for call in message.calls
        ]
        if joined and len(answers) > 1:
            # As many calls as results: without its own ids the turn shows the first call only.
            out[-1] = replace(message, calls=message.calls[:1])
            answers = [_joined(answers)]
        out += answers
    return out


def _joined(answers: Sequence[Message]) -> Message:
    texts = [answer.text for answer in answers]
    return replace(answers[0], text=json.dumps(texts, ensure_ascii=False))


@contextmanager
def one_sentence(what: str) -> Iterator[None]:
    """Makes a `RequestError` of anything that escapes from mistral-common and what is under
    it: besides its own exceptions at least pydantic's, ValueError, KeyError, AssertionError,
    NotImplementedError and ImportError."""
    try:
        yield
    except (InferenceError, MemoryError):
        raise
    except BaseException as error:
        if not is_failure(error):
            raise
        raise RequestError(f"{what}: {brief(error)}.", detail=repr(error)) from error


def text_only(request: ChatCompletionRequest[Any]) -> None:
    """Refuse what only a vision or audio encoder could read, before anything decodes it."""
    for message in request.messages:
        for chunk in message.content if isinstance(message.content, list) else ():
            kind = str(getattr(chunk, "type", "")).rpartition(".")[2].lower()
            if kind not in ("text", "thinking"):
                raise RequestError(
                    "This version reads text only: the message has an image or another attachment "
                    "that is none; leave it out."
                )


def request_of(
    messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None
) -> ChatCompletionRequest[Any]:
    """mistral-common's request from plain dicts."""
    # Through JSON: a copy, in which no lone surrogate is left at any depth.
    plain = json.loads(clean(json.dumps([messages, tools], ensure_ascii=False)))
    for message in plain[0]:
        if message.get("role") == "tool":
            message.setdefault("tool_call_id", None)  # v2 has none
    last = plain[0][-1] if plain[0] else {}
    going_on = last.get("role") == "assistant" and bool(last.get("prefix"))
    return ChatCompletionRequest.from_openai(plain[0], plain[1], continue_final_message=going_on)
