"""What each filter keeps, that draws follow the distribution, and that seeds repeat."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from inference.api import SamplingParams
from inference.errors import RequestError, SettingError
from inference.sampling import check, make_sampler

LOGITS = torch.tensor([0.4, 0.3, 0.15, 0.1, 0.05]).log()
PLAIN = SamplingParams(temperature=1.0)


def draws(params: SamplingParams, count: int = 4000, seed: int = 1, **rest: object) -> list[float]:
    """Relative frequency of each of the five tokens."""
    sampler = make_sampler(params, seed=seed, **rest)  # type: ignore[arg-type]
    counts = torch.zeros(5)
    for _ in range(count):
        counts[sampler(LOGITS)[0]] += 1
    return (counts / count).tolist()


def test_draws_follow_the_distribution() -> None:
    assert draws(PLAIN) == pytest.approx([0.4, 0.3, 0.15, 0.1, 0.05], abs=0.03)


def test_temperature_sharpens() -> None:
    squared = torch.tensor([0.16, 0.09, 0.0225, 0.01, 0.0025])
    expected = (squared / squared.sum()).tolist()
    assert draws(SamplingParams(temperature=0.5)) == pytest.approx(expected, abs=0.03)


def test_zero_temperature_is_greedy_and_logprob_is_the_models_own() -> None:
    token, logprob = make_sampler(SamplingParams(temperature=0), seed=1)(LOGITS)
    assert token == 0
    assert logprob == pytest.approx(float(LOGITS[0]), abs=1e-6)


def test_logprob_ignores_temperature_and_filters() -> None:
    sampler = make_sampler(SamplingParams(temperature=5.0, top_k=3), seed=2)
    for _ in range(20):
        token, logprob = sampler(LOGITS)
        assert logprob == pytest.approx(float(LOGITS[token]), abs=1e-6)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"top_k": 2}, [4 / 7, 3 / 7, 0, 0, 0]),
        ({"top_p": 0.6}, [4 / 7, 3 / 7, 0, 0, 0]),
        ({"top_p": 0.35}, [1, 0, 0, 0, 0]),
        ({"top_p": 0.0}, [1, 0, 0, 0, 0]),
        ({"min_p": 0.3}, [0.4 / 0.85, 0.3 / 0.85, 0.15 / 0.85, 0, 0]),
        ({"min_p": 1.0}, [1, 0, 0, 0, 0]),
        ({"top_k": 4, "min_p": 0.5}, [4 / 7, 3 / 7, 0, 0, 0]),
    ],
    ids=str,
)
def test_filters_keep_what_they_should(change: dict[str, float], expected: list[float]) -> None:
    params = dataclasses.replace(PLAIN, **change)  # type: ignore[arg-type]
    assert draws(params) == pytest.approx(expected, abs=0.03)


def test_top_p_over_a_flat_vocabulary_reaches_past_the_shortlist() -> None:
    logits = torch.zeros(1000)
    sampler = make_sampler(SamplingParams(temperature=1.0, top_p=0.9), seed=3)
    seen = {sampler(logits)[0] for _ in range(6000)}
    assert 880 <= len(seen) <= 901


def test_min_p_equals_its_definition_on_a_large_vocabulary() -> None:
    logits = torch.randn(5000, generator=torch.Generator().manual_seed(5)) * 2
    allowed = set((logits.softmax(-1) >= 0.02 * logits.softmax(-1).max()).nonzero()[:, 0].tolist())
    sampler = make_sampler(SamplingParams(temperature=1.0, min_p=0.02), seed=4)
    assert {sampler(logits)[0] for _ in range(4000)} <= allowed


def test_repetition_penalty_weighs_down_what_was_seen() -> None:
    params = SamplingParams(temperature=0, repetition_penalty=1.5)
    # log-probabilities are negative, so a penalty multiplies: 0.4 ** 1.5 = 0.25 < 0.3.
    assert make_sampler(params, seed=0)(LOGITS)[0] == 0
    sampler = make_sampler(params, seed=0, history=[0])
    assert sampler(LOGITS)[0] == 1
    assert sampler(LOGITS)[0] == 0  # now both were seen


def test_banned_tokens_never_come() -> None:
    assert draws(PLAIN, banned=[0, 2]) == pytest.approx(
        [0, 0.3 / 0.45, 0, 0.1 / 0.45, 0.05 / 0.45], abs=0.03
    )


def test_same_seed_same_draws() -> None:
    def run(seed: int) -> list[int]:
        sampler = make_sampler(PLAIN, seed=seed)
        return [sampler(LOGITS)[0] for _ in range(50)]

    assert run(11) == run(11)
    assert run(11) != run(12)


def test_damaged_logits_are_one_sentence() -> None:
    for params in (PLAIN, SamplingParams(temperature=0)):
        with pytest.raises(RequestError, match="NaN"):
            make_sampler(params, seed=0)(torch.full((5,), float("nan")))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_p": 1.5}, "top_p is 1.5; it must be 0 to 1"),
        ({"top_k": -1}, "top_k is -1; it must be 0 or more"),
        ({"min_p": 2}, "min_p is 2"),
        ({"repetition_penalty": 0}, "repetition_penalty is 0"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"seed": -5}, "seed is -5"),
    ],
    ids=str,
)
def test_impossible_settings_are_named(change: dict[str, float], words: str) -> None:
    with pytest.raises(SettingError, match=words):
        check(dataclasses.replace(PLAIN, **change))  # type: ignore[arg-type]
