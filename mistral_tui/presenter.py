"""What happened in the session → what the widgets show; one method, one `match`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

from textual.screen import Screen

from inference.api import ModelCard, Timings, Usage
from mistral_tui.actions import key_of
from mistral_tui.call_view import CallView, of_message, states_of
from mistral_tui.happenings import (
    CallIs,
    EngineChanged,
    Happening,
    Loading,
    Note,
    Opened,
    ReplyBegan,
    ReplyEnded,
    ReplyProgress,
    ReplyText,
    Said,
    TakenBack,
    Trouble,
    Tuned,
)
from mistral_tui.history.schema import Message, Status
from mistral_tui.history.tree import Siblings
from mistral_tui.sanitize import one_line, sanitize
from mistral_tui.widgets.call_entry import CallEntry
from mistral_tui.widgets.entry import TranscriptItem
from mistral_tui.widgets.status import StatusLine
from mistral_tui.widgets.transcript import Transcript
from mistral_tui.widgets.welcome import Welcome

_FOOTNOTES = {  # by status, or by the reason of the end where that says more
    "context_full": "cut off: the context is full",
    "cancelled": "stopped",
    "length": "cut off: the most tokens were reached",
    "failed": "broken off",
    "interrupted": "broken off",
}
_MOST = 1000  # characters of a sentence that is shown
_MOST_LINES = 4  # of a log, where there is no conversation to show more in
_SHORT_DTYPES = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}


class Presenter:
    """Draws the session's happenings on the main screen."""

    def __init__(self, screen: Screen[Any]) -> None:
        self._screen = screen
        self._transcript = screen.query_one(Transcript)
        self._status = screen.query_one(StatusLine)
        self._welcome = screen.query_one(Welcome)
        self._calls = CallView(self._transcript)
        self._card: ModelCard | None = None
        self._first_token = 0.0
        self._reading_since = 0.0
        self._talking(False)

    def show(self, event: Happening) -> None:
        """One place for each event."""
        match event:
            case Opened():
                self._show_conversation(event)
            case Said():
                self._talking(True)
                self._transcript.add(_key(event.message), "user", event.message.text, title="you")
                self._transcript.follow()
            case TakenBack():
                for message_id in event.message_ids:
                    self._transcript.discard_if_there(str(message_id))
                self._talking(bool(self._transcript.keys))
            case ReplyBegan():
                self._first_token = 0.0
                name = one_line(self._card.name) if self._card else ""
                title = _titled(name, event.siblings)
                key = _key(event.message)
                self._transcript.discard_if_there(key)  # one that is gone on with
                self._calls.begin(event.message.id)
                text, thinking = event.message.text, event.message.thinking
                self._transcript.add(key, "assistant", text, title=title, thinking=thinking)
                self._status.show(answering=True, tokens=0, rate=0.0, prompt=0, prefilled=0)
            case ReplyProgress():
                self._show_prefill(event)
            case ReplyText():
                self._show_text(event)
            case ReplyEnded():
                self._show_end(event)
            case CallIs():
                self._calls.show(event)
            case EngineChanged():
                self._show_engine(event)
            case Loading():
                self._status.show(stage=event.stage, done=event.done, total=event.total)
            case Tuned():
                self._tuned(time.monotonic_ns(), event.changed)
            case Note():
                self._screen.notify(one_line(event.sentence, _MOST), markup=False, timeout=8)
            case Trouble():
                self.note(event.sentence)

    def _tuned(self, key: int, changed: Iterable[str]) -> None:
        """A line in the transcript where settings changed."""
        if self._screen.has_class("talking"):
            line = one_line(", ".join(changed), _MOST)
            self._transcript.add(f"tuned-{key}", "note", line)
            self._transcript.follow()

    def note(self, sentence: str) -> None:
        """A sentence that stays: in the transcript where there is one, else as a notice."""
        sentence = one_line(sentence, _MOST)
        if self._screen.has_class("talking"):
            self._transcript.add(f"note-{time.monotonic_ns()}", "error", sentence)
            self._transcript.follow()  # wherever the user reads, this is news
        else:
            self._screen.notify(sentence, severity="error", markup=False, timeout=15)

    def no_model(self, title: str, text: str, *, wrong: bool = False) -> None:
        """What the empty screen says while there is no model; `wrong`: there should be."""
        self._welcome.show_text(title, one_line(text, _MOST), wrong=wrong)

    def _show_conversation(self, event: Opened) -> None:
        self._talking(bool(event.messages))
        name = one_line(event.conversation.model_name) if event.conversation else ""
        self._transcript.load(self._items(event, name))
        if event.focus is not None:
            self._transcript.choose(str(event.focus))
        self._status.show(used=0, rate=0.0, ttft=0.0, reused=0, answering=False)

    def _items(self, event: Opened, name: str) -> Iterator[TranscriptItem | CallEntry]:
        states = states_of(event)
        for message in event.messages:
            if message.role == "tool":
                continue  # it stands with its call
            changed = (message.settings or {}).get("changed")
            if isinstance(changed, list) and changed:  # a line from the disk may be anything
                line = one_line(", ".join(map(str, changed)), _MOST)
                yield TranscriptItem(f"tuned-{message.id}", "note", line)
            mine = message.role == "user"
            yield TranscriptItem(
                _key(message),
                "user" if mine else "assistant",
                message.text,
                _titled("you" if mine else name, event.siblings.get(message.id)) + _marks(message),
                _footnote(message.status, _reason(message)),
                dim=message.dropped,
                thinking=message.thinking,
            )
            yield from of_message(message, states)

    def _show_prefill(self, event: ReplyProgress) -> None:
        self._status.show(prefilled=event.done, prompt=event.total, reused=event.reused)
        left = event.total - event.done
        if left > 0:
            done, total = event.done - event.reused, event.total - event.reused
            if done == 0:
                self._reading_since = time.perf_counter()
            words = f"reading {done:,} of {total:,}"
            if done:
                seconds = (time.perf_counter() - self._reading_since) / done * left
                words += f", {seconds:.0f} s left" if seconds >= 2 else ""
            self._transcript.set_status(str(event.message_id), words)
        else:
            self._transcript.set_status(str(event.message_id), "…")
        self._status.show(used=event.total)

    def _show_text(self, event: ReplyText) -> None:
        now = time.perf_counter()
        key = str(event.message_id)
        if event.thinking:
            self._transcript.think(key, event.thinking)
        if event.text:
            self._transcript.append(key, event.text)
        if event.calls:
            self._calls.written(event.message_id, event.calls)
        if not self._first_token:
            self._first_token = now
        seconds = now - self._first_token
        rate = (event.tokens - 1) / seconds if seconds > 0.2 else 0.0
        used = self._status.status.prompt + event.tokens
        self._status.show(tokens=event.tokens, rate=rate, used=used)

    def _show_end(self, event: ReplyEnded) -> None:
        key = str(event.message_id)
        if event.kept:
            self._transcript.finish(key, _footnote(event.status, event.reason, event.saved))
        else:
            self._transcript.discard(key)
        self._calls.ended(event.message_id, event.status != "complete")
        self._show_figures(event.usage, event.timings)

    def _show_figures(self, usage: Usage | None, timings: Timings | None) -> None:
        self._status.show(answering=False)
        if usage and timings:
            self._status.show(
                rate=timings.decode_tokens_per_s,
                ttft=timings.ttft_s,
                prompt=usage.prompt_tokens,
                reused=usage.reused_tokens,
                cache=usage.cache_nbytes,
                used=usage.prompt_tokens + usage.completion_tokens,
            )

    def _show_engine(self, event: EngineChanged) -> None:
        self._status.show(engine=event.state, stage="", done=0, total=0, silent=0.0)
        match event.state:
            case "loading":
                self.no_model("Loading the model", "You can write already.")
            case "ready":
                if event.card is not None:
                    self._show_card(event.card)
            case "off":
                self.no_model("The model is unloaded", f"{key_of('restart')} loads it again.")
            case "failed":
                self.no_model("The model cannot be used", event.sentence, wrong=True)
                if self._screen.has_class("talking"):
                    self.note(event.sentence)
            case "lost" if event.final:
                self._leave(event)
            case "lost":
                ending = f"Nothing of the conversation is lost. {key_of('restart')} restarts it."
                end = "\n".join(event.detail.splitlines()[-_MOST_LINES:])
                said = f"{event.sentence} {ending}\n\n{end}".rstrip()
                self.no_model("The engine stopped", said, wrong=True)
                self.note(f"{event.sentence} {ending}")
                self._quote(event.detail)

    def _quote(self, detail: str) -> None:
        """What a log says, below what went wrong."""
        if detail and self._screen.has_class("talking"):
            self._transcript.add(f"note-{time.monotonic_ns()}", "note", sanitize(detail))

    def _leave(self, event: EngineChanged) -> None:
        """Without its engine, and with no way to start it again, the app is over."""
        if self._screen.app.return_code is not None:
            return  # it is over for another reason, which has been said
        said = f"mistral-tui: {event.sentence}\n{event.detail}".rstrip()
        kept = "The conversation is kept; mistral-tui --continue opens it."
        self._screen.app.exit(1, return_code=1, message=f"{sanitize(said)}\n{kept}")

    def _show_card(self, card: ModelCard) -> None:
        self._card = card
        self._welcome.show_card(card)
        shape = f"{_SHORT_DTYPES.get(card.dtype, card.dtype)} {card.device}"
        shape += f" ×{card.ranks}" if card.ranks > 1 else ""
        self._status.show(model=card.name, shape=shape, context=card.context)

    def _talking(self, talking: bool) -> None:
        self._screen.set_class(talking, "talking")
        self._transcript.can_focus = talking  # else it lies hidden under the welcome


def _footnote(status: Status, reason: str = "", saved: bool = True) -> str:
    if not saved:
        return "not saved"
    return _FOOTNOTES.get(reason) or _FOOTNOTES.get(status, "")


def _reason(message: Message) -> str:
    return message.realizations[-1].finish_reason if message.realizations else ""


def _titled(name: str, siblings: Siblings | None) -> str:
    """The name with ‹2/3› where there are several versions."""
    if siblings is None or siblings.count < 2:
        return name
    return f"{name} ‹{siblings.index + 1}/{siblings.count}›".strip()


def _marks(message: Message) -> str:
    pinned = " · pinned" if message.pinned else ""
    return f"{pinned} · left out of the context" if message.dropped else pinned


def _key(message: Message) -> str:
    return str(message.id)
