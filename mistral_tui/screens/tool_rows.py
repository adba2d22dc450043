"""The rows of the tools screen: what is known of all tools, grouped by where they come from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from mistral_tui.actions import key_of, line
from mistral_tui.sanitize import one_line
from mistral_tui.screens import tool_words
from mistral_tui.screens.tool_words import GIVEN, GROUPS, OWN, PROJECT, PYTHON
from mistral_tui.tools import files
from mistral_tui.tools.consent import Permissions
from mistral_tui.tools.definition import Definition

if TYPE_CHECKING:
    from inference.api import ModelCard
    from mistral_tui.tools.mcp import ServerState

_CONSENT_CELLS = 7  # "by hand"
_NAME_SHARE = 0.4  # of a row, at most
_DOES = (
    ("tools.enable", "enables"), ("tools.try_out", "tries out"), ("tools.new", "new"),
    ("tools.edit", "edits"), ("tools.delete", "deletes"), ("tools.revoke", "revokes"),
    ("tools.server", "server"), ("tools.choice", "choice"), ("tools.reload", "looks again"),
)  # fmt: skip
_STATES = {
    "off": "off",
    "asks": "asks for your permission",
    "starting": "starting …",
    "ready": "ready",
    "failed": "failed",
}


@dataclass(frozen=True, slots=True)
class Facts:
    """All that the screen shows; `allowed` is the text of the permissions."""

    definitions: tuple[Definition, ...]
    states: tuple[ServerState, ...]
    problems: tuple[str, ...]
    enabled: tuple[str, ...]
    allowed: str
    conversation_id: str
    folder: Path
    loading: bool
    width: int
    card: ModelCard | None
    choice: str


@dataclass(frozen=True, slots=True)
class Row:
    """`key` names it in the list; `said` is what it says beside its name. A row that is `fixed`
    cannot be marked."""

    key: str
    kind: Literal["head", "tool", "server", "missing", "problem"]
    name: str
    said: str = ""
    tool: Definition | None = None
    state: ServerState | None = None
    enabled: bool = False
    consent: str = ""
    names: int = 0  # cells for the names of this group

    @property
    def fixed(self) -> bool:
        return self.kind == "head"

    @property
    def next_step(self) -> str:
        """What can be done with a server."""
        key, state = key_of("tools.server"), self.state.state if self.state else ""
        if state == "asks":
            return f"{key} allows and starts it."
        return "It is being started." if state == "starting" else f"{key} starts it again."


def rows(facts: Facts) -> list[Row]:
    """From top to bottom."""
    found = list(_groups(facts))
    known = {tool.name for tool in facts.definitions}
    missing = [name for name in facts.enabled if name not in known]
    if missing:
        found.append(Row("head:missing", "head", "Enabled, but not there", _why_missing(facts)))
        found += [Row(f"missing:{name}", "missing", name, enabled=True) for name in missing]
    problems = list(dict.fromkeys(facts.problems))
    if problems:
        found.append(Row("head:problems", "head", "Problems"))
        found += [Row(f"problem:{said}", "problem", "", said) for said in problems]
    return found


def _groups(facts: Facts) -> Iterator[Row]:
    grouped: dict[str, list[Row]] = {}
    wide = max((len(tool.name) for tool in facts.definitions), default=0)
    permissions = Permissions.load(facts.allowed)
    for tool in facts.definitions:
        consent = tool_words.consent(tool, permissions, facts.conversation_id)
        state = None
        if tool.kind == "mcp":
            state = next((s for s in facts.states if s.name == tool.source), None)
        row = Row(
            f"tool:{tool.name}", "tool", tool.name, _first_line(tool.description), tool, state,
            tool.name in facts.enabled, consent, wide,
        )  # fmt: skip
        key = f"server {tool.source}" if tool.kind == "mcp" else ""
        grouped.setdefault(key or tool_words.group(tool, facts.folder), []).append(row)
    for key, title in GROUPS.items():
        inside = grouped.get(key, [])
        said = "" if inside else _empty(key, facts.loading)
        if inside or said:
            yield Row(f"head:{key}", "head", title, said)
            yield from inside
    if not facts.states:
        said = "looking …" if facts.loading else f"none yet: list them in {_shown('mcp.json')}"
        yield Row("head:mcp", "head", "MCP servers", said)
    for state in facts.states:
        inside = grouped.get(f"server {state.name}", [])
        said = _STATES[state.state]
        if state.state in ("asks", "failed") or (state.state == "ready" and not inside):
            said += f": {state.sentence}" if state.sentence else ""
        yield Row(f"server:{state.name}", "server", f"MCP server {state.name}", said, state=state)
        yield from inside


def _empty(key: str, loading: bool) -> str:
    """What a group that has nothing says; nothing, where it does not matter."""
    if loading and key in (OWN, PYTHON):
        return "looking …"
    if key == OWN:
        return f"none yet: {key_of('tools.new')} writes one"
    if key == PYTHON:
        return "none yet: set tool_modules in the config"
    return "" if key in (GIVEN, PROJECT) else "none"


def _shown(name: str) -> str:
    return tool_words.shortened(str(files.config_folder().parent / name))


def _why_missing(facts: Facts) -> str:
    starting = any(state.state == "starting" for state in facts.states)
    return "looking …" if facts.loading or starting else "the model is not told of these"


def _first_line(text: str) -> str:
    return one_line(text.strip().partition("\n")[0], 300)


def draw(row: Row, width: int) -> Text:
    """A row in at most `width` cells."""
    width = max(20, width - 1)  # the scroll bar comes and goes
    if row.kind in ("head", "server"):
        name = one_line(row.name, 60)
        drawn = Text.assemble((name, "bold"))
        if row.said:  # what cannot be marked is faint as it is
            said = _fitted(row.said, width - cell_len(name) - 2)
            drawn.append(f"  {said}", "" if row.fixed else "dim")
        return drawn
    if row.kind == "problem":
        return Text(f"! {_fitted(row.said, width - 2)}")
    marked = "bold" if row.enabled else ""
    drawn = Text.assemble(("● " if row.enabled else "○ ", marked))
    name = one_line(row.name, 64)
    if row.kind == "missing":
        return drawn.append(_fitted(name, width - 2), marked)
    cells = min(row.names, max(12, int(width * _NAME_SHARE)))
    drawn.append(set_cell_size(_fitted(name, cells), cells), marked)
    rest = width - 2 - cells - _CONSENT_CELLS - 4
    said = set_cell_size(_fitted(row.said, rest), rest) if rest >= 8 else " " * max(0, rest)
    drawn.append(f"  {said}", "dim")
    asks = row.consent == "asks"
    return drawn.append(f"  {row.consent.rjust(_CONSENT_CELLS)}", "dim" if asks else "")


def _fitted(text: str, cells: int) -> str:
    """`text` on a line of `cells` cells, with an ellipsis if it is cut."""
    safe = one_line(text, max(1, cells))
    if cell_len(safe) <= cells:
        return safe
    return set_cell_size(safe, max(0, cells - 1)).rstrip() + "…"


def keys_shown(width: int) -> str:
    """The keys in lines of a width, broken between them only."""
    lines = [""]
    for part in line(*_DOES).split(" · "):
        longer = f"{lines[-1]} · {part}" if lines[-1] else part
        if len(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(part)
    return "\n".join(lines)
