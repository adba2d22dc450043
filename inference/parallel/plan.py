"""Who holds what when several ranks hold one model together; no torch.

Tensor parallel (Shoeybi et al. 2019, arXiv:1909.08053): every rank works on every token. wq, wk,
wv, w1 and w3 are cut by their outputs, wo and w2 by their inputs, experts along their hidden
dimension, embedding and output by the vocabulary; norms and routers are everywhere. Where there
are more ranks than KV heads, several ranks hold the same KV head.

Pipeline: each rank holds some layers, the last ones on rank 0, which samples.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from inference.config import ModelConfig
from inference.errors import SettingError

How = Literal["auto", "tensor", "pipeline"]
Mode = Literal["one", "tensor", "pipeline"]
HOWS = ("auto", "tensor", "pipeline")

_UNITS = (64, 8, 1)
"""Hidden dimensions are dealt out in pieces of this, as large as possible: products of whole
pieces are fast, and grouped ones on CUDA need 8."""
_EVERYWHERE = ("attention_norm", "ffn_norm", "norm", "gate")
_BY_INPUT = ("wo", "w2")


@dataclass(frozen=True, slots=True)
class Part:
    """`count` of something, from `first` on."""

    first: int
    count: int


@dataclass(frozen=True, slots=True)
class Cut:
    """What of a tensor a rank holds: the whole of it, or a part along `dim`."""

    dim: int = 0
    part: Part | None = None


_WHOLE = Cut()


@dataclass(frozen=True, slots=True)
class Share:
    """What one rank holds of a model of shape `config`."""

    config: ModelConfig
    mode: Mode
    rank: int
    ranks: int
    layers: Part
    heads: Part
    kv_heads: Part
    hidden: Part
    vocab: Part
    """Rows of embedding and output. Ranks can differ by one."""

    @property
    def local(self) -> ModelConfig:
        """The shape of this rank's layers: `n_layers` stays the model's."""
        return replace(
            self.config,
            n_heads=self.heads.count,
            n_kv_heads=self.kv_heads.count,
            hidden_dim=self.hidden.count,
            vocab_size=self.vocab.count,
        )

    @property
    def is_first(self) -> bool:
        """Whether tokens enter the model here."""
        return self.mode != "pipeline" or self.layers.first == 0

    @property
    def is_last(self) -> bool:
        """Whether logits, or a share of them, leave the model here."""
        return self.mode != "pipeline" or self.rank == 0

    def cut(self, name: str) -> Cut | None:
        """What of the tensor `name` (as in `ModelConfig.tensor_shapes`) is held; None: nothing."""
        module = name.removesuffix(".weight")
        if module.startswith("layers."):
            layer = int(module.split(".")[1])
            if not self.layers.first <= layer < self.layers.first + self.layers.count:
                return None
        elif module == "tok_embeddings":
            tied = self.config.tied_embeddings and self.is_last
            return self._of_vocab() if self.is_first or tied else None
        elif not self.is_last:  # norm, output
            return None
        elif module == "output":
            return self._of_vocab()
        matrix = module.rsplit(".", 1)[-1]
        if self.mode != "tensor" or matrix in _EVERYWHERE:
            return _WHOLE
        return self._of_matrix(matrix)

    def _of_vocab(self) -> Cut:
        return Cut(0, self.vocab) if self.mode == "tensor" else _WHOLE

    def _of_matrix(self, matrix: str) -> Cut:
        size = self.config.head_dim
        part = {"wq": self.heads, "wo": self.heads, "wk": self.kv_heads, "wv": self.kv_heads}.get(
            matrix
        )
        if part is None:
            part, size = self.hidden, 1
        return Cut(int(matrix in _BY_INPUT), Part(part.first * size, part.count * size))

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The tensors this rank holds, by name, with the shapes of its parts."""
        held = {}
        for name, shape in self.config.tensor_shapes().items():
            cut = self.cut(name)
            if cut is None:
                continue
            sizes = list(shape)
            if cut.part is not None:
                sizes[cut.dim] = cut.part.count
            held[name] = tuple(sizes)
        return held

    @property
    def cache_ranks(self) -> float:
        """The KV cache of all ranks as a multiple of this rank's."""
        if self.mode == "pipeline":
            return self.config.n_layers / self.layers.count
        return float(self.ranks)


def plan(config: ModelConfig, ranks: int, how: str = "auto") -> tuple[Share, ...]:
    """The share of each rank. `auto` is tensor parallel where heads and KV heads divide by the
    number of ranks (or the ranks by the KV heads), else a pipeline.

    Raises:
        SettingError: the model cannot be shared so; one sentence.
    """
    if how not in HOWS:
        raise SettingError(f"The way {how!r} to share a model is not known; use {_or(HOWS)}.")
    if ranks == 1:
        return (_share(config, "one", 0, 1),)
    why_not = _why_not_tensor(config, ranks)
    if how == "tensor" and why_not:
        raise SettingError(f"{why_not}; use `pipeline`, or another number of ranks.")
    if how == "pipeline" or why_not:
        return _pipeline(config, ranks)
    return tuple(_share(config, "tensor", rank, ranks) for rank in range(ranks))


def note(config: ModelConfig, ranks: int, how: str = "auto") -> str:
    """A sentence where `auto` took the slower way; else nothing."""
    why_not = _why_not_tensor(config, ranks) if ranks > 1 and how == "auto" else ""
    if not why_not:
        return ""
    return f"{why_not}: each holds some layers, and one works while the others wait."


def _why_not_tensor(config: ModelConfig, ranks: int) -> str:
    heads, kv_heads = config.n_heads, config.n_kv_heads
    if heads % ranks:
        return f"The model's {heads} heads cannot be shared by {ranks} ranks"
    if kv_heads % ranks and ranks % kv_heads:
        return f"The model's {kv_heads} KV heads cannot be shared by {ranks} ranks"
    if min(config.hidden_dim, config.vocab_size) < ranks:
        return f"The model is too small for {ranks} ranks"
    return ""


def _share(config: ModelConfig, mode: Mode, rank: int, ranks: int) -> Share:
    n_kv_heads = config.n_kv_heads
    if ranks > n_kv_heads:
        kv_heads = Part(rank * n_kv_heads // ranks, 1)
    else:
        kv_heads = _split(n_kv_heads, rank, ranks)
    unit = next(u for u in _UNITS if not config.hidden_dim % u and config.hidden_dim // u >= ranks)
    hidden = _split(config.hidden_dim // unit, rank, ranks)
    return Share(
        config=config,
        mode=mode,
        rank=rank,
        ranks=ranks,
        layers=Part(0, config.n_layers),
        heads=_split(config.n_heads, rank, ranks),
        kv_heads=kv_heads,
        hidden=Part(hidden.first * unit, hidden.count * unit),
        vocab=_split(config.vocab_size, rank, ranks),
    )


def _pipeline(config: ModelConfig, ranks: int) -> tuple[Share, ...]:
    if ranks > config.n_layers:
        raise SettingError(
            f"A model of {config.n_layers} layers cannot be shared by {ranks} ranks; use at most "
            f"{config.n_layers}."
        )
    whole = _share(config, "one", 0, 1)
    counts = _stages(config, ranks)
    shares = []
    for rank in range(ranks):
        stage = (rank - 1) % ranks
        layers = Part(sum(counts[:stage]), counts[stage])
        shares.append(replace(whole, mode="pipeline", rank=rank, ranks=ranks, layers=layers))
    return tuple(shares)


def _stages(config: ModelConfig, ranks: int) -> list[int]:
    """Layers of each stage, so that the weights of the largest are as few as can be; the
    embedding is in the first, the output in the last."""
    outer = config.vocab_size * config.dim
    layer = (config.n_params - (1 if config.tied_embeddings else 2) * outer) / config.n_layers
    counts = [1] * ranks
    sizes = [layer] * ranks
    sizes[0] += outer
    sizes[-1] += outer
    for _ in range(config.n_layers - ranks):
        stage = min(reversed(range(ranks)), key=lambda n: sizes[n])
        counts[stage] += 1
        sizes[stage] += layer
    return counts


def _split(count: int, rank: int, ranks: int) -> Part:
    """`count` dealt out in order, the first ones having one more where it does not divide."""
    each, rest = divmod(count, ranks)
    return Part(rank * each + min(rank, rest), each + (rank < rest))


def _or(words: tuple[str, ...]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"
