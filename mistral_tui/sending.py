"""What becomes of what is sent: a command is run, a message is said or waits for its turn."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_tui import attach, slash
from mistral_tui.actions import key_of

if TYPE_CHECKING:
    from mistral_tui.app import ChatApp
    from mistral_tui.history.schema import Message


class Sender:
    """Between the prompt with its queue and the session."""

    def __init__(self, app: ChatApp) -> None:
        self._app = app
        self._sending = False  # sent, but the session has not yet begun with it

    @property
    def busy(self) -> bool:
        """Whether a message has to wait for its turn."""
        session = self._app.session
        return self._sending or session.answering or session.waiting or session.deciding

    def command(self, text: str) -> bool:
        """Run the command that `text` is; False if it is a message."""
        app, command = self._app, slash.parse(text)
        if command is None:
            return False
        action = slash.check(command, app.prompt.arguments)
        if isinstance(action, str):
            app.notify(action, severity="warning", markup=False)
            return True
        app.prompt.take(text)
        given = f"({command.argument!r})" if command.argument else ""
        app.call_later(app.run_action, action.id + given)
        return True

    def message(self, text: str) -> None:
        """Say it, or queue it while the model answers."""
        app = self._app
        if app.session.waiting and app.session.engine != "loading":
            app.notify(
                f"Your message waits for the model; {key_of('restart')} starts it, "
                f"{key_of('stop')} takes it back.",
                markup=False,
            )
            return
        app.prompt.take(text)
        if (edited := app.editing) is not None:
            app.leave_editing()
            self._say_soon(text, edited=edited)
        elif self.busy and not app.session.deciding:  # then it is said in place of the calls
            app.prompt.queue.add(text)
        else:
            self._say_soon(text)

    def next(self) -> None:
        """Say what comes next in the queue, if anything may be said now."""
        if not self.busy and (text := self._app.prompt.queue.next()) is not None:
            self._say_soon(text, queued=True)

    def ended(self, status: str) -> None:
        """An answer ended. Only a good end lets the queue go on by itself: what was written with
        another answer in mind shall not go out behind the user's back."""
        if status in ("complete", "length"):
            self.next()  # unless calls wait
        else:
            self._app.prompt.queue.hold()

    def settled(self, stopped: bool) -> None:
        """Nothing is under way any more, neither an answer nor a call."""
        if stopped:
            self._app.prompt.queue.hold()
        else:
            self.next()

    def stop(self) -> None:
        """Leave editing; else stop the answer; else take back what waits for the model; else
        end the search; else drop what is queued."""
        app, queue = self._app, self._app.prompt.queue
        if app.leave_editing():
            pass
        elif app.session.answering:
            queue.hold()
            app.session.cancel()
        elif app.session.waiting:
            queue.hold()
            app.start(app.session.take_back())
        elif app.end_finding():
            return
        elif not app.prompt.text and (dropped := queue.last()) is not None:
            app.prompt.recallable(dropped)
        if app.transcript.cursor:
            app.transcript.choose("")
        app.prompt.focus()

    def give_back(self, text: str) -> None:
        """What was not answered, or not even saved, returns to the prompt."""
        prompt = self._app.prompt
        prompt.queue.hold()
        if not prompt.text:
            prompt.put(text)
        else:
            self._app.notify(
                f"Your message was taken back; {key_of('earlier')} in the prompt recalls it.",
                markup=False,
            )

    def _say_soon(self, text: str, *, queued: bool = False, edited: Message | None = None) -> None:
        self._sending = True
        self._app.start(self._say(text, queued, edited))

    async def _say(self, text: str, queued: bool, edited: Message | None) -> None:
        from mistral_tui.backstage import TROUBLES  # there by now

        app = self._app
        back = app.prompt.queue.put_back if queued else self.give_back
        written, unfold = slash.literal(text), app.prompt.pastes.unfold
        try:
            if attach.mentions(written):
                expanded = await asyncio.to_thread(attach.expand, written, Path.cwd(), unfold)
            else:
                expanded = attach.Expanded(unfold(written))
        finally:
            self._sending = False
        if expanded.problems:
            for problem in expanded.problems:
                app.notify(problem, severity="warning", markup=False)
            back(text)
            return
        try:
            if edited is not None:
                await app.send_edited(edited, expanded.text)
            else:
                await app.session.say(expanded.text)
        except TROUBLES:
            back(text)
            raise
