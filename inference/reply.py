"""A reply as it is drawn: ids → text, thinking and candidates, stop strings held back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from inference.api import Candidate, Tokens
from inference.sampling import Likeliest
from inference.stopping import StopStrings
from inference.tokenizer import Tokenizer

_LEAST = -7.6  # logprob, about 0.05 %: below it only the two likeliest candidates are told


class ReplyStream:
    """One reply. Thinking is what stands between its two control tokens; stop strings are
    looked for in the text only.

    Args:
        chat: the reply is to a chat, not a continuation of raw text.
        open_reply: the ids of its beginning, where it is continued.
    """

    def __init__(
        self,
        request_id: int,
        tokenizer: Tokenizer,
        *,
        stop: Sequence[str] = (),
        chat: bool = True,
        open_reply: Iterable[int] = (),
    ) -> None:
        self._id = request_id
        self._tokenizer = tokenizer
        self._detokenizer = tokenizer.detokenizer(continues=not chat)
        self._begin, self._end = tokenizer.thinking_ids if chat else (None, None)
        self._thinking = False
        self._stops = StopStrings(())
        for token in open_reply:  # it may end in the middle of a character, or of thinking
            self._split(token)
        self._stops = StopStrings(stop)

    @property
    def stopped(self) -> bool:
        """Whether a stop string came."""
        return self._stops.hit

    def add(self, token: int, logprob: float, likeliest: Likeliest = ()) -> Tokens:
        """One more token, as an event."""
        places = (self._place(token, logprob, likeliest),) if likeliest else ()
        text, thinking = self._split(token)
        return Tokens(self._id, (token,), (logprob,), text, thinking, places)

    def end(self) -> Tokens | None:
        """What was held back, if anything may still be shown."""
        if self.stopped:
            return None
        rest = self._detokenizer.flush()
        thinking = rest if self._thinking else ""
        text = ("" if self._thinking else self._stops.feed(rest)) + self._stops.flush()
        return Tokens(self._id, (), (), text, thinking) if text or thinking else None

    def _split(self, token: int) -> tuple[str, str]:
        """(text, thinking) that the token adds."""
        if token == self._begin and not self._thinking:
            self._thinking = True
            return self._stops.feed(self._detokenizer.flush()) + self._stops.flush(), ""
        if token == self._end and self._thinking:
            self._thinking = False
            return "", self._detokenizer.flush()
        added = self._detokenizer.add(token)
        return ("", added) if self._thinking else (self._stops.feed(added), "")

    def _place(self, token: int, logprob: float, likeliest: Likeliest) -> tuple[Candidate, ...]:
        told = [(t, p) for rank, (t, p) in enumerate(likeliest) if rank < 2 or p > _LEAST]
        if token not in (other for other, _ in told):
            told.append((token, logprob))
        return tuple(self._candidate(*one) for one in told)

    def _candidate(self, token: int, logprob: float) -> Candidate:
        if name := self._tokenizer.name_of(token):
            return Candidate(token, logprob, name, control=True)
        return Candidate(token, logprob, self._detokenizer.piece(token))
