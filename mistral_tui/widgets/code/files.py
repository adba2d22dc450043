"""The files of the code panel: opened, saved, watched, and kept where they are not saved."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mistral_tui.actions import key_of
from mistral_tui.code import files, recovery
from mistral_tui.code.errors import ChangedOnDisk, CodeError
from mistral_tui.code.files import CodeFile
from mistral_tui.code.languages import indent_of, language_of
from mistral_tui.widgets.code.area import CodeArea

if TYPE_CHECKING:
    from textual.timer import Timer

    from mistral_tui.widgets.code.panel import CodePanel

_SETTLED_SECONDS = 0.4  # after the last edit


@dataclass(eq=False, slots=True)
class OpenFile:
    """A file in the panel. `saved` is its text on the disk, as far as we know."""

    file: CodeFile
    area: CodeArea
    saved: str
    language: str
    modified: bool = False
    kept: bool = False  # its changes are where a crash does not lose them
    over: bool = False  # the next save writes over what somebody else wrote
    stale: str = ""  # "changed" or "gone": it was said that the disk's file is
    saving: asyncio.Lock = field(default_factory=asyncio.Lock)
    timer: Timer | None = None

    @property
    def about(self) -> str:
        """Its language and the like."""
        parts = [self.language or "text", *self.file.marks]
        return " · ".join(parts)


class CodeFiles:
    """What the panel does with files; the disk is read and written in threads."""

    LOOK_SECONDS = 2.0
    """Between two looks at whether somebody else changed them."""

    def __init__(self, panel: CodePanel) -> None:
        self._panel = panel
        self._looking = False
        self.all: list[OpenFile] = []
        self.current: OpenFile | None = None

    def of(self, area: object) -> OpenFile | None:
        """The file of an editor."""
        return next((opened for opened in self.all if opened.area is area), None)

    def name(self, opened: OpenFile) -> str:
        """As short as it is unique."""
        name = opened.file.path.name
        twins = [o for o in self.all if o.file.path.name == name]
        return name if len(twins) == 1 else opened.file.shown

    @property
    def unsaved(self) -> list[OpenFile]:
        """Those with changes."""
        for opened in self.all:
            opened.modified = opened.area.text != opened.saved
        return [opened for opened in self.all if opened.modified]

    # ── opening and closing ─────────────────────────────────────────────────────────

    async def open(self, path: Path) -> OpenFile:
        """Open a file, or show it if it is open.

        Raises:
            CodeError: it cannot be opened; a sentence.
        """
        file = await asyncio.to_thread(files.open_file, path)
        for opened in self.all:
            if files.same_file(opened.file, file):
                self._show(opened)
                return opened
        first, _, _ = file.text.partition("\n")
        language = language_of(file.path, first)
        area = CodeArea(file.text, language=language, indent=indent_of(file.text))
        area.read_only = False
        opened = OpenFile(file, area, file.text, language)
        self.all.append(opened)
        await self._panel.put(opened)
        self._show(opened)
        await self._bring_back(opened)
        return opened

    def _show(self, opened: OpenFile) -> None:
        self._panel.suggesting.stop()
        self.current = opened
        self._panel.show_files()

    async def _bring_back(self, opened: OpenFile) -> None:
        """What was typed here and not saved when the app ended."""
        kept = await asyncio.to_thread(recovery.kept, opened.file.path)
        if kept is None or kept.text == opened.saved:
            return
        if kept.elsewhere:
            self._say(f"{opened.file.shown} has unsaved changes in another window.")
            return
        opened.kept = True
        opened.area.rewrite(kept.text)
        same = "" if kept.same_base else " The file was changed since then."
        self._say(
            f"{opened.file.shown}: unsaved changes of {kept.when:%d %b %H:%M} are back; "
            f"undo shows the file as it is on the disk.{same}"
        )

    def close_soon(self) -> None:
        """Close the file in view; changes are asked about."""
        opened = self.current
        if opened is not None:
            self._start(self._close(opened))

    async def _close(self, opened: OpenFile) -> None:
        if opened in self.unsaved:
            from mistral_tui.screens.unsaved import UnsavedScreen

            screen = UnsavedScreen([opened.file.shown], "close it")
            answer = await self._panel.app.push_screen_wait(screen)
            if answer is None or (answer == "save" and not await self.save(opened)):
                return
        await self.drop(opened)

    async def drop(self, opened: OpenFile) -> None:
        """Close a file; changes to it are gone."""
        place = self.all.index(opened)
        self.all.remove(opened)
        if opened.timer is not None:
            opened.timer.stop()
        await asyncio.to_thread(recovery.forget, opened.file.path)
        if self.current is opened:
            self._panel.suggesting.stop()
            self.current = self.all[min(place, len(self.all) - 1)] if self.all else None
        await opened.area.remove()
        self._panel.show_files()
        if self.all:
            self._panel.focus_code()
        else:
            self._panel.post_message(self._panel.Emptied())

    # ── saving ──────────────────────────────────────────────────────────────────────

    def save_soon(self) -> None:
        """Save the file in view."""
        if self.current is not None:
            self._start(self._save(self.current))

    async def _save(self, opened: OpenFile) -> None:
        if await self.save(opened):
            self._say(f"Saved {opened.file.shown}.", severity="information")

    async def save(self, opened: OpenFile) -> bool:
        """Whether it is on the disk now; if not, why was said."""
        async with opened.saving:
            text, over = opened.area.text, opened.over
            try:
                opened.file = await asyncio.to_thread(files.save, opened.file, text, over=over)
            except ChangedOnDisk as error:
                opened.over = True
                self._say(f"{error} {key_of('code.save')} again writes over it.")
                return False
            except CodeError as error:
                self._say(str(error), severity="error")
                return False
            opened.saved, opened.over, opened.stale = text, False, ""
            await self._settle(opened)
        return True

    # ── edits ───────────────────────────────────────────────────────────────────────

    def edited(self, opened: OpenFile) -> None:
        """The text of a file changed."""
        if not opened.modified:
            opened.modified = True
            self._panel.show_files()
        if opened.timer is not None:
            opened.timer.stop()
        opened.timer = self._panel.set_timer(
            _SETTLED_SECONDS, lambda: self._start(self._settle(opened))
        )

    async def _settle(self, opened: OpenFile) -> None:
        """Once the typing pauses: whether there are changes, and a copy of them."""
        text = opened.area.text
        opened.modified = text != opened.saved
        if opened in self.all:
            self._panel.show_files()
        try:
            if opened.modified:
                await asyncio.to_thread(recovery.keep, opened.file, text)
                opened.kept = True
            elif opened.kept:
                await asyncio.to_thread(recovery.forget, opened.file.path)
                opened.kept = False
        except CodeError as error:
            if opened.kept or opened.modified:
                self._say(str(error))

    async def forget(self, opened: OpenFile) -> None:
        """The changes to a file are to be dropped."""
        opened.saved = opened.area.text
        await asyncio.to_thread(recovery.forget, opened.file.path)

    async def keep_all(self) -> None:
        """Copies of all that is not saved; nothing is asked."""
        for opened in self.unsaved:
            await asyncio.to_thread(recovery.keep, opened.file, opened.area.text)

    # ── somebody else's changes ─────────────────────────────────────────────────────

    def look(self) -> None:
        """Look whether somebody else changed a file."""
        if self.all and not self._looking:
            self._looking = True
            self._start(self._look())

    async def _look(self) -> None:
        try:
            for opened in list(self.all):
                if opened.saving.locked():
                    continue
                state = await asyncio.to_thread(files.state, opened.file)
                if state == "same" or opened not in self.all or opened.saving.locked():
                    if state == "same":
                        opened.stale = ""
                    continue
                if state == "changed" and opened not in self.unsaved:
                    await self._reload(opened)
                elif opened.stale != state:
                    opened.stale = state
                    what = "was changed" if state == "changed" else "was deleted"
                    self._say(f"{opened.file.shown} {what} on the disk; your text is as it was.")
        finally:
            self._looking = False

    async def _reload(self, opened: OpenFile) -> None:
        """The disk's text in the place of ours, which was the old one; it can be undone."""
        try:
            file = await asyncio.to_thread(files.open_file, opened.file.path)
        except CodeError as error:
            if opened.stale != str(error):
                opened.stale = str(error)
                self._say(str(error))
            return
        if opened in self.unsaved or opened not in self.all:
            return  # typed meanwhile
        opened.file, opened.saved = file, file.text
        if opened.area.text != file.text:
            opened.area.rewrite(file.text)
            self._say(f"{file.shown} was changed on the disk and read again.", "information")

    # ── ─────────────────────────────────────────────────────────────────────────────

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._panel.run_worker(work, exit_on_error=False)

    def _say(self, sentence: str, severity: Any = "warning") -> None:
        self._panel.app.notify(sentence, severity=severity, markup=False)
