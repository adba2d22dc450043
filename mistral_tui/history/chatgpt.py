"""A conversation of a ChatGPT export (`conversations.json`) as one of ours."""

from __future__ import annotations

import re
import uuid
from typing import Any

from inference.api import Role
from mistral_tui.history.foreign import MOST_MESSAGES, Plan, in_order, items, mapping, moment, words
from mistral_tui.history.schema import Conversation, Message, Part, title_from
from mistral_tui.sanitize import one_line

_ROLES: dict[str, Role] = {
    "user": "user",
    "assistant": "assistant",
    "system": "system",
    "tool": "assistant",  # there is no such role here; `meta` keeps the word
}
_CODE = ("code", "execution_output")
# What the model thought, and what it was told about the user, was never a part of the talk.
_UNSEEN = ("thoughts", "reasoning_recap", "user_editable_context", "model_editable_context")


def is_chatgpt(element: object) -> bool:
    return isinstance(element, dict) and isinstance(element.get("mapping"), dict)


def read(element: dict[str, Any]) -> Plan | None:
    """None if there is nothing to read in it. What is hidden there, or blank, is passed over:
    its answers then hang on what it was an answer to."""
    nodes = {words(key): mapping(node) for key, node in element["mapping"].items()}
    if len(nodes) > MOST_MESSAGES:
        return None
    begun = moment(element.get("create_time"))
    conversation = Conversation(
        str(uuid.uuid4()),
        title_from(words(element.get("title"))),
        begun,
        moment(element.get("update_time"), begun),
        one_line(words(element.get("default_model_slug")), 100),
    )
    plan = Plan(conversation)
    order = in_order(_parents(nodes))
    plan.skipped = len(nodes) - len(order)
    above: dict[str, int | None] = {}  # of each node, the message that its answers hang on
    system = ""
    for key in order:
        parent = above.get(words(nodes[key].get("parent")))
        message = _message(plan, nodes[key].get("message"), parent)
        if message and message.role == "system" and parent is None and not system:
            system, message = message.text, None
        if message:
            plan.messages.append(message)
        above[key] = message.id if message else parent
    if not plan.messages:
        return None
    leaf = above.get(words(element.get("current_node"))) or plan.messages[-1].id
    plan.conversation = Conversation(
        *(conversation.id, conversation.title or _title(plan), begun, conversation.updated_at),
        model_name=conversation.model_name,
        system_prompt=system,
        active_leaf=leaf,
    )
    return plan


def _title(plan: Plan) -> str:
    return next((title_from(m.text) for m in plan.messages if m.role == "user"), "")


def _parents(nodes: dict[str, dict[str, Any]]) -> dict[str, str | None]:
    """Siblings in the order that their parent names them."""
    rank: dict[str, int] = {}
    for node in nodes.values():
        for n, child in enumerate(items(node.get("children"))):
            rank.setdefault(words(child), n)
    ordered = sorted(nodes, key=lambda key: rank.get(key, len(nodes)))
    return {key: words(nodes[key].get("parent")) or None for key in ordered}


def _message(plan: Plan, value: object, parent: int | None) -> Message | None:
    if value is None:
        return None  # the root of every tree
    told = mapping(value)
    author, content = mapping(told.get("author")), mapping(told.get("content"))
    role = words(author.get("role"))
    if role not in _ROLES or not content:
        plan.skipped += 1
        return None
    hidden = mapping(told.get("metadata")).get("is_visually_hidden_from_conversation") is True
    text = "" if hidden else _text(plan, content)
    if not text.strip():
        return None
    meta = {}
    if role == "tool":
        name = one_line(words(author.get("name")), 60)
        meta = {"imported_role": role, "imported_name": name}
        text = f"Tool {name}:\n\n{text}" if name else f"Tool:\n\n{text}"
    at = moment(told.get("create_time"), plan.conversation.created_at)
    place = (len(plan.messages) + 1, plan.conversation.id, parent)
    return Message(*place, _ROLES[role], (Part("text", text),), "complete", at, meta=meta)


def _text(plan: Plan, content: dict[str, Any]) -> str:
    kind = words(content.get("content_type"))
    if kind in _UNSEEN:
        return ""
    if kind in _CODE:
        code = words(content.get("text"))
        fence = "`" * (1 + max([2, *map(len, re.findall("`+", code))]))
        language = words(content.get("language"))
        language = language if re.fullmatch(r"[\w+#-]{1,20}", language) else ""
        language = "" if language == "unknown" else language
        return f"{fence}{language}\n{code}\n{fence}" if code.strip() else ""
    parts = [_part(plan, part) for part in items(content.get("parts"))]
    if not parts:
        parts = [words(content.get("text")) or words(content.get("result"))]
    return "\n\n".join(part for part in parts if part.strip())


def _part(plan: Plan, part: object) -> str:
    if isinstance(part, str):
        return words(part)
    held = mapping(part)
    if text := words(held.get("text")):
        return text
    plan.placeholders += 1
    kind = words(held.get("content_type"))
    for name in ("image", "audio", "video"):
        if name in kind:
            return f"[{name}]"
    return "[attachment]"
