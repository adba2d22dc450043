"""Mistral models on your own machine: transformer, KV cache, tokenizers, engine.

The public names are imported on first use, so that `import inference` (and the
contract in `inference.api`) costs milliseconds and no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inference.api import Message, SamplingParams
    from inference.engine import Engine
    from inference.generation import generate
    from inference.tokenizer import Tokenizer
    from inference.transformer import Transformer

__all__ = ["Engine", "Message", "SamplingParams", "Tokenizer", "Transformer", "generate"]

_HOMES = {
    "Engine": "engine",
    "Message": "api",
    "SamplingParams": "api",
    "Tokenizer": "tokenizer",
    "Transformer": "transformer",
    "generate": "generation",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"inference.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'inference' has no attribute {name!r}")
