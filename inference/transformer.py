"""The Mistral transformer, dense or a mixture of experts; module names are the checkpoint's
tensor names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inference import rope
from inference.adapter import Adapter
from inference.attention import Backend, Span, attend, pick_backend
from inference.cache import KVCache
from inference.config import ModelConfig
from inference.files import expanded
from inference.folder import ModelFolder, inspect_folder
from inference.linear import Linear
from inference.moe import FeedForward, MoE
from inference.parallel.links import Links
from inference.parallel.plan import plan

if TYPE_CHECKING:
    from inference.parallel.leader import Leader


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


class Embedding(nn.Embedding):
    def reset_parameters(self) -> None:
        """Nothing: weights come from files, and on the meta device it would import a compiler."""


class Attention(nn.Module):
    """Grouped-query attention over the KV cache, by the heads that are here."""

    def __init__(self, config: ModelConfig, layer: int, place: int) -> None:
        super().__init__()
        self.place = place  # among the layers here, and in the cache
        self.window = config.window(layer)
        self.head_dim = config.head_dim
        self.wq = Linear(config.dim, config.n_heads * config.head_dim)
        self.wk = Linear(config.dim, config.n_kv_heads * config.head_dim)
        self.wv = Linear(config.dim, config.n_kv_heads * config.head_dim)
        self.wo = Linear(config.n_heads * config.head_dim, config.dim)

    def forward(self, x: Tensor, step: Step) -> Tensor:
        q = rope.rotate(self.wq(x).unflatten(-1, (-1, self.head_dim)), step.cos, step.sin)
        k = rope.rotate(self.wk(x).unflatten(-1, (-1, self.head_dim)), step.cos, step.sin)
        v = self.wv(x).unflatten(-1, (-1, self.head_dim))
        if step.query_scale is not None:
            q = q * step.query_scale.to(q.dtype)
        keys, values = step.cache.write(self.place, k, v, step.positions, step.row)
        seen = attend(q, keys, values, step.spans[self.window], step.backend)
        out: Tensor = self.wo(seen)
        return out


class Block(nn.Module):
    def __init__(self, config: ModelConfig, layer: int, place: int, links: Links) -> None:
        super().__init__()
        self.links = links
        self.attention_norm = RMSNorm(config.dim, config.norm_eps)
        self.attention = Attention(config, layer, place)
        self.ffn_norm = RMSNorm(config.dim, config.norm_eps)
        self.feed_forward = MoE(config) if config.moe else FeedForward(config)

    def forward(self, x: Tensor, step: Step) -> Tensor:
        # Each rank has computed a part of both; without others the sum is the part.
        x = x + self.links.sum(self.attention(self.attention_norm(x), step))
        return x + self.links.sum(self.feed_forward(self.ffn_norm(x)))


class Step:
    """What all layers of one forward pass share: where the new tokens stand."""

    __slots__ = ("backend", "cache", "cos", "positions", "query_scale", "row", "sin", "spans")

    def __init__(
        self,
        config: ModelConfig,
        cache: KVCache,
        freqs: Tensor,
        starts: Sequence[int],
        count: int,
        row: int | None,
        backend: Backend,
    ) -> None:
        # Made on the device: copying them from the host would wait for it.
        self.positions = torch.stack(
            [torch.arange(start, start + count, device=freqs.device) for start in starts]
        )
        self.cache = cache
        self.row = row
        self.backend = backend
        self.cos, self.sin = rope.cos_sin(self.positions, freqs, rope.magnitude(config))
        scaling = config.llama_4_scaling
        self.query_scale = rope.query_scale(self.positions, scaling) if scaling else None
        self.spans = {w: Span(starts, count, w, self.positions) for w in config.windows}


class Transformer(nn.Module):
    """A decoder-only Mistral model that reads and extends a `KVCache`, or one rank's share of it.

    With several ranks everything is asked of rank 0's, whose `lead` has the others do the same.
    """

    def __init__(self, config: ModelConfig, links: Links | None = None) -> None:
        super().__init__()
        self.config = config
        self.links = links or Links(plan(config, 1)[0])
        self.share = share = self.links.share
        self.lead: Leader | None = None
        self.attention: Backend = "sdpa"
        self.adapter = ""
        """Digest of the LoRA adapter that is loaded; empty: none."""
        local = share.local
        here = range(share.layers.first, share.layers.first + share.layers.count)
        tied = config.tied_embeddings and share.is_last
        self.tok_embeddings = (
            Embedding(local.vocab_size, local.dim) if share.is_first or tied else None
        )
        self.layers = nn.ModuleDict(
            {str(n): Block(local, n, place, self.links) for place, n in enumerate(here)}
        )
        self._blocks = tuple(self.layers.values())
        self.norm = RMSNorm(local.dim, local.norm_eps) if share.is_last else None
        self.output = Linear(local.dim, local.vocab_size) if share.is_last and not tied else None
        self._freqs: Tensor | None = None
        self.unmerged: dict[str, Tensor] = {}
        """Weights that a merged adapter changed, as they were, by module name."""

    @classmethod
    def from_folder(
        cls,
        folder: str | Path,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
        attention: str = "auto",
        parallel: str = "auto",
        progress: Callable[[int, int], None] | None = None,
    ) -> Transformer:
        """Load a model folder, in Mistral's own layout or in Hugging Face's.

        Files are memory-mapped; on a CPU, in the file's own dtype, their pages are the
        weights and no second copy is made.

        Under torchrun all ranks hold the model together, and rank 0 alone comes back from here:
        on the others, which do their share of what it computes, the program ends with rank 0's.

        Args:
            folder: the model folder.
            device: where the weights go; with several ranks `cuda` is each one's own GPU.
            dtype: None keeps the file's (bf16 for fp8 files).
            attention: auto, sdpa or xformers.
            parallel: `tensor`, `pipeline`, or `auto` for the first of these that the model's
                heads allow; `none`: each rank has a whole model of its own.
            progress: called with (bytes done, bytes in all).

        Raises:
            CheckpointError: one sentence about what is wrong with the folder.
            SettingError: the attention cannot be had, or the ranks cannot share the model.
        """
        from inference.parallel import team

        found = expanded(folder)
        lead = team.leader() if parallel != "none" else None
        if lead is not None:
            return lead.load(
                found, device=device, dtype=dtype, attention=attention, parallel=parallel,
                progress=progress,
            )  # fmt: skip
        return cls.load_share(
            inspect_folder(found, tokenizer=False),
            device=torch.device(device),
            dtype=dtype,
            attention=attention,
            progress=progress,
        )

    @classmethod
    def load_share(
        cls,
        found: ModelFolder,
        links: Links | None = None,
        *,
        device: torch.device,
        dtype: torch.dtype | None = None,
        attention: str = "auto",
        progress: Callable[[int, int], None] | None = None,
    ) -> Transformer:
        """Load what this rank holds of a model, and nothing else; None: all of it.

        Raises:
            CheckpointError, SettingError: as `from_folder`.
        """
        from inference.checkpoint import load_weights

        with torch.device("meta"):
            model = cls(found.config, links)
        load_weights(model, found, device=device, dtype=dtype, progress=progress)
        model.attention = pick_backend(attention, model.device, model.dtype)
        return model.eval()

    def load_lora(
        self, path: str | Path, *, scaling: float | None = None, merge: bool = True
    ) -> Adapter:
        """Put a LoRA adapter in the format of mistral-finetune on the model, in the place of
        one that is there.

        Args:
            path: a safetensors file, or the folder with `lora.safetensors`.
            scaling: None takes it from the `params.json` beside the file.
            merge: add it to the weights, as the reference does: no cost per token, and a
                second copy of what it changes. False keeps it beside them: no second
                copy, and nothing of it is lost to the rounding of narrow weights.

        Returns:
            What was loaded; its `note` says what had to be assumed.

        Raises:
            CheckpointError: not an adapter of this model; names what does not fit.
        """
        if self.lead is not None:
            return self.lead.load_lora(self, expanded(path), scaling=scaling, merge=merge)
        from inference.lora import load_lora

        return load_lora(self, expanded(path), scaling=scaling, merge=merge)

    def remove_lora(self) -> None:
        """Take the adapter off; the weights are exactly those from before."""
        from inference.lora import remove_lora

        if self.lead is not None:
            self.lead.remove_lora(self)
        remove_lora(self)

    @property
    def device(self) -> torch.device:
        return self._a_weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self._a_weight.dtype

    @property
    def _a_weight(self) -> Tensor:
        """One that every rank has."""
        return cast(Block, self._blocks[0]).attention_norm.weight

    @property
    def n_params(self) -> int:
        """Number of weights here, tied ones counted once."""
        return sum(p.numel() for p in self.parameters())

    def mixtures(self) -> list[MoE]:
        """The mixture of experts of every layer; none in a dense model."""
        return [module for module in self.modules() if isinstance(module, MoE)]

    def stacked_modules(self) -> set[nn.Module]:
        """The modules whose weights are parts of a stack of experts."""
        mixtures = [mixture for mixture in self.mixtures() if mixture.stacked]
        return {module for mixture in mixtures for module in mixture.experts.modules()}

    def new_cache(self, *, batch: int = 1, max_length: int | None = None) -> KVCache:
        """An empty cache of this model's shape, device and dtype."""
        return KVCache(
            self.share.local,
            n_layers=self.share.layers.count,
            max_length=max_length,
            batch=batch,
            device=self.device,
            dtype=self.dtype,
        )

    def fan_out(self, cache: KVCache, rows: int, *, room: int) -> KVCache:
        """A cache of `rows` sequences, each of which begins with what the one of `cache` holds
        and has `room` for so many tokens more."""
        if self.lead is not None:
            return self.lead.fan_out(cache, rows, room)
        return cache.fan_out(rows, room=room)

    def ids(self, ids: Sequence[Sequence[int]]) -> Tensor:
        """Token ids (B, T) as a tensor where `forward` wants them: with other ranks on the host,
        who are told them from there."""
        return torch.tensor(ids, device=self.device if self.lead is None else "cpu")

    @torch.inference_mode()
    def forward(
        self,
        tokens: Tensor,
        cache: KVCache | None = None,
        *,
        row: int | None = None,
        last_only: bool = True,
    ) -> Tensor:
        """Append `tokens` to the cache and predict what follows each of them.

        Args:
            tokens: (B, T) ids. Either one sequence (B = 1, any T; `row` says which one of
                the cache's), or the whole batch with T = 1.
            cache: read, written and lengthened; None: the tokens are all there is.
            row: the sequence of a batched cache that is meant.
            last_only: logits of the last position only.

        Returns:
            Logits (B, 1 or T, vocab_size), fp32.
        """
        batch, count = tokens.shape
        if cache is None:
            cache = self.new_cache(max_length=count)
        if batch != (1 if row is not None else cache.batch) or (batch > 1 and count > 1):
            raise ValueError("tokens must be one sequence, or one token for each sequence")
        if self.lead is None:
            return self.compute(tokens, cache, row=row, last_only=last_only)
        return self.lead.forward(self, tokens, cache, row=row, last_only=last_only)

    @torch.inference_mode()
    def compute(
        self, tokens: Tensor, cache: KVCache, *, row: int | None, last_only: bool
    ) -> Tensor:
        """The share of `forward` that is done here; its result counts on rank 0."""
        count = tokens.shape[1]
        rows = range(cache.batch) if row is None else (row,)
        starts = [cache.lengths[r] for r in rows]
        cache.reserve(max(starts) + count)
        tokens = tokens.to(self.device)
        if self._freqs is None or self._freqs.device != tokens.device:
            self._freqs = rope.frequencies(self.config, device=tokens.device)
        step = Step(self.config, cache, self._freqs, starts, count, row, self.attention)

        x: Tensor | None = self.links.enter(tokens, self.tok_embeddings, cache.k[0])
        for layer in self._blocks:
            x = layer(x, step)
        for r in rows:
            cache.lengths[r] += count
        assert x is not None
        if (x := self.links.leave(x)) is None:
            return tokens
        if last_only:
            x = x.narrow(1, count - 1, 1)
        assert self.norm is not None
        x = self.norm(x)
        if self.output is not None:
            logits = self.output(x)
        else:
            assert self.tok_embeddings is not None
            logits = F.linear(x, self.tok_embeddings.weight)
        return self.links.gather(cast(Tensor, logits)).float()
