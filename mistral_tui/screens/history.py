"""All conversations: newest first, by day; full-text search; rename, pin, delete, copy, export."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from rich.text import Text
from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from mistral_tui.actions import BY_ID, bindings, key_of, line
from mistral_tui.history.schema import StoreError
from mistral_tui.keys import character
from mistral_tui.sanitize import one_line

if TYPE_CHECKING:
    from mistral_tui.history.search import Hit
    from mistral_tui.history.shelf import Summary
    from mistral_tui.history.store import AsyncStore

_PAGE = 100
_DOES = (
    ("history.open", "opens"), ("history.pin", "pins"), ("history.rename", "renames"),
    ("history.delete", "deletes"), ("history.undo", "undo"), ("history.duplicate", "copies"),
    ("history.export", "exports"), ("history.search", "search"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Chosen:
    """What to open, and at which message."""

    conversation_id: str
    message_id: int | None = None


class HistoryScreen(ModalScreen[Chosen | None]):
    """Emits nothing: it is dismissed with the choice, or None."""

    AUTO_FOCUS = "Input"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("history")]
    DEFAULT_CSS = """
    HistoryScreen { align: center middle; }
    HistoryScreen > Vertical {
        width: 100; max-width: 98%; height: 90%;
        background: $panel; border: round $primary; padding: 0 1;
        border-title-color: $primary; border-subtitle-color: $text-muted;
    }
    HistoryScreen Input { border: none; height: 1; margin: 0 0 1 0; background: $panel; }
    HistoryScreen OptionList {
        height: 1fr; border: none; background: $panel; scrollbar-size-vertical: 1;
    }
    HistoryScreen OptionList:focus { border: none; }
    HistoryScreen #help { height: auto; max-height: 2; color: $text-muted; }
    """

    def __init__(self, store: AsyncStore, current: str = "") -> None:
        super().__init__()
        self._store = store
        self._current = current
        self._renaming = ""
        self._deleted: list[str] = []
        self._shown = 0  # conversations in the list so far; search hits are shown all at once
        self._places: dict[str, Chosen] = {}
        self._day = ""

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = "Conversations"
            yield Input(placeholder="Search all conversations", compact=True)
            yield OptionList(markup=False)
            yield Static(line(*_DOES), id="help", markup=False)

    def on_mount(self) -> None:
        self._fill()

    @property
    def _list(self) -> OptionList:
        return self.query_one(OptionList)

    @property
    def _input(self) -> Input:
        return self.query_one(Input)

    # ── filling ─────────────────────────────────────────────────────────────────────

    @on(Input.Changed)
    def _typed(self) -> None:
        if not self._renaming:
            self._fill()

    @work(exclusive=True)
    async def _fill(self, keep: str = "") -> None:
        """The search's hits, or the first page of all conversations."""
        query = self._input.value.strip()
        try:
            if query:
                self._show_hits(await self._store.search(query, 50))
            else:
                self._start_over()
                self._add(await self._store.overview(_PAGE, 0))
        except StoreError as error:
            self._start_over()
            self._list.add_option(Option(one_line(str(error), 300), disabled=True))
        if keep in self._places:
            self._list.highlighted = self._list.get_option_index(keep)

    def _start_over(self) -> None:
        self._list.clear_options()
        self._places.clear()
        self._shown, self._day = 0, ""

    def _add(self, page: list[Summary]) -> None:
        rows: list[Option] = []
        for summary in page:
            conversation = summary.conversation
            day = "Pinned" if conversation.pinned else _day(conversation.updated_at)
            if day != self._day:
                self._day = day
                rows.append(Option(Text(day, style="bold"), disabled=True))
            key = f"c-{conversation.id}"
            self._places[key] = Chosen(conversation.id)
            rows.append(Option(_line(summary, conversation.id == self._current), id=key))
        self._shown += len(page)
        if not self._shown:
            rows.append(Option("No conversations yet.", disabled=True))
        self._list.add_options(rows)

    def _show_hits(self, hits: list[Hit]) -> None:
        self._start_over()
        for number, hit in enumerate(hits):
            key = f"h-{number}"
            self._places[key] = Chosen(hit.conversation_id, hit.message_id)
            found = Text(hit.snippet)
            for start, end in hit.spans:
                found.stylize("bold underline", start, end)
            title = Text(one_line(hit.title, 60) or "untitled", style="bold")
            who = {"user": "you", "assistant": "answer", "tool": "result"}.get(hit.role, "title")
            head = Text(f"  {who}, {_day(hit.when)}", style="dim")
            self._list.add_option(Option(Text.assemble(title, head, "\n  ", found), id=key))
        if not hits:
            self._list.add_option(Option("Nothing found.", disabled=True))

    @on(OptionList.OptionHighlighted)
    def _near_the_end(self, event: OptionList.OptionHighlighted) -> None:
        at_end = event.option_index >= self._list.option_count - 5
        if at_end and not self._input.value.strip() and self._shown % _PAGE == 0 and self._shown:
            self._more()

    @work(exclusive=True)
    async def _more(self) -> None:
        self._add(await self._store.overview(_PAGE, self._shown))

    # ── keys ────────────────────────────────────────────────────────────────────────

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        # In the field, letters are letters.
        return action in ("leave", "open") or self.focused is not self._input

    def action_leave(self) -> None:
        """Close, or leave renaming."""
        if self._renaming:
            self._stop_renaming()
        else:
            self.dismiss(None)

    def action_search(self) -> None:
        """Back to the field."""
        self._input.focus()

    def action_cursor(self, step: int) -> None:
        """Down or up."""
        (self._list.action_cursor_down if step > 0 else self._list.action_cursor_up)()

    def on_key(self, event: events.Key) -> None:
        down = event.key in BY_ID["history.down"].now and not character(event.key)
        if down and self.focused is self._input:
            event.stop()  # or the list would move on, too
            event.prevent_default()
            self._list.focus()
            if self._list.highlighted is None:
                self._list.action_first()

    @on(Input.Submitted)
    def action_open(self) -> None:
        """Open what is marked, else what was found first; or keep the new title."""
        if self._renaming:
            self._rename(self._renaming, self._input.value)
            self._stop_renaming()
        elif self._places:
            first = next(iter(self._places.values()))
            self.dismiss(self._highlighted() or first)

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        if event.option.id in self._places:
            self.dismiss(self._places[event.option.id])

    def _highlighted(self) -> Chosen | None:
        if self._list.highlighted is None:
            return None
        option = self._list.get_option_at_index(self._list.highlighted)
        return self._places.get(option.id or "")

    def action_rename(self) -> None:
        """Type another title."""
        if chosen := self._highlighted():
            self._begin_renaming(chosen.conversation_id)

    @work
    async def _begin_renaming(self, conversation_id: str) -> None:
        conversation = await self._store.get_conversation(conversation_id)
        self._renaming = conversation_id
        does = line(("history.open", "keeps"), ("history.leave", "leaves"))
        self.query_one(Vertical).border_title = f"Rename: {does}"
        with self.prevent(Input.Changed):
            self._input.value = one_line(conversation.title, 200)
        self._input.focus()

    def _stop_renaming(self) -> None:
        self._renaming = ""
        self.query_one(Vertical).border_title = "Conversations"
        with self.prevent(Input.Changed):
            self._input.value = ""
        self._list.focus()

    @work
    async def _rename(self, conversation_id: str, title: str) -> None:
        await self._change("rename", conversation_id, title)

    def action_pin(self) -> None:
        """Pin, or unpin."""
        self._act("pin")

    def action_delete(self) -> None:
        """Into the bin; undo brings it back."""
        self._act("delete")

    def action_duplicate(self) -> None:
        """The conversation once more."""
        self._act("duplicate")

    def action_export(self) -> None:
        """A Markdown file in the current folder."""
        self._act("export")

    def _act(self, what: Literal["pin", "delete", "duplicate", "export"]) -> None:
        if chosen := self._highlighted():
            self._do(what, chosen.conversation_id)

    @work
    async def _do(self, what: str, conversation_id: str) -> None:
        await self._change(what, conversation_id)

    @work
    async def action_undo(self) -> None:
        """Bring back what was deleted last."""
        if not self._deleted:
            self.notify("Nothing was deleted here.", markup=False)
            return
        await self._change("restore", self._deleted[-1])

    async def _change(self, what: str, key: str, title: str = "") -> None:
        store = self._store
        try:
            match what:
                case "rename":
                    await store.set_title(key, title)
                case "pin":
                    pinned = (await store.get_conversation(key)).pinned
                    await store.set_pinned(key, not pinned)
                case "delete":
                    await store.trash_conversation(key)
                    self._deleted.append(key)
                    self.notify(f"Deleted; {key_of('history.undo')} brings it back.", markup=False)
                case "restore":
                    await store.restore_conversation(key)
                    self._deleted.remove(key)
                case "duplicate":
                    key = (await store.duplicate_conversation(key)).id
                case "export":
                    await self._export(key)
        except (StoreError, OSError) as error:
            self.notify(one_line(str(error), 300), severity="error", markup=False)
        self._fill(keep=f"c-{key}")

    async def _export(self, key: str) -> None:
        from mistral_tui.history.export import export_file

        path = Path.cwd() / f"conversation-{key[:8]}.md"
        await self._store.beside(lambda store: export_file(store, path, "md", [key]))
        self.notify(f"Written to {one_line(str(path), 200)}", markup=False)


def _line(summary: Summary, current: bool) -> Text:
    conversation = summary.conversation
    title = one_line(conversation.title, 70) or "untitled"
    model = one_line(conversation.model_name, 30)
    line = Text("● " if current else "  ")
    line.append(title, "bold")
    line.append(f"  {summary.messages} · {model} · {_clock(conversation.updated_at)}", "dim")
    if summary.preview:
        line.append(f"\n    {one_line(summary.preview, 90)}", "dim")
    return line


def _day(when: float) -> str:
    today = time.localtime()
    then = time.localtime(when)
    if then[:3] == today[:3]:
        return "Today"
    if then[:3] == time.localtime(time.time() - 86_400)[:3]:
        return "Yesterday"
    return time.strftime("%A, %d %B %Y" if then.tm_year != today.tm_year else "%A, %d %B", then)


def _clock(when: float) -> str:
    return time.strftime("%H:%M", time.localtime(when))
