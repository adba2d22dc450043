"""Opens a file by part of its path; a path that is not there yet begins a new file."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from mistral_tui.actions import bindings, line
from mistral_tui.attach import FileFinder
from mistral_tui.sanitize import one_line, sanitize
from mistral_tui.widgets.completions import rank

_MOST = 60


@dataclass(frozen=True, slots=True)
class _Row:
    """A path to choose, and a word about it. `folder`: Enter goes on in it."""

    path: str
    about: str = ""
    folder: bool = False


class OpenFileScreen(ModalScreen[str | None]):
    """Dismissed with a path, as it is written from the current folder, or None.

    Args:
        cwd: the folder that paths are written from.
        open_paths: files that are open.
        recent: files that were, the last one first.
    """

    AUTO_FOCUS = "Input"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("files")]
    DEFAULT_CSS = """
    OpenFileScreen { align: center middle; }
    OpenFileScreen > Vertical {
        width: 96; max-width: 98%; height: auto; max-height: 90%;
        background: $panel; border: round $primary; padding: 0 1;
        border-title-color: $primary; border-subtitle-color: $text-muted;
    }
    OpenFileScreen Input, OpenFileScreen Input:focus {
        border: none; height: 1; padding: 0 1; background: $surface;
    }
    OpenFileScreen OptionList, OpenFileScreen OptionList:focus {
        height: auto; max-height: 24; border: none; background: $panel; margin-top: 1;
        padding: 0; scrollbar-size-vertical: 1;
    }
    OpenFileScreen OptionList > .option-list--option-highlighted {
        background: $primary; color: $panel; text-style: bold;
    }
    """

    def __init__(
        self, cwd: Path, open_paths: Sequence[str] = (), recent: Sequence[str] = ()
    ) -> None:
        super().__init__()
        self._cwd = cwd
        self._open = list(dict.fromkeys(open_paths))
        self._recent = [path for path in dict.fromkeys(recent) if path not in self._open]
        self._finder = FileFinder(cwd)
        self._field = Input(placeholder="Part of a path, or a new one", select_on_focus=False)
        self._list = OptionList(Option("Looking …", disabled=True), markup=False)
        self._list.can_focus = False  # keys stay with what is typed
        self._rows: list[_Row] = []
        self._wanted: str | None = None
        self._looking = self._entered = False

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = "Open a file"
            does = ("files.up files.down", "choose"), ("files.open", "opens")
            box.border_subtitle = Content(line(*does, ("files.leave", "leaves")))
            yield self._field
            yield self._list

    def on_mount(self) -> None:
        self._look()

    @property
    def _typed(self) -> str:
        return self._field.value.strip()

    # ── finding ─────────────────────────────────────────────────────────────────────

    @on(Input.Changed)
    def _look(self) -> None:
        self._entered = False
        self._wanted = self._typed
        if not self._looking:
            self._looking = True
            self.run_worker(self._find(), exit_on_error=False)

    async def _find(self) -> None:
        """Find what is wanted, one thing at a time: a slow disk must not pile up threads."""
        try:
            while (typed := self._wanted) is not None:
                found = await asyncio.to_thread(self._found, typed)
                if self._wanted == typed:  # else more was typed meanwhile
                    self._wanted = None
                    self._show(found)
        finally:
            self._looking = False
        if self._entered:
            self.action_open()

    def _found(self, typed: str) -> list[_Row]:
        """In a thread: it reads the disk."""
        rows: dict[str, _Row] = {}
        for row in self._candidates(typed):
            if len(rows) < _MOST:
                rows.setdefault(row.path, row)
        there = self._is_there(typed)
        if typed and not there and not typed.endswith("/"):
            rows.setdefault(typed, _Row(typed, "new file"))
        elif there and typed not in rows:  # a file that git leaves out
            return [_Row(typed), *rows.values()]
        return list(rows.values())

    def _candidates(self, typed: str) -> Iterator[_Row]:
        for paths, about in ((self._open, "open"), (self._recent, "recent")):
            for path in [name for _, name in rank(typed, paths)] if typed else paths:
                yield _Row(path, about)
        for choice in self._finder.find(typed):
            yield _Row(choice.label, "folder" if choice.more else "", choice.more)

    def _is_there(self, typed: str) -> bool:
        try:
            return bool(typed) and (self._cwd / Path(typed).expanduser()).is_file()
        except (OSError, RuntimeError, ValueError):  # no such user; a NUL
            return False

    def _show(self, rows: list[_Row]) -> None:
        self._rows = rows
        shown = self._list
        shown.clear_options()
        if rows:
            width = max(20, shown.size.width - 2)
            shown.add_options([Option(_line(row, width)) for row in rows])
            shown.highlighted = 0
        else:
            shown.add_option(Option("There is no file yet: type the path of a new one.",
                                    disabled=True))  # fmt: skip

    # ── keys ────────────────────────────────────────────────────────────────────────

    def action_up(self) -> None:
        """Mark the file above."""
        self._list.action_cursor_up()

    def action_down(self) -> None:
        """Mark the file below."""
        self._list.action_cursor_down()

    def action_open(self) -> None:
        """Open the marked file; of a folder, what is in it is listed."""
        if self._looking and self._wanted is not None:  # keys may be ahead of the list
            self._entered = True
            return
        at = self._list.highlighted
        if at is None or at >= len(self._rows):
            return
        row = self._rows[at]
        if row.folder:
            self._field.value = row.path
            self._field.cursor_position = len(row.path)
            return
        self.dismiss(row.path)

    def action_leave(self) -> None:
        """Open nothing."""
        self.dismiss(None)

    @on(OptionList.OptionSelected)
    def _selected(self) -> None:
        self.action_open()


def _line(row: _Row, width: int) -> Text:
    """The path, its end if it is long, and the word about it."""
    about = f"  {row.about}" if row.about else ""
    path = one_line(sanitize(row.path), 400)
    line = Text(path, "bold" if row.about == "open" else "", no_wrap=True)
    room = width - len(about)
    if line.cell_len > room:
        line = Text("…" + path[-(room - 1) :], line.style, no_wrap=True)
    if row.about == "new file":
        line = Text.assemble(("new file  ", "dim"), line)
    elif about:
        line.append(about, "dim")
    return line
