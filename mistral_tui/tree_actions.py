"""The app's actions on the conversation's tree: they act on the chosen message."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mistral_tui.actions import key_of
from mistral_tui.reading import Reading

if TYPE_CHECKING:
    from mistral_tui.history.schema import Message
    from mistral_tui.history.store import AsyncStore
    from mistral_tui.room import Conversing
    from mistral_tui.screens.history import Chosen
    from mistral_tui.widgets.prompt import Prompt


class TreeActions(Reading):
    """What the app can do with messages that are there."""

    session: Conversing
    store: AsyncStore
    prompt: Prompt

    def __init__(self) -> None:
        super().__init__()
        self.editing: Message | None = None
        self._set_aside = ""  # what was in the prompt before

    def _chosen(self, *roles: str) -> Message | None:
        """The message under the cursor, else the last one of these roles."""
        messages = self.session.messages
        for message in messages:
            if str(message.id) == self.transcript.message:
                return message if message.role in roles else None
        return next((m for m in reversed(messages) if m.role in roles), None)

    def action_edit_message(self) -> None:
        """Bring the chosen message, else the user's last one, into the prompt."""
        role = ("user", "assistant") if self.transcript.cursor else ("user",)
        on_call = self.transcript.cursor.startswith("call-")
        message = self._result_under_cursor() if on_call else self._chosen(*role)
        if message is None:
            what = "result" if on_call else "message"
            self.notify(f"There is no {what} to edit yet.", markup=False)
            return
        if self.editing is None:
            self._set_aside = self.prompt.full_text
        self.editing = message
        self.prompt.put(message.text)
        send, leave = key_of("send"), key_of("stop")
        sends = f"Editing an earlier message: {send} sends it anew"
        keeps = f"Editing an answer: {send} keeps it beside the old one"
        redoes = f"Editing the result of a call: {send} has it answered anew"
        what = {"user": sends, "tool": redoes}.get(message.role, keeps)
        self.prompt.border_title = f"{what}, {leave} leaves it as it was"
        self.prompt.focus()

    def _result_under_cursor(self) -> Message | None:
        """What came of the call that the cursor is on."""
        from mistral_tui import call_states

        cursor = self.transcript.cursor
        for state in call_states.states(self.session.messages):
            if cursor == f"call-{state.message_id}-{state.number}":
                known = (m for m in self.session.messages if m.role == "tool")
                return next((m for m in known if m.call_id == state.call.id), None)
        return None

    def leave_editing(self) -> bool:
        """Give the prompt its own text back; False if nothing was edited."""
        if self.editing is None:
            return False
        self.editing = None
        self.prompt.border_title = ""
        self.prompt.put(self._set_aside)
        self._set_aside = ""
        return True

    async def send_edited(self, message: Message, text: str) -> None:
        """The edited text in the place of the message."""
        if text != message.text or message.role != "assistant":
            await self.session.edit(message.id, text)

    def action_history(self) -> None:
        """All conversations."""
        from mistral_tui.screens.history import HistoryScreen

        def opened(chosen: Chosen | None) -> None:
            if chosen is not None:
                self.leave_editing()
                self.start(self._open_at(chosen))

        current = self.session.conversation
        self.push_screen(HistoryScreen(self.store, current.id if current else ""), opened)

    async def _open_at(self, chosen: Chosen) -> None:
        """What is typed stays with the conversation that is left; the other's comes back."""
        await self.session.keep_draft(self.prompt.draft)
        await self.session.open_at(chosen.conversation_id, chosen.message_id)
        if self.session.conversation is not None:
            self.prompt.restore(await self.store.get_draft(chosen.conversation_id))
            self.prompt.queue.hold()

    def action_settings(self) -> None:
        """The settings of this conversation."""
        from mistral_tui.config.layers import ConversationSettings
        from mistral_tui.screens.settings import SettingsScreen

        tuning = self.session.tuning

        def changed(new: ConversationSettings | None) -> None:
            if new is not None:
                self.start(self.session.change_settings(new))

        now = tuning.now(self.session.card)
        self.push_screen(SettingsScreen(tuning.own, now, tuning.config.presets), changed)

    def action_models(self) -> None:
        """Another model."""
        from mistral_tui.screens.models import ModelsScreen

        def chosen(path: str | None) -> None:
            if path:
                self.start(self.session.switch(path))

        card = self.session.card
        self.push_screen(ModelsScreen(card.path if card else ""), chosen)

    def action_unload(self) -> None:
        """Give the model's memory back."""
        self.start(self.session.unload())

    def action_regenerate(self) -> None:
        """Have the chosen answer, else the last one, given again."""
        reply = self._chosen("assistant")
        self.start(self.session.regenerate(reply.id if reply else None))

    def action_go_on(self) -> None:
        """Go on with the last answer."""
        self.start(self.session.go_on())

    def action_previous_version(self) -> None:
        """The version before."""
        self.start(self._walk(-1))

    def action_next_version(self) -> None:
        """The version after."""
        self.start(self._walk(1))

    async def _walk(self, step: int) -> None:
        siblings = self.session.siblings
        several = [m.id for m in self.session.messages if siblings.get(m.id, _One).count > 1]
        result = self._result_under_cursor()
        here = str(result.id) if result is not None else self.transcript.message
        chosen = [key for key in several if str(key) == here]
        target = chosen or several[-1:]
        if not target:
            self.notify("No message here has another version.", markup=False)
        elif not await self.session.walk(target[0], step):
            self.notify("There is no further version on this side.", markup=False)

    def action_delete_turn(self) -> None:
        """Delete the chosen message with what follows it."""
        if message := self._under_cursor():
            self.start(self._delete(message.id))

    async def _delete(self, message_id: int) -> None:
        await self.session.delete(message_id)
        self.notify(f"Deleted; {key_of('undo_delete')} brings it back.", markup=False)

    def action_undo_delete(self) -> None:
        """Bring back what was deleted last."""
        self.start(self._undo())

    async def _undo(self) -> None:
        if not await self.session.undo():
            self.notify("Nothing was deleted here.", markup=False)

    def action_drop_turn(self) -> None:
        """Leave the chosen turn out of the context, or take it in again."""
        if message := self._under_cursor():
            self.start(self.session.toggle_dropped(message.id))

    def action_pin_turn(self) -> None:
        """Keep the chosen turn in the context, or not any more."""
        if message := self._under_cursor():
            self.start(self.session.toggle_pinned(message.id))

    def _under_cursor(self) -> Message | None:
        if not self.transcript.cursor:
            above, below = key_of("message_above"), key_of("message_below")
            said = f"Choose a message first: {above} and {below} in the conversation."
            self.notify(said, markup=False)
            return None
        return self._chosen("user", "assistant")

    def ask_for_room(self, tokens: int, context: int) -> None:
        """The context is full: the user chooses what to do."""
        from mistral_tui.screens.room import RoomScreen

        def chosen(what: str | None) -> None:
            if what == "drop":
                self.start(self.session.drop_oldest())
            elif what == "summary":
                self.start(self.session.begin_from_summary())
            else:
                self.start(self.session.take_back())

        self.push_screen(RoomScreen(tokens, context), chosen)

    def action_copy_branch(self) -> None:
        """The branch in view as a conversation of its own."""
        chosen = self.transcript.message
        self.start(self.session.copy_branch(int(chosen) if chosen.isdecimal() else None))

    def action_help(self) -> None:
        """Keys, and what is running."""
        from mistral_tui import paths
        from mistral_tui.screens.help import HelpScreen

        facts = [("Log", str(paths.log_dir() / "engine.log"))]
        facts.append(("Saved in", str(paths.database_path())))
        if self.begun and (card := self.session.card):
            facts = [
                ("Model", card.path),
                ("Tokenizer", card.tokenizer),
                (
                    "Runs on",
                    f"{card.device}, {card.dtype}, {card.attention}; {card.threads} CPU threads"
                    + (f"; {card.ranks} ranks, {card.parallel}" if card.ranks > 1 else ""),
                ),
                *([("Adapter", card.adapter)] if card.adapter else []),
                *(("Note", note) for note in card.notes),
                *facts,
            ]
        self.push_screen(HelpScreen(facts))

    def action_replay(self) -> None:
        """Compute the chosen answer again and compare."""
        reply = self._chosen("assistant")
        self.start(self.session.replay(reply.id if reply else None))


class _One:
    count = 1
