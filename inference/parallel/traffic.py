"""What the ranks say to each other in one forward pass, told in advance; no torch."""

from __future__ import annotations

from dataclasses import dataclass

from inference.parallel.plan import Share

ORDER_BYTES = 512
"""Of the broadcast by which rank 0 has the others do a step."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """So many collectives of a kind, and the bytes that this rank puts into, or takes out of, all
    of them together. What travels on the wire depends on how they are done: in a ring of R
    ranks an all-reduce sends 2 (R - 1) / R times its bytes."""

    count: int
    nbytes: int


def traffic(
    share: Share, tokens: int = 1, width: int = 2, *, predicted: int = 1
) -> dict[str, Exchange]:
    """The exchanges of one forward pass, by kind: all_reduce, gather, send, recv.

    Args:
        tokens: of the pass, those of all sequences counted.
        width: bytes of a number of the model's dtype.
        predicted: positions that logits are wanted of.
    """
    config = share.config
    activations = tokens * config.dim * width
    found: dict[str, Exchange] = {}
    if share.mode == "tensor":
        sums = 2 * config.n_layers + 1  # attention and feed-forward of each layer; the embedding
        widest = -(-config.vocab_size // share.ranks)
        found["all_reduce"] = Exchange(sums, sums * activations)
        found["gather"] = Exchange(1, predicted * widest * width)
    elif share.mode == "pipeline":
        if not share.is_first:
            found["recv"] = Exchange(1, activations)
        if not share.is_last:
            found["send"] = Exchange(1, activations)
    return found
