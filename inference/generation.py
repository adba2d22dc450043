"""Prefill and decode: `prefill` and `decode` for one sequence, `decode_rows` and `generate` for
several."""

from __future__ import annotations

import operator
import random
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import SupportsIndex

import torch
from torch import Tensor

from inference.api import SamplingParams
from inference.cache import KVCache
from inference.errors import RequestError, SettingError
from inference.sampling import Likeliest, Sampler, check, likeliest, make_sampler
from inference.transformer import Transformer

PREFILL_CHUNK = 256


def prefill(
    model: Transformer,
    cache: KVCache,
    ids: Sequence[int],
    *,
    chunk_size: int = PREFILL_CHUNK,
    done: Callable[[Sequence[int]], bool] = lambda _: True,
) -> Tensor | None:
    """Run `ids` through the model in chunks, behind what the cache holds.

    Args:
        done: called with each chunk's ids once they are in the cache; returning False
            stops there.

    Returns:
        Logits of the last position, (vocab_size,) fp32; None when stopped.
    """
    logits = None
    for start in range(0, len(ids), chunk_size):
        chunk = ids[start : start + chunk_size]
        tokens = model.ids([chunk])
        logits = model(tokens, cache)[0, -1]
        if not done(chunk):
            return None
    return logits


def decode(
    model: Transformer,
    cache: KVCache,
    logits: Tensor,
    sampler: Sampler,
    *,
    max_tokens: int,
    fed: Callable[[int], None] = lambda _: None,
    candidates: int = 0,
) -> Iterator[tuple[int, float, Likeliest]]:
    """Draw up to `max_tokens` tokens, each fed back when the next one is asked for.

    Args:
        logits: of the last prompt position, from `prefill`.
        fed: called with a token once it is in the cache; the last one drawn is not.
        candidates: so many of the likeliest tokens are told at each place.

    Yields:
        (token id, logprob, likeliest). The caller ends the iteration at a stop token.
    """
    for left in range(max_tokens, 0, -1):
        token, logprob = sampler(logits)
        yield token, logprob, likeliest(logits, candidates)
        if left > 1:
            logits = model(model.ids([[token]]), cache)[0, -1]
            fed(token)


def decode_rows(
    model: Transformer,
    cache: KVCache,
    logits: Sequence[Tensor],
    samplers: Sequence[Sampler],
    active: set[int],
    *,
    max_tokens: int,
) -> Iterator[tuple[int, int, float]]:
    """Draw up to `max_tokens` tokens for each row of the cache, one row after another.

    Args:
        logits: of each row's last position.
        samplers: one a row.
        active: the rows that tokens are drawn for; the caller takes out those that ended.

    Yields:
        (row, token id, logprob).
    """
    last = list(logits)
    for left in range(max_tokens, 0, -1):
        step = [0] * cache.batch
        for row in sorted(active):
            step[row], logprob = samplers[row](last[row])
            yield row, step[row], logprob
        if not active or left == 1:
            return
        scores = model(model.ids([[token] for token in step]), cache)
        for row in range(cache.batch):
            if row in active:
                last[row] = scores.select(0, row).select(0, -1)
            else:
                cache.lengths[row] -= 1  # what a finished row was fed does not count


def measure(
    model: Transformer,
    cache: KVCache,
    ids: Sequence[int],
    targets: Sequence[int],
    *,
    skip: int = 0,
    candidates: int = 0,
) -> list[tuple[float, Likeliest]]:
    """Run one chunk of `ids` through the model, behind what the cache holds.

    Args:
        targets: what follows, in the text, each of the ids after the first `skip`.

    Returns:
        For each target its logprob, and the likeliest tokens at its place.
    """
    tokens = model.ids([ids])
    logits = model(tokens, cache, last_only=not targets)[0]
    if not targets:
        return []
    return [
        (float(row[target] - row.logsumexp(-1)), likeliest(row, candidates))
        for row, target in zip(logits[skip:], targets, strict=False)
    ]


def generate(
    encoded_prompts: Sequence[Sequence[SupportsIndex]],
    model: Transformer,
    *,
    max_tokens: int,
    temperature: float = 0.0,
    chunk_size: int | None = None,
    eos_id: SupportsIndex | Collection[SupportsIndex] | None = None,
    top_p: float = 0.8,
    seed: int | None = None,
    sampling: SamplingParams | None = None,
    banned: Sequence[int] = (),
    cancelled: Callable[[], bool] = lambda: False,
) -> tuple[list[list[int]], list[list[float]]]:
    """Complete a batch of prompts; the signature and meaning of the reference's `generate`.

    Args:
        encoded_prompts: token ids, at least one each; lengths may differ.
        max_tokens: for each prompt.
        temperature: 0 is greedy.
        chunk_size: prefill chunk in tokens; the result does not depend on it.
        eos_id: id or ids that end a sequence; not part of the result.
        top_p: nucleus of the sampling (0.8 is fixed in the reference).
        seed: of the sampling, one stream a prompt; None draws one.
        sampling: every other setting, in the place of temperature and top_p; its seed and
            its max_tokens count where the arguments leave them open or ask for more.
        banned: ids that are never drawn.
        cancelled: asked before every step; true ends the generation with what is there.

    Returns:
        tokens: the generated ids of each prompt.
        logprobs: of each prompt's ids after the first, then of its generated ids.

    Raises:
        RequestError, SettingError, ContextFull: one sentence.
    """
    params = sampling or SamplingParams(temperature=temperature, top_p=top_p)
    check(params)
    max_tokens = _whole("max_tokens", max_tokens)
    max_tokens = min(max_tokens, params.max_tokens or max_tokens)
    seed = params.seed if seed is None else _whole("seed", seed)
    check(replace(params, max_tokens=max_tokens, seed=seed))
    chunk = PREFILL_CHUNK if chunk_size is None else _whole("chunk_size", chunk_size)
    if chunk < 1:
        raise SettingError(f"The setting chunk_size is {chunk}; it must be 1 or more.")
    prompts = [_ids(prompt, model.config.vocab_size) for prompt in encoded_prompts]
    if not prompts:
        return [], []
    batch = len(prompts)
    stop_ids = _stop_ids(eos_id)
    base = random.getrandbits(32) if seed is None else seed
    samplers = [
        make_sampler(params, seed=base + n, history=prompt, banned=banned)
        for n, prompt in enumerate(prompts)
    ]
    longest = max(map(len, prompts))
    cache = model.new_cache(batch=batch, max_length=longest + max_tokens)

    logprobs: list[list[float]] = []
    last: list[Tensor] = []
    for row, prompt in enumerate(prompts):
        scores, logits = _score(model, cache, prompt, row, chunk)
        logprobs.append(scores)
        last.append(logits)

    tokens: list[list[int]] = [[] for _ in range(batch)]
    active = set(range(batch))
    drawn = decode_rows(model, cache, last, samplers, active, max_tokens=max_tokens)
    for row, token, logprob in drawn:
        if token in stop_ids:
            active.remove(row)
            continue
        tokens[row].append(token)
        logprobs[row].append(logprob)
        if cancelled():
            break
    return tokens, logprobs


def _whole(name: str, value: SupportsIndex) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise SettingError(f"The setting {name} is {value!r}; it must be a whole number.") from None


def _ids(prompt: Iterable[SupportsIndex], vocab_size: int) -> list[int]:
    """A prompt's ids as whole numbers that the model has embeddings for: one that it lacks
    would end a CUDA process for good."""
    try:
        ids = [operator.index(token) for token in prompt]
    except TypeError:
        raise RequestError("A prompt must be a sequence of token ids (whole numbers).") from None
    if not ids:
        raise RequestError("A prompt is empty; the model needs at least one token to start from.")
    if wrong := [token for token in ids if not 0 <= token < vocab_size]:
        raise RequestError(
            f"A prompt has the token id {wrong[0]}; the model's are 0 to {vocab_size - 1:,}."
        )
    return ids


def _stop_ids(eos_id: SupportsIndex | Collection[SupportsIndex] | None) -> set[int]:
    if eos_id is None:
        return set()
    if isinstance(eos_id, Collection):
        return {_whole("eos_id", token) for token in eos_id}
    return {_whole("eos_id", eos_id)}


def _score(
    model: Transformer, cache: KVCache, prompt: Sequence[int], row: int, chunk_size: int
) -> tuple[list[float], Tensor]:
    """Prefill one row; logprobs of prompt[1:] and the logits that follow the prompt."""
    scores: list[float] = []
    logits = torch.empty(0)
    for start in range(0, len(prompt), chunk_size):
        chunk = model.ids([prompt[start : start + chunk_size]])
        logits = model(chunk, cache, row=row, last_only=False)[0]
        targets = prompt[start + 1 : start + 1 + chunk.shape[1]]
        if targets:
            index = torch.tensor(targets, device=logits.device).unsqueeze(1)
            known = logits.narrow(0, 0, len(targets))
            picked = known.log_softmax(-1).gather(1, index).squeeze(1)
            scores.extend(picked.tolist())
    return scores, logits[-1]
