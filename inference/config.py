"""The shape of a Mistral model: what `params.json` or a `config.json` says, as one value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEFAULT_CONTEXT = 32_768  # what Mistral's models without a stated context were trained for


@dataclass(frozen=True, slots=True)
class MoeConfig:
    """A mixture of experts: each token goes through `num_experts_per_tok` of `num_experts`."""

    num_experts: int
    num_experts_per_tok: int


@dataclass(frozen=True, slots=True)
class YarnConfig:
    """YaRN context extension (Peng et al. 2023, arXiv:2309.00071); names of `params.json`.

    Pairs that turn more than `beta` times over the original context keep their frequency,
    those that turn less than `alpha` times have it divided by `factor`. `apply_scale`:
    whether cos and sin are multiplied by 0.1 ln(factor) + 1; `attention_factor` is that
    multiplier where a Hugging Face config.json states it.
    """

    factor: float
    original_max_position_embeddings: int
    beta: float = 32.0
    alpha: float = 1.0
    apply_scale: bool = True
    attention_factor: float | None = None


@dataclass(frozen=True, slots=True)
class Llama4Scaling:
    """Queries at position p are multiplied by
    1 + beta · ln(1 + floor(p / original_max_position_embeddings)), after the rotation."""

    original_max_position_embeddings: int
    beta: float


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The shape of a Mistral transformer; names as in `params.json`."""

    dim: int
    n_layers: int
    head_dim: int
    hidden_dim: int
    n_heads: int
    n_kv_heads: int
    norm_eps: float
    vocab_size: int
    rope_theta: float = 1e6
    max_position_embeddings: int = DEFAULT_CONTEXT
    tied_embeddings: bool = False
    moe: MoeConfig | None = None
    sliding_window: tuple[int | None, ...] = ()
    """Repeats cyclically over the layers; None: full attention; empty: all full."""
    yarn: YarnConfig | None = None
    llama_4_scaling: Llama4Scaling | None = None
    vision: bool = False
    """The checkpoint has a vision part, which is left aside."""
    fp8: bool = False
    """Linear weights may be stored as fp8 with a scale; they are widened when read."""

    @classmethod
    def from_folder(cls, folder: Path) -> ModelConfig:
        """The shape that a model folder declares, in either layout. Raises `CheckpointError`."""
        from inference.folder import read_config

        return read_config(folder)

    @classmethod
    def from_params(cls, params: dict[str, Any], *, where: str = "params.json") -> ModelConfig:
        """From the parsed content of a `params.json`. Raises `CheckpointError`."""
        from inference.params import from_params

        return from_params(params, where=where)

    def window(self, layer: int) -> int | None:
        """How many keys a query of this layer sees, its own included; None: all of them."""
        return (
            self.sliding_window[layer % len(self.sliding_window)] if self.sliding_window else None
        )

    @property
    def windows(self) -> tuple[int | None, ...]:
        """The distinct windows of the model's layers, in order of appearance."""
        return tuple(dict.fromkeys(self.window(n) for n in range(self.n_layers)))

    def linears(self) -> Iterator[tuple[str, int, int]]:
        """Every linear layer but `output`, as (module name, in, out)."""
        q, kv = self.n_heads * self.head_dim, self.n_kv_heads * self.head_dim
        for n in range(self.n_layers):
            for name, n_in, n_out in (
                ("wq", self.dim, q),
                ("wk", self.dim, kv),
                ("wv", self.dim, kv),
                ("wo", q, self.dim),
            ):
                yield f"layers.{n}.attention.{name}", n_in, n_out
            experts = [""]
            if self.moe:
                yield f"layers.{n}.feed_forward.gate", self.dim, self.moe.num_experts
                experts = [f"experts.{e}." for e in range(self.moe.num_experts)]
            for expert in experts:
                place = f"layers.{n}.feed_forward.{expert}"
                yield f"{place}w1", self.dim, self.hidden_dim
                yield f"{place}w2", self.hidden_dim, self.dim
                yield f"{place}w3", self.dim, self.hidden_dim

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """The model's tensors, by name, with their shapes (rows are outputs)."""
        shapes: dict[str, tuple[int, ...]] = {"tok_embeddings.weight": (self.vocab_size, self.dim)}
        for n in range(self.n_layers):
            shapes[f"layers.{n}.attention_norm.weight"] = (self.dim,)
            shapes[f"layers.{n}.ffn_norm.weight"] = (self.dim,)
        shapes |= {f"{name}.weight": (n_out, n_in) for name, n_in, n_out in self.linears()}
        shapes["norm.weight"] = (self.dim,)
        if not self.tied_embeddings:
            shapes["output.weight"] = (self.vocab_size, self.dim)
        return shapes

    @property
    def n_params(self) -> int:
        """Number of weights, tied ones counted once."""
        return self._n_params(self.moe.num_experts if self.moe else 1)

    @property
    def n_active_params(self) -> int:
        """Number of weights that one token goes through."""
        return self._n_params(self.moe.num_experts_per_tok if self.moe else 1)

    def _n_params(self, experts: int) -> int:
        heads = 2 * self.n_heads + 2 * self.n_kv_heads  # wq, wo; wk, wv
        layer = heads * self.head_dim * self.dim + 3 * experts * self.dim * self.hidden_dim
        layer += 2 * self.dim + (self.moe.num_experts * self.dim if self.moe else 0)
        embeddings = (1 if self.tied_embeddings else 2) * self.vocab_size * self.dim
        return self.n_layers * layer + embeddings + self.dim
