"""What can be said of a LoRA adapter without reading its weights (and without torch).

The format is mistral-finetune's: `lora.safetensors` with `<linear>.lora_A.weight` (rank, in)
and `<linear>.lora_B.weight` (out, rank), and a `params.json` with its rank and scaling.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from inference.config import ModelConfig
from inference.errors import CheckpointError
from inference.files import one_line, read_json, sentences, some
from inference.params import MOST_PARAMS_BYTES, Section
from inference.safetensors_header import TensorInfo, read_header

FILE = "lora.safetensors"
DEFAULT_SCALING = 2.0  # of mistral-finetune
_DTYPES = ("BF16", "F16", "F32")


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter that fits a model."""

    file: Path
    scaling: float
    modules: tuple[str, ...]
    """Names of the linear layers it changes."""
    note: str = ""
    """A sentence on what was assumed."""


@sentences()
def inspect_adapter(path: Path, config: ModelConfig, *, scaling: float | None = None) -> Adapter:
    """Check an adapter file, or the folder of one, against a model's shape.

    Raises:
        CheckpointError: not an adapter, or not of this model; names what does not fit.
    """
    file = _file(path)
    modules = _modules(file, config)
    note = ""
    if scaling is None:
        scaling = _scaling(file.parent / "params.json")
        if scaling is None:
            scaling = DEFAULT_SCALING
            note = (
                f"{file.name} has no params.json beside it; scaling {scaling:g}, "
                "mistral-finetune's default, was taken."
            )
    return Adapter(file, scaling, modules, note)


def _file(path: Path) -> Path:
    try:
        if path.is_file():
            return path
        if not path.exists():
            raise CheckpointError(f"The adapter {path} does not exist.")
        if (path / FILE).exists():
            return path / FILE
        if (path / "adapter_model.safetensors").exists():
            raise CheckpointError(
                f"{path} holds an adapter in PEFT's format; this version reads those of "
                f"mistral-finetune ({FILE})."
            )
    except OSError as error:
        raise CheckpointError(f"The adapter {path} cannot be read: {error.strerror}.") from None
    raise CheckpointError(f"{path} has no {FILE}, so it holds no adapter.")


def _scaling(path: Path) -> float | None:
    if not os.path.lexists(path):
        return None
    values = read_json(path, "the adapter's rank and scaling", most_bytes=MOST_PARAMS_BYTES)
    section = Section(values, str(path)).section("lora")
    if section is None or "scaling" not in section:
        return None
    return section.number("scaling", low=-1e4, high=1e4)


def _modules(file: Path, config: ModelConfig) -> tuple[str, ...]:
    found = read_header(file)
    linears = {name: (n_in, n_out) for name, n_in, n_out in config.linears()}
    if not config.tied_embeddings:
        linears["output"] = (config.dim, config.vocab_size)
    pairs: dict[str, dict[str, TensorInfo]] = {}
    foreign, wrong = [], []
    for name, info in sorted(found.items()):
        module, dot, rest = name.rpartition(".lora_")
        if not dot or rest not in ("A.weight", "B.weight") or module not in linears:
            foreign.append(name)
        else:
            pairs.setdefault(module, {})[rest[0]] = info
        if info.dtype not in _DTYPES:
            wrong.append(f"{one_line(name, 80)} has dtype {info.dtype:.20}")
    for module, pair in pairs.items():
        if len(pair) < 2:
            wrong.append(f"{module} lacks its lora_{'B' if 'A' in pair else 'A'}.weight")
            continue
        a, b = pair["A"].shape, pair["B"].shape
        n_in, n_out = linears[module]
        fits = len(a) == len(b) == 2 and (a[1], b[0], b[1]) == (n_in, n_out, a[0])
        # More than the layer has rows and columns would be no economy, but can be a bomb.
        if not fits or not 1 <= a[0] <= max(n_in, n_out):
            wrong.append(f"{module} has lora_A {a} and lora_B {b} on a layer of {n_in} → {n_out}")
    if foreign:
        wrong.insert(0, f"{some(foreign)} match no layer of the model")
    if wrong:
        raise CheckpointError(f"The adapter {file} does not fit the model: {some(wrong, '; ')}.")
    return tuple(pairs)
