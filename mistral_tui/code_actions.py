"""The app's actions on code: the panel, and what goes between it and the conversation."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Literal

from mistral_tui.actions import key_of
from mistral_tui.sanitize import one_line, sanitize
from mistral_tui.tool_actions import ToolActions

if TYPE_CHECKING:  # the first paint does not wait for them
    from inference.api import ModelCard
    from mistral_tui.code.asking import FimSettings
    from mistral_tui.engine_client import EngineClient
    from mistral_tui.happenings import Waiting
    from mistral_tui.widgets.code.panel import CodePanel
    from mistral_tui.widgets.transcript import Chosen

View = Literal["talk", "both", "code"]


class CodeActions(ToolActions):
    """What the app can do with code."""

    client: EngineClient
    panel: CodePanel | None = None
    _backstage: ModuleType
    _able: str = ""  # models on this machine that can fill in the middle
    _auto: bool | None = None  # as the user has switched it

    def action_stop(self) -> None:
        """Stop the answer."""
        raise NotImplementedError

    # ── what completion asks of us (`completing.Model`) ─────────────────────────────

    @property
    def card(self) -> ModelCard | None:
        """The loaded model."""
        return self.session.card

    @property
    def trouble(self) -> str:
        """Why code cannot be completed now; empty: it can."""
        session = self.session
        if session.engine == "loading":
            return "The model is being loaded."
        if session.engine != "ready" or session.card is None:
            return f"{session.trouble or 'No model is loaded.'} {key_of('restart')} loads it."
        if "fim" not in session.card.capabilities:
            name = one_line(session.card.name, 40)
            others = self._able or f"Codestral can. {key_of('models')} switches the model."
            return f"{name} has no tokens to fill in the middle; {others}"
        return "The model is answering." if session.answering else ""

    def fim_settings(self) -> FimSettings:
        """How code is completed now."""
        from dataclasses import replace

        from mistral_tui.code.asking import FimSettings

        now = self.session.tuning.now(self.session.card)
        settings = FimSettings.of({key: effective.value for key, effective in now.items()})
        return settings if self._auto is None else replace(settings, auto=self._auto)

    async def _look_for_able(self) -> None:
        from mistral_tui import catalog

        found = await asyncio.to_thread(catalog.find, catalog.places())
        names = [one_line(model.name, 40) for model in found if "fim" in model.capabilities]
        if names:
            some = ", ".join(names[:3])
            self._able = f"on this machine {some} can. {key_of('models')} switches the model."

    # ── the panel ───────────────────────────────────────────────────────────────────

    def view(self, what: View) -> None:
        """Show the conversation, the code, or both."""
        work = self.screen_stack[0].query_one("#work")
        for name in ("talk", "both", "code"):
            work.set_class(name == what, name)

    @property
    def viewed(self) -> View:
        """What is shown."""
        work = self.screen_stack[0].query_one("#work")
        return "code" if work.has_class("code") else "both" if work.has_class("both") else "talk"

    async def _the_panel(self) -> CodePanel:
        if self.panel is None:
            from mistral_tui.widgets.code.panel import CodePanel

            self.panel = CodePanel(self, self.fim_settings)
            await self.screen_stack[0].query_one("#work").mount(self.panel, before=0)
            card = self.session.card
            if card is None or "fim" not in card.capabilities:
                self.start(self._look_for_able())
        if self.viewed == "talk":
            self.view("both")
        return self.panel

    def action_code(self) -> None:
        """To the code, opening the panel; from there to the prompt."""
        panel = self.panel
        if panel is None or panel.current is None:
            self.action_open_file()
        elif self.viewed == "talk" or not panel.has_focus_within:
            if self.viewed == "talk":
                self.view("both")
            panel.focus_code()
        else:
            if self.viewed == "code":
                self.view("both")
            self.prompt.focus()

    def action_wide_code(self) -> None:
        """Code and conversation, the code alone, the conversation alone."""
        if self.panel is None:
            self.action_code()
            return
        order: tuple[View, ...] = ("both", "code", "talk")
        what = order[(order.index(self.viewed) + 1) % 3]
        self.view(what)
        if what == "code":
            self.panel.focus_code()
        elif what == "talk":
            self.prompt.focus()

    def action_auto_complete(self) -> None:
        """Complete after a pause in typing, or on a key only."""
        self._auto = not self.fim_settings().auto
        how = "after a pause in typing" if self._auto else f"on {key_of('code.complete')} only"
        self.notify(f"Code is completed {how}.", markup=False)

    def action_open_file(self) -> None:
        """Open a file in the panel."""
        self._ask_for_file()

    def _ask_for_file(self, then: Callable[[], None] = lambda: None) -> None:
        """Have a file chosen and opened; `then` goes on with it."""
        from mistral_tui.screens.files import OpenFileScreen

        def chosen(path: str | None) -> None:
            if path is not None:
                self.start(self._open(path, then))

        cwd = Path.cwd()
        there = [opened.file.path for opened in self.panel.files.all] if self.panel else []
        names = [str(p.relative_to(cwd) if p.is_relative_to(cwd) else p) for p in there]
        self.push_screen(OpenFileScreen(cwd, names), chosen)

    async def _open(self, path: str, then: Callable[[], None]) -> None:
        await self.open_files((path,))
        if self.panel is not None and self.panel.current is not None:
            then()

    async def open_files(self, paths: tuple[str, ...]) -> None:
        """Open the panel with these files; the first one is in view."""
        panel = await self._the_panel()
        opened = []
        for path in paths:
            try:
                opened.append(await panel.files.open(Path(path)))
            except self._backstage.TROUBLES as error:
                self.notify(str(error), severity="warning", markup=False, timeout=10)
        if opened:
            panel.files.show(opened[0])
            panel.focus_code()

    def on_code_panel_emptied(self) -> None:
        """The last file was closed."""
        self.view("talk")
        self.prompt.focus()

    def on_code_panel_left(self) -> None:
        """Esc in the code, where it was of no use: it stops an answer."""
        if self.session.answering:
            self.action_stop()

    def show_waiting(self, calls: tuple[Waiting, ...]) -> None:
        if calls and self.viewed == "code":
            self.view("both")  # where they are asked about
        super().show_waiting(calls)

    # ── between code and conversation ───────────────────────────────────────────────

    def on_code_panel_quoted(self, event: CodePanel.Quoted) -> None:
        """Lines of the code go into the prompt."""
        from mistral_tui.code.quoting import quoted, said

        if self.viewed == "code":
            self.view("both")
        text = quoted(event.shown, event.lines, event.text)
        self.prompt.quote(text, f"{Path(event.shown).name} {said(event.lines)}")

    def _block(self) -> Chosen | None:
        """The chosen code block, else the last one of the chosen message or the last answer."""
        chosen = self._chosen_or_last()
        running = self.session.running_message_id
        if chosen is not None and chosen.key == str(running):
            self.notify("This answer is still being written.", markup=False)
            return None
        if chosen is None or chosen.code:
            return chosen
        blocks = self.transcript.code_blocks(chosen.key)
        if not blocks:
            self.notify("There is no code block in this message.", markup=False)
            return None
        self.transcript.choose(chosen.key, len(blocks) - 1)
        return self.transcript.chosen

    def action_insert_block(self) -> None:
        """The chosen code block at the cursor of the code."""
        if (block := self._block()) is None:
            return
        if self.panel is None or self.panel.current is None:
            self._ask_for_file(lambda: self._insert(block))
        else:
            self._insert(block)

    def _insert(self, block: Chosen) -> None:
        assert self.panel is not None
        area = self.panel.area
        assert area is not None
        if self.viewed == "talk":
            self.view("both")
        row, column = min(area.selection)
        before = area.document.get_line(row)[:column]
        text = block.text
        if before.strip() == "":  # the block's own lines keep their indentation to each other
            first, newline, rest = textwrap.dedent(text).partition("\n")
            text = first + newline + textwrap.indent(rest, before)
        area.put(text)
        self.panel.focus_code()

    def action_apply_block(self) -> None:
        """The chosen code block applied to the file in view, after a look at the change."""
        if (block := self._block()) is None:
            return
        if self.panel is None or self.panel.current is None:
            self._ask_for_file(lambda: self.start(self._apply(block)))
        else:
            self.start(self._apply(block))

    async def _apply(self, block: Chosen) -> None:
        from mistral_tui.code.applying import Applied, apply
        from mistral_tui.code.errors import CodeError
        from mistral_tui.code.quoting import in_own_words
        from mistral_tui.screens.diff import DiffScreen

        opened = self.panel.current if self.panel is not None else None
        if opened is None:
            return
        old = opened.area.text
        near = self._asked_lines(block.key, opened.file.shown)
        language = block.language or opened.language

        def work() -> Applied:
            return apply(old, in_own_words(block.text, old), language, near)

        try:
            applied = await asyncio.to_thread(work)
        except CodeError as error:
            self.notify(str(error), severity="warning", markup=False)
            return
        if applied.text == old:
            self.notify("The file has this already.", markup=False)
            return

        def decided(text: str | None) -> None:
            if text is None or self.panel is None or opened not in self.panel.files.all:
                return
            if opened.area.text != old:
                self.notify("The file was changed meanwhile; apply it again.", markup=False)
                return
            opened.area.rewrite(text)
            if self.viewed == "talk":
                self.view("both")
            self.panel.focus_code()
            self.notify(
                f"Applied to {opened.file.shown}; {key_of('code.save')} saves it.", markup=False
            )

        self.push_screen(DiffScreen(opened.file.shown, old, applied.text, applied.how), decided)

    def _asked_lines(self, key: str, shown: str) -> tuple[int, int] | None:
        """The lines of a file that the answer was asked about."""
        from mistral_tui.code.quoting import lines_of

        before = []
        for message in self.session.messages:
            if str(message.id) == key:
                break
            before.append(message)
        users = [message for message in before if message.role == "user"]
        return lines_of(users[-1].text, shown) if users else None

    # ── the end ─────────────────────────────────────────────────────────────────────

    async def may_leave(self) -> bool:
        """Whether nothing of the code is lost by leaving; asks, where it would be."""
        if self.panel is None:
            return True
        if (area := self.panel.area) is not None:  # it may not have taken the last keys yet
            taken = asyncio.Event()
            area.call_later(taken.set)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(taken.wait(), 1)
        if not (unsaved := self.panel.files.unsaved):
            return True
        from mistral_tui.screens.unsaved import UnsavedScreen

        if isinstance(self.screen, UnsavedScreen):
            return False  # it is being asked

        screen = UnsavedScreen([opened.file.shown for opened in unsaved], "leave")
        match await self.push_screen_wait(screen):
            case "save":
                done = [await self.panel.files.save(opened) for opened in unsaved]
                return all(done) and not self.panel.files.unsaved
            case "drop":
                for opened in unsaved:
                    await self.panel.files.forget(opened)
                return not self.panel.files.unsaved
        return False

    async def keep_code(self) -> None:
        """Keep copies of what is not saved; nobody can be asked any more."""
        for problem in await self.panel.files.keep_all() if self.panel is not None else ():
            sys.stderr.write(f"mistral-tui: {sanitize(problem)}\n")
