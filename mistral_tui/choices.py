"""What the user chose on the command line: a model, how to load it, how to sample."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inference.api import SamplingParams


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """What to load and how."""

    model: str
    device: str = "auto"
    dtype: str = "auto"
    threads: int | None = None


@dataclass(frozen=True, slots=True)
class SamplingChoice:
    """Sampling settings the user said; None leaves the model's recommended one."""

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    max_tokens: int | None = None
    seed: int | None = None

    def over(self, recommended: SamplingParams) -> SamplingParams:
        """The model's settings with the user's in their place."""
        said = {
            name: value for name in self.__slots__ if (value := getattr(self, name)) is not None
        }
        return replace(recommended, **said)
