"""Rotary position embeddings (Su et al. 2021, arXiv:2104.09864), in Mistral's layout.

Dimensions 2i and 2i+1 of a head form one pair (interleaved, as in the reference's
complex multiplication), not the half-split pairs of Hugging Face checkpoints.
"""

from __future__ import annotations

import torch
from torch import Tensor


def frequencies(head_dim: int, theta: float, *, device: torch.device | None = None) -> Tensor:
    """Angular frequency of each pair: theta^(-2i/head_dim), shape (head_dim/2,), fp32."""
    exponent = torch.arange(0, head_dim, 2, dtype=torch.float32, device=device) / head_dim
    return 1.0 / (theta**exponent)


def cos_sin(positions: Tensor, freqs: Tensor) -> tuple[Tensor, Tensor]:
    """Rotation of each position; computed when needed, so no table bounds the context.

    Args:
        positions: (B, T) integers.
        freqs: (head_dim/2,) fp32.

    Returns:
        cos and sin, each (B, T, 1, head_dim/2), fp32.
    """
    angles = positions.to(torch.float32).unsqueeze(-1) * freqs
    angles = angles.unsqueeze(2)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the pairs of `x` (B, T, n_heads, head_dim) in fp32; returns x's dtype."""
    pairs = x.float().view(*x.shape[:-1], -1, 2)
    even, odd = pairs.unbind(-1)
    turned = torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1)
    return turned.flatten(-2).type_as(x)
