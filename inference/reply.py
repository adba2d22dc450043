"""A reply as it is drawn: ids → text, thinking, calls and candidates, stop strings held back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from inference.api import CallPiece, Candidate, Tokens
from inference.middle import MiddleEnds
from inference.parse import (
    ArgumentsPiece,
    CallBegun,
    CallBroken,
    CallFinished,
    Event,
    Parser,
    TextPiece,
    ThinkingPiece,
)
from inference.sampling import Likeliest
from inference.stopping import StopStrings
from inference.tokenizer import Tokenizer

_LEAST = -7.6  # logprob, about 0.05 %: below it only the two likeliest candidates are told


class ReplyStream:
    """One reply. Stop strings are looked for in its text only, not in thinking or calls.

    Args:
        chat: the reply is to a chat, not a continuation of raw text.
        open_reply: the ids of its beginning, where it is continued. The calls in them are told
            with the first token.
        ends: what ends it, in the place of `stop`.
    """

    def __init__(
        self,
        request_id: int,
        tokenizer: Tokenizer,
        *,
        stop: Sequence[str] = (),
        chat: bool = True,
        open_reply: Iterable[int] = (),
        ends: MiddleEnds | None = None,
    ) -> None:
        self._id = request_id
        self._tokenizer = tokenizer
        self._parser = Parser(tokenizer) if chat else RawText(tokenizer)
        self._stops: StopStrings | MiddleEnds = StopStrings(())
        self._begun: list[CallPiece] = []
        for token in open_reply:  # it may end in the middle of a character, or of thinking
            self._begun += self._split(self._parser.feed(token))[2]
        self._stops = ends or StopStrings(stop)

    @property
    def stopped(self) -> bool:
        """Whether a stop string came, or another end."""
        return self._stops.hit

    def add(self, token: int, logprob: float, likeliest: Likeliest = ()) -> Tokens:
        """One more token, as an event."""
        places = (self._place(token, logprob, likeliest),) if likeliest else ()
        text, thinking, calls = self._split(self._parser.feed(token))
        told, self._begun = (*self._begun, *calls), []
        return Tokens(self._id, (token,), (logprob,), text, thinking, places, told)

    def end(self) -> Tokens | None:
        """What was held back, if anything may still be shown."""
        if self.stopped:
            return None
        text, thinking, calls = self._split(self._parser.finish())
        text += self._stops.flush()
        if not (text or thinking or calls):
            return None
        told, self._begun = (*self._begun, *calls), []
        return Tokens(self._id, (), (), text, thinking, (), told)

    def _split(self, events: Iterable[Event]) -> tuple[str, str, list[CallPiece]]:
        """(text, thinking, calls) that these events bring. Text that comes with a call's last
        token is told before its end."""
        text = thinking = ""
        calls: list[CallPiece] = []
        for event in events:
            if isinstance(event, TextPiece):
                text += self._stops.feed(event.text)
                continue
            text += self._stops.flush()
            if isinstance(event, ThinkingPiece):
                thinking += event.text
            else:
                calls.append(_piece(event))
        return text, thinking, calls

    def _place(self, token: int, logprob: float, likeliest: Likeliest) -> tuple[Candidate, ...]:
        told = [(t, p) for rank, (t, p) in enumerate(likeliest) if rank < 2 or p > _LEAST]
        if token not in (other for other, _ in told):
            told.append((token, logprob))
        return tuple(self._candidate(*one) for one in told)

    def _candidate(self, token: int, logprob: float) -> Candidate:
        if name := self._tokenizer.name_of(token):
            return Candidate(token, logprob, name, control=True)
        return Candidate(token, logprob, self._parser.piece(token))


class RawText:
    """Takes ids and gives events as `Parser` does, all of them text."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._decoder = tokenizer.detokenizer(continues=True)

    def feed(self, token: int) -> list[Event]:
        """The text that one more id brings."""
        text = self._decoder.add(token)
        return [TextPiece(text)] if text else []

    def finish(self) -> list[Event]:
        """What is left when no more ids come."""
        rest = self._decoder.flush()
        return [TextPiece(rest)] if rest else []

    def piece(self, token: int) -> str:
        """What `token` would add here."""
        return self._decoder.piece(token)


def _piece(event: CallBegun | ArgumentsPiece | CallFinished | CallBroken) -> CallPiece:
    match event:
        case CallBegun():
            return CallPiece(event.index, "begun", name=event.name)
        case ArgumentsPiece():
            return CallPiece(event.index, "arguments", event.text)
        case CallFinished():
            call = event.call
            return CallPiece(event.index, "finished", call.arguments, call.name, call.id)
        case CallBroken():
            return CallPiece(event.index, "broken", event.raw, reason=event.reason)
