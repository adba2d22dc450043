"""Conversations from files: our own JSON, and the `conversations.json` of a ChatGPT export.

Everything in such a file is untrusted: what is not as it should be is left out and counted.
"""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar, get_args

from inference.api import Role, SamplingParams, Timings, Usage
from mistral_tui.history import chatgpt, export, places
from mistral_tui.history.foreign import (
    MOST_MESSAGES,
    Plan,
    in_order,
    is_number,
    items,
    mapping,
    moment,
    words,
)
from mistral_tui.history.json_elements import BadJson, elements
from mistral_tui.history.schema import (
    Conversation,
    FinalStatus,
    Message,
    Part,
    Realization,
    StoreError,
    title_from,
)
from mistral_tui.history.store import Store
from mistral_tui.tools.consent import SETTING, Permissions

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_EMPTY = "there are no conversations in it"


@dataclass(slots=True)
class Report:
    """What came of an import. `known`: conversations that were there already, just the same."""

    conversations: int = 0
    messages: int = 0
    known: int = 0
    skipped_conversations: int = 0
    skipped_messages: int = 0
    placeholders: int = 0

    def sentence(self) -> str:
        """For the user."""

        def count(n: int, thing: str) -> str:
            return f"{n:,} {thing}{'s' * (n != 1)}"

        parts = [
            f"Imported {count(self.conversations, 'conversation')} "
            f"with {count(self.messages, 'message')}"
        ]
        if self.known:
            parts.append(f"{self.known:,} there already")
        if self.skipped_conversations:
            parts.append(f"{count(self.skipped_conversations, 'conversation')} unusable")
        if self.skipped_messages:
            parts.append(f"{count(self.skipped_messages, 'message')} unusable")
        if self.placeholders:
            parts.append(f"{count(self.placeholders, 'attachment')} replaced by a word")
        return "; ".join(parts) + "."


def import_file(
    store: Store, path: Path, progress: Callable[[Report], None] = lambda report: None
) -> Report:
    """Add the conversations of a file. What was imported before, or is there just the same, is
    recognized and left alone; so an import that failed half way can be repeated.

    Raises:
        StoreError: the file cannot be read or used; what came before the fault is kept.
    """
    report = Report()
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            for head, element in elements(file, "conversations"):
                _check(head)
                try:
                    _take(store, element, report)
                except RecursionError:
                    report.skipped_conversations += 1
                progress(report)
    except (BadJson, OSError) as error:
        why = error.strerror or error if isinstance(error, OSError) else error
        kept = f" {report.sentence()}" if report.conversations else ""
        raise StoreError(f"{path} cannot be imported: {why}.{kept}") from error
    if not (report.conversations or report.known):
        raise StoreError(f"{path} cannot be imported: {_EMPTY}.")
    return report


def _check(head: dict[str, Any]) -> None:
    version = head.get("version")
    newer = isinstance(version, int) and version > export.VERSION
    if head.get("format") == export.FORMAT and newer:
        raise BadJson("it was written by a newer mistral-tui: update this one")


def _take(store: Store, element: object, report: Report) -> None:
    plan = None
    if chatgpt.is_chatgpt(element):
        plan = chatgpt.read(mapping(element))
    elif isinstance(element, dict):
        plan = _read(element)
    if plan is None:
        report.skipped_conversations += 1
        return
    origin = export.digest(mapping(element))
    wanted = plan.conversation.id
    if store.planted_from(origin) or _is_there(store, wanted, origin):
        report.known += 1
        return
    # Not under an id that a permission of the user may be about.
    if store.exists(wanted) or wanted in Permissions.load(store.get_setting(SETTING, "")).here:
        plan.conversation = replace(plan.conversation, id=str(uuid.uuid4()))
    store.plant(plan.conversation, plan.messages, plan.ways, origin)
    report.conversations += 1
    report.messages += len(plan.messages)
    report.skipped_messages += plan.skipped
    report.placeholders += plan.placeholders


def _is_there(store: Store, conversation_id: str, origin: str) -> bool:
    """Whether just this was exported from here and did not change since."""
    if not store.exists(conversation_id):
        return False
    conversation, messages, ways = store.load_tree(conversation_id)
    if conversation.deleted_at is not None:
        return False
    return export.digest(export.to_json(conversation, messages, ways)) == origin


# ── our own format ──────────────────────────────────────────────────────────────────


def _read(value: dict[str, Any]) -> Plan | None:
    told = items(value.get("messages"))
    draft = words(value.get("draft"))
    if not (told or draft) or len(told) > MOST_MESSAGES:
        return None
    key = words(value.get("id"))
    begun = moment(value.get("created_at"))
    plan = Plan(
        Conversation(
            key if _ID.fullmatch(key) else str(uuid.uuid4()),
            title_from(words(value.get("title"))),
            begun,
            moment(value.get("updated_at"), begun),
            words(value.get("model_name")),
            words(value.get("model_path")),
            words(value.get("system_prompt")),
            draft,
            settings=mapping(value.get("settings")),
            pinned=value.get("pinned") is True,
        )
    )
    by_id: dict[int, dict[str, Any]] = {}
    for node in map(mapping, told):
        if (number := _key(node.get("id"))) is not None and number not in by_id:
            by_id[number] = node
    parents = {n: _key(node.get("parent")) for n, node in by_id.items()}
    above: dict[int, int | None] = {}  # of each node, the message that its answers hang on
    for number in in_order(parents):
        parent = above.get(parents[number] or 0)
        message = _message(number, parent, plan, by_id[number])
        if message is not None:
            plan.messages.append(message)
        above[number] = parent if message is None else number
        if way := _key(by_id[number].get("last_child")):
            plan.ways[number] = way
    plan.skipped = len(told) - len(plan.messages)
    if not (plan.messages or draft):
        return None
    leaf = above.get(_key(value.get("active_leaf")) or 0)
    if leaf is None and plan.messages:
        leaf = plan.messages[-1].id
    plan.conversation = replace(plan.conversation, active_leaf=leaf)
    return plan


def _key(value: object) -> int | None:
    return value if type(value) is int else None


def _message(number: int, parent: int | None, plan: Plan, node: dict[str, Any]) -> Message | None:
    role: Any = node.get("role")
    status: Any = node.get("status")
    parts = tuple(
        Part(words(part.get("type")), words(part.get("text")))
        for part in map(mapping, items(node.get("parts")))
    )
    said = any(part.text for part in parts) or (role == "tool" and bool(parts))
    if role not in get_args(Role) or not said:
        return None
    settings = node.get("settings")
    return Message(
        number,
        plan.conversation.id,
        parent,
        role,
        parts,
        status if status in get_args(FinalStatus) else "complete",
        moment(node.get("created_at"), plan.conversation.created_at),
        _realizations(node.get("realizations")),
        settings if isinstance(settings, dict) else None,
        mapping(node.get("meta")),
    )


def _realizations(value: object) -> tuple[Realization, ...]:
    made = {}
    for told in map(mapping, items(value)):
        ids = items(told.get("ids"))
        if not ids or not all(type(n) is int and 0 <= n < 1 << 32 for n in ids):
            continue
        logprobs = [_logprob(p) for p in items(told.get("logprobs"))]
        known = len(logprobs) == len(ids) and None not in logprobs
        seed = told.get("seed")
        fingerprint = words(told.get("fingerprint"))
        made[fingerprint] = Realization(
            fingerprint,
            tuple(ids),
            tuple(p for p in logprobs if p is not None) if known else (),
            seed if type(seed) is int and abs(seed) < 1 << 64 else None,
            _record(SamplingParams, told.get("sampling")),
            _record(Usage, told.get("usage")),
            _record(Timings, told.get("timings")),
            words(told.get("finish_reason"))[:40],
            _places(told.get("places"), len(ids)),
        )
    return tuple(made.values())


def _places(value: object, count: int) -> bytes:
    try:
        found = places.of_rows(value)
    except ValueError:
        return b""
    return places.pack(found) if len(found) == count else b""


def _logprob(value: object) -> float | None:
    if value in ("inf", "-inf", "nan"):
        return float(str(value))
    if isinstance(value, int | float) and is_number(value) and abs(value) < 3e38:
        return float(value)
    return None


R = TypeVar("R", SamplingParams, Usage, Timings)


def _record(kind: type[R], value: object) -> R | None:
    """None unless every value in it is a number, or None where that is one."""
    told = mapping(value)
    values: dict[str, Any] = {}
    for f in fields(kind):
        if f.name in told:
            values[f.name] = told[f.name]
            allowed = "None" in str(f.type) and told[f.name] is None
            whole = "int" in str(f.type)
            number = told[f.name]
            if not (allowed or is_number(number)):
                return None
            if number is not None and (
                not math.isfinite(number) or (whole and not isinstance(number, int))
            ):
                return None
    try:
        return kind(**values) if values else None
    except TypeError:  # a field without a default is missing
        return None
