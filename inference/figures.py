"""The figures that events carry: of a model, of a request."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shape:
    """What the model card shows of the architecture."""

    dim: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    vocab_size: int
    n_params: int
    n_active_params: int = 0  # that one token goes through; less than n_params with experts


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one request. `reused_tokens` of the prompt came from the KV cache, all
    slots of which take `cache_nbytes`."""

    prompt_tokens: int
    reused_tokens: int
    completion_tokens: int
    cache_nbytes: int = 0


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds; `ttft_s` is from the start of the request to its first token."""

    prefill_s: float
    ttft_s: float
    decode_s: float
    decode_tokens_per_s: float
