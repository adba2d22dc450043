"""Prefill, decode and the batch API agree with each other, whatever the chunks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from inference.api import SamplingParams
from inference.errors import ContextFull, RequestError, SettingError
from inference.generation import decode, decode_rows, generate, prefill
from inference.sampling import Sampler, make_sampler
from inference.transformer import Transformer

PROMPTS = [[1, 17, 300, 4], [1, 9], [1, *range(50, 70)], [1, 2000, 31, 8, 8, 9]]


KINDS: dict[str, dict[str, Any]] = {
    "full": {},
    "window": {"sliding_window": 7, "rope_theta": 1e4},
    "windows by layer": {"sliding_window": [5, None, 11], "n_layers": 3},
    "moe with window": {
        "moe": {"num_experts": 4, "num_experts_per_tok": 2},
        "sliding_window": [None, 9],
    },
}


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Transformer:
    params = {**tiny.PARAMS, **KINDS[request.param]}
    folder = tmp_path_factory.mktemp("models") / "tiny"
    return Transformer.from_folder(tiny.write(folder, params, tiny.random_weights(params)))


def _alone(model: Transformer, prompt: list[int], count: int) -> list[int]:
    """Greedy, everything computed anew for each token: slow and obviously right."""
    ids = list(prompt)
    for _ in range(count):
        logits = model(torch.tensor([ids]), model.new_cache())
        ids.append(int(logits[0, -1].argmax()))
    return ids[len(prompt) :]


@settings(max_examples=20, deadline=None)
@given(
    ids=st.lists(st.integers(3, 32767), min_size=2, max_size=60),
    chunk=st.integers(1, 70),
    cut=st.integers(0, 60),
)
def test_any_chunking_and_truncation_gives_the_same_logits(
    model: Transformer, ids: list[int], chunk: int, cut: int
) -> None:
    whole = model(torch.tensor([ids]), model.new_cache())[0, -1]
    bound = 1e-5 * whole.abs().max().item()

    chunked = prefill(model, model.new_cache(), ids, chunk_size=chunk)
    assert chunked is not None
    assert (chunked - whole).abs().max().item() < bound

    cache = model.new_cache()
    prefill(model, cache, [*ids[: min(cut, len(ids) - 1)], 77, 78, 79], chunk_size=chunk)
    kept = min(cut, len(ids) - 1)
    cache.truncate(kept)
    again = prefill(model, cache, ids[kept:], chunk_size=chunk)
    assert again is not None
    assert (again - whole).abs().max().item() < bound


@settings(max_examples=8, deadline=None)
@given(
    prompts=st.lists(
        st.lists(st.integers(3, 32767), min_size=1, max_size=30), min_size=2, max_size=4
    ),
    chunk=st.integers(1, 40),
)
def test_any_batch_of_unequal_prompts_equals_each_alone(
    model: Transformer, prompts: list[list[int]], chunk: int
) -> None:
    """Logits of every row of a batched step, against one pass over that row alone."""
    cache = model.new_cache(batch=len(prompts), max_length=40)
    for row, prompt in enumerate(prompts):
        for start in range(0, len(prompt), chunk):
            model(torch.tensor([prompt[start : start + chunk]]), cache, row=row)
    for step in range(3):
        tokens = [100 + 7 * row + step for row in range(len(prompts))]
        together = model(torch.tensor(tokens).unsqueeze(1), cache)
        for row, prompt in enumerate(prompts):
            prompt.append(tokens[row])
            alone = model(torch.tensor([prompt]))[0, -1]
            assert (together[row, -1] - alone).abs().max() < 1e-5 * alone.abs().max()


@pytest.mark.parametrize("chunk_size", [None, 1, 3, 1000])
def test_batch_of_unequal_prompts_equals_each_alone(
    model: Transformer, chunk_size: int | None
) -> None:
    tokens, logprobs = generate(PROMPTS, model, max_tokens=10, temperature=0, chunk_size=chunk_size)
    for prompt, got, scores in zip(PROMPTS, tokens, logprobs, strict=True):
        assert got == _alone(model, prompt, 10)
        assert len(scores) == len(prompt) - 1 + len(got)
        everything = torch.tensor([prompt + got])
        logits = model(everything, model.new_cache(), last_only=False)[0]
        expected = logits.log_softmax(-1)[:-1].gather(1, everything[0, 1:, None]).squeeze(1)
        torch.testing.assert_close(torch.tensor(scores), expected, atol=1e-4, rtol=0)


def test_nothing_follows_an_eos_and_others_go_on(model: Transformer) -> None:
    free, _ = generate(PROMPTS, model, max_tokens=10, temperature=0)
    eos = free[2][4]  # a token that the third prompt comes to in mid-answer
    tokens, logprobs = generate(PROMPTS, model, max_tokens=10, temperature=0, eos_id=eos)
    for prompt, alone, got, scores in zip(PROMPTS, free, tokens, logprobs, strict=True):
        expected = alone[: alone.index(eos)] if eos in alone else alone
        assert got == expected
        assert len(scores) == len(prompt) - 1 + len(got)


def test_a_prompt_whose_first_token_is_eos_returns_an_empty_list(model: Transformer) -> None:
    first = _alone(model, PROMPTS[1], 1)[0]
    tokens, logprobs = generate([PROMPTS[1]], model, max_tokens=5, temperature=0, eos_id=first)
    assert tokens == [[]]
    assert len(logprobs[0]) == len(PROMPTS[1]) - 1


def test_a_seed_repeats_and_another_differs(model: Transformer) -> None:
    def run(seed: int) -> list[list[int]]:
        return generate(PROMPTS, model, max_tokens=12, temperature=1.5, top_p=1.0, seed=seed)[0]

    assert run(7) == run(7)
    assert run(7) != run(8)


def test_sequences_of_a_batch_do_not_leak_into_each_other(model: Transformer) -> None:
    together, _ = generate([PROMPTS[0], PROMPTS[2]], model, max_tokens=8, temperature=0)
    other, _ = generate([PROMPTS[0], [1, 5, 5, 5]], model, max_tokens=8, temperature=0)
    assert together[0] == other[0]


def test_impossible_requests_are_one_sentence(model: Transformer) -> None:
    with pytest.raises(RequestError, match="prompt is empty"):
        generate([[1], []], model, max_tokens=3, temperature=0)
    with pytest.raises(SettingError, match="temperature is -1"):
        generate([[1]], model, max_tokens=3, temperature=-1)
    with pytest.raises(SettingError, match="max_tokens is 0"):
        generate([[1]], model, max_tokens=0, temperature=0)
    cache = model.new_cache(max_length=5)
    with pytest.raises(ContextFull, match="6 tokens do not fit"):
        prefill(model, cache, [1] * 6)


def test_cache_grows_and_keeps_what_it_holds(model: Transformer) -> None:
    ids = torch.randint(3, 32768, (400,), generator=torch.Generator().manual_seed(3)).tolist()
    cache = model.new_cache()
    small = cache.nbytes
    grown = prefill(model, cache, ids, chunk_size=50)
    assert cache.capacity >= 400
    assert cache.nbytes > small
    whole = model(torch.tensor([ids]), model.new_cache())[0, -1]
    assert grown is not None
    torch.testing.assert_close(grown, whole, atol=1e-4, rtol=0)


def test_every_setting_of_the_sampling_counts(model: Transformer) -> None:
    warm = SamplingParams(temperature=1.5, seed=5, max_tokens=3)
    first, _ = generate(PROMPTS, model, max_tokens=9, sampling=warm)
    again, _ = generate(PROMPTS, model, max_tokens=9, sampling=warm)
    other, _ = generate(PROMPTS, model, max_tokens=9, sampling=warm, seed=6)
    assert first == again != other
    assert [len(ids) for ids in first] == [3] * len(PROMPTS)


@pytest.mark.parametrize(
    ("prompt", "options", "words"),
    [
        ([1, 32768], {}, "token id 32768; the model's are 0 to 32,767"),
        ([1, -1], {}, "token id -1"),
        ([1, 2.5], {}, "whole numbers"),
        ([1, 2], {"chunk_size": -1}, "chunk_size is -1"),
        ([1, 2], {"chunk_size": 0}, "chunk_size is 0"),
        ([1, 2], {"max_tokens": 2.0}, "max_tokens is 2.0"),
        ([1, 2], {"eos_id": "x"}, "eos_id is 'x'"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_one_sentence(
    model: Transformer, prompt: Any, options: dict[str, Any], words: str
) -> None:
    with pytest.raises((RequestError, SettingError), match=words):
        generate([prompt], model, **{"max_tokens": 2, **options})


def test_prompts_may_be_arrays(model: Transformer) -> None:
    plain = generate([[1, 5, 9]], model, max_tokens=3, eos_id=7)
    for prompt in (np.array([1, 5, 9]), torch.tensor([1, 5, 9]), (1, 5, 9)):
        assert generate([prompt], model, max_tokens=3, eos_id=np.int64(7)) == plain  # type: ignore[list-item]


def test_rows_from_one_prefill_equal_each_alone(
    model: Transformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference.cache._FIRST_CAPACITY", 3)  # so that the cache grows, too
    prompt, count = PROMPTS[2], 9
    cache = model.new_cache()
    logits = prefill(model, cache, prompt)
    assert logits is not None

    def beginning(first: int) -> Sampler:
        told = iter([first])
        greedy = make_sampler(SamplingParams(temperature=0), seed=0)

        def sampler(scores: torch.Tensor) -> tuple[int, float]:
            token, logprob = greedy(scores)
            return next(told, token), logprob

        return sampler

    rows = model.fan_out(cache, 3, room=count)
    assert rows.capacity == len(prompt) + 3
    active, got = {0, 1, 2}, {0: [], 1: [], 2: []}  # type: ignore[var-annotated]
    samplers = [beginning(first) for first in (40, 50, 60)]
    for row, token, _ in decode_rows(model, rows, [logits] * 3, samplers, active, max_tokens=count):
        got[row].append(token)
        if row == 1 and len(got[1]) == 4:
            active.discard(1)
    for row, first in enumerate((40, 50, 60)):
        length = 4 if row == 1 else count
        assert got[row] == [first, *_alone(model, [*prompt, first], length - 1)]
    # What they were copied from goes on as if nothing had been.
    assert cache.length == len(prompt)
    drawn = decode(model, cache, logits, beginning(50), max_tokens=count)
    assert [token for token, _, _ in drawn] == [50, *_alone(model, [*prompt, 50], count - 1)]
