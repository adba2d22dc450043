"""The definition of a tool as JSON: written here, checked at each change, saved when it is one."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static, TextArea

from mistral_tui.actions import bindings, key_of, line
from mistral_tui.sanitize import one_line
from mistral_tui.screens import tool_words
from mistral_tui.tools import files
from mistral_tui.tools.definition import Definition
from mistral_tui.tools.errors import ToolError
from mistral_tui.widgets.areas import MOST_TEXT, JsonArea, escaped

_CHECK_SECONDS = 0.2  # after the last key


def as_json(value: Any) -> str:
    """A value as text to be edited."""
    return escaped(json.dumps(value, indent=2, ensure_ascii=False))


class ToolEditor(ModalScreen[Definition | None]):
    """Dismissed with the tool as it was saved, or None. `definition` is one of a file of its own
    (None: a new one); `folder` is where new ones go."""

    AUTO_FOCUS = "JsonArea"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("tool", leave_out=("tool.try_out",))]
    DEFAULT_CSS = """
    ToolEditor { align: center middle; }
    ToolEditor > Vertical {
        width: 100; max-width: 98%; height: 94%;
        background: $panel; border: round $primary; padding: 0 1;
        border-title-color: $primary; border-subtitle-color: $text-muted;
    }
    ToolEditor #verdict { height: auto; min-height: 2; max-height: 5; color: $text-muted; }
    ToolEditor #verdict.-wrong { color: $text-error; }
    ToolEditor #verdict.-warns { color: $text-warning; }
    """

    def __init__(self, definition: Definition | None, folder: Path) -> None:
        super().__init__()
        self._old = definition
        self._folder = Path(definition.source).parent if definition else folder
        if definition is None:
            self._begun = files.template()
        else:
            self._begun = as_json(
                {
                    "name": definition.name,
                    "description": definition.description,
                    "parameters": definition.parameters,
                }
            )
        self._warned = False
        self._saving = False

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            name = self._old.name if self._old else "A new tool, whose results you type"
            box.border_title = one_line(name, 80)
            box.border_subtitle = line(("tool.keep", "saves"), ("tool.leave", "leaves"))
            yield JsonArea(self._begun)
            yield Static("", id="verdict", markup=False)

    def on_mount(self) -> None:
        self._check()

    @property
    def _area(self) -> JsonArea:
        return self.query_one(JsonArea)

    @property
    def _changed(self) -> bool:
        return self._area.text != self._begun

    # ── is it one ───────────────────────────────────────────────────────────────────

    @on(TextArea.Changed)
    def _typed(self, event: TextArea.Changed) -> None:
        event.stop()  # the app keeps drafts of the prompt by these
        self._warned = False
        self._check(_CHECK_SECONDS)

    @work(exclusive=True, group="check")
    async def _check(self, after: float = 0.0) -> None:
        await asyncio.sleep(after)
        try:
            tool = await asyncio.to_thread(read, self._area.text)
        except ToolError as error:
            self._say(str(error), "-wrong")
        else:
            self._say(_summary(tool))

    def _say(self, sentence: str, kind: str = "") -> None:
        verdict = self.query_one("#verdict", Static)
        verdict.set_class(kind == "-wrong", "-wrong")
        verdict.set_class(kind == "-warns", "-warns")
        verdict.update(one_line(sentence, 400))

    # ── keys ────────────────────────────────────────────────────────────────────────

    def action_keep(self) -> None:
        """Save it, if it is a tool."""
        if not self._saving:
            self._saving = True
            self._save(self._area.text)

    @work(group="save")
    async def _save(self, text: str) -> None:
        try:
            tool = await asyncio.to_thread(read, text)
            path = await asyncio.to_thread(files.save, tool, self._folder, replacing=self._old)
            saved = await asyncio.to_thread(files.load_file, path)
        except ToolError as error:
            self.workers.cancel_group(self, "check")  # it would say less
            self._say(f"Not saved. {error}", "-wrong")
            return
        finally:
            self._saving = False
        if self.is_current:
            self.dismiss(saved[0])

    def action_leave(self) -> None:
        """Leave; what would be lost is said first."""
        if self._changed and not self._warned:
            self._warned = True
            self.workers.cancel_group(self, "check")
            leave, keep = key_of("tool.leave"), key_of("tool.keep")
            self._say(
                f"Your changes are not saved: {leave} again drops them, {keep} saves.", "-warns"
            )
            return
        self.dismiss(None)


def read(text: str) -> Definition:
    """The one tool that a text defines.

    Raises:
        ToolError: it defines none, or several; with the place.
    """
    from mistral_tui.tools import schema

    shown = "The definition"
    if len(text) > MOST_TEXT:
        raise ToolError(f"{shown} is too long; at most {MOST_TEXT >> 10} KB are read.")
    if not text.strip():
        raise ToolError(f'{shown} is empty; it begins with {{"name": "…", "description": "…"}}.')
    found = schema.read_text(text, source=shown)
    if len(found) != 1:
        raise ToolError(f"{shown} must be of one tool, not of {len(found)}.")
    return found[0]


def _summary(tool: Definition) -> str:
    """What a definition says, where nothing is wrong with it."""
    taken = [
        one.name + ("" if one.required else " (optional)")
        for one in tool_words.parameters(tool.parameters)
        if "." not in one.name
    ]
    takes = f"takes {', '.join(taken)}" if taken else "takes nothing"
    advice = "" if tool.description else " A description tells the model when to call it."
    return f"✓ {tool.name} {takes}.{advice}"
