"""Mistral's `params.json` → `ModelConfig`, strictly: what is not understood is refused by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inference.config import DEFAULT_CONTEXT, Llama4Scaling, ModelConfig, MoeConfig, YarnConfig
from inference.errors import CheckpointError
from inference.files import one_line, read_json, sentences

MOST_PARAMS_BYTES = 1 << 20
MOST_LAYERS = 1000
_MOST_TENSORS = 1 << 15  # the largest model has 24,000; each costs time before it is missed

_REQUIRED = (
    "dim",
    "n_layers",
    "head_dim",
    "hidden_dim",
    "n_heads",
    "n_kv_heads",
    "norm_eps",
    "vocab_size",
)
_OPTIONAL = (
    "rope_theta",
    "max_position_embeddings",
    "max_seq_len",
    "tied_embeddings",
    "sliding_window",
    "_sliding_window",
    "model_type",
    "moe",
    "yarn",
    "llama_4_scaling",
    "quantization",
    "vision_encoder",
    "multimodal",
)
# What Mistral's published files say beside the maths.
_WITHOUT_EFFECT = ("max_batch_size", "dtype", "model_parallel", "model_max_length")
# Keys that may stand there with the one value that this implementation has.
_FIXED: dict[str, object] = {"use_biases": False, "causal": True, "activation": "silu"}
_UNSUPPORTED = {
    "quantization_config": "weights quantized by compressed-tensors",
    "ada_rms_norm_t_cond": "adaptive norms",
    "lora": "an adapter: give the base model as MODEL and this folder with --lora",
    "audio_encoder": "an audio encoder",
    "mla": "multi-head latent attention",
    "q_lora_rank": "multi-head latent attention",
    "kv_lora_rank": "multi-head latent attention",
    "qk_nope_head_dim": "multi-head latent attention",
    "qk_rope_head_dim": "multi-head latent attention",
    "v_head_dim": "multi-head latent attention",
}


class Section:
    """A JSON object being read: every value is checked, and named with its place in errors."""

    def __init__(self, values: dict[str, Any], where: str) -> None:
        self.values = {key: value for key, value in values.items() if value is not None}
        self.where = where

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def refuse(self, key: str, must: str) -> CheckpointError:
        """The error for a value that cannot be."""
        shown = show(self.values.get(key))
        return CheckpointError(f'{self.where}: "{key}" is {shown}; it must be {must}.')

    def know(self, known: set[str]) -> None:
        """Refuse keys that are not known."""
        if unknown := sorted(set(self.values) - known):
            names = ", ".join(f'"{key}"' for key in unknown[:6])
            raise CheckpointError(
                f"{self.where} has {one_line(names)}, which this version does not know; "
                "running the model without it could give wrong answers."
            )

    def fixed(self, values: Mapping[str, object]) -> None:
        """Refuse keys with any other than the one value that can be run."""
        for key, value in values.items():
            if key in self.values and self.values[key] != value:
                raise CheckpointError(
                    f'{self.where} says {show(self.values[key])} for "{key}", which this version '
                    f"cannot run (only {show(value)})."
                )

    def need(self, keys: tuple[str, ...]) -> None:
        """Refuse a section that lacks one of `keys`."""
        if missing := [key for key in keys if key not in self.values]:
            raise CheckpointError(f'{self.where} lacks "{", ".join(missing)}".')

    def whole(self, key: str, default: int | None = None, *, low: int = 1, high: int) -> int:
        value = self.values.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.refuse(key, f"a whole number from {low} to {high:,}")
        return value

    def number(self, key: str, default: float | None = None, *, low: float, high: float) -> float:
        value = self.values.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.refuse(key, "a number")
        if not low <= value <= high:  # NaN fails too
            raise self.refuse(key, f"between {low:g} and {high:g}")
        return float(value)

    def truth(self, key: str, default: bool) -> bool:
        value = self.values.get(key, default)
        if not isinstance(value, bool):
            raise self.refuse(key, "true or false")
        return value

    def section(self, key: str) -> Section | None:
        """A JSON object within this one; None if it is not there."""
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.refuse(key, "a section")
        return Section(value, f'{self.where}, section "{key}"')


def from_folder(folder: Path) -> ModelConfig:
    """Read `folder/params.json`.

    Raises:
        CheckpointError: missing, unreadable, an unknown key, an impossible value.
    """
    path = folder / "params.json"
    values = read_json(path, "the model's shape", most_bytes=MOST_PARAMS_BYTES)
    return from_params(values, where=str(path))


@sentences()
def from_params(params: dict[str, Any], *, where: str = "params.json") -> ModelConfig:
    """Build from the parsed content of a `params.json`; `where` names it in errors.

    Raises:
        CheckpointError: one sentence.
    """
    top = Section(params, where)
    kind = top.values.get("model_type", "transformer")
    if kind != "transformer":
        raise CheckpointError(
            f'{where} says model_type {show(kind)}; only "transformer" can be run.'
        )
    for key, what in _UNSUPPORTED.items():
        if key in top:
            raise CheckpointError(
                f'{where} has a section "{key}" ({what}), which this version cannot run.'
            )
    top.know({*_REQUIRED, *_OPTIONAL, *_WITHOUT_EFFECT, *_FIXED})
    top.fixed(_FIXED)
    top.need(_REQUIRED)
    windows = _windows(top)
    context_key = "max_position_embeddings" if "max_position_embeddings" in top else "max_seq_len"
    vision = top.section("vision_encoder") is not None or _has_vision(top.section("multimodal"))
    config = ModelConfig(
        dim=top.whole("dim", high=1 << 24),
        n_layers=top.whole("n_layers", high=MOST_LAYERS),
        head_dim=top.whole("head_dim", high=1 << 14),
        hidden_dim=top.whole("hidden_dim", high=1 << 24),
        n_heads=top.whole("n_heads", high=1 << 14),
        n_kv_heads=top.whole("n_kv_heads", high=1 << 14),
        norm_eps=top.number("norm_eps", low=0.0, high=1.0),
        vocab_size=top.whole("vocab_size", high=1 << 24),
        # The rule of the first releases, whose files with a window leave the 1e4 out.
        rope_theta=top.number("rope_theta", 1e4 if any(windows) else 1e6, low=1.0, high=1e12),
        max_position_embeddings=top.whole(context_key, DEFAULT_CONTEXT, high=1 << 27),
        tied_embeddings=top.truth("tied_embeddings", False),
        moe=_moe(top.section("moe")),
        sliding_window=windows,
        yarn=_yarn(top.section("yarn")),
        llama_4_scaling=_llama_4_scaling(top.section("llama_4_scaling")),
        vision=vision,
        fp8=_quantization(top.section("quantization")),
    )
    check(config, where)
    return config


def check(config: ModelConfig, where: str) -> None:
    """What the values of a shape must have to do with each other.

    Raises:
        CheckpointError: one sentence.
    """
    if config.head_dim % 2:
        raise CheckpointError(
            f'{where}: "head_dim" is {config.head_dim}; rotary embeddings need an even number.'
        )
    if config.n_heads % config.n_kv_heads:
        raise CheckpointError(
            f'{where}: "n_heads" ({config.n_heads}) must be a multiple of '
            f'"n_kv_heads" ({config.n_kv_heads}).'
        )
    moe = config.moe
    if moe and moe.num_experts_per_tok > moe.num_experts:
        raise CheckpointError(
            f"{where}: a token cannot go through {moe.num_experts_per_tok} of "
            f"{moe.num_experts} experts."
        )
    # Before every one of them is named and looked for.
    if config.n_layers * (9 + 3 * (moe.num_experts if moe else 1)) > _MOST_TENSORS:
        raise CheckpointError(f"{where} describes more tensors than any model has.")
    if config.yarn and config.rope_theta == 1:
        raise CheckpointError(f'{where}: "rope_theta" is 1; YaRN needs a larger one.')


def _windows(top: Section) -> tuple[int | None, ...]:
    key = "sliding_window" if "sliding_window" in top else "_sliding_window"
    value = top.values.get(key)
    if value is None:
        return ()
    windows = value if isinstance(value, list) else [value]
    # Some files have the number as text.
    windows = [
        int(w) if isinstance(w, str) and w.isdecimal() and len(w) < 12 else w
        for w in windows[: MOST_LAYERS + 1]
    ]
    sound = (w is None or (type(w) is int and 1 <= w <= 1 << 27) for w in windows)
    if not 1 <= len(windows) <= MOST_LAYERS or not all(sound):
        raise top.refuse(key, "a whole number above 0, null, or a list of these")
    return tuple(windows) if any(windows) else ()


_MOE_WITHOUT_EFFECT = ("expert_parallel", "expert_model_parallel")
_MOE_FIXED: dict[str, object] = {
    "route_every_n": 1,
    "first_k_dense_replace": 0,
    "num_shared_experts": 0,
    "num_expert_groups": 1,
    "num_expert_groups_per_tok": 1,
    "routed_scale": 1.0,
}


def _moe(section: Section | None) -> MoeConfig | None:
    if section is None:
        return None
    section.know({"num_experts", "num_experts_per_tok", *_MOE_WITHOUT_EFFECT, *_MOE_FIXED})
    section.fixed(_MOE_FIXED)
    section.need(("num_experts", "num_experts_per_tok"))
    return MoeConfig(
        num_experts=section.whole("num_experts", high=1024),
        num_experts_per_tok=section.whole("num_experts_per_tok", high=1024),
    )


def _yarn(section: Section | None) -> YarnConfig | None:
    if section is None:
        return None
    known = ("factor", "original_max_position_embeddings", "beta", "alpha", "apply_scale")
    section.know(set(known))
    # Readers disagree about what a missing apply_scale means; Mistral's files state it.
    section.need((*known[:2], "apply_scale"))
    return YarnConfig(
        factor=section.number("factor", low=1.0, high=1e6),
        original_max_position_embeddings=section.whole(known[1], high=1 << 27),
        beta=section.number("beta", 32.0, low=1e-3, high=1e6),
        alpha=section.number("alpha", 1.0, low=1e-3, high=1e6),
        apply_scale=section.truth("apply_scale", True),
    )


def _llama_4_scaling(section: Section | None) -> Llama4Scaling | None:
    if section is None:
        return None
    known = ("original_max_position_embeddings", "beta")
    section.know(set(known))
    section.need(known)
    return Llama4Scaling(
        original_max_position_embeddings=section.whole(known[0], high=1 << 27),
        beta=section.number("beta", low=0.0, high=1e3),
    )


def _quantization(section: Section | None) -> bool:
    if section is None:
        return False
    section.know({"qformat_weight", "qscheme_act", "activation_scheme"})
    if section.values.get("qformat_weight") != "fp8_e4m3":
        raise section.refuse("qformat_weight", '"fp8_e4m3"')
    return True


def _has_vision(section: Section | None) -> bool:
    if section is None:
        return False
    section.know({"vision_encoder", "whisper_model_args"})
    if "whisper_model_args" in section:
        raise CheckpointError(
            f'{section.where} has a section "whisper_model_args" (an audio encoder), which this '
            "version cannot run."
        )
    return section.section("vision_encoder") is not None


def show(value: object) -> str:
    """A JSON value, short enough for a sentence."""
    try:
        text = json.dumps(value) if not isinstance(value, float) else repr(value)
    except (ValueError, RecursionError):
        text = type(value).__name__
    return text if len(text) <= 40 else text[:37] + "…"
