"""The dense Mistral transformer; module names are the checkpoint's tensor names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inference import rope
from inference.attention import attend, causal_mask
from inference.cache import KVCache
from inference.config import ModelConfig

# From this many rows on, bf16 products on a CPU without native bf16 are faster when the
# weight is first widened to fp32 (measured: about 6 times for a prefill chunk).
_UPCAST_ROWS = 8


def _cpu_has_native_bf16() -> bool:
    if torch.backends.cpu.get_cpu_capability() == "DEFAULT":
        return False
    check = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    amx = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool((check and check()) or (amx and amx()))


class Linear(nn.Linear):
    """`nn.Linear` without bias; widens bf16 weights for large products on older CPUs."""

    upcast = not _cpu_has_native_bf16()

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(n_in, n_out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        w = self.weight
        if (
            self.upcast
            and w.dtype is torch.bfloat16
            and w.device.type == "cpu"
            and x.shape[:-1].numel() >= _UPCAST_ROWS
        ):
            return F.linear(x.float(), w.float()).to(x.dtype)
        return F.linear(x, w)


class RMSNorm(nn.Module):
    """Root mean square norm (Zhang & Sennrich 2019), in fp32, cast back, times the weight."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(dim))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        normed = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return normed.type_as(x) * self.weight


class Attention(nn.Module):
    """Grouped-query attention over the KV cache."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.head_dim = config.head_dim
        self.wq = Linear(config.dim, config.n_heads * config.head_dim)
        self.wk = Linear(config.dim, config.n_kv_heads * config.head_dim)
        self.wv = Linear(config.dim, config.n_kv_heads * config.head_dim)
        self.wo = Linear(config.n_heads * config.head_dim, config.dim)

    def forward(self, x: Tensor, step: Step) -> Tensor:
        q = rope.rotate(self.wq(x).unflatten(-1, (-1, self.head_dim)), step.cos, step.sin)
        k = rope.rotate(self.wk(x).unflatten(-1, (-1, self.head_dim)), step.cos, step.sin)
        v = self.wv(x).unflatten(-1, (-1, self.head_dim))
        keys, values = step.cache.write(self.layer, k, v, step.positions, step.row)
        keys, values = keys.narrow(2, 0, step.length), values.narrow(2, 0, step.length)
        out: Tensor = self.wo(attend(q, keys, values, step.mask))
        return out


class FeedForward(nn.Module):
    """SwiGLU (Shazeer 2020): w2(silu(w1 x) · w3 x)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.w1 = Linear(config.dim, config.hidden_dim)
        self.w2 = Linear(config.hidden_dim, config.dim)
        self.w3 = Linear(config.dim, config.hidden_dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.w2(F.silu(self.w1(x)) * self.w3(x))
        return out


class Block(nn.Module):
    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.dim, config.norm_eps)
        self.attention = Attention(config, layer)
        self.ffn_norm = RMSNorm(config.dim, config.norm_eps)
        self.feed_forward = FeedForward(config)

    def forward(self, x: Tensor, step: Step) -> Tensor:
        x = x + self.attention(self.attention_norm(x), step)
        out: Tensor = x + self.feed_forward(self.ffn_norm(x))
        return out


class Step:
    """What all layers of one forward pass share: where the new tokens stand."""

    __slots__ = ("cache", "cos", "length", "mask", "positions", "row", "sin")

    def __init__(
        self, cache: KVCache, positions: Tensor, freqs: Tensor, length: int, row: int | None
    ) -> None:
        self.cache = cache
        self.positions = positions
        self.length = length
        self.row = row
        self.cos, self.sin = rope.cos_sin(positions, freqs)
        # A single new token of a single sequence sees all there is.
        alone = positions.shape == (1, 1)
        self.mask = None if alone else causal_mask(positions, length)


class Transformer(nn.Module):
    """A decoder-only Mistral model that reads and extends a `KVCache`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.tok_embeddings = nn.Embedding(config.vocab_size, config.dim)
        self.layers = nn.ModuleList(Block(config, n) for n in range(config.n_layers))
        self.norm = RMSNorm(config.dim, config.norm_eps)
        self.output = None if config.tied_embeddings else Linear(config.dim, config.vocab_size)
        self._freqs: Tensor | None = None

    @classmethod
    def from_folder(
        cls,
        folder: str | Path,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Transformer:
        """Load a Mistral-native folder (`params.json`, `consolidated.safetensors`).

        The file is memory-mapped; on a CPU, in the file's own dtype, its pages are the
        weights and no second copy is made.

        Args:
            folder: the model folder.
            device: where the weights go.
            dtype: None keeps the file's.
            progress: called with (bytes done, bytes in all).

        Raises:
            CheckpointError: one sentence about what is wrong with the folder.
        """
        from inference.checkpoint import load_weights

        folder = Path(folder).expanduser()
        config = ModelConfig.from_folder(folder)
        with torch.device("meta"):
            model = cls(config)
        load_weights(model, folder, device=torch.device(device), dtype=dtype, progress=progress)
        return model.eval()

    @property
    def device(self) -> torch.device:
        return self.tok_embeddings.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.tok_embeddings.weight.dtype

    @property
    def n_params(self) -> int:
        """Number of weights, tied ones counted once."""
        return sum(p.numel() for p in self.parameters())

    def new_cache(self, *, batch: int = 1, max_length: int | None = None) -> KVCache:
        """An empty cache of this model's shape, device and dtype."""
        return KVCache(
            self.config, max_length=max_length, batch=batch, device=self.device, dtype=self.dtype
        )

    @torch.inference_mode()
    def forward(
        self,
        tokens: Tensor,
        cache: KVCache,
        *,
        row: int | None = None,
        last_only: bool = True,
    ) -> Tensor:
        """Append `tokens` to the cache and predict what follows each of them.

        Args:
            tokens: (B, T) ids. Either one sequence (B = 1, any T; `row` says which one of
                the cache's), or the whole batch with T = 1.
            cache: read, written and lengthened.
            row: the sequence of a batched cache that is meant.
            last_only: logits of the last position only.

        Returns:
            Logits (B, 1 or T, vocab_size), fp32.
        """
        batch, count = tokens.shape
        if batch != (1 if row is not None else cache.batch) or (batch > 1 and count > 1):
            raise ValueError("tokens must be one sequence, or one token for each sequence")
        rows = range(cache.batch) if row is None else (row,)
        starts = [cache.lengths[r] for r in rows]
        length = max(starts) + count
        cache.reserve(length)
        # Made on the device: copying them from the host would wait for it.
        positions = torch.stack(
            [torch.arange(start, start + count, device=tokens.device) for start in starts]
        )
        if self._freqs is None or self._freqs.device != tokens.device:
            self._freqs = rope.frequencies(
                self.config.head_dim, self.config.rope_theta, device=tokens.device
            )
        step = Step(cache, positions, self._freqs, length, row)

        x = self.tok_embeddings(tokens)
        for layer in self.layers:
            x = layer(x, step)
        for r in rows:
            cache.lengths[r] += count
        if last_only:
            x = x.narrow(1, count - 1, 1)
        x = self.norm(x)
        logits = F.linear(x, self.tok_embeddings.weight) if self.output is None else self.output(x)
        return logits.float()
