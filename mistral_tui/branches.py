"""What can be done with a conversation's tree: versions, branches, undo, replay.

Each step leaves what was there beside what is new, and tells the branch that is then in view;
the engine goes on from the token ids of that branch, whose common beginning it has cached.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from inference import api
from inference.api import Failed, Finished, Tokens
from mistral_tui import call_states, prompts
from mistral_tui.conversation import CANDIDATES
from mistral_tui.deciding import Deciding
from mistral_tui.happenings import Note, Trouble
from mistral_tui.history.schema import Message, StoreError
from mistral_tui.history.tree import Deletion
from mistral_tui.tokens import Record, known, record, so_far

_MOST_UNDO = 100


class Branches(Deciding):
    """A session whose messages can be edited, answered again, walked and taken away."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._deletions: list[Deletion] = []

    async def open_at(self, conversation_id: str, message_id: int | None) -> None:
        """Bring a stored conversation into view, at one of its messages."""
        if message_id is None:
            await self.open(conversation_id)
            return
        await self.stop()
        await self._store.show_message(message_id)
        await self._show(conversation_id, message_id)

    async def switch(self, model: str) -> None:
        """Go on with another model; one that cannot be loaded leaves the old one."""
        await self.stop()
        before = self.choice
        self.choice = replace(before, model=model, lora="")
        await self.load()
        if self.engine == "failed" and before.model != model:
            self.choice = before
            why = self.trouble
            await self.load()
            self._tell(Note(f"{why} The model that was there is loaded again."))
        elif self.engine == "ready" and self.messages:
            self._tell(Note("The conversation goes on with this model; its text is read anew."))

    async def unload(self) -> None:
        """Give the model's memory back."""
        await self.stop()
        if self.engine != "ready":
            return
        async for event in self._client.submit(api.UnloadModel(self._client.next_id())):
            if isinstance(event, api.Unloaded):
                self._engine_is("off")

    async def edit(self, message_id: int, text: str) -> None:
        """Another version of a message, in the place of the one in view. One of the user's is
        answered anew; an answer stays as it was written, and can be gone on with.

        Raises:
            StoreError: it could not be saved; the caller still has the text.
        """
        await self.stop()
        message = self._in_view(message_id)
        new = await self._store.edit_message(message.id, text)
        if new.role in ("user", "tool"):  # the view follows its answer
            await self._show(message.conversation_id)
            if not call_states.pending(self.messages):
                await self._answer_soon()
        else:
            await self._show(message.conversation_id, new.id)

    async def regenerate(self, message_id: int | None = None) -> None:
        """Another answer beside this one (None: the last)."""
        await self.stop()
        reply = self._reply(message_id)
        if reply is None or reply.parent_id is None:
            if self.messages and self.messages[-1].role in ("user", "tool"):
                await self._answer_soon()  # it never had one
            return
        await self._store.set_active_leaf(reply.conversation_id, reply.parent_id)
        await self._show(reply.conversation_id)
        await self._answer_soon()

    async def go_on(self) -> None:
        """Let the model go on with the last answer from where it ends, or with what came of its
        calls."""
        await self.stop()
        if not self.messages or self.messages[-1].role not in ("assistant", "tool"):
            return
        if call_states.pending(self.messages):
            self._tell(Note("Its calls wait for you first."))
            await self._tell_waiting()
            return
        self._rounds_since = self.messages[-1].id
        await self._answer_soon()

    async def walk(self, message_id: int, step: int) -> bool:
        """Bring the version before (-1) or after (+1) a message into view; False at the end."""
        siblings = self.siblings.get(message_id)
        if siblings is None or not 0 <= siblings.index + step < siblings.count:
            return False
        await self.stop()
        target = siblings.ids[siblings.index + step]
        conversation = await self._store.show_message(target)
        await self._show(conversation.id, target)
        return True

    async def delete(self, message_id: int) -> None:
        """Take a message and all that follows it out of the conversation; `undo` brings it back."""
        await self.stop()
        message = self._in_view(message_id)
        deletion = await self._store.delete_turn(message.id)
        self._deletions.append(deletion)
        del self._deletions[:-_MOST_UNDO]
        await self._show(message.conversation_id)

    async def undo(self) -> bool:
        """Bring back what was deleted last; False if there is nothing."""
        if not self._deletions:
            return False
        await self.stop()
        deletion = self._deletions.pop()
        conversation = await self._store.restore_turn(deletion)
        await self._show(conversation.id, deletion.message_id)
        return True

    async def copy_branch(self, message_id: int | None = None) -> None:
        """The branch in view, up to a message (None: all of it), as a new conversation."""
        await self.stop()
        if self.conversation is None or not self.messages:
            return
        copy = await self._store.copy_branch(self.conversation.id, message_id)
        await self._show(copy.id)
        self._tell(Note("This is a copy; the other conversation is as it was."))

    async def branch_at(
        self, message_id: int, record: Record, index: int, candidate: api.Candidate
    ) -> None:
        """Another version of an answer: the same up to one token, there this candidate, and then
        what the model goes on with."""
        await self.stop()
        message = self._in_view(message_id)
        card = self.card
        if card is None or self.engine != "ready" or record.fingerprint != card.fingerprint:
            self._tell(Note("Another model wrote this answer: load it to branch here."))
            return
        branch = record.branch(index, candidate)
        if not (branch.text + branch.thinking).strip() and branch.over:
            self._tell(Note("An answer cannot end before its first word."))
            return
        new = await self._store.edit_message(
            message.id, branch.text, thinking=branch.thinking, realization=branch.realization
        )
        await self._show(message.conversation_id, new.id if branch.over else None)
        if not branch.over:
            await self._answer_soon()

    def tokens_of(self, message_id: int) -> Record | None:
        """The tokens of an answer, as they were told; None if they were not."""
        if self._turn is not None and self._turn.message.id == message_id:
            turn = self._turn
            begun = turn.message.realization(turn.fingerprint)
            return so_far(begun, turn.fingerprint, turn.ids, turn.logprobs, turn.places)
        message = self._in_view(message_id)
        return known(message.realizations, self.card.fingerprint if self.card else "")

    async def measure(self, message_id: int) -> Record | None:
        """Have the loaded model read an answer, whoever wrote it, and say how likely each token
        was; None if that was stopped or failed, which is told."""
        await self.stop()
        message = self._in_view(message_id)
        if self.card is None or self.engine != "ready":
            self._tell(Note("There is no model to measure with."))
            return None
        request_id = self._request = self._client.next_id()
        branch = self.messages[: self.messages.index(message) + 1]
        asked = self._generate(request_id, branch)
        request = api.Measure(
            *(request_id, asked.messages, asked.instruct, asked.safe_prompt),
            candidates=CANDIDATES,
            tools=prompts.tools_of(branch),
        )
        told: list[Tokens] = []
        last: api.Event | None = None
        try:
            async for event in self._client.submit(request):
                if isinstance(event, Tokens):
                    told.append(event)
                last = event
        finally:
            self._over(request_id)
        if isinstance(last, Failed):
            self._tell(Trouble(last.sentence))
        if not isinstance(last, Finished) or last.reason == "cancelled":
            return None
        return record(
            self.card.fingerprint,
            [token for event in told for token in event.ids],
            [logprob for event in told for logprob in event.logprobs],
            [place for event in told for place in event.places],
        )

    async def replay(self, message_id: int | None = None) -> None:
        """Have an answer computed again as it was, with its seed and settings, and tell whether
        the same token ids come."""
        await self.stop()
        reply = self._reply(message_id)
        card = self.card
        if reply is None or card is None or self.engine != "ready":
            self._tell(Note("There is no answer to replay, or no model."))
            return
        known = reply.realization(card.fingerprint)
        if known is None or known.seed is None or known.sampling is None or not known.ids:
            self._tell(
                Note("This answer cannot be replayed: this model did not write it, or was edited.")
            )
            return
        request_id = self._request = self._client.next_id()
        try:
            before = self.messages[: self.messages.index(reply)]
            request = replace(
                self._generate(request_id, before),
                # The same room: near its end calls are made short.
                sampling=replace(known.sampling, seed=known.seed),
                slot="replay",
                candidates=0,
                tools=prompts.tools_of((*before, reply)),
                tool_choice=str(reply.meta.get("tool_choice", "auto")),
            )
            ids: list[int] = []
            last: api.Event | None = None
            self._tell(Note("Replaying …"))
            async for event in self._client.submit(request):
                if isinstance(event, Tokens):
                    ids += event.ids
                    if len(ids) >= len(known.ids):  # it was stopped there, or cut
                        self._client.cancel(request_id)
                last = event
        finally:
            self._over(request_id)
        whole = len(ids) >= len(known.ids)
        if isinstance(last, Failed) and not whole:
            self._tell(Trouble(last.sentence))
        elif isinstance(last, Finished) and last.reason == "cancelled" and not whole:
            self._tell(Note("The replay was stopped."))
        else:
            now = ids[: len(known.ids)]
            self._tell(Note(_verdict(list(known.ids), now, known.seed)))

    # ── inside ──────────────────────────────────────────────────────────────────────

    def _in_view(self, message_id: int) -> Message:
        for message in self.messages:
            if message.id == message_id:
                return message
        raise StoreError("This message is not in view any more.")

    def _reply(self, message_id: int | None) -> Message | None:
        """That answer; None: the last one in view."""
        replies = [m for m in self.messages if m.role == "assistant"]
        if message_id is None:
            return replies[-1] if replies else None
        return next((m for m in replies if m.id == message_id), None)

    async def _answer_soon(self) -> None:
        """Answer now, or when the engine is ready."""
        self.waiting = True
        if self.engine == "ready":
            await self._answer()


def _verdict(before: list[int], now: list[int], seed: int) -> str:
    if before == now:
        return f"The replay gave the same {len(now):,} tokens (seed {seed})."
    same = next((n for n, pair in enumerate(zip(before, now, strict=False)) if pair[0] != pair[1]),
                min(len(before), len(now)))  # fmt: skip
    return (
        f"The replay parted after {same:,} of {len(before):,} tokens: it was continued or edited, "
        "or computed by another device or version."
    )
