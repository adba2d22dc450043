"""The tools there are, and which of them the model may call in this conversation."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar, Protocol

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static

from mistral_tui.actions import bindings, key_of, line
from mistral_tui.config.setting import Value
from mistral_tui.config.settings import BY_KEY
from mistral_tui.history.schema import StoreError
from mistral_tui.sanitize import one_line
from mistral_tui.screens import tool_words
from mistral_tui.screens.tool_details import details
from mistral_tui.screens.tool_editor import ToolEditor
from mistral_tui.screens.tool_list import ToolList
from mistral_tui.screens.tool_rows import Facts, keys_shown, rows
from mistral_tui.screens.tool_trial import ToolTrial
from mistral_tui.tools import files
from mistral_tui.tools.definition import Definition
from mistral_tui.tools.errors import ToolError

if TYPE_CHECKING:
    from inference.api import ModelCard
    from mistral_tui.config.tuning import Tuning
    from mistral_tui.history.schema import Conversation
    from mistral_tui.tools.consent import Permissions
    from mistral_tui.tools.toolbox import Toolbox

_WIDE = 100  # columns: from here on the details are beside the list
_LOW = 18  # rows: below, the keys are not listed
_LOOK_SECONDS = 0.25
_CHOICES = {"auto": "none", "none": "any", "any": "auto"}
_CHOSEN = {
    "auto": "auto: the model calls as it likes",
    "none": "none: the model calls nothing",
    "any": "any: the model has to call",
}


class ToolSession(Protocol):
    """What this screen needs of a session."""

    @property
    def toolbox(self) -> Toolbox: ...
    @property
    def permissions(self) -> Permissions: ...
    @property
    def tuning(self) -> Tuning: ...
    @property
    def card(self) -> ModelCard | None: ...
    @property
    def conversation(self) -> Conversation | None: ...
    async def load_permissions(self) -> None: ...
    async def revoke(self, tool: Definition) -> bool: ...
    async def allow_server(self, name: str) -> None: ...
    async def revoke_server(self, name: str) -> bool: ...


class ToolsScreen(ModalScreen[dict[str, Value | None] | None]):
    """Dismissed with the settings of this conversation that were changed, or None."""

    AUTO_FOCUS = "ToolList"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("tools")]
    DEFAULT_CSS = """
    ToolsScreen { align: center middle; }
    ToolsScreen > Vertical {
        width: 98%; max-width: 180; height: 94%;
        background: $panel; border: round $primary; padding: 0 1;
        border-title-color: $primary; border-subtitle-color: $text-muted;
    }
    ToolsScreen #facts { height: auto; max-height: 3; color: $text-muted; }
    ToolsScreen #warning { height: auto; max-height: 3; color: $text-warning; }
    ToolsScreen #warning.-none { display: none; }
    ToolsScreen Container { layout: vertical; margin-top: 1; }
    ToolsScreen ToolList {
        width: 100%; height: 3fr; border: none; background: $panel; padding: 0;
        scrollbar-size-vertical: 1;
    }
    ToolsScreen ToolList:focus { border: none; }
    ToolsScreen VerticalScroll {
        width: 100%; height: 2fr; padding: 0 1; background: $panel;
        border-top: solid $border-blurred;
        scrollbar-size-vertical: 1; scrollbar-background: $panel;
    }
    ToolsScreen VerticalScroll:focus { border-top: solid $border; }
    ToolsScreen.-wide Container { layout: horizontal; }
    ToolsScreen.-wide ToolList { width: 3fr; height: 100%; }
    ToolsScreen.-wide VerticalScroll {
        width: 2fr; height: 100%; border-top: none; border-left: solid $border-blurred;
    }
    ToolsScreen.-wide VerticalScroll:focus { border-left: solid $border; }
    ToolsScreen #details { height: auto; }
    ToolsScreen #said { height: auto; max-height: 3; }
    ToolsScreen #said.-wrong { color: $text-error; }
    ToolsScreen #said.-warns { color: $text-warning; }
    ToolsScreen #help { height: auto; max-height: 3; color: $text-muted; }
    ToolsScreen.-low #help { display: none; }
    ToolsScreen.-low Container { margin-top: 0; }
    ToolsScreen.-low > Vertical { height: 100%; }
    """

    def __init__(self, session: ToolSession) -> None:
        super().__init__()
        self._session = session
        self._enabled = list(session.tuning.tools)
        self._choice = session.tuning.tool_choice
        self._before = (tuple(self._enabled), self._choice)
        self._facts: Facts | None = None
        self._loading = False
        self._loads = 0
        self._here = ""  # the row whose details are shown
        self._deleting = ""  # the row that Delete was pressed on
        self._acting: set[str] = set()  # servers that are being started

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = "Tools"
            box.border_subtitle = line(("tools.leave", "leaves"))
            yield Static("", id="warning", markup=False)
            yield Static("", id="facts", markup=False)
            with Container():
                yield ToolList()
                with VerticalScroll():
                    yield Static("", id="details", markup=False)
            yield Static("", id="said", markup=False)
            yield Static("", id="help", markup=False)

    def on_mount(self) -> None:
        self._look()
        self.set_interval(_LOOK_SECONDS, self._look)
        self._load()

    def on_resize(self, event: events.Resize) -> None:
        self.set_class(event.size.width >= _WIDE, "-wide")
        self.set_class(event.size.height < _LOW, "-low")
        self.call_after_refresh(self._fit)

    def _fit(self) -> None:
        (keys := self.query_one("#help", Static)).update(keys_shown(keys.size.width))
        self._look(anew=True)

    @property
    def _list(self) -> ToolList:
        return self.query_one(ToolList)

    # ── reading ─────────────────────────────────────────────────────────────────────

    @work(exclusive=True, group="load")
    async def _load(self, functions: bool = True, mark: str = "") -> None:
        """Read files, modules and servers (again); what is known is shown meanwhile."""
        everything = functions or self._loading  # what this one interrupts is done again
        self._loads += 1
        number, self._loading = self._loads, True
        try:
            try:
                await self._session.load_permissions()
            except StoreError as error:
                self._say(str(error), "-wrong")
            await self._session.toolbox.refresh(functions=everything)
            self._look()
            if self._list.mark(mark):
                self._here = mark  # what is said stays
                self._describe()
            if everything:
                await self._session.toolbox.start_servers()
        except (OSError, ToolError) as error:
            self._say(f"The tools cannot be read: {error}", "-wrong")
        finally:
            self._loading = self._loading and number != self._loads
        self._look()

    def _look(self, anew: bool = False) -> None:
        """Show what is known now, if it is not shown already."""
        if not self.is_mounted:
            return
        facts = self._known()
        if anew or facts != self._facts:
            self._facts = facts
            self._list.fill(rows(facts))
            self._here = row.key if (row := self._list.row) else ""
            self._describe()
            self._tell()

    def _known(self) -> Facts:
        session, toolbox = self._session, self._session.toolbox
        there = session.conversation
        return Facts(
            definitions=tuple(toolbox.definitions),
            states=tuple(toolbox.states.values()),
            problems=tuple(toolbox.problems),
            enabled=tuple(self._enabled),
            allowed=session.permissions.dump(),
            conversation_id=there.id if there else "",
            folder=toolbox.folder,
            loading=self._loading,
            width=self._list.cells,
            card=session.card,
            choice=self._choice,
        )

    @on(OptionList.OptionHighlighted)
    def _moved(self) -> None:
        row = self._list.row
        if row is not None and row.key != self._here:
            self._here = row.key
            self._say("")
            self._describe()
            self.query_one(VerticalScroll).scroll_home(animate=False)

    def _describe(self) -> None:
        self.query_one("#details", Static).update(details(self._list.row))

    def _tell(self) -> None:
        """Whether tools are offered at all, and how many."""
        card = self._session.card
        warning = ""
        if card is None:
            warning = "No model is loaded: the tools are there for it when one is."
        elif "tools" not in card.capabilities:
            warning = "This model cannot call tools: its tokenizer has no tool tokens."
        said = self.query_one("#warning", Static)
        said.update(warning)
        said.set_class(not warning, "-none")
        choice = _CHOSEN.get(self._choice, f"the model has to call {one_line(self._choice, 64)}")
        parts = [f"{len(self._enabled)} enabled here", f"Tool choice {choice}"]
        parts += ["Looking …"] if self._loading else []
        self.query_one("#facts", Static).update(" · ".join(parts))

    def _say(self, sentence: str, kind: str = "") -> None:
        said = self.query_one("#said", Static)
        said.set_class(kind == "-wrong", "-wrong")
        said.set_class(kind == "-warns", "-warns")
        said.update(one_line(sentence, 400))
        self._deleting = ""  # whatever was done in between, Delete asks again

    # ── keys ────────────────────────────────────────────────────────────────────────

    def action_up(self) -> None:
        self._list.action_cursor_up()

    def action_down(self) -> None:
        self._list.action_cursor_down()

    @on(OptionList.OptionSelected)
    def _selected(self) -> None:
        self._toggle()

    def action_enable(self) -> None:
        """Enable, or not any more."""
        self._toggle()

    def _toggle(self) -> None:
        row = self._list.row
        self._say("")
        if row is None or row.kind == "problem":
            return
        if row.kind == "server":
            self._say(row.next_step)
            return
        if row.name in self._enabled:
            self._enabled.remove(row.name)
        elif len(self._enabled) >= (most := BY_KEY["tools"].most):
            self._say(f"A conversation has {most} tools at most: disable another first.", "-warns")
        else:
            self._enabled.append(row.name)
        self._look()

    def action_choice(self) -> None:
        """As the model likes, never, always."""
        self._say("")
        self._choice = _CHOICES.get(self._choice, "auto")
        self._look()

    def action_reload(self) -> None:
        """Look at everything again."""
        self._say("")
        self._load()

    def action_leave(self) -> None:
        """Back, with what was changed."""
        changed: dict[str, Value | None] = {}
        if tuple(self._enabled) != self._before[0]:
            changed["tools"] = tuple(self._enabled)
        if self._choice != self._before[1]:
            changed["tool_choice"] = self._choice
        self.dismiss(changed or None)

    def _tool(self, what: str) -> Definition | None:
        """The marked tool; if there is none, it is said what cannot be done without one."""
        row = self._list.row
        if row is None or row.tool is None:
            self._say(f"Mark a tool to {what}.")
            return None
        return row.tool

    @work(group="screen")
    async def action_new(self) -> None:
        """Write a new one."""
        await self._edit(None)

    @work(group="screen")
    async def action_edit(self) -> None:
        """Change the definition of one that is in a file."""
        tool = self._tool("edit it")
        if tool is None:
            return
        why = await asyncio.to_thread(tool_words.unchangeable, tool)
        if why:
            self._say(why)
        else:
            await self._edit(tool)

    async def _edit(self, tool: Definition | None) -> None:
        saved = await self.app.push_screen_wait(ToolEditor(tool, files.config_folder()))
        if saved is None:
            return
        if tool is not None and tool.name != saved.name and tool.name in self._enabled:
            names = [saved.name if name == tool.name else name for name in self._enabled]
            self._enabled = list(dict.fromkeys(names))
        self._say(f"{saved.name} is saved in {one_line(tool_words.shortened(saved.source), 200)}.")
        self._load(functions=False, mark=f"tool:{saved.name}")

    @work(group="screen")
    async def action_try_out(self) -> None:
        """Call it."""
        if (tool := self._tool("try it out")) is not None:
            timeout = self._session.tuning.tool_timeout
            await self.app.push_screen_wait(ToolTrial(tool, self._session.toolbox, timeout))

    @work(exclusive=True, group="delete")
    async def action_delete(self) -> None:
        """Delete its file, when pressed again."""
        tool = self._tool("delete its file")
        if tool is None:
            return
        key = f"tool:{tool.name}"
        if self._deleting != key:
            why = await asyncio.to_thread(tool_words.unchangeable, tool)
            if why:
                self._say(why)
                return
            where = one_line(tool_words.shortened(tool.source), 120)
            self._say(f"{key_of('tools.delete')} again deletes {where} for good.", "-warns")
            self._deleting = key
            return
        self._deleting = ""
        try:
            await asyncio.to_thread(files.remove, tool)
        except ToolError as error:
            self._say(str(error), "-wrong")
            return
        # Another one of its name, hidden so far, was not meant.
        self._enabled = [name for name in self._enabled if name != tool.name]
        self._say(f"{tool.name} is deleted.")
        self._load(functions=False)

    @work(group="permission")
    async def action_revoke(self) -> None:
        """Have it ask again: a tool, or a project's server."""
        row = self._list.row
        if row is not None and row.kind == "server" and row.state is not None:
            await self._revoke_server(row.state.name)
            return
        tool = self._tool("have it ask again")
        if tool is None:
            return
        try:
            had = await self._session.revoke(tool)
        except StoreError as error:
            self._say(str(error), "-wrong")
            return
        asked = "is answered by you" if tool.kind == "manual" else "asks before each call"
        self._say(f"{tool.name} asks again before each call." if had else f"{tool.name} {asked}.")
        self._look()

    async def _revoke_server(self, name: str) -> None:
        try:
            had = await self._session.revoke_server(name)
        except StoreError as error:
            self._say(str(error), "-wrong")
            return
        shown = one_line(name, 60)
        self._say(f"{shown} is stopped and asks again." if had else f"{shown} has no permission.")
        self._look()

    @work(group="server")
    async def action_server(self) -> None:
        """Allow the server, or start it again."""
        row = self._list.row
        if row is None or row.state is None:
            self._say("Mark an MCP server, or one of its tools, to start it again.")
            return
        name, toolbox = row.state.name, self._session.toolbox
        if name in self._acting or row.state.state == "starting" or toolbox.servers is None:
            self._say(f"{one_line(name, 60)} is being started.")
            return
        self._acting.add(name)
        try:
            if row.state.state == "asks":
                await self._session.allow_server(name)
            else:
                await toolbox.servers.restart(name)
        except (StoreError, ToolError) as error:
            self._say(str(error), "-wrong")
        finally:
            self._acting.discard(name)
        self._look()
