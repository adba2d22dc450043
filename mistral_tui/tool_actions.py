"""The app's actions on tool calls: the line that asks, and what is answered there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mistral_tui.actions import key_of
from mistral_tui.tree_actions import TreeActions

if TYPE_CHECKING:
    from mistral_tui.config.setting import Value
    from mistral_tui.happenings import Waiting
    from mistral_tui.screens.write import WriteScreen
    from mistral_tui.tools.consent import By
    from mistral_tui.widgets.consent import ConsentBar


class ToolActions(TreeActions):
    """What the app can do with tools."""

    _consent: ConsentBar | None = None
    _writing: WriteScreen | None = None

    @property
    def tools_enabled(self) -> int:
        """How many tools the model may call now."""
        card = self.session.card
        able = card is not None and "tools" in card.capabilities
        return len(self.session.tuning.tools) if able else 0

    def show_waiting(self, calls: tuple[Waiting, ...]) -> None:
        """Ask about these calls, or about none any more."""
        bar = self._consent
        if not calls:
            if bar is not None:
                self._consent = None
                if self.screen_stack[0].focused in (bar, None):
                    self.screen_stack[0].set_focus(self.prompt)  # at once
                bar.remove()
            return
        from mistral_tui.widgets.consent import ConsentBar

        if bar is None:
            bar = self._consent = ConsentBar(calls)
            self.screen_stack[0].mount(bar, after="#view")
            self.call_after_refresh(self._focus_consent)
        else:
            bar.show(calls)
        self.transcript.follow()

    def _focus_consent(self) -> None:
        """Who is writing, or reading, or in another screen, is not interrupted."""
        bar, focused = self._consent, self.screen_stack[0].focused
        idle = focused is None or focused is self.prompt
        if bar is not None and idle and not self.prompt.text and len(self.screen_stack) == 1:
            bar.focus()

    def to_consent(self) -> bool:
        """From the prompt to the line that asks, if there is one."""
        if self._consent is None or not self.prompt.has_focus:
            return False
        self._consent.focus()
        return True

    def on_consent_bar_typed(self, event: ConsentBar.Typed) -> None:
        """It was meant for the prompt."""
        self.prompt.focus()
        self.prompt.insert(event.text)

    def on_consent_bar_decided(self, event: ConsentBar.Decided) -> None:
        """The user decided on a call."""
        waiting = event.waiting
        name = waiting.call.name
        match event.what:
            case "once":
                self.start(self._run_call(waiting, "once"))
            case "here":
                self.start(self._run_call(waiting, "conversation"))
            case "always":
                self.start(self._run_call(waiting, "always"))
            case "edit":
                about = "The arguments that the tool is given; the model is told of the change."
                self._write(f"Arguments of {name}", about, waiting, "edit")
            case "by_hand":
                about = "The result that the model gets, in the place of the tool."
                self._write(f"Result of {name}", about, waiting, "by_hand")
            case "deny":
                about = "Why not? The model is told. It may be left empty."
                self._write(f"Deny {name}", about, waiting, "deny")
            case _:
                self.prompt.focus()

    def _write(self, title: str, about: str, waiting: Waiting, what: str) -> None:
        from mistral_tui.screens.write import WriteScreen
        from mistral_tui.tools.errors import ToolError
        from mistral_tui.widgets.areas import escaped
        from mistral_tui.widgets.call_entry import MOST_ARGUMENTS, pretty

        def check(text: str) -> str:
            tool = self.session.toolbox.find(waiting.call.name)
            if what == "edit" and tool is not None:
                try:
                    self.session.toolbox.check(tool, text)
                except ToolError as error:
                    return str(error)
            return "The result is empty." if what == "by_hand" and not text.strip() else ""

        def written(text: str | None) -> None:
            self._writing = None
            if text is None:
                return
            if what == "edit":
                self.start(self._run_call(waiting, "once", text))
            else:
                self.start(self._answer_by_hand(waiting, what, text))

        text = escaped(waiting.call.arguments) if what == "edit" else ""
        text = pretty(text) if len(text) <= MOST_ARGUMENTS else text  # which would cut it
        self._writing = WriteScreen(title, about, text, check, json=what == "edit")
        self.push_screen(self._writing, written)

    @property
    def draft(self) -> str:
        """All that is typed and not sent, also for a call."""
        words = self._writing.words if self._writing is not None else ""
        return "\n\n".join(part for part in (self.prompt.draft, words) if part)

    async def _run_call(self, waiting: Waiting, by: By, arguments: str | None = None) -> None:
        ran = False
        try:
            ran = await self.session.run_call(waiting, by, arguments)
        finally:
            if not ran:
                self._give_back(arguments or "")

    async def _answer_by_hand(self, waiting: Waiting, what: str, text: str) -> None:
        session = self.session
        answer = session.answer_call if what == "by_hand" else session.deny_call
        if not await answer(waiting, text):
            self._give_back(text)

    def _give_back(self, text: str) -> None:
        """What was written for a call that could not take it is not lost."""
        if text.strip():
            self.prompt.recallable(text)
            self.notify(f"{key_of('earlier')} in the prompt recalls what you wrote.", markup=False)

    def action_tools(self) -> None:
        """What the model may call."""
        from mistral_tui.screens.tools import ToolsScreen

        def changed(values: dict[str, Value | None] | None) -> None:
            if values:
                self.start(self._change_tools(values))

        self.push_screen(ToolsScreen(self.session), changed)

    async def _change_tools(self, values: dict[str, Value | None]) -> None:
        new = self.session.tuning.own
        for key, value in values.items():
            new = new.with_value(key, value)
        await self.session.change_settings(new)
        card = self.session.card
        if values.get("tools") and card is not None and "tools" not in card.capabilities:
            self.notify(
                "This model cannot call tools: its tokenizer has no tool tokens. "
                f"{key_of('models')} switches to another.",
                markup=False,
            )
