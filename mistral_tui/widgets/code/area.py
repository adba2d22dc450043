"""The editor of a code file, with what the model suggests at the cursor.

The suggestion (ghost) is drawn between the lines and is no part of the text: typing what it says
goes on in it, any other edit or movement drops it.
"""

from __future__ import annotations

import asyncio
import re
from typing import Literal

from textual import events
from textual.document._document import EditResult, Location, Selection
from textual.document._edit import Edit
from textual.message import Message

from mistral_tui.actions import pressed
from mistral_tui.code.ghost import Ghost
from mistral_tui.code.languages import DEFAULT_INDENT
from mistral_tui.widgets.code import edits
from mistral_tui.widgets.code.canvas import TAB, CodeCanvas
from mistral_tui.widgets.code.cells import cells_of
from mistral_tui.widgets.pastes import clean

MOST_PASTED = 4 << 20
"""Characters that can be pasted at once."""
PLACE_CHARS = 64 << 10
"""Characters before and behind the cursor that the model may read."""
_LARGE = 100_000  # characters whose cleaning would be felt
# Keys that the editor needs although the app has a use for some of them.
_OWN = frozenset({"tab", "shift+tab", "escape", "pageup", "pagedown", "ctrl+home", "ctrl+end"})
_WORD = re.compile(r"\w+")
Part = Literal["all", "word", "line"]
_TAKES: dict[str, Part] = {
    "code.take": "all", "code.take_word": "word", "code.take_line": "line",
}  # fmt: skip


class CodeArea(CodeCanvas):
    """Emits `Asked` for the actions of the code panel that are not its own."""

    class Asked(Message):
        """A key of the panel was pressed here; `action` is its id."""

        def __init__(self, action: str) -> None:
            self.action = action
            super().__init__()

    class GhostDropped(Message):
        """The suggestion went away: something else was typed, or the cursor moved; or there was
        none, and none is wanted: an edit was undone, or the keys go elsewhere."""

    class GhostTaken(Message):
        """The suggestion, or `text` as a part of it, is in the document now."""

        def __init__(self, text: str) -> None:
            self.text = text
            super().__init__()

    def __init__(self, text: str, *, language: str = "", indent: str = DEFAULT_INDENT) -> None:
        self.ghost: Ghost | None = None
        """What is suggested at the cursor; see `show_ghost`."""
        self._following = False  # the edit under way goes on in the suggestion
        self.edits = 0
        """How many there were: where a suggestion was asked for is no more after another one."""
        self.indent = indent
        """One level of indentation: a tab, or spaces."""
        super().__init__(text, language)

    # ── the text ────────────────────────────────────────────────────────────────────

    def _set_document(self, text: str, language: str | None) -> None:
        self.ghost = None
        super()._set_document(text, language)

    def put(self, text: str) -> None:
        """Insert at the cursor, or in the place of what is selected; one step to undo."""
        self.history.checkpoint()
        self.replace(text, *self.selection, maintain_selection_offset=False)
        self.history.checkpoint()

    def rewrite(self, text: str) -> None:
        """Make this the whole text, by one edit of the lines that differ; it can be undone."""
        start, end, new = edits.difference(self.code.lines, text.split("\n"))
        if start != end or new:
            self.history.checkpoint()
            self.replace(new, start, end)
            self.history.checkpoint()

    def place(self, chars: int = PLACE_CHARS) -> tuple[str, str]:
        """What stands before the cursor and behind it, at most `chars` of each. What is before it
        begins at a line that stays the same while a few characters are typed."""
        return edits.around(self.code, self.selection.end, chars)

    def selected_lines(self) -> tuple[int, int]:
        """The first and last line that is selected, or twice the cursor's, from 1."""
        (top, _), (bottom, column) = sorted(self.selection)
        return top + 1, bottom + 1 - (bottom > top and column == 0)

    def find(self, text: str, forward: bool = True, *, stay: bool = False) -> tuple[int, int]:
        """Select the next place with `text`, or the one before, around the ends; `stay`: the one
        that is selected will do. Capitals count if there are any in `text`.

        Returns:
            (which, of how many), from 1; (0, 0) for none. After 10,000 it stops counting, and
            those beyond have the number 0.
        """
        top, bottom = (self.code.offset(end) for end in sorted(self.selection))
        hit = edits.find(self.text, text, bottom if forward and not stay else top, forward)
        if hit is None:
            return 0, 0
        start, end = self.code.location(hit.start), self.code.location(hit.end)
        self._lose_ghost()
        self._bring_into_view(start[0])
        self.selection = Selection(start, end)
        self.record_cursor_width()
        self.history.checkpoint()
        return hit.number, hit.total

    # ── edits ───────────────────────────────────────────────────────────────────────

    def edit(self, edit: Edit) -> EditResult:
        """Do an edit. A suggestion that it goes on in stays, any other is dropped at once."""
        self.edits += 1
        self._following = self._follows(edit)
        if not self._following:
            self._lose_ghost()
            self.drop_ghost()  # its rows, while a mouse button is down
        try:
            result = edit.do(self)
            self.history.record(edit)
            if self.ghost is not None:
                self._lay_rows(self.ghost.text, result.end_location)
            self._refresh_size()
            edit.after(self)
        finally:
            self._following = False
        self._build_highlight_map()
        self.post_message(self.Changed(self))
        return result

    def _follows(self, edit: Edit) -> bool:
        """Whether an edit types or erases what is suggested; the suggestion moves on."""
        ghost, cursor = self.ghost, self.selection.end
        if ghost is None or not self.selection.is_empty or edit.bottom != cursor:
            return False
        if edit.top == cursor:
            return self._following or ghost.typed(edit.text)
        return not edit.text and ghost.erased(self.get_text_range(edit.top, cursor))

    def undo(self) -> None:
        self.drop_ghost()
        super().undo()
        self.post_message(self.GhostDropped())  # what comes back asks for no suggestion

    def redo(self) -> None:
        self.drop_ghost()
        super().redo()
        self.post_message(self.GhostDropped())

    def action_new_line(self) -> None:
        """A line break, and the indentation that belongs there."""
        start, end = sorted(self.selection)
        before = self.code.get_line(start[0])[: start[1]]
        lead = edits.next_indent(before, self.indent, self.language or "")
        if self.ghost is not None:
            lead = edits.suggested_indent(self.ghost.text, lead)
        self._replace_via_keyboard("\n" + lead, start, end)

    def action_indent(self) -> None:
        """Indent the selected lines; within one line, go to the next level."""
        (row, column), (last, _) = sorted(self.selection)
        if last != row:
            self._shift(1)
        elif self.indent == "\t":
            self._replace_via_keyboard("\t", *self.selection)
        else:
            size = len(self.indent)
            x = cells_of(self.code.get_line(row), TAB).x(column)
            self._replace_via_keyboard(" " * (size - x % size), *self.selection)

    def action_unindent(self) -> None:
        """Take one level of indentation off the selected lines, or off the cursor's."""
        self._shift(-1)

    def _shift(self, by: int) -> None:
        first, last = (line - 1 for line in self.selected_lines())
        old = self.code.lines[first : last + 1]
        new = [edits.indented(line, self.indent, by, TAB) for line in old]
        if new == old or self.read_only:
            return
        gained = [len(now) - len(was) for now, was in zip(new, old, strict=True)]

        def moved(location: Location) -> Location:
            row, column = location
            if not first <= row <= last or not column:
                return location
            return row, max(0, column + gained[row - first])

        start, end = map(moved, self.selection)
        self.history.checkpoint()
        self.replace("\n".join(new), (first, 0), (last, len(old[-1])))
        self.move_cursor(start)
        self.move_cursor(end, select=True)

    def action_delete_left(self) -> None:
        """Delete what is selected, or a character; of an indentation by spaces, a level."""
        row, column = end = self.selection.end
        before = self.code.get_line(row)[:column]
        size = len(self.indent)
        if self.selection.is_empty and before and not before.strip(" ") and self.indent != "\t":
            self._delete_via_keyboard((row, (column - 1) // size * size), end)
        else:
            super().action_delete_left()

    def action_delete_word_right(self) -> None:
        """Delete to the end of the next word in the line, or to the line's end."""
        (row, column), end = self.selection
        line = self.code.get_line(row)
        word = _WORD.search(line, column)
        if (row, column) == end and column < len(line):
            self._delete_via_keyboard(end, (row, word.end() if word else len(line)))
        else:
            super().action_delete_word_right()

    async def _on_paste(self, event: events.Paste) -> None:
        event.prevent_default()
        text = event.text
        if len(text) > _LARGE and self._fits(text):
            text = await asyncio.to_thread(clean, text)
        self._paste(text)

    def action_paste(self) -> None:
        """Insert what was copied here."""
        self._paste(self.app.clipboard)

    def _paste(self, text: str) -> None:
        if text and self._fits(text):
            self._replace_via_keyboard(clean(text), *self.selection)

    def _fits(self, text: str) -> bool:
        if len(text) > MOST_PASTED:
            self.notify(
                f"This is too long to be pasted: at most {MOST_PASTED >> 20} MB are taken.",
                severity="warning",
                markup=False,
            )
        return len(text) <= MOST_PASTED

    # ── the suggestion ──────────────────────────────────────────────────────────────

    @property
    def ghost_note(self) -> str:
        """A few characters behind the suggestion's first line, where there is room."""
        return self._ghost_note

    @ghost_note.setter
    def ghost_note(self, note: str) -> None:
        if note != self._ghost_note:
            self._ghost_note = note
            self.refresh()

    def show_ghost(self, ghost: Ghost) -> None:
        """Suggest this at the cursor, from now on."""
        self.ghost, self._held = ghost, False
        self.refresh_ghost()

    def refresh_ghost(self) -> None:
        """More of it came, or another one is to be shown."""
        if self.ghost is None:
            return
        row = self.selection.end[0]
        in_view = 0 <= row - self.scroll_offset.y < self.scrollable_content_region.height
        self._lay_rows(self.ghost.text, self.selection.end)
        self._refresh_size()
        if in_view:
            self.scroll_cursor_visible()
        self.refresh()

    def drop_ghost(self) -> None:
        """Suggest nothing any more."""
        if self.ghost is not None or self._held:
            self.ghost = None
            self._clear_rows()

    def take_ghost(self, how: Part) -> bool:
        """Insert the suggestion, its next word or its next line; False if there is none."""
        ghost = self.ghost
        if ghost is None or not ghost.text or self.read_only:
            return False
        part = {"all": ghost.text, "word": ghost.next_word(), "line": ghost.next_line()}[how]
        self._following = ghost.typed(part)
        if not self._following:  # nothing is left
            self.drop_ghost()
        self.put(part)
        self.post_message(self.GhostTaken(part))
        return True

    def _lose_ghost(self) -> None:
        if self.ghost is not None:
            self.drop_ghost()
            self.post_message(self.GhostDropped())

    def move_cursor(
        self,
        location: Location,
        select: bool = False,
        center: bool = False,
        record_width: bool = True,
    ) -> None:
        self._lose_ghost()
        super().move_cursor(location, select, center, record_width)

    def _watch_selection(self, previous_selection: Selection, selection: Selection) -> None:
        if not self._following and previous_selection != selection:
            self._lose_ghost()
        super()._watch_selection(previous_selection, selection)

    async def _on_mouse_down(self, event: events.MouseDown) -> None:
        # Before the text area's own handler. Nothing may move under the pointer: what was
        # suggested is no more, but its rows stay until the button is up.
        if self.ghost is not None:
            self.ghost = None
            self._held = True
            self.post_message(self.GhostDropped())

    def _end_mouse_selection(self) -> None:
        super()._end_mouse_selection()
        if self._held:
            self._clear_rows(still=self.selection.end[0])

    def _watch_has_focus(self, focus: bool) -> None:
        super()._watch_has_focus(focus)
        if not focus:
            self.drop_ghost()
            self.post_message(self.GhostDropped())

    # ── keys ────────────────────────────────────────────────────────────────────────

    async def _on_key(self, event: events.Key) -> None:
        # Before the text area and the app, which have their own uses for some keys.
        self._restart_blink()
        key = event.key
        action = pressed("code", key)
        app = pressed("app", key) if key not in _OWN else None
        if (action is not None and self._does(action.id)) or self._edits(key):
            event.stop()
            event.prevent_default()
        elif app is not None:
            event.stop()
            event.prevent_default()
            await self.app.run_action(app.does)
        else:
            # Bindings are run here: the app would do it once the event comes back to it, and
            # letters that were typed after a Backspace could be in the text before it.
            for binding in self._bindings.key_to_bindings.get(key, ()):
                if await self.app.run_action(binding.action, self):
                    event.stop()
                    event.prevent_default()
                    break
        # All else goes on to the text area's own handler.

    def _does(self, id: str) -> bool:
        """Do an action of the panel; False if it is of no use here and now."""
        if id in _TAKES:
            if self.take_ghost(_TAKES[id]):
                return True
            if id == "code.take":
                self.action_indent()
            return id == "code.take"
        if id in ("code.first", "code.last"):
            self.move_cursor(self.code.end if id == "code.last" else (0, 0))
        elif id == "code.unindent":
            self.action_unindent()
        elif id == "code.dismiss" and self.ghost is not None:
            self._lose_ghost()
        else:
            self.post_message(self.Asked(id))
        return True

    def _edits(self, key: str) -> bool:
        """What keys that need no name do here."""
        if key == "enter":
            self.action_new_line()
        elif key == "tab":
            self.action_indent()
        elif key in ("ctrl+shift+home", "ctrl+shift+end"):
            self.move_cursor(self.code.end if key.endswith("end") else (0, 0), select=True)
        else:
            return False
        return True
