"""Where the parts of a model meet: every exchange of tensors between ranks.

A block needs two sums. Tensor parallel in all, for one forward pass of a model of L layers:
2 L + 1 all-reduces of (B, T, dim) and one gather of the logits. A pipeline hands (B, T, dim) on
from rank to rank.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from inference.parallel.plan import Share


class Links:
    """Of a process that holds the whole model: there is nobody to meet. `group` is the process
    group that tensors go over where there is somebody."""

    def __init__(self, share: Share, group: Any = None) -> None:
        self.share = share
        self._group = group

    def enter(self, tokens: Tensor, embedding: nn.Embedding | None, like: Tensor) -> Tensor:
        """(B, T) ids → what the first layer here reads, (B, T, dim), of the dtype and on the
        device of `like`."""
        assert embedding is not None
        x: Tensor = embedding(tokens)
        return x

    def sum(self, x: Tensor) -> Tensor:
        """What all ranks computed a part of, (B, T, dim), added up; may be done in place."""
        return x

    def leave(self, x: Tensor) -> Tensor | None:
        """What the last layer here computed; None where it goes on elsewhere."""
        return x

    def gather(self, logits: Tensor) -> Tensor:
        """(B, T, vocabulary here) → (B, T, vocab_size); on rank 0 only."""
        return logits

    def close(self) -> None:
        """Meet nobody any more."""
        self._group = None


class TensorLinks(Links):
    """Tensor parallel."""

    def __init__(self, share: Share, group: Any) -> None:
        super().__init__(share, group)
        vocab = share.config.vocab_size
        self._widest = -(-vocab // share.ranks)
        self._last_wide = vocab % share.ranks  # ranks from here on have one row less

    def enter(self, tokens: Tensor, embedding: nn.Embedding | None, like: Tensor) -> Tensor:
        assert embedding is not None
        here = tokens - self.share.vocab.first
        known = (here >= 0) & (here < self.share.vocab.count)
        x = embedding(here.clamp(0, self.share.vocab.count - 1))
        return self.sum(x.where(known.unsqueeze(-1), 0))

    def sum(self, x: Tensor) -> Tensor:
        x = x.contiguous()
        dist.all_reduce(x, group=self._group)
        return x

    def gather(self, logits: Tensor) -> Tensor:
        short = self._widest - logits.shape[-1]
        logits = F.pad(logits, (0, short)) if short else logits.contiguous()
        if self.share.rank:
            dist.gather(logits, dst=0, group=self._group)
            return logits
        parts = [torch.empty_like(logits) for _ in range(self.share.ranks)]
        dist.gather(logits, parts, dst=0, group=self._group)
        if self._last_wide:
            for rank in range(self._last_wide, len(parts)):
                parts[rank] = parts[rank].narrow(-1, 0, self._widest - 1)
        return torch.cat(parts, dim=-1)


class PipelineLinks(Links):
    """Layers on one rank after the other: 1, 2 … and 0 at last."""

    def __init__(self, share: Share, group: Any) -> None:
        super().__init__(share, group)
        self._before = (share.rank - 1) % share.ranks
        self._behind = (share.rank + 1) % share.ranks

    def enter(self, tokens: Tensor, embedding: nn.Embedding | None, like: Tensor) -> Tensor:
        if self.share.is_first:
            return super().enter(tokens, embedding, like)
        shape = (*tokens.shape, self.share.config.dim)
        x = torch.empty(shape, dtype=like.dtype, device=like.device)
        dist.recv(x, self._before, group=self._group)
        return x

    def leave(self, x: Tensor) -> Tensor | None:
        if self.share.is_last:
            return x
        dist.send(x.contiguous(), self._behind, group=self._group)
        return None


_KINDS: dict[str, type[Links]] = {"one": Links, "tensor": TensorLinks, "pipeline": PipelineLinks}


def links(share: Share, group: Any) -> Links:
    """Those of a share; `group` is the process group that its tensors go over."""
    return _KINDS[share.mode](share, group)
