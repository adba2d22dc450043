"""A mixture of experts: its three ways to compute agree; routing is what Mixtral's is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import tiny
from inference.linear import LoraPair
from inference.moe import FeedForward, MoE
from inference.params import from_params

CONFIG = from_params(
    {**tiny.PARAMS, "vocab_size": 64, "moe": {"num_experts": 6, "num_experts_per_tok": 2}}
)


def _mixture(dtype: torch.dtype = torch.float32, *, lora: bool = False) -> MoE:
    torch.manual_seed(0)
    mixture = MoE(CONFIG).requires_grad_(False)
    for weight in mixture.parameters():
        torch.nn.init.normal_(weight, std=weight.shape[-1] ** -0.5)
    mixture = mixture.to(dtype)
    if lora:
        for n, expert in enumerate(mixture.experts):
            if n % 2:  # some only, of two ranks
                n_out, n_in = expert.w1.weight.shape
                rank = 8 if n == 1 else 16
                a = torch.randn(rank, n_in, dtype=dtype) * n_in**-0.5
                b = torch.randn(n_out, rank, dtype=dtype) * rank**-0.5
                expert.w1.lora = LoraPair(a, b, 1.5)
    return mixture


def _stacked(mixture: MoE, dtype: torch.dtype = torch.float32) -> MoE:
    state = {name: weight.clone() for name, weight in mixture.state_dict().items()}
    mixture.stack(torch.device("cpu"), dtype)
    mixture.load_state_dict(state)
    return mixture


def _by_hand(mixture: MoE, row: Tensor) -> Tensor:
    """One token, as the paper has it."""
    scores = row @ mixture.gate.weight.T
    best = sorted(range(6), key=lambda e: -float(scores[e]))[:2]
    shares = torch.tensor([float(scores[e]) for e in best]).softmax(-1)
    outs = [mixture.experts[e](row.unsqueeze(0))[0] for e in best]
    return shares[0] * outs[0] + shares[1] * outs[1]


@pytest.mark.parametrize("lora", [False, True])
def test_each_token_goes_through_its_two_best(lora: bool) -> None:
    mixture = _mixture(lora=lora)
    x = torch.randn(2, 9, 64)
    out = mixture(x)
    for b in range(2):
        for t in range(9):
            torch.testing.assert_close(out[b, t], _by_hand(mixture, x[b, t]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("way", ["_gathered", "_grouped", "_all_of_all"])
@pytest.mark.parametrize("rows", [1, 3, 50])
@pytest.mark.parametrize("lora", [False, True])
def test_the_ways_for_a_gpu_agree(
    monkeypatch: pytest.MonkeyPatch, way: str, rows: int, lora: bool
) -> None:
    mixture = _mixture(lora=lora)
    x = torch.randn(1, rows, 64)
    plain = mixture(x)
    _stacked(mixture)
    used: list[str] = []
    chosen = getattr(mixture, way)
    for name in ("_one_by_one", "_gathered", "_grouped", "_all_of_all"):
        monkeypatch.setattr(
            mixture, name, lambda *args, n=name, c=chosen: (used.append(n), c(*args))[1]
        )
    torch.testing.assert_close(mixture(x), plain, atol=1e-5, rtol=0)
    assert used == ["_gathered" if rows <= 4 else "_all_of_all"]  # as fp32 chooses by itself


def test_bf16_takes_the_grouped_way_for_many_rows() -> None:
    mixture = _mixture(torch.bfloat16)
    x = torch.randn(1, 40, 64, dtype=torch.bfloat16)
    plain = mixture(x)
    _stacked(mixture, torch.bfloat16)
    calls: list[int] = []
    grouped = mixture._grouped
    mixture._grouped = lambda *args: (calls.append(1), grouped(*args))[1]  # type: ignore[method-assign]
    assert (mixture(x) - plain).float().abs().max() < 0.05 * plain.float().abs().max()
    assert calls


def test_experts_are_parts_of_the_stack() -> None:
    mixture = _stacked(_mixture())
    for name, stack in mixture._stacks.items():
        for n, expert in enumerate(mixture.experts):
            assert getattr(expert, name).weight.data_ptr() == stack.weight[n].data_ptr()


def test_an_expert_nobody_chose_is_not_computed() -> None:
    mixture = _mixture()
    asked: list[int] = []
    for n, expert in enumerate(mixture.experts):
        expert.register_forward_pre_hook(lambda *_, n=n: asked.append(n))
    mixture(torch.randn(1, 1, 64))
    assert len(asked) == 2


def test_a_stack_is_not_converted_in_silence() -> None:
    with pytest.raises(RuntimeError, match="device= and dtype="):
        _stacked(_mixture()).to(torch.bfloat16)


def test_loading_into_a_stack_is_loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loader's way for CUDA, on a CPU."""
    from inference.transformer import Transformer

    changes: dict[str, Any] = {
        "vocab_size": 512,
        "moe": {"num_experts": 4, "num_experts_per_tok": 2},
    }
    params = {**tiny.PARAMS, **changes}
    weights = tiny.random_weights(params)
    for how in ("native", "2023"):
        folder = tiny.write(tmp_path / how, params, weights, how)
        plain = Transformer.from_folder(folder)
        with monkeypatch.context() as patch:
            patch.setattr("inference.checkpoint.wants_stacks", lambda device: True)
            stacked = Transformer.from_folder(folder)
        assert all(mixture.stacked for mixture in stacked.mixtures())
        for (name, a), (_, b) in zip(
            plain.named_parameters(), stacked.named_parameters(), strict=True
        ):
            assert torch.equal(a, b), name
        tokens = torch.arange(3, 30).unsqueeze(0)
        torch.testing.assert_close(stacked(tokens), plain(tokens), atol=1e-4, rtol=0)


def test_dense_layers_stay_plain() -> None:
    from inference.transformer import Transformer

    with torch.device("meta"):
        model = Transformer(from_params(tiny.PARAMS))
    assert model.mixtures() == []
    assert isinstance(model.layers["0"].feed_forward, FeedForward)
