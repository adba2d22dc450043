"""The app's actions for reading: finding text, saving a block, the pager, links."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_tui.actions import key_of
from mistral_tui.sanitize import one_line
from mistral_tui.token_actions import TokenActions

if TYPE_CHECKING:  # the first paint does not wait for them
    from mistral_tui.widgets.bar import Bar
    from mistral_tui.widgets.transcript import Chosen, Transcript

_SUFFIXES = {"python": "py", "py": "py", "javascript": "js", "typescript": "ts", "rust": "rs"} | {
    "bash": "sh", "shell": "sh", "sh": "sh", "c++": "cpp", "cpp": "cpp", "csharp": "cs",
    "markdown": "md", "yaml": "yaml", "ruby": "rb", "kotlin": "kt", "haskell": "hs",
    "text": "txt", "perl": "pl", "tex": "tex", "latex": "tex", "diff": "patch",
}  # fmt: skip


class Reading(TokenActions):
    """What the app can do with what the cursor is on."""

    _bar: Bar | None = None
    _finding = False  # what the bar asks for
    _saving: Chosen | None = None
    _over: str = ""  # the file that is written over if Enter is pressed once more

    # ── finding ─────────────────────────────────────────────────────────────────────

    def on_transcript_find_asked(self) -> None:
        """The line in which to type what is looked for."""
        from mistral_tui.widgets.bar import FindBar

        if self._finding and self._bar is not None:
            self._bar.field.focus()
        else:
            self._finding = True
            self.start(self._show_bar(FindBar("Find", self.transcript.finding)))

    def on_transcript_found(self, event: Transcript.Found) -> None:
        """How many hits there are."""
        if self._finding and self._bar is not None and self._bar.is_mounted:
            typed = self._bar.field.value.strip()
            none = "nothing found" if typed else ""
            self._bar.say(f"{event.number:,} of {event.total:,}" if event.total else none)

    def on_bar_typed(self, event: Bar.Typed) -> None:
        if self._finding and event.bar is self._bar:
            self.transcript.find(event.text)

    def on_bar_done(self, event: Bar.Done) -> None:
        if not self._finding:
            self.start(self._save(event.text))
        elif event.text.strip():
            self.transcript.focus()
        else:
            self.on_bar_left()

    def on_bar_left(self) -> None:
        """Nothing is looked for or saved any more."""
        if not self.end_finding():
            self._hide_bar()
        self.transcript.focus()

    def end_finding(self) -> bool:
        """Take the marks and the line away; False if there are none."""
        if not self._finding:
            return False
        self._finding = False
        self.transcript.find("")
        self._hide_bar()
        return True

    async def _show_bar(self, bar: Bar) -> None:
        if self._bar is not None:
            await self._bar.remove()
        self._bar = bar
        await self.screen_stack[0].mount(bar, after="#view")

    def _hide_bar(self) -> None:
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.remove()

    # ── a block, a message ──────────────────────────────────────────────────────────

    def _chosen_or_last(self) -> Chosen | None:
        """What the cursor is on; else the last answer, which is chosen then."""
        if self.transcript.chosen is None:
            key = self._copier.last_answer()
            if not key:
                self.notify("There is no message yet.", markup=False)
                return None
            self.transcript.choose(key)
        return self.transcript.chosen

    def action_yank(self) -> None:
        """Copy what is selected, else what the cursor is on, else the last answer."""
        chosen = self.transcript.chosen
        if selected := self.screen.get_selected_text():
            self.copy_to_clipboard(selected)
        elif chosen is not None:
            what = "the code block" if chosen.code else "the message"
            self.start(self._copier.copy(chosen.text, what))
        else:
            self.action_copy_answer()

    def action_pager(self) -> None:
        """Read it in $PAGER."""
        from mistral_tui import editor

        if (chosen := self._chosen_or_last()) is not None:
            self.start(editor.page(self, chosen.text))

    def action_links(self) -> None:
        """Its links."""
        from mistral_tui import links
        from mistral_tui.screens.links import LinksScreen

        if (chosen := self._chosen_or_last()) is None:
            return
        if found := links.find(chosen.text):
            self.push_screen(LinksScreen(found))
        else:
            self.notify("There is no link in this message.", markup=False)

    def action_save_block(self) -> None:
        """Save it to a file: ask for its name."""
        from mistral_tui.widgets.bar import SaveBar

        if (chosen := self._chosen_or_last()) is not None:
            self.end_finding()
            self._saving, self._over = chosen, ""
            name = _free_name(chosen)
            self.start(
                self._show_bar(
                    SaveBar(
                        "Save to",
                        name,
                        f"{key_of('save.keep')} saves, {key_of('save.leave')} leaves",
                    )
                )
            )

    async def _save(self, typed: str) -> None:
        from mistral_tui.config.user_files import FileProblem, write_new, write_text

        chosen, bar = self._saving, self._bar
        if chosen is None or bar is None or not typed.strip():
            return
        path = Path(typed.strip()).expanduser().absolute()
        shown = one_line(str(path), 200)
        text = chosen.text.rstrip("\n") + "\n"
        over = self._over == str(path)
        try:
            if path.is_dir():
                raise FileProblem("This is a folder: name a file in it.")
            if not path.parent.is_dir():
                raise FileProblem(f"There is no folder {one_line(str(path.parent), 120)}.")
            if path.exists() and not over:
                self._over = str(path)
                raise FileProblem(
                    f"The file is there already: {key_of('save.keep')} writes over it."
                )
            await asyncio.to_thread(write_text if over else write_new, path, shown, text)
        except (FileProblem, OSError) as error:
            bar.say(str(error))
            return
        self._saving = None
        self._hide_bar()
        self.transcript.focus()
        self.notify(f"Saved to {shown}", markup=False)


def _free_name(chosen: Chosen) -> str:
    """A name that no file has yet, with the suffix of the language."""
    language = chosen.language.lower()
    suffix = _SUFFIXES.get(language, language) if chosen.code else "md"
    if not re.fullmatch(r"[a-z0-9]{1,8}", suffix):
        suffix = "txt"
    stem = "code" if chosen.code else "message"
    names = (f"{stem}{number or ''}.{suffix}" for number in range(1000))
    return next((name for name in names if not Path(name).exists()), f"{stem}.{suffix}")
