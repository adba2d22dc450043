"""Rotary position embeddings (Su et al. 2021, arXiv:2104.09864), in Mistral's layout.

Dimensions 2i and 2i+1 of a head form one pair (interleaved, as in the reference's
complex multiplication), not the half-split pairs of Hugging Face checkpoints.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from inference.config import Llama4Scaling, ModelConfig, YarnConfig


def frequencies(config: ModelConfig, *, device: torch.device | None = None) -> Tensor:
    """Angular frequency of each pair, theta^(-2i/head_dim), YaRN's correction included.

    Returns:
        (head_dim/2,) fp32.
    """
    exponent = torch.arange(0, config.head_dim, 2, dtype=torch.float32, device=device)
    freqs = 1.0 / (config.rope_theta ** (exponent / config.head_dim))
    return freqs if config.yarn is None else _yarn(freqs, config, config.yarn)


def _yarn(freqs: Tensor, config: ModelConfig, yarn: YarnConfig) -> Tensor:
    """ "NTK by parts" of YaRN (arXiv:2309.00071, section 3.2): fast pairs stay, slow ones are
    interpolated, with a linear ramp between; bounds rounded as in the authors' code."""

    def pair_that_turns(times: float) -> float:
        """The (fractional) pair that makes so many turns over the original context."""
        length = yarn.original_max_position_embeddings / (times * 2 * math.pi)
        return config.head_dim * math.log(length) / (2 * math.log(config.rope_theta))

    low = max(math.floor(pair_that_turns(yarn.beta)), 0)
    high = min(math.ceil(pair_that_turns(yarn.alpha)), config.head_dim - 1)
    pairs = torch.arange(config.head_dim // 2, dtype=torch.float32, device=freqs.device)
    # Equal bounds would divide by zero; the authors' code adds this, too.
    ramp = ((pairs - low) / (high - low or 1e-3)).clamp(0, 1)
    return freqs / yarn.factor * ramp + freqs * (1 - ramp)


def magnitude(config: ModelConfig) -> float:
    """The factor of cos and sin: 1, or with YaRN the one of section 3.4 of its paper."""
    yarn = config.yarn
    if yarn is None:
        return 1.0
    if yarn.attention_factor is not None:
        return yarn.attention_factor
    return 0.1 * math.log(yarn.factor) + 1.0 if yarn.apply_scale else 1.0


def cos_sin(positions: Tensor, freqs: Tensor, magnitude: float = 1.0) -> tuple[Tensor, Tensor]:
    """Rotation of each position; computed when needed, so no table bounds the context.

    Args:
        positions: (B, T) integers.
        freqs: (head_dim/2,) fp32.
        magnitude: factor of both.

    Returns:
        cos and sin, each (B, T, 1, head_dim/2), fp32.
    """
    angles = positions.to(torch.float32).unsqueeze(-1) * freqs
    angles = angles.unsqueeze(2)
    if magnitude == 1.0:
        return angles.cos(), angles.sin()
    return angles.cos() * magnitude, angles.sin() * magnitude


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the pairs of `x` (B, T, n_heads, head_dim) in fp32; returns x's dtype."""
    pairs = x.float().view(*x.shape[:-1], -1, 2)
    even, odd = pairs.unbind(-1)
    turned = torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1)
    return turned.flatten(-2).type_as(x)


def query_scale(positions: Tensor, scaling: Llama4Scaling) -> Tensor:
    """Llama 4's attention temperature, 1 + beta · ln(1 + floor(position / original)), as
    transformers' Ministral 3 applies it: to queries, after their rotation.

    Args:
        positions: (B, T) integers.

    Returns:
        (B, T, 1, 1) fp32.
    """
    periods = (positions // scaling.original_max_position_embeddings).to(torch.float32)
    return (1 + scaling.beta * torch.log1p(periods)).unsqueeze(-1).unsqueeze(-1)
