"""The KV cache: keys and values of every layer, for one or several sequences."""

from __future__ import annotations

import torch
from torch import Tensor

from inference.config import ModelConfig
from inference.errors import ContextFull

_FIRST_CAPACITY = 256


class KVCache:
    """Keys and values of `batch` sequences, (batch, n_kv_heads, capacity, head_dim) a layer, of
    which there are `n_layers` (None: the model's).

    Grows by doubling up to `max_length`. `lengths` counts the valid positions of each
    sequence; forgetting is a matter of lowering it (`truncate`): what lies behind is
    overwritten later and never attended.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        n_layers: int | None = None,
        max_length: int | None = None,
        batch: int = 1,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.config = config
        self.n_layers = n_layers or config.n_layers
        self.max_length = max_length or config.max_position_embeddings
        self.lengths = [0] * batch
        self._device = torch.device(device)
        self._dtype = dtype
        self.k: list[Tensor] = []
        self.v: list[Tensor] = []
        self._allocate(min(_FIRST_CAPACITY, self.max_length))

    @property
    def batch(self) -> int:
        return len(self.lengths)

    @property
    def length(self) -> int:
        """Valid positions of the longest sequence."""
        return max(self.lengths)

    @property
    def capacity(self) -> int:
        return self.k[0].shape[2]

    @property
    def nbytes(self) -> int:
        """Allocated bytes."""
        return sum(t.numel() * t.element_size() for t in (*self.k, *self.v))

    def _allocate(self, capacity: int) -> None:
        c = self.config
        kept = self.length if self.k else 0
        shape = (self.batch, c.n_kv_heads, capacity - kept, c.head_dim)

        def grown(old: Tensor | None) -> Tensor:
            # Zeros: a masked position is multiplied by 0, and 0 · NaN would be NaN.
            fresh = torch.zeros(shape, device=self._device, dtype=self._dtype)
            return torch.cat((old.narrow(2, 0, kept), fresh), dim=2) if old is not None else fresh

        if not self.k:
            self.k = [grown(None) for _ in range(self.n_layers)]
            self.v = [grown(None) for _ in range(self.n_layers)]
            return
        for layer in range(self.n_layers):  # one by one: never two whole caches at a time
            self.k[layer] = grown(self.k[layer])
            self.v[layer] = grown(self.v[layer])

    def reserve(self, length: int) -> None:
        """Make room for `length` positions.

        Raises:
            ContextFull: more than `max_length`.
        """
        if length > self.max_length:
            raise ContextFull(
                f"{length:,} tokens do not fit the model's context of {self.max_length:,}; "
                "start a new conversation or shorten the text."
            )
        if length > self.capacity:
            grown = max(length, min(2 * self.capacity, self.max_length))
            self._allocate(grown)

    def truncate(self, length: int) -> None:
        """Forget everything from position `length` on, in every sequence."""
        self.lengths = [min(n, length) for n in self.lengths]

    def fan_out(self, rows: int, *, room: int) -> KVCache:
        """A cache of `rows` sequences, each of which begins with what this one's only sequence
        holds and has `room` for so many positions more."""
        length, first = self.length, min(room, _FIRST_CAPACITY)
        copy = KVCache(
            self.config,
            n_layers=self.n_layers,
            max_length=length + room,
            batch=rows,
            device=self._device,
            dtype=self._dtype,
        )

        def spread(held: Tensor) -> Tensor:
            known = held.narrow(2, 0, length).expand(rows, -1, -1, -1)
            fresh = known.new_zeros((*known.shape[:2], first, known.shape[3]))
            return torch.cat((known, fresh), dim=2)

        for layer in range(self.n_layers):
            copy.k[layer], copy.v[layer] = spread(self.k[layer]), spread(self.v[layer])
        copy.lengths = [length] * rows
        return copy

    def write(
        self, layer: int, k: Tensor, v: Tensor, positions: Tensor, row: int | None
    ) -> tuple[Tensor, Tensor]:
        """Store new keys and values and return all that is to be attended.

        Args:
            layer: layer index.
            k, v: (B, T, n_kv_heads, head_dim).
            positions: (B, T), where they go; with `row` None and B > 1, T must be 1.
            row: the one sequence meant (then B is 1), or None for all of them.

        Returns:
            Views (B, n_kv_heads, S, head_dim), S being the highest position + 1 that
            `reserve`d lengths allow; the caller narrows or masks.
        """
        keys, values = self.k[layer], self.v[layer]
        if row is not None:
            keys, values = keys.narrow(0, row, 1), values.narrow(0, row, 1)
        if keys.shape[0] == 1:
            index = positions.view(-1)
            keys.index_copy_(2, index, k.transpose(1, 2))
            values.index_copy_(2, index, v.transpose(1, 2))
        else:
            # One new position each, at a different place in each sequence.
            index = positions.view(-1, 1, 1, 1).expand(-1, keys.shape[1], 1, keys.shape[3])
            keys.scatter_(2, index, k.transpose(1, 2))
            values.scatter_(2, index, v.transpose(1, 2))
        return keys, values
