"""Holds a reply's tool calls to the grammar of their tools, and to the tokens that are left."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from inference.api import Tool
from inference.constrained.call_layouts import Layout, Place, layout_of
from inference.constrained.masks import Follower, MaskSource
from inference.constrained.vocabulary import Mask, Vocabulary, vocabulary
from inference.errors import RequestError
from inference.parse import CALLS

if TYPE_CHECKING:
    from inference.tokenizer import Tokenizer

CHOICES = ("auto", "none", "any")


def make_constraint(
    tokenizer: Tokenizer,
    tools: Sequence[Tool],
    choice: str,
    limit: int,
    vocab_size: int,
    masks: MaskSource = "auto",
) -> CallConstraint | None:
    """What the sampler must obey in a reply; None: nothing.

    Args:
        choice: `auto`, `none`, `any` or a tool's name.
        limit: most tokens of the reply, its end included.
        vocab_size: of the logits.
        masks: where the masks come from; `auto` is llguidance where it is installed.

    Raises:
        RequestError: no such tool, or a tool whose parameters allow no call; one sentence.
    """
    begin = tokenizer.control_id(CALLS)
    if choice not in CHOICES and choice not in (tool.name for tool in tools):
        raise RequestError(f"The tool choice is {choice!r:.80}, and no tool has that name.")
    if not tools or begin is None:
        if choice in ("auto", "none"):
            return None
        what = "this model cannot call tools" if tools else "there are no tools"
        raise RequestError(f"The tool choice is {choice!r:.80}, but {what}.")
    words = vocabulary(tokenizer, vocab_size)
    if choice == "none":
        return CallConstraint(words, None, begin, limit, must=False)
    if choice not in CHOICES:
        tools = [tool for tool in tools if tool.name == choice]
    layout = layout_of(tokenizer, words, tools, masks)
    return CallConstraint(words, layout, begin, limit, must=choice != "auto")


class CallConstraint:
    """Follows one reply. The sampler asks for a mask, whether the token it drew `fits`, and
    tells what it took in the end with `accept`. Outside of calls everything is free."""

    def __init__(
        self, words: Vocabulary, layout: Layout | None, begin: int, limit: int, *, must: bool
    ) -> None:
        self._words = words
        self._layout = layout
        self._begin = begin
        self._left = limit
        self._must = must  # begin a call at once
        self._place: Place | None = None  # in the calls
        self._follower: Follower | None = None
        self._plan: list[int] = []  # an end that is known to fit, where it is getting tight
        self._held = True  # False: there is too little room to end the call
        self._gone = False  # a continued reply has left the grammar

    # ── for the engine ────────────────────────────────────────────────────────────────

    def feed(self, ids: Iterable[int]) -> None:
        """The ids of a reply that is continued; they take nothing from the limit."""
        for token in ids:
            if self._gone or self._layout is None:
                return
            if self._place is None:
                if token == self._begin:
                    self._enter()
                continue
            place = self._layout.step(self._place, token)
            if place is None:
                self._gone = True
            else:
                self._go(token, place)
        if self._place is not None and not self._gone and self._layout is not None:
            self._held = self._end_fits(self._place, self._left)

    # ── for the sampler ───────────────────────────────────────────────────────────────

    @property
    def inside(self) -> bool:
        """Whether the next token is part of a call, or ends it."""
        return self._place is not None and not self._gone

    @property
    def only(self) -> int | None:
        """The one token that may come, where there is nothing to choose."""
        if self._gone or self._layout is None:
            return None
        if self._place is None:
            return self._begin if self._must else None
        controls = self._layout.controls(self._place)
        return controls[0] if len(controls) == 1 and self._is_over else None

    def mask(self) -> Tensor | None:
        """What may come, (vocab_size,) bool on the CPU; None: draw, then ask `fits`."""
        if not self.inside:
            return None
        assert self._place is not None
        if self._follower is None:
            return self._tensor(None)
        mask = self._follower.mask(self._place.state)
        return None if mask is None else self._tensor(mask)

    def exact_mask(self) -> Tensor | None:
        """As `mask`, also where that is dear; None outside of calls."""
        if not self.inside:
            return None
        assert self._place is not None
        return self._tensor(self._follower.exact(self._place.state) if self._follower else None)

    def fits(self, token: int) -> bool:
        """Whether this token may come, so that a call can still end in the tokens left."""
        if self._gone:
            return True
        if self._place is None:
            if token != self._begin:
                return not self._must
            return self._layout is not None and (
                self._must or self._end_fits(self._layout.begin(), self._left - 1)
            )
        assert self._layout is not None
        place = self._layout.step(self._place, token)
        if place is None:
            return False
        if not self._held or (self._plan and token == self._plan[0]):
            return True
        return self._end_fits(place, self._left - 1)

    def forced(self) -> int | None:
        """The next token on the shortest way to the end; None: there is none to be had."""
        if self._place is None or self._layout is None:
            return self.only
        if plan := self._plan or self._layout.plan(self._place):
            return plan[0]
        mask = self.exact_mask()
        return int(mask.int().argmax()) if mask is not None and bool(mask.any()) else None

    def accept(self, token: int) -> None:
        """That token has been drawn."""
        self._left -= 1
        if self._gone or self._layout is None:
            return
        if self._place is None:
            if token == self._begin:
                self._enter()
                assert self._place is not None
                self._held = self._end_fits(self._place, self._left)
                self._keep_plan(token)
            return
        place = self._layout.step(self._place, token)
        if place is None:
            self._gone = True  # nothing else was to be had
            return
        self._go(token, place)
        self._keep_plan(token)

    @property
    def _is_over(self) -> bool:
        """Whether no more text can come, only control tokens."""
        place = self._place
        return place is not None and (
            place.over or not place.language.automaton.allowed(place.state)
        )

    # ── within ────────────────────────────────────────────────────────────────────────

    def _enter(self) -> None:
        assert self._layout is not None
        self._place = self._layout.begin()
        self._follow()

    def _go(self, token: int, place: Place) -> None:
        assert self._place is not None
        assert self._layout is not None
        last, self._place = self._place, place
        if (place.language, place.calls, place.over) != (last.language, last.calls, last.over):
            self._follow()
        elif self._follower is not None:
            self._follower.take(token)

    def _follow(self) -> None:
        """From the beginning of the language that the reply stands in."""
        assert self._place is not None
        self._follower = None if self._place.over else self._place.language.follow()

    def _end_fits(self, place: Place, left: int) -> bool:
        """Whether the calls can end within so many tokens. Each byte can be a token, so most
        places need no spelling."""
        assert self._layout is not None
        bound = self._layout.bound(place)
        if self._words.has_all_bytes and bound <= left:
            return True
        if bound > left * self._words.longest:
            return False
        plan = self._layout.plan(place)
        return plan is not None and len(plan) <= left

    def _keep_plan(self, token: int) -> None:
        """Know an end that fits: that of the place before may be spelled in fewer tokens."""
        assert self._layout is not None
        assert self._place is not None
        rest = self._plan[1:] if self._plan and token == self._plan[0] else []
        self._plan = []
        if not self._held:
            return
        if self._words.has_all_bytes and self._layout.bound(self._place) <= self._left:
            return
        self._plan = rest or self._layout.plan(self._place) or []

    def _tensor(self, mask: Mask | None) -> Tensor:
        assert self._layout is not None
        assert self._place is not None
        size = len(self._words.pieces)
        allowed = torch.zeros(size, dtype=torch.bool) if mask is None else torch.from_numpy(mask)
        if controls := self._layout.controls(self._place):
            allowed = allowed.clone()
            allowed[list(controls)] = True
        return allowed
