"""Sparse mixture of experts (Mixtral, arXiv:2401.04088): each token through k feed-forwards.

One routing, three ways to compute it:
- experts one by one, the rows of each picked out: needs the choice on the host (CPU, MPS);
- the chosen experts' weights gathered, for the few rows of a decode step on CUDA, where
  the host never waits;
- rows sorted by expert and one grouped product for all, for prefill on CUDA.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inference.config import ModelConfig
from inference.linear import Linear, LoraPair

# Gathering copies k experts a row; above this many it costs more than reading all of them.
_GATHER_ROWS = 4
_ALIGNED = 8  # elements: grouped products need rows of whole 16 bytes


class FeedForward(nn.Module):
    """SwiGLU (Shazeer 2020, arXiv:2002.05202): w2(silu(w1 x) · w3 x)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.w1 = Linear(config.dim, config.hidden_dim)
        self.w2 = Linear(config.hidden_dim, config.dim)
        self.w3 = Linear(config.dim, config.hidden_dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.w2(F.silu(self.w1(x)) * self.w3(x))
        return out


class MoE(nn.Module):
    """A router and its experts; module names are the checkpoint's."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        assert config.moe
        self.k = config.moe.num_experts_per_tok
        self.gate = Linear(config.dim, config.moe.num_experts)
        self.experts = nn.ModuleList(FeedForward(config) for _ in range(config.moe.num_experts))
        self._stacks: dict[str, Stack] = {}

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, dim) → (B, T, dim)."""
        rows = x.reshape(-1, x.shape[-1])
        scores, chosen = torch.topk(self.gate(rows), self.k)
        weights = scores.softmax(-1, dtype=torch.float32).to(x.dtype)
        if not self._stacks:
            out = self._one_by_one(rows, weights, chosen)
        elif rows.shape[0] <= _GATHER_ROWS:
            out = self._gathered(rows, weights, chosen)
        elif all(stack.can_group for stack in self._stacks.values()):
            out = self._grouped(rows, weights, chosen)
        else:
            out = self._all_of_all(rows, weights, chosen)
        return out.view(x.shape)

    def _apply(self, fn: Any, recurse: bool = True) -> MoE:
        """Stacked weights are views, which a conversion would part from their stack."""
        if self._stacks:
            raise RuntimeError("load the model with device= and dtype= instead of converting it")
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def stack(self, device: torch.device, dtype: torch.dtype) -> None:
        """Give the experts' weights storage in one tensor a matrix, (E, out, in), as the two
        ways for CUDA need it; the experts' own parameters become views of it."""
        for name in ("w1", "w2", "w3"):
            layers = [getattr(expert, name) for expert in self.experts]
            n_out, n_in = layers[0].weight.shape
            together = torch.empty((len(layers), n_out, n_in), device=device, dtype=dtype)
            for layer, part in zip(layers, together.unbind(0), strict=True):
                layer.weight = nn.Parameter(part, requires_grad=False)
            self._stacks[name] = Stack(together)
        self.lora_changed()

    @property
    def stacked(self) -> bool:
        """Whether the experts' weights are parts of one tensor."""
        return bool(self._stacks)

    def lora_changed(self) -> None:
        """Bring adapters that were attached to, or taken from, single experts together."""
        for name, stack in self._stacks.items():
            stack.gather_lora([getattr(expert, name).lora for expert in self.experts])

    def _one_by_one(self, rows: Tensor, weights: Tensor, chosen: Tensor) -> Tensor:
        out = torch.zeros_like(rows)
        for expert in sorted(set(chosen.flatten().tolist())):
            row, nth = torch.where(chosen == expert)
            part = self.experts[expert](rows.index_select(0, row))
            out.index_add_(0, row, part * weights[row, nth, None])
        return out

    def _gathered(self, rows: Tensor, weights: Tensor, chosen: Tensor) -> Tensor:
        which = chosen.flatten()
        x = rows.repeat_interleave(self.k, dim=0)
        w1, w2, w3 = (self._stacks[name] for name in ("w1", "w2", "w3"))
        out = w2.gathered(F.silu(w1.gathered(x, which)) * w3.gathered(x, which), which)
        return (out.view(-1, self.k, rows.shape[-1]) * weights.unsqueeze(-1)).sum(1)

    def _grouped(self, rows: Tensor, weights: Tensor, chosen: Tensor) -> Tensor:
        which = chosen.flatten()
        order = which.argsort(stable=True)
        source = order // self.k
        experts = torch.arange(len(self.experts), device=which.device)
        ends = (which.unsqueeze(-1) == experts).sum(0).cumsum(0).to(torch.int32)
        x = rows.index_select(0, source)
        w1, w2, w3 = (self._stacks[name] for name in ("w1", "w2", "w3"))
        out = w2.grouped(F.silu(w1.grouped(x, ends)) * w3.grouped(x, ends), ends)
        out = out * weights.flatten().index_select(0, order).unsqueeze(-1)
        return torch.zeros_like(rows).index_add(0, source, out)

    def _all_of_all(self, rows: Tensor, weights: Tensor, chosen: Tensor) -> Tensor:
        """Every expert on every row, what was not chosen weighted 0: wasteful, for dtypes
        and shapes that grouped products do not take."""
        out = torch.zeros_like(rows)
        for number, expert in enumerate(self.experts):
            share = torch.where(chosen == number, weights, 0).sum(-1, keepdim=True)
            out = out + expert(rows) * share
        return out


class Stack:
    """One matrix of all experts, (E, out, in), and the adapters on it."""

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight
        self.a: Tensor | None = None  # (E, rank, in)
        self.b: Tensor | None = None  # (E, out, rank), scaling included

    def gather_lora(self, pairs: list[LoraPair | None]) -> None:
        """Stack the experts' adapters; experts without one get zeros."""
        known = [pair for pair in pairs if pair is not None]
        if not known:
            self.a = self.b = None
            return
        rank = max(pair.a.shape[0] for pair in known)
        _, n_out, n_in = self.weight.shape
        none = LoraPair(self.weight.new_zeros((0, n_in)), self.weight.new_zeros((n_out, 0)), 0.0)
        whole = [pair or none for pair in pairs]
        missing = [rank - pair.a.shape[0] for pair in whole]
        self.a = torch.stack(
            [F.pad(pair.a, (0, 0, 0, n)) for pair, n in zip(whole, missing, strict=True)]
        )
        self.b = torch.stack(
            [F.pad(pair.b * pair.scaling, (0, n)) for pair, n in zip(whole, missing, strict=True)]
        )

    @property
    def can_group(self) -> bool:
        """Whether torch's grouped product takes these matrices."""
        rank = 0 if self.a is None else self.a.shape[1]
        aligned = all(n % _ALIGNED == 0 for n in (*self.weight.shape[1:], rank))
        return aligned and self.weight.dtype is torch.bfloat16

    def gathered(self, x: Tensor, which: Tensor) -> Tensor:
        """Row i of `x` (N, in) times expert `which[i]`'s matrix: (N, out)."""
        y = _bmm(self.weight, x, which)
        if self.a is not None and self.b is not None:
            y = y + _bmm(self.b, _bmm(self.a, x, which), which)
        return y

    def grouped(self, x: Tensor, ends: Tensor) -> Tensor:
        """Rows sorted by expert times their expert's matrix; `ends` (E,) int32 says where
        each expert's rows end."""
        y = F.grouped_mm(x, self.weight.transpose(1, 2), offs=ends)
        if self.a is not None and self.b is not None:
            low = F.grouped_mm(x, self.a.transpose(1, 2), offs=ends)
            y = y + F.grouped_mm(low, self.b.transpose(1, 2), offs=ends)
        return y


def _bmm(stack: Tensor, x: Tensor, which: Tensor) -> Tensor:
    return torch.bmm(stack.index_select(0, which), x.unsqueeze(-1)).squeeze(-1)
