"""The names and forms that the model's tensors have in each kind of checkpoint."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from inference.config import ModelConfig
from inference.errors import CheckpointError
from inference.files import one_line, some
from inference.safetensors_header import TensorInfo

How = Literal["whole", "half_split", "rows", "rows_transposed", "expert"]
FP8 = "F8_E4M3"
_DTYPES = ("BF16", "F16", "F32")
_MOST_DETAIL = 20_000

_HF_LAYER = {
    "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attention.wq": "self_attn.q_proj",
    "attention.wk": "self_attn.k_proj",
    "attention.wv": "self_attn.v_proj",
    "attention.wo": "self_attn.o_proj",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w2": "mlp.down_proj",
    "feed_forward.w3": "mlp.up_proj",
}
_HF_PREFIXES = ("model.", "language_model.model.", "model.language_model.")
# Of multimodal checkpoints; their text model works without it.
_VISION = (
    "vision_encoder.", "vision_language_adapter.", "pre_mm_projector_norm.", "patch_merger.",
    "vision_tower.", "multi_modal_projector.", "model.vision_tower.",
    "model.multi_modal_projector.",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Piece:
    """Where one of the model's tensors comes from.

    `how`: the whole tensor; with its rows in Hugging Face's half-split rotary order, of
    `part` heads; the `rows` rows of expert `part` of all experts' in one, maybe transposed;
    or `rows` rows from `first` on of matrix `part` of a three-dimensional tensor.
    """

    source: str
    how: How = "whole"
    part: int = 0
    rows: int = 0
    first: int = 0


@dataclass(frozen=True, slots=True)
class Naming:
    """A checkpoint's way of naming: the model's tensor → its piece; every tensor that has to
    be there → its shape; tensors that may be there and are not read."""

    pieces: dict[str, Piece]
    shapes: dict[str, tuple[int, ...]]
    optional: frozenset[str] = frozenset()


def naming(config: ModelConfig, layout: str, names: Collection[str]) -> Naming:
    """How this checkpoint, which holds `names`, stores a model of this shape."""
    if layout == "huggingface":
        return _hugging_face(config, names)
    if config.moe and any(".block_sparse_moe." in name for name in names):
        return _december_2023(config)
    shapes = config.tensor_shapes()
    return Naming({name: Piece(name) for name in shapes}, shapes)


def has_own_head(layout: str, names: Collection[str]) -> bool:
    """Whether a Hugging Face checkpoint has a head beside its embedding. Where its config says
    that they are one, transformers takes the head all the same."""
    heads = ("lm_head.weight", "language_model.lm_head.weight")
    return layout == "huggingface" and any(head in names for head in heads)


def _december_2023(config: ModelConfig) -> Naming:
    """The first Mixtral files: each layer's experts in one tensor (E·F, D), w2 transposed."""
    assert config.moe
    pieces, shapes = {}, {}
    for name, shape in config.tensor_shapes().items():
        source, part = name, 0
        how: How = "whole"
        if ".feed_forward.gate." in name:
            source = name.replace(".feed_forward.", ".block_sparse_moe.")
        elif ".feed_forward.experts." in name:
            place, rest = name.split(".feed_forward.experts.")
            expert, matrix, _ = rest.split(".")
            source, part = f"{place}.block_sparse_moe.{matrix}", int(expert)
            how = "rows_transposed" if matrix == "w2" else "rows"
            shape = (config.moe.num_experts * config.hidden_dim, config.dim)
        pieces[name] = Piece(source, how, part, config.hidden_dim)
        shapes[source] = shape
    return Naming(pieces, shapes)


def _hugging_face(config: ModelConfig, names: Collection[str]) -> Naming:
    prefix = next((p for p in _HF_PREFIXES if f"{p}embed_tokens.weight" in names), "model.")
    head = "language_model.lm_head" if prefix == _HF_PREFIXES[1] else "lm_head"
    outer = {"tok_embeddings": f"{prefix}embed_tokens", "norm": f"{prefix}norm", "output": head}
    fused = any(".mlp.experts." in name for name in names)
    pieces, shapes = {}, {}
    for name, shape in config.tensor_shapes().items():
        module = name.removesuffix(".weight")
        how: How = "whole"
        part = 0
        if module in outer:
            source = outer[module]
        else:
            _, number, inner = module.split(".", 2)
            theirs = _HF_LAYER.get(inner)
            if fused and inner.startswith("feed_forward."):
                place = f"{prefix}layers.{number}.mlp"
                pieces[name], shape = _fused(config, place, inner)
                shapes[pieces[name].source] = shape
                continue
            if theirs is None:  # feed_forward.gate, feed_forward.experts.E.w1
                theirs = inner.replace("feed_forward.", "block_sparse_moe.")
            source = f"{prefix}layers.{number}.{theirs}"
            if inner in ("attention.wq", "attention.wk"):
                how = "half_split"
                part = config.n_heads if inner.endswith("q") else config.n_kv_heads
        pieces[name] = Piece(f"{source}.weight", how, part)
        shapes[f"{source}.weight"] = shape
    # Old Llama files carry a table of rotations.
    optional = {f"{prefix}layers.{n}.self_attn.rotary_emb.inv_freq" for n in range(config.n_layers)}
    return Naming(pieces, shapes, frozenset(optional))


def _fused(config: ModelConfig, place: str, inner: str) -> tuple[Piece, tuple[int, ...]]:
    """transformers 5 keeps a layer's experts in two tensors, w1 before w3 in the first."""
    assert config.moe
    n_experts = config.moe.num_experts
    if inner.endswith("gate"):
        return Piece(f"{place}.gate.weight"), (n_experts, config.dim)
    _, _, expert, matrix = inner.split(".")
    hidden, dim = config.hidden_dim, config.dim
    if matrix == "w2":
        down = Piece(f"{place}.experts.down_proj", "expert", int(expert), dim)
        return down, (n_experts, dim, hidden)
    first = 0 if matrix == "w1" else hidden
    up = Piece(f"{place}.experts.gate_up_proj", "expert", int(expert), hidden, first)
    return up, (n_experts, 2 * hidden, dim)


def scale_names(source: str) -> tuple[str, str]:
    """Names that the scale of an fp8 weight can have: Mistral's, Hugging Face's."""
    return source.removesuffix("weight") + "qscale_weight", f"{source}_scale_inv"


def _act_names(source: str) -> tuple[str, str]:
    module = source.removesuffix("weight")
    return module + "qscale_act", module + "activation_scale"


def check_tensors(
    config: ModelConfig, layout: str, found: Mapping[str, TensorInfo], where: str
) -> Naming:
    """Hold what a checkpoint has against what a model of this shape needs.

    Raises:
        CheckpointError: names every missing, extra or misshaped tensor (the first few of many).
    """
    how = naming(config, layout, found.keys())
    allowed = set(how.shapes) | how.optional
    wrong = []
    missing = sorted(how.shapes.keys() - found.keys())
    for name in sorted(how.shapes.keys() & found.keys()):
        info = found[name]
        if info.shape != how.shapes[name]:
            wrong.append(f"{name} is {info.shape} where {how.shapes[name]} belongs")
        elif info.dtype == FP8 and config.fp8 and len(info.shape) == 2:
            scale = next((s for s in scale_names(name) if s in found), None)
            if scale is None:
                missing.append(scale_names(name)[0])
            else:
                allowed |= {scale, *_act_names(name)}
                if found[scale].dtype not in _DTYPES or found[scale].shape not in ((), (1,)):
                    wrong.append(f"{scale} is {found[scale].shape} where one number belongs")
        elif info.dtype not in _DTYPES:
            wrong.append(f"{name} has dtype {info.dtype:.20}, which cannot be read here")
    extra = sorted(
        name
        for name in found.keys() - allowed
        if not (config.vision and name.startswith(_VISION))
        and not (config.fp8 and "fake_quantizer" in name)
    )
    problems = []
    if missing:
        problems.append(f"lacks {some(missing)}")
    if extra:
        problems.append(f"has unexpected {some(extra)}")
    if wrong:
        problems.append(f"has a tensor of another kind: {some(wrong, '; ')}")
    if problems:
        shape = "params.json" if layout == "mistral" else "config.json"
        every = {"missing": missing, "unexpected": extra, "wrong": wrong}
        raise CheckpointError(
            f"{where} does not fit its {shape}: it {', and '.join(problems)}.",
            detail="\n".join(
                f"{what}: {one_line(', '.join(names), _MOST_DETAIL)}"
                for what, names in every.items()
            ),
        )
    return how
