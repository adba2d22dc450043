"""The code panel: open files as tabs, an editor, and what the model suggests in it."""

from __future__ import annotations

from collections.abc import Callable

from textual import on
from textual.app import ComposeResult
from textual.containers import Container, Vertical
from textual.message import Message
from textual.widgets import Static, TextArea

from mistral_tui.actions import key_of
from mistral_tui.code.asking import FimSettings
from mistral_tui.code.completing import Model
from mistral_tui.sanitize import one_line, sanitize
from mistral_tui.widgets.bar import Bar
from mistral_tui.widgets.code.area import CodeArea
from mistral_tui.widgets.code.bar import CodeFindBar
from mistral_tui.widgets.code.files import CodeFiles, OpenFile
from mistral_tui.widgets.code.suggesting import Suggesting
from mistral_tui.widgets.code.tabs import CodeStatus, FileTabs


class CodePanel(Vertical):
    """Mounted once there is something to show in it; hidden, it keeps its files."""

    DEFAULT_CSS = """
    CodePanel { width: 1fr; height: 1fr; background: $background; }
    CodePanel #areas { height: 1fr; }
    CodePanel #no-file { height: 1fr; padding: 1 2; color: $text-muted; }
    CodePanel.some #no-file { display: none; }
    CodePanel CodeArea { height: 100%; display: none; }
    CodePanel CodeArea.current { display: block; }
    """

    class Quoted(Message):
        """The user wants to ask about these lines."""

        def __init__(self, shown: str, lines: tuple[int, int], text: str) -> None:
            self.shown = shown
            self.lines = lines
            self.text = text
            super().__init__()

    class Emptied(Message):
        """The last file was closed."""

    class Left(Message):
        """Esc was pressed and there was nothing here to dismiss."""

    def __init__(self, model: Model, settings: Callable[[], FimSettings]) -> None:
        super().__init__(id="code")
        self.files = CodeFiles(self)
        self._tabs = FileTabs()
        self._status = CodeStatus()
        self.suggesting = Suggesting(self, model, settings, self._status)
        self._bar: CodeFindBar | None = None
        self._looked_for = ""

    def compose(self) -> ComposeResult:
        yield self._tabs
        with Container(id="areas"):
            yield Static(
                f"No file is open. {key_of('open_file')} opens one, or begins a new one.",
                id="no-file",
                markup=False,
            )
        yield self._status

    def on_mount(self) -> None:
        self.set_interval(self.files.LOOK_SECONDS, self.files.look)

    # ── files ───────────────────────────────────────────────────────────────────────

    @property
    def current(self) -> OpenFile | None:
        """The file in view."""
        return self.files.current

    @property
    def area(self) -> CodeArea | None:
        """Its editor."""
        return self.current.area if self.current else None

    async def put(self, opened: OpenFile) -> None:
        """An editor for a file that was opened."""
        await self.query_one("#areas").mount(opened.area)

    def show_files(self) -> None:
        """Another file is in view, or a file has changes, or none any more."""
        current = self.current
        for opened in self.files.all:
            opened.area.set_class(opened is current, "current")
        names = [(self.files.name(opened), opened.modified) for opened in self.files.all]
        self._tabs.show(names, self.files.all.index(current) if current else 0)
        self.set_class(current is not None, "some")
        if current is None and self._bar is not None:
            self._bar.remove()
            self._bar = None
        self._show_place()

    def focus_code(self) -> None:
        """The keys go to the code."""
        if self.area is not None:
            self.area.focus()

    def step(self, by: int) -> None:
        """The next file, or the one before."""
        if len(self.files.all) > 1 and self.current is not None:
            self.suggesting.stop()
            place = self.files.all.index(self.current) + by
            self.files.current = self.files.all[place % len(self.files.all)]
            self.show_files()
            self.focus_code()

    @on(FileTabs.Picked)
    def _picked(self, event: FileTabs.Picked) -> None:
        event.stop()
        if self.current is not None:
            self.step(event.index - self.files.all.index(self.current))

    # ── keys and edits ──────────────────────────────────────────────────────────────

    @on(CodeArea.Asked)
    def _asked(self, event: CodeArea.Asked) -> None:
        event.stop()
        match event.action:
            case "code.complete":
                self.suggesting.ask()
            case "code.next":
                self.suggesting.step(1)
            case "code.previous":
                self.suggesting.step(-1)
            case "code.save":
                self.files.save_soon()
            case "code.find":
                self._find()
            case "code.quote":
                self._quote()
            case "code.next_file":
                self.step(1)
            case "code.previous_file":
                self.step(-1)
            case "code.close":
                self.files.close_soon()
            case "code.dismiss":
                if not self.suggesting.stop():
                    self.post_message(self.Left())

    @on(TextArea.Changed)
    def _changed(self, event: TextArea.Changed) -> None:
        event.stop()
        opened = self.files.of(event.text_area)
        if opened is not None:
            self.files.edited(opened)
            if opened is self.current:
                self.suggesting.edited()
        self._show_place()

    @on(TextArea.SelectionChanged)
    def _moved(self, event: TextArea.SelectionChanged) -> None:
        event.stop()
        self.suggesting.moved()
        self._show_place()

    @on(CodeArea.GhostDropped)
    def _dropped(self, event: CodeArea.GhostDropped) -> None:
        event.stop()
        self.suggesting.dropped()

    @on(CodeArea.GhostTaken)
    def _taken(self, event: CodeArea.GhostTaken) -> None:
        event.stop()
        self.suggesting.shown()

    def _show_place(self) -> None:
        opened = self.current
        if opened is None:
            self._status.show(where="", about="")
            return
        row, column = opened.area.cursor_location
        self._status.show(where=f"{row + 1}:{column + 1}", about=opened.about)

    def _quote(self) -> None:
        opened = self.current
        if opened is None:
            return
        first, last = opened.area.selected_lines()
        text = opened.area.selected_text
        if not text:
            text = opened.area.document.get_line(first - 1)
        self.post_message(self.Quoted(opened.file.shown, (first, last), sanitize(text)))

    # ── finding ─────────────────────────────────────────────────────────────────────

    def _find(self) -> None:
        if self.area is None:
            return
        selected = self.area.selected_text
        if selected and selected == one_line(selected, 1000):
            self._looked_for = selected
        if self._bar is not None:
            self._bar.field.focus()
            return
        self._bar = CodeFindBar("Find", self._looked_for)
        self.mount(self._bar, before=self._status)

    @on(Bar.Typed)
    def _find_typed(self, event: Bar.Typed) -> None:
        event.stop()
        self._looked_for = event.text
        self._go(1, stay=True)

    @on(Bar.Done)
    def _find_next(self, event: Bar.Done) -> None:
        event.stop()
        self._go(1)

    @on(CodeFindBar.Before)
    def _find_before(self, event: CodeFindBar.Before) -> None:
        event.stop()
        self._go(-1)

    @on(Bar.Left)
    def _find_left(self, event: Bar.Left) -> None:
        event.stop()
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.remove()
        self.focus_code()

    def _go(self, by: int, *, stay: bool = False) -> None:
        if self.area is None or self._bar is None:
            return
        number, total = self.area.find(self._looked_for, forward=by > 0, stay=stay)
        none = "nothing found" if self._looked_for else ""
        self._bar.say(f"{number:,} of {total:,}" if total else none)
