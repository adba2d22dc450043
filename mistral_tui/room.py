"""Room in the model's context: asked for before it runs out, never taken in silence.

What is dropped is only left out of what the model reads; it stays in the conversation, greyed.
"""

from __future__ import annotations

from dataclasses import replace

from inference import api
from inference.api import Counted, Failed, Finished, Tokens
from mistral_tui.branches import Branches
from mistral_tui.happenings import ContextFull, Note, Trouble
from mistral_tui.history.schema import Message

_COUNT_FROM = 0.6  # of the context: below, an estimate is enough
_LEAST_ANSWER = 256  # tokens that an answer should have room for
# Dropping down to this share leaves room for several turns: each drop moves the beginning of
# the prompt, so that all of it is read anew.
_KEEP = 0.5
_CHARACTERS = 2.5  # of a token, at least; an overestimate of tokens only counts them sooner
_SUMMARY_TOKENS = 400
_ASK_SUMMARY = (
    "Summarise our conversation so far for yourself, so that we can go on from it: facts, "
    "decisions, open questions, names and code that matter. Write nothing else."
)
_SUMMARY = "Summary of the conversation until now:"


class Conversing(Branches):
    """The session as the app has it."""

    async def _one_reply(self) -> bool:
        if (tokens := await self._too_much()) is None:
            return await super()._one_reply()
        self.waiting = False
        self._over(self._request)
        assert self.card is not None
        self._tell(ContextFull(tokens, self.card.context))
        return False

    async def drop_oldest(self) -> None:
        """Leave the oldest turns out of what the model reads, until there is room; then answer."""
        await self.stop()
        dropped = 0
        while (turn := self._oldest_turn()) and not await self._fits(_KEEP):
            for message in turn:
                await self._set_dropped(message, True)
                dropped += 1
        if self.conversation is not None and dropped:
            await self._show(self.conversation.id)
        if await self._too_much() is not None:
            self._tell(Trouble("What is left is still too long for the context: shorten it."))
            return
        await self._answer_soon()

    async def toggle_dropped(self, message_id: int) -> None:
        """Leave a turn out of what the model reads, or take it in again."""
        await self.stop()
        message = self._in_view(message_id)
        for other in self._turn_of(message):
            await self._set_dropped(other, not message.dropped)
        await self._show(message.conversation_id, message_id)

    async def toggle_pinned(self, message_id: int) -> None:
        """Keep a turn in the context when the oldest are dropped, or not any more."""
        await self.stop()
        message = self._in_view(message_id)
        for other in self._turn_of(message):
            await self._store.update_message(other.id, pinned=not message.pinned)
        await self._show(message.conversation_id, message_id)

    async def begin_from_summary(self) -> None:
        """Have the conversation summarised, and ask the last message again in a new one that
        begins with the summary."""
        await self.stop()
        if self.card is None or self.conversation is None or not self.messages:
            return
        last = self.messages[-1]
        before = self.messages[:-1] if last.role == "user" else self.messages
        self._tell(Note("Summarising the conversation …"))
        summary = await self._summary(list(before))
        if not summary:
            return
        system = f"{self.conversation.system_prompt}\n\n{_SUMMARY}\n{summary}".strip()
        conversation = await self._store.create_conversation(
            model_name=self.card.name, model_path=self.card.path, system_prompt=system
        )
        await self._show(conversation.id)
        self._tell(Note("This conversation begins with a summary; the other one is as it was."))
        if last.role == "user":
            await self.say(last.text)

    # ── inside ──────────────────────────────────────────────────────────────────────

    async def _too_much(self) -> int | None:
        """Tokens of the branch in view if they leave no room for an answer, else None."""
        assert self.card is not None
        tokens = await self._tokens(self.messages)
        limit = self.tuning.sampling(self.card).max_tokens or _LEAST_ANSWER
        room = min(limit, _LEAST_ANSWER, self.card.context // 4)
        return tokens if tokens + room > self.card.context else None

    async def _fits(self, share: float) -> bool:
        assert self.card is not None
        return await self._tokens(self.messages, exactly=True) <= share * self.card.context

    async def _tokens(self, branch: list[Message], *, exactly: bool = False) -> int:
        """How long the prompt of a branch is; guessed high where it is short anyway."""
        assert self.card is not None
        request = self._generate(self._client.next_id(), branch)
        guess = int(sum(len(m.ids) or _length(m) / _CHARACTERS + 8 for m in request.messages))
        guess += int(sum(len(t.description) + len(t.parameters) for t in request.tools) / 2)
        if guess < _COUNT_FROM * self.card.context and not exactly:
            return guess
        asked = api.CountTokens(
            *(request.id, request.messages, request.instruct, request.safe_prompt, request.tools)
        )
        async for event in self._client.submit(asked):
            if isinstance(event, Counted):
                return event.tokens
        return guess

    def _oldest_turn(self) -> list[Message]:
        """The first turn that can be dropped; the last user message never is."""
        users = [m for m in self.messages if m.role == "user"]
        for message in users[:-1]:
            if not message.dropped and not message.pinned:
                return self._turn_of(message)
        return []

    def _turn_of(self, message: Message) -> list[Message]:
        """A user's message with its answer."""
        place = self.messages.index(message)
        while place > 0 and self.messages[place].role != "user":
            place -= 1
        turn = [self.messages[place]]
        for following in self.messages[place + 1 :]:
            if following.role == "user":
                break
            turn.append(following)
        return turn

    async def _set_dropped(self, message: Message, dropped: bool) -> None:
        new = await self._store.update_message(message.id, dropped=dropped)
        self.messages[self.messages.index(message)] = new

    async def _summary(self, branch: list[Message]) -> str:
        assert self.card is not None
        limit = self.card.context - _SUMMARY_TOKENS - 64
        while len(branch) > 2 and await self._tokens(branch, exactly=True) > limit:
            branch = branch[2:]
        request_id = self._request = self._client.next_id()
        request = self._generate(request_id, branch)
        request = replace(
            request,
            messages=(*request.messages, api.Message("user", _ASK_SUMMARY)),
            sampling=replace(request.sampling, max_tokens=_SUMMARY_TOKENS),
            slot="summary",
            tools=(),
        )
        text, last = "", None
        try:
            async for event in self._client.submit(request):
                if isinstance(event, Tokens):
                    text += event.text
                last = event
        finally:
            self._over(request_id)
        if isinstance(last, Failed):
            self._tell(Trouble(last.sentence))
            return ""
        stopped = isinstance(last, Finished) and last.reason == "cancelled"
        return "" if stopped else text.strip()


def _length(message: api.Message) -> int:
    return len(message.text) + sum(len(c.name) + len(c.arguments) + 40 for c in message.calls)
