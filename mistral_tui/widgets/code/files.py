"""The files of the code panel: opened, saved, watched, and kept where they are not saved."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mistral_tui.actions import key_of
from mistral_tui.code import files, recovery
from mistral_tui.code.errors import ChangedOnDisk, CodeError
from mistral_tui.code.files import CodeFile, Signature
from mistral_tui.code.languages import indent_of, language_of
from mistral_tui.code.recovery import Kept
from mistral_tui.widgets.code.area import CodeArea

if TYPE_CHECKING:
    from textual.timer import Timer

    from mistral_tui.widgets.code.panel import CodePanel

_SETTLED_SECONDS = 0.4  # after the last edit
_LARGE = 200_000  # characters that are not compared at every key


@dataclass(eq=False, slots=True)
class OpenFile:
    """A file in the panel. `saved` is its text on the disk, as far as we know."""

    file: CodeFile
    area: CodeArea
    saved: str
    language: str
    brought: Kept | None = None  # what was typed in a window that is no more
    modified: bool = False
    outdated: bool = False  # the changes were made to another text than the disk has
    consent: Signature | tuple[()] | None = None  # what may be written over; (): no file
    said: object = None  # what was said last of the disk's file
    closing: bool = False
    disk: asyncio.Lock = field(default_factory=asyncio.Lock)  # one thing at a time
    timer: Timer | None = None

    @property
    def about(self) -> str:
        """Its language and the like."""
        return " · ".join([self.language or "text", *self.file.marks])

    @property
    def has_changes(self) -> bool:
        """Whether there is something to save; `modified` is what is shown of it."""
        self.modified = self.area.text != self.saved
        return self.modified


class CodeFiles:
    """What the panel does with files; the disk is read and written in threads."""

    LOOK_SECONDS = 2.0
    """Between two looks at whether somebody else changed them."""

    def __init__(self, panel: CodePanel) -> None:
        self._panel = panel
        self._looking = False
        self._cannot_keep = ""  # why, if it was said
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
        return [opened for opened in self.all if opened.has_changes]

    # ── opening and closing ─────────────────────────────────────────────────────────

    async def open(self, path: Path) -> OpenFile:
        """Open a file, or show it if it is open; what was typed there and not saved comes back.

        Raises:
            CodeError: it cannot be opened; a sentence.
        """
        file = await asyncio.to_thread(files.open_file, path)
        kept = await asyncio.to_thread(recovery.kept, file.path)
        for opened in self.all:
            if files.same_file(opened.file, file):
                self.show(opened)
                return opened
        first, _, _ = file.text.partition("\n")
        language = language_of(file.path, first)
        area = CodeArea(file.text, language=language, indent=indent_of(file.text))
        opened = OpenFile(file, area, file.text, language)
        self.all.append(opened)
        await self._panel.put(opened)
        self.show(opened)
        if kept is not None:
            self._bring_back(opened, kept)
        return opened

    def show(self, opened: OpenFile) -> None:
        """Bring a file into view."""
        self._panel.suggesting.stop()
        self.current = opened
        self._panel.show_files()

    def _bring_back(self, opened: OpenFile, kept: Kept) -> None:
        shown = opened.file.shown
        if kept.elsewhere:
            self._say(f"{shown} has unsaved changes in another window.")
        elif kept.text == opened.saved:
            self._start(asyncio.to_thread(recovery.discard, kept))
        else:
            opened.brought, opened.outdated = kept, not kept.made_from(opened.saved)
            opened.area.rewrite(kept.text)
            since = " The file was changed since then." if opened.outdated else ""
            self._say(
                f"{shown}: unsaved changes of {kept.when:%d %b %H:%M} are back; undo shows the "
                f"file as it is on the disk.{since}"
            )

    def close_soon(self) -> None:
        """Close the file in view; changes are asked about."""
        opened = self.current
        if opened is not None and not opened.closing:
            opened.closing = True
            self._start(self._close(opened))

    async def _close(self, opened: OpenFile) -> None:
        try:
            if opened.has_changes:
                from mistral_tui.screens.unsaved import UnsavedScreen

                screen = UnsavedScreen([opened.file.shown], "close it")
                answer = await self._panel.app.push_screen_wait(screen)
                if answer == "drop":
                    await self.forget(opened)
                elif answer is None or not await self.save(opened):
                    return
                elif opened.has_changes:
                    self._say(f"{opened.file.shown} was changed while it was saved: it stays open.")
                    return
            await self._drop(opened)
        finally:
            opened.closing = False

    async def _drop(self, opened: OpenFile) -> None:
        """Close a file that has nothing to save."""
        place = self.all.index(opened)
        self.all.remove(opened)
        if opened.timer is not None:
            opened.timer.stop()
        if self.current is opened:
            self._panel.suggesting.stop()
            self.current = self.all[min(place, len(self.all) - 1)] if self.all else None
        await opened.area.remove()
        self._panel.show_files()
        if self.all:
            self._panel.focus_code()
        else:
            self._panel.post_message(self._panel.Emptied())

    async def forget(self, opened: OpenFile) -> None:
        """Drop the changes to a file, and the copies of them."""
        async with opened.disk:
            opened.saved = opened.area.text
            await self._forget(opened)

    async def _forget(self, opened: OpenFile) -> None:
        brought, opened.brought = opened.brought, None
        await asyncio.to_thread(recovery.forget, opened.file.path)
        if brought is not None:
            await asyncio.to_thread(recovery.discard, brought)

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
        async with opened.disk:
            if opened not in self.all:
                return False
            text, consent = opened.area.text, opened.consent
            on_disk = await asyncio.to_thread(files.signature, opened.file.path) or ()
            over = consent is not None and consent == on_disk
            try:
                if opened.outdated and not over:
                    raise ChangedOnDisk(
                        f"{opened.file.shown} is another one on the disk since these changes."
                    )
                opened.file = await asyncio.to_thread(files.save, opened.file, text, over=over)
            except ChangedOnDisk as error:
                opened.consent = on_disk
                self._say(f"{error} {key_of('code.save')} again writes over it.")
                return False
            except CodeError as error:
                self._say(str(error), severity="error")
                return False
            opened.saved, opened.outdated, opened.consent, opened.said = text, False, None, None
            await self._forget(opened)
        await self._settle(opened)
        return True

    # ── edits ───────────────────────────────────────────────────────────────────────

    def edited(self, opened: OpenFile) -> None:
        """The text of a file changed."""
        before = opened.modified
        opened.modified = True
        if len(opened.saved) < _LARGE:
            opened.modified = opened.has_changes
        if opened.modified != before:
            self._panel.show_files()
        if opened.timer is not None:
            opened.timer.stop()
        opened.timer = self._panel.set_timer(
            _SETTLED_SECONDS, lambda: self._start(self._settle(opened))
        )

    async def _settle(self, opened: OpenFile) -> None:
        """Once the typing pauses: whether there are changes, and a copy of them."""
        async with opened.disk:
            if opened not in self.all:
                return
            problem = ""
            if not opened.has_changes:
                await self._forget(opened)
            elif (problem := await self._keep(opened)) and problem != self._cannot_keep:
                self._say(problem)
            self._cannot_keep = problem
        self._panel.show_files()

    async def _keep(self, opened: OpenFile) -> str:
        """Keep a copy; why there is none, or nothing."""
        try:
            await asyncio.to_thread(recovery.keep, opened.file, opened.area.text)
        except CodeError as error:
            return str(error)
        return ""

    async def keep_all(self) -> list[str]:
        """Copies of all that is not saved, for the app ends; the sentences on what has none."""
        problems = []
        for opened in self.unsaved:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2), opened.disk:
                    if problem := await self._keep(opened):
                        problems.append(f"{opened.file.shown}: {problem}")
        return problems

    # ── somebody else's changes ─────────────────────────────────────────────────────

    def look(self) -> None:
        """Look whether somebody else changed a file."""
        if self.all and not self._looking:
            self._looking = True
            self._start(self._look())

    async def _look(self) -> None:
        try:
            for opened in list(self.all):
                async with opened.disk:
                    if opened in self.all:
                        await self._look_at(opened)
        finally:
            self._looking = False

    async def _look_at(self, opened: OpenFile) -> None:
        if await asyncio.to_thread(files.state, opened.file) == "same":
            opened.said = None
            return
        on_disk = await asyncio.to_thread(files.signature, opened.file.path)
        if opened.said == (on_disk or ()):
            return  # it was said
        shown = opened.file.shown
        try:
            file = await asyncio.to_thread(files.open_file, opened.file.path)
        except CodeError as error:
            opened.said = on_disk or ()
            self._say(f"{error} Your text is as it was.")
            return
        if file.signature is None:
            opened.said = ()
            self._say(f"{shown} was deleted on the disk; your text is as it was.")
        elif file.text == opened.saved:
            opened.file = file  # it was only touched
        elif opened.has_changes:
            opened.said = on_disk or ()
            self._say(f"{shown} was changed on the disk; your text is as it was.")
        else:  # the disk's text in the place of ours, which was the old one; it can be undone
            opened.file, opened.saved, opened.consent = file, file.text, None
            opened.area.rewrite(file.text)
            self._say(f"{shown} was changed on the disk and read again.", "information")

    # ── ─────────────────────────────────────────────────────────────────────────────

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._panel.run_worker(work, exit_on_error=False)

    def _say(self, sentence: str, severity: Any = "warning") -> None:
        self._panel.app.notify(sentence, severity=severity, markup=False)
