"""Drawing the next token: a sampler is a closure over its settings and its generator."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from inference.api import SamplingParams
from inference.errors import RequestError
from inference.limits import check

# Enough candidates for any usual top-p; sorting them costs a tenth of sorting all logits.
_SHORTLIST = 256
# So many tokens may be refused before the grammar's own are looked up, or one is forced.
_TRIES = 8

__all__ = ["Constraint", "Likeliest", "Sampler", "check", "likeliest", "make_sampler"]

Sampler = Callable[[Tensor], tuple[int, float]]
Likeliest = tuple[tuple[int, float], ...]
"""(token id, logprob), the likeliest first."""


class Constraint(Protocol):
    """What a sampler asks of `constraint.CallConstraint`, which says what the answers mean."""

    @property
    def inside(self) -> bool: ...

    @property
    def only(self) -> int | None: ...

    def mask(self) -> Tensor | None: ...

    def exact_mask(self) -> Tensor | None: ...

    def fits(self, token: int) -> bool: ...

    def forced(self) -> int | None: ...

    def accept(self, token: int) -> None: ...


def likeliest(logits: Tensor, count: int) -> Likeliest:
    """The `count` likeliest tokens of logits (vocab_size,) fp32, with the model's logprobs."""
    if count < 1:
        return ()
    values, ids = logits.topk(min(count, logits.shape[-1]))
    # One crossing from a GPU for both. fp32 holds any token id.
    both = torch.stack((ids.to(values.dtype), values - logits.logsumexp(-1))).tolist()
    return tuple((int(token), logprob) for token, logprob in zip(*both, strict=True))


def make_sampler(
    params: SamplingParams,
    *,
    seed: int,
    history: Iterable[int] = (),
    banned: Sequence[int] = (),
    constraint: Constraint | None = None,
) -> Sampler:
    """A function from logits (vocab_size,) fp32 to (token id, logprob).

    The logprob is the model's own (log-softmax of the untouched logits), as in the
    reference. Filters apply in the order penalty, temperature, top-k, top-p, min-p; the
    most likely token always survives.

    Args:
        params: checked settings.
        seed: of the generator, which lives on the CPU: the same draws on every device.
        history: ids that the repetition penalty (Keskar et al. 2019) applies to; every
            drawn id joins them.
        banned: ids that are never drawn.
        constraint: what every token must obey; it hears of each one that is drawn.
    """
    generator = torch.Generator().manual_seed(seed)
    seen: Tensor | None = None
    past = sorted(set(history)) if params.repetition_penalty != 1.0 else []
    banned_index = torch.tensor(list(banned), dtype=torch.long) if banned else None
    greedy = params.temperature == 0.0 or params.top_k == 1

    def adjust(logits: Tensor, *, penalise: bool = True) -> Tensor:
        nonlocal seen, banned_index
        adjusted = logits
        if params.repetition_penalty != 1.0:
            if seen is None:
                seen = torch.zeros(logits.shape[-1], dtype=torch.bool, device=logits.device)
                seen[torch.tensor(past, dtype=torch.long, device=logits.device)] = True
            if penalise:
                penalty = params.repetition_penalty
                penalised = torch.where(logits > 0, logits / penalty, logits * penalty)
                adjusted = torch.where(seen, penalised, logits)
        if banned_index is not None:
            banned_index = banned_index.to(logits.device)
            adjusted = adjusted.index_fill(-1, banned_index, -torch.inf)
        return adjusted

    def draw(adjusted: Tensor) -> int:
        return int(adjusted.argmax()) if greedy else _draw(adjusted, params, generator)

    def done(token: int, logprob: float) -> tuple[int, float]:
        if math.isnan(logprob):
            raise RequestError(
                "The model computed no valid probabilities (NaN); its weights may be damaged, "
                "or the dtype too narrow: try --dtype float32."
            )
        if seen is not None:
            seen[token] = True
        return token, logprob

    def pick(logits: Tensor) -> tuple[int, float]:
        adjusted = adjust(logits)
        if greedy:
            best = adjusted.argmax()
            score = logits.gather(-1, best.unsqueeze(-1)).squeeze(-1) - logits.logsumexp(-1)
            # Both at once: each crossing from a GPU waits. fp32 holds any token id.
            drawn, logprob = torch.stack((best.to(score.dtype), score)).tolist()
            return int(drawn), logprob
        token = _draw(adjusted, params, generator)
        return token, float(logits[token] - logits.logsumexp(-1))

    def sample(logits: Tensor) -> tuple[int, float]:
        return done(*pick(logits))

    def sample_held(logits: Tensor) -> tuple[int, float]:
        assert constraint is not None
        token = constraint.only
        if token is None and greedy and not constraint.inside:  # text: nothing is held back
            token, logprob = pick(logits)
            if constraint.fits(token):
                constraint.accept(token)
                return done(token, logprob)
            token = None
        if token is None:
            # JSON repeats its quotes and commas: no penalty for them.
            adjusted = adjust(logits, penalise=not constraint.inside)
            token = _held(adjusted, constraint, draw)
        drawn = done(token, float(logits[token] - logits.logsumexp(-1)))
        constraint.accept(token)
        return drawn

    return sample if constraint is None else sample_held


def _held(logits: Tensor, constraint: Constraint, draw: Callable[[Tensor], int]) -> int:
    """A token that the constraint lets through: drawn, else drawn again among what its grammar
    allows, else forced."""
    mask = constraint.mask()
    for exact in (mask is not None, True):
        if exact and mask is None and (mask := constraint.exact_mask()) is None:
            break
        if mask is not None:
            logits = logits.where(mask.to(logits.device), -torch.inf)
        for _ in range(_TRIES):
            token = draw(logits)
            if constraint.fits(token):
                return token
            logits = logits.index_fill(-1, torch.tensor([token], device=logits.device), -torch.inf)
        if exact:
            break
    forced = constraint.forced()
    return draw(logits) if forced is None else forced


def _draw(logits: Tensor, params: SamplingParams, generator: torch.Generator) -> int:
    scaled = logits / params.temperature
    probs, ids = _shortlist(scaled, params)
    keep = torch.ones_like(probs, dtype=torch.bool)
    if params.top_p < 1.0:
        keep &= probs.cumsum(-1) - probs < params.top_p
    if params.min_p > 0.0:
        keep &= probs >= params.min_p * probs[0]
    keep[0] = True
    if not bool(torch.isfinite(probs).all()):
        return int(ids[0])  # the caller's NaN check explains
    # In the order of the ids, not of their rank: the last bit of a logit, which depends on how a
    # product was computed, then moves a border a little and never swaps two tokens.
    kept, order = ids[keep].sort()
    cumulative = probs[keep][order].double().cumsum(-1)
    point = torch.rand((), generator=generator, dtype=torch.float64) * cumulative[-1]
    choice = int(torch.searchsorted(cumulative, point, right=True))
    return int(kept[min(choice, len(kept) - 1)])


def _shortlist(scaled: Tensor, params: SamplingParams) -> tuple[Tensor, Tensor]:
    """Probabilities and ids, on the CPU, of the likeliest tokens, in descending order: at least
    all that the filters leave. They are relative to the whole vocabulary, or to top-k."""
    vocab = scaled.shape[-1]
    total = scaled.logsumexp(-1)
    size = min(params.top_k or _SHORTLIST, vocab)
    while True:
        values, ids = scaled.topk(size)
        if params.top_k:
            total = values.logsumexp(-1)
        probs = (values - total).exp().cpu()
        if params.top_k or size == vocab:
            break
        mass_before = float(probs[:-1].sum())
        if (params.top_p < 1.0 and mass_before >= params.top_p) or (
            float(probs[-1]) < params.min_p * float(probs[0])
        ):
            break
        size = vocab
    return probs, ids.cpu()
