"""Who said that a tool may run unasked. A permission is bound to a tool as it was then: one that
has changed, or comes from somewhere else, asks again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from mistral_tui.tools.definition import Definition

SETTING = "tool_permissions"
"""Where the store keeps them."""
By = Literal["once", "conversation", "always", "hand", "denied", "stopped"]
SAID: Mapping[str, str] = {
    "once": "allowed once",
    "conversation": "allowed in this conversation",
    "always": "always allowed",
    "hand": "answered by hand",
    "denied": "denied",
    "stopped": "stopped",
}
"""What each kind of consent is called."""
_MOST_CONVERSATIONS = 500


@dataclass(slots=True)
class Permissions:
    """By the identity of a tool: `always` names it for people; `here` has those of each
    conversation, by its id. `servers` are MCP servers of projects that may be started, by the
    digest of their entry."""

    always: dict[str, str] = field(default_factory=dict)
    here: dict[str, list[str]] = field(default_factory=dict)
    servers: dict[str, str] = field(default_factory=dict)

    def given(
        self, tool: Definition, conversation_id: str
    ) -> Literal["", "always", "conversation"]:
        """The permission that a call has; empty: none."""
        if tool.kind == "manual":
            return ""  # only the user can answer it
        if tool.identity in self.always:
            return "always"
        return "conversation" if tool.identity in self.here.get(conversation_id, ()) else ""

    def allow_always(self, tool: Definition) -> None:
        """This tool runs unasked from now on, in any conversation."""
        self.always[tool.identity] = tool.name

    def allow_here(self, tool: Definition, conversation_id: str) -> None:
        """This tool runs unasked from now on in this conversation."""
        known = self.here.pop(conversation_id, [])
        self.here[conversation_id] = [*known, *([] if tool.identity in known else [tool.identity])]
        while len(self.here) > _MOST_CONVERSATIONS:
            self.here.pop(next(iter(self.here)))

    def revoke(self, tool: Definition) -> bool:
        """The tool asks again, everywhere; False if it did anyway."""
        had = self.always.pop(tool.identity, None) is not None
        for known in self.here.values():
            if tool.identity in known:
                known.remove(tool.identity)
                had = True
        return had

    def dump(self) -> str:
        """As the store keeps it."""
        return json.dumps({"always": self.always, "here": self.here, "servers": self.servers})

    @classmethod
    def load(cls, text: str) -> Permissions:
        """What is good of it; no permission comes of anything else."""
        try:
            told = json.loads(text or "{}")
        except (ValueError, RecursionError):
            return cls()
        made = cls()
        if not isinstance(told, dict):
            return made
        always, here, servers = (told.get(key) for key in ("always", "here", "servers"))
        if isinstance(always, dict):
            made.always = {k: str(v) for k, v in always.items()}
        if isinstance(servers, dict):
            made.servers = {k: str(v) for k, v in servers.items()}
        for key, known in here.items() if isinstance(here, dict) else ():
            if isinstance(known, list):
                made.here[key] = [one for one in known if isinstance(one, str)]
        return made
