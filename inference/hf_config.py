"""Hugging Face's `config.json` → `ModelConfig`, for the architectures whose maths is Mistral's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inference.config import Llama4Scaling, ModelConfig, MoeConfig, YarnConfig
from inference.errors import CheckpointError, ForeignModel
from inference.files import one_line, read_json, sentences
from inference.params import MOST_LAYERS, MOST_PARAMS_BYTES, Section, check, show

# Where a config.json leaves something out, transformers' own defaults of that architecture.
_MISTRAL = {"window": 4096, "context": 131_072, "kv_heads": 8, "theta": 1e4}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "MistralForCausalLM": _MISTRAL,
    "MinistralForCausalLM": _MISTRAL,
    # Without rope_parameters it means a whole YaRN section; such a file is refused.
    "Ministral3ForCausalLM": {**_MISTRAL, "window": None, "context": 262_144, "head_dim": 128},
    "MixtralForCausalLM": {**_MISTRAL, "window": None, "theta": 1e6},
    "LlamaForCausalLM": {"window": None, "context": 2048, "kv_heads": None, "theta": 1e4},
}
# Multimodal wrappers: the text model stands in `text_config`.
_WRAPPERS = {"Mistral3ForConditionalGeneration", "LlavaForConditionalGeneration"}
_TEXT_MODELS = {
    "mistral": "MistralForCausalLM",
    "ministral": "MinistralForCausalLM",
    "ministral3": "Ministral3ForCausalLM",
}
_WITHOUT_EFFECT = {
    "_name_or_path", "architectures", "attention_dropout", "bos_token_id", "dtype",
    "eos_token_id", "initializer_range", "model_type", "output_router_logits", "pad_token_id",
    "pretraining_tp", "router_aux_loss_coef", "router_jitter_noise", "torch_dtype",
    "transformers_version", "use_cache", "unsloth_version", "unsloth_fixed", "auto_map",
    "is_composition", "chunk_size_feed_forward", "max_length", "id2label", "label2id",
    "num_labels", "_attn_implementation_autoset", "license",
}  # fmt: skip
_KNOWN = {
    "attention_bias", "head_dim", "hidden_act", "hidden_size", "intermediate_size",
    "is_causal", "layer_types", "max_position_embeddings", "mlp_bias", "num_attention_heads",
    "num_experts_per_tok", "num_hidden_layers", "num_key_value_heads", "num_local_experts",
    "quantization_config", "rms_norm_eps", "rope_parameters", "rope_scaling", "rope_theta",
    "sliding_window", "tie_word_embeddings", "vocab_size", "use_sliding_window",
}  # fmt: skip


def from_folder(folder: Path) -> ModelConfig:
    """Read `folder/config.json`.

    Raises:
        CheckpointError: missing, unreadable, another architecture, an unknown key.
    """
    path = folder / "config.json"
    values = read_json(path, "the model's shape", most_bytes=MOST_PARAMS_BYTES)
    return from_config(values, where=str(path))


@sentences()
def from_config(values: dict[str, Any], *, where: str = "config.json") -> ModelConfig:
    """Build from the parsed content of a `config.json`; `where` names it in errors.

    Raises:
        CheckpointError: one sentence.
    """
    top = Section(values, where)
    architecture = _architecture(top)
    vision = architecture in _WRAPPERS
    if vision:
        text = top.section("text_config")
        if text is None:
            raise CheckpointError(f'{where} lacks "text_config", the shape of its text model.')
        kind = text.values.get("model_type", "mistral")
        architecture = _TEXT_MODELS.get(kind, "") if isinstance(kind, str) else ""
        if not architecture:
            raise CheckpointError(
                f"{text.where} says model_type {show(kind)}, which this version cannot run."
            )
        if "quantization_config" in top and "quantization_config" not in text:
            text.values["quantization_config"] = top.values["quantization_config"]
        if "tie_word_embeddings" in top:  # the outer one counts
            text.values["tie_word_embeddings"] = top.values["tie_word_embeddings"]
        top = text
    top.know(_WITHOUT_EFFECT | _KNOWN)
    top.need(("hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers",
              "rms_norm_eps", "vocab_size"))  # fmt: skip
    for key in ("attention_bias", "mlp_bias"):
        if top.truth(key, False):
            raise CheckpointError(f'{top.where} sets "{key}", which this version cannot run.')
    if top.values.get("hidden_act", "silu") != "silu":
        raise top.refuse("hidden_act", '"silu"')
    # An explicit null is a value of its own; only a missing key means the default.
    given = values.get("text_config", values) if vision else values
    defaults = {key: value for key, value in _DEFAULTS[architecture].items()}
    for key, name in (("window", "sliding_window"), ("kv_heads", "num_key_value_heads")):
        if name in given:
            defaults[key] = None
    if architecture == "Ministral3ForCausalLM":
        top.need(("rope_parameters",))
    if architecture == "LlamaForCausalLM" and "sliding_window" in top:
        raise top.refuse("sliding_window", "absent in a Llama model")
    n_layers = top.whole("num_hidden_layers", high=MOST_LAYERS)
    heads = top.whole("num_attention_heads", high=1 << 14)
    dim = top.whole("hidden_size", high=1 << 24)
    theta, yarn, scaling = _rope(top, defaults["theta"])
    config = ModelConfig(
        dim=dim,
        n_layers=n_layers,
        head_dim=top.whole(
            "head_dim", defaults.get("head_dim") or max(1, dim // heads), high=1 << 14
        ),
        hidden_dim=top.whole("intermediate_size", high=1 << 24),
        n_heads=heads,
        n_kv_heads=top.whole("num_key_value_heads", defaults["kv_heads"] or heads, high=1 << 14),
        norm_eps=top.number("rms_norm_eps", low=0.0, high=1.0),
        vocab_size=top.whole("vocab_size", high=1 << 24),
        rope_theta=theta,
        max_position_embeddings=top.whole(
            "max_position_embeddings", defaults["context"], high=1 << 27
        ),
        tied_embeddings=top.truth("tie_word_embeddings", False),
        moe=_moe(top) if architecture == "MixtralForCausalLM" else None,
        sliding_window=_windows(top, n_layers, defaults["window"]),
        yarn=yarn,
        llama_4_scaling=scaling,
        vision=vision,
        fp8=_quantization(top.section("quantization_config")),
    )
    check(config, top.where)
    return config


def _architecture(top: Section) -> str:
    names = top.values.get("architectures")
    name = names[0] if isinstance(names, list) and names else None
    if isinstance(name, str) and (name in _DEFAULTS or name in _WRAPPERS):
        return name
    runs = ", ".join(known.removesuffix("ForCausalLM") for known in _DEFAULTS)
    said = f"the architecture {one_line(name, 60)}" if isinstance(name, str) else "no architecture"
    raise ForeignModel(f"{top.where} names {said}; this version runs {runs} and their kin.")


def _rope(top: Section, default: float) -> tuple[float, YarnConfig | None, Llama4Scaling | None]:
    """(theta, YaRN, query scaling), from today's `rope_parameters` or the older two keys."""
    rope, older = top.section("rope_parameters"), top.section("rope_scaling")
    if rope and older and rope.values != older.values:
        raise CheckpointError(
            f'{top.where} has both "rope_parameters" and "rope_scaling", which differ; '
            "which of them the weights were trained with cannot be told."
        )
    rope = rope or older
    theta = top.number("rope_theta", default, low=1.0, high=1e12)
    if rope is None:
        return theta, None, None
    theta = rope.number("rope_theta", theta, low=1.0, high=1e12)
    kind = rope.values.get("rope_type", rope.values.get("type", "default"))
    if kind == "default":
        rope.know({"rope_theta", "rope_type", "type", "partial_rotary_factor"})
        if rope.number("partial_rotary_factor", 1.0, low=0.0, high=1.0) != 1.0:
            raise rope.refuse("partial_rotary_factor", "1")
        return theta, None, None
    if kind != "yarn":
        raise CheckpointError(
            f"{rope.where} scales positions by {show(kind)}, which this version cannot run."
        )
    original = "original_max_position_embeddings"
    rope.know({
        "rope_theta", "rope_type", "type", "factor", original, "max_position_embeddings",
        "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "attention_factor", "truncate",
        "llama_4_scaling_beta",
    })  # fmt: skip
    rope.need(("factor", original))
    if not rope.truth("truncate", True):
        raise rope.refuse("truncate", "true")
    factor = rope.number("factor", low=1.0, high=1e6)
    whole = rope.whole(original, high=1 << 27)
    yarn = YarnConfig(
        factor=factor,
        original_max_position_embeddings=whole,
        beta=rope.number("beta_fast", 32.0, low=1e-3, high=1e6),
        alpha=rope.number("beta_slow", 1.0, low=1e-3, high=1e6),
        apply_scale=True,
        attention_factor=_attention_factor(rope, factor),
    )
    if "llama_4_scaling_beta" not in rope:
        return theta, yarn, None
    beta = rope.number("llama_4_scaling_beta", low=0.0, high=1e3)
    return theta, yarn, Llama4Scaling(whole, beta)


def _attention_factor(rope: Section, factor: float) -> float | None:
    """As transformers infers it (`_compute_yarn_parameters`); None: 0.1 ln(factor) + 1."""
    from math import log

    if "attention_factor" in rope:
        return rope.number("attention_factor", low=1e-3, high=1e3)
    mscale = rope.number("mscale", 0.0, low=0.0, high=1e3)
    all_dim = rope.number("mscale_all_dim", 0.0, low=0.0, high=1e3)
    if not (mscale and all_dim):
        return None
    if factor <= 1:
        return 1.0
    return (0.1 * mscale * log(factor) + 1) / (0.1 * all_dim * log(factor) + 1)


def _moe(top: Section) -> MoeConfig:
    return MoeConfig(
        num_experts=top.whole("num_local_experts", 8, high=1024),
        num_experts_per_tok=top.whole("num_experts_per_tok", 2, high=1024),
    )


def _windows(top: Section, n_layers: int, default: int | None) -> tuple[int | None, ...]:
    window = default
    if "sliding_window" in top:
        window = top.whole("sliding_window", high=1 << 27)
    if window is None:
        return ()
    if not top.truth("use_sliding_window", True):
        raise CheckpointError(
            f"{top.where} gives a sliding window and says not to use it, which Mistral's "
            'models do not know; set "sliding_window" to null if it has none.'
        )
    kinds = top.values.get("layer_types")
    if kinds is None:
        return (window,)
    names = ("sliding_attention", "full_attention")
    if not isinstance(kinds, list) or len(kinds) != n_layers or any(k not in names for k in kinds):
        raise top.refuse("layer_types", f"{n_layers} of {' or '.join(names)}")
    windows = tuple(window if kind == names[0] else None for kind in kinds)
    return windows if any(windows) else ()


def _quantization(section: Section | None) -> bool:
    if section is None:
        return False
    method = section.values.get("quant_method")
    if method != "fp8":
        raise CheckpointError(
            f"{section.where} says quant_method {show(method)}; only fp8 can be read."
        )
    if "weight_block_size" in section:
        raise CheckpointError(
            f"{section.where} has scales by block, which this version cannot read."
        )
    return True
