"""`params.json` → `ModelConfig`, strictly: what is not understood is refused by name."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference.errors import CheckpointError

DEFAULT_CONTEXT = 32_768  # what Mistral's models without a stated context were trained for
_MAX_PARAMS_BYTES = 1 << 20

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
)
_WITHOUT_EFFECT = ("max_batch_size",)
# Sections of Mistral's published files that change the maths and are not implemented.
_UNSUPPORTED = {
    "moe": "a mixture of experts",
    "lora": "a LoRA adapter",
    "yarn": "YaRN context scaling",
    "llama_4_scaling": "attention temperature scaling",
    "quantization": "quantized weights",
    "vision_encoder": "a vision encoder",
    "audio_encoder": "an audio encoder",
    "mla": "multi-head latent attention",
}


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The shape of a dense Mistral transformer; names as in `params.json`."""

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

    @classmethod
    def from_folder(cls, folder: Path) -> ModelConfig:
        """Read `folder/params.json`.

        Raises:
            CheckpointError: missing, unreadable, an unknown key, an impossible value.
        """
        path = folder / "params.json"
        try:
            if path.stat().st_size > _MAX_PARAMS_BYTES:
                raise CheckpointError(f"{path} is too large to be a params.json.")
            params = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise CheckpointError(
                f"{folder} has no params.json, so it is not a Mistral-native model folder."
            ) from None
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from None
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"{path} is not valid JSON: {error}.") from None
        if not isinstance(params, dict):
            raise CheckpointError(f"{path} should hold a JSON object with the model's shape.")
        return cls.from_params(params, where=str(path))

    @classmethod
    def from_params(cls, params: dict[str, Any], *, where: str = "params.json") -> ModelConfig:
        """Build from the parsed content of a `params.json`; `where` names it in errors."""
        params = {key: value for key, value in params.items() if value is not None}
        for key, what in _UNSUPPORTED.items():
            if key in params:
                raise CheckpointError(
                    f'{where} has a section "{key}" ({what}), which this version cannot run.'
                )
        unknown = sorted(set(params) - {*_REQUIRED, *_OPTIONAL, *_WITHOUT_EFFECT})
        if unknown:
            names = ", ".join(f'"{key}"' for key in unknown)
            raise CheckpointError(
                f"{where} has {names}, which this version does not know; "
                "running the model without it could give wrong answers."
            )
        missing = [key for key in _REQUIRED if key not in params]
        if missing:
            raise CheckpointError(f'{where} lacks "{", ".join(missing)}".')
        if params.get("model_type", "transformer") != "transformer":
            raise CheckpointError(
                f'{where} says model_type "{params["model_type"]}"; only "transformer" can be run.'
            )
        if any(key in params for key in ("sliding_window", "_sliding_window")):
            raise CheckpointError(f'{where} has a "sliding_window", which this version cannot run.')

        def whole(key: str, *, low: int = 1, high: int = 1 << 24) -> int:
            value = params[key]
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise CheckpointError(
                    f'{where}: "{key}" is {_show(value)}; '
                    f"it must be a whole number from {low} to {high:,}."
                )
            return value

        def number(key: str, default: float, *, low: float, high: float) -> float:
            value = params.get(key, default)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise CheckpointError(f'{where}: "{key}" is {_show(value)}; it must be a number.')
            if not low <= value <= high:  # NaN fails too
                raise CheckpointError(
                    f'{where}: "{key}" is {_show(value)}; it must lie between {low:g} and {high:g}.'
                )
            return float(value)

        tied = params.get("tied_embeddings", False)
        if not isinstance(tied, bool):
            raise CheckpointError(
                f'{where}: "tied_embeddings" is {_show(tied)}; it must be true or false.'
            )
        context_key = (
            "max_position_embeddings" if "max_position_embeddings" in params else ("max_seq_len")
        )
        config = cls(
            dim=whole("dim"),
            n_layers=whole("n_layers", high=10_000),
            head_dim=whole("head_dim", high=1 << 14),
            hidden_dim=whole("hidden_dim"),
            n_heads=whole("n_heads", high=1 << 14),
            n_kv_heads=whole("n_kv_heads", high=1 << 14),
            norm_eps=number("norm_eps", 1e-5, low=0.0, high=1.0),
            vocab_size=whole("vocab_size", high=1 << 24),
            # With a window a missing theta means 1e4; windows are refused above.
            rope_theta=number("rope_theta", 1e6, low=1.0, high=1e12),
            max_position_embeddings=whole(context_key, high=1 << 27)
            if context_key in params
            else DEFAULT_CONTEXT,
            tied_embeddings=tied,
        )
        if config.head_dim % 2:
            raise CheckpointError(
                f'{where}: "head_dim" is {config.head_dim}; rotary embeddings need an even number.'
            )
        if config.n_heads % config.n_kv_heads:
            raise CheckpointError(
                f'{where}: "n_heads" ({config.n_heads}) must be a multiple of '
                f'"n_kv_heads" ({config.n_kv_heads}).'
            )
        return config

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """The checkpoint's tensors, by name, with their shapes (rows are outputs)."""
        q, kv = self.n_heads * self.head_dim, self.n_kv_heads * self.head_dim
        shapes: dict[str, tuple[int, ...]] = {
            "tok_embeddings.weight": (self.vocab_size, self.dim),
            "norm.weight": (self.dim,),
        }
        if not self.tied_embeddings:
            shapes["output.weight"] = (self.vocab_size, self.dim)
        layer: dict[str, tuple[int, ...]] = {
            "attention_norm.weight": (self.dim,),
            "ffn_norm.weight": (self.dim,),
            "attention.wq.weight": (q, self.dim),
            "attention.wk.weight": (kv, self.dim),
            "attention.wv.weight": (kv, self.dim),
            "attention.wo.weight": (self.dim, q),
            "feed_forward.w1.weight": (self.hidden_dim, self.dim),
            "feed_forward.w2.weight": (self.dim, self.hidden_dim),
            "feed_forward.w3.weight": (self.hidden_dim, self.dim),
        }
        for n in range(self.n_layers):
            shapes |= {f"layers.{n}.{name}": shape for name, shape in layer.items()}
        return shapes


def _show(value: object) -> str:
    text = json.dumps(value) if not isinstance(value, float) else repr(value)
    return text if len(text) <= 40 else text[:37] + "…"
