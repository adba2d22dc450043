"""The linear layer of every projection: no bias, perhaps a LoRA adapter beside its weight."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# From this many rows on, bf16 products on a CPU without native bf16 are faster when the
# weight is first widened to fp32 (measured: about 6 times for a prefill chunk).
_UPCAST_ROWS = 8


def _cpu_has_native_bf16() -> bool:
    if torch.backends.cpu.get_cpu_capability() == "DEFAULT":
        return False
    check = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    amx = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool((check and check()) or (amx and amx()))


@dataclass(frozen=True, slots=True)
class LoraPair:
    """A low-rank addition to a weight (Hu et al. 2021, arXiv:2106.09685): scaling · B A.

    `a` is (rank, in), `b` (out, rank), in the weight's dtype and on its device.
    """

    a: Tensor
    b: Tensor
    scaling: float

    def __call__(self, x: Tensor) -> Tensor:
        """scaling · B A x."""
        return linear(linear(x, self.a), self.b) * self.scaling


class Linear(nn.Linear):
    """`nn.Linear` without bias; `lora` is added to its product while it is attached."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(n_in, n_out, bias=False)
        self.lora: LoraPair | None = None

    def reset_parameters(self) -> None:
        """Nothing: weights come from files."""

    def forward(self, x: Tensor) -> Tensor:
        out = linear(x, self.weight)
        return out if self.lora is None else out + self.lora(x)


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """x Wᵀ; widens bf16 weights for large products on CPUs that compute bf16 slowly."""
    if (
        _UPCAST
        and weight.dtype is torch.bfloat16
        and weight.device.type == "cpu"
        and x.shape[:-1].numel() >= _UPCAST_ROWS
    ):
        return F.linear(x.float(), weight.float()).to(x.dtype)
    return F.linear(x, weight)


_UPCAST = not _cpu_has_native_bf16()
