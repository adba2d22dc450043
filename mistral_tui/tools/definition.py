"""A tool as the app knows it: what the model is told, and who runs it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from inference.api import Tool

Kind = Literal["manual", "builtin", "python", "mcp"]

NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
NO_PARAMETERS: Mapping[str, Any] = {"type": "object", "properties": {}}


@dataclass(frozen=True, slots=True)
class Definition:
    """`parameters` is the JSON Schema of an object. `kind` says who runs it: the user by hand
    (`manual`), we ourselves, a Python function, or an MCP server. `source` says for people where
    it comes from: a file, `module:function`, or a server's name; `target` is what the one that
    runs it calls it, `origin` the digest of a server's entry."""

    name: str
    description: str
    parameters: Mapping[str, Any] = field(default_factory=lambda: dict(NO_PARAMETERS))
    kind: Kind = "manual"
    source: str = ""
    target: str = ""
    origin: str = ""

    @property
    def identity(self) -> str:
        """Names just this tool in a stored permission: one that changed, or comes from somewhere
        else, is another one."""
        facts = [self.name, self.description, self.parameters, self.kind, self.source, self.target]
        facts.append(self.origin)
        written = json.dumps(facts, sort_keys=True, ensure_ascii=False)
        digest = hashlib.sha256(written.encode("utf-8", "surrogatepass")).hexdigest()[:24]
        return f"{self.name}:{digest}"

    def told(self) -> Tool:
        """As the engine is told."""
        parameters = json.dumps(self.parameters, ensure_ascii=False)
        return Tool(self.name, self.description, parameters)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a call; `text` is safe to show and bounded. `error`: the tool failed, in the
    words of `text`. `cut`: there was more."""

    text: str
    error: bool = False
    seconds: float = 0.0
    cut: bool = False
