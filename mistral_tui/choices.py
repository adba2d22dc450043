"""What the user chose on the command line: a model, how to load it, how to sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inference.api import LoadModel, ModelCard, SamplingParams
    from mistral_tui.tools.definition import Definition


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """What to load and how; `instruct` False: what is written to it is continued as it is."""

    model: str
    device: str = "auto"
    dtype: str = "auto"
    threads: int | None = None
    attention: str = "auto"
    lora: str = ""
    instruct: bool = True
    ranks: int | None = None
    """Processes to start for it, one to a GPU; None: nothing was said."""
    pipeline: bool = False

    def filled(self, values: Mapping[str, object]) -> ModelChoice:
        """With the values of the config where nothing was said."""
        from mistral_tui import torchrun

        open_ = ("device", "dtype", "attention")
        given = {k: values[k] for k in open_ if k in values and getattr(self, k) == "auto"}
        if self.threads is None and "threads" in values:
            given["threads"] = values["threads"]
        if self.ranks is None and "ranks" in values and not torchrun.started_us():
            given["ranks"] = values["ranks"]
        if self.instruct and "instruct" in values:
            given["instruct"] = values["instruct"]
        return replace(self, **given)  # type: ignore[arg-type]

    def described(self, card: ModelCard) -> ModelCard:
        """The card of the loaded model with what the choice adds to it."""
        if self.instruct:
            return card
        note = "No chat layout: what you write is continued as it is (--no-instruct)."
        return replace(card, notes=(*card.notes, note))

    def load_request(self, request_id: int, *, fetch: bool = False) -> LoadModel:
        """What the engine is asked."""
        from inference.api import LoadModel

        return LoadModel(
            request_id,
            self.model,
            device=self.device,
            dtype=self.dtype,
            threads=self.threads,
            attention=self.attention,
            lora=self.lora,
            fetch=fetch,
            parallel="pipeline" if self.pipeline else "auto",
        )


@dataclass(frozen=True, slots=True)
class ToolsChoice:
    """Tools the user said, by name (None: nothing was said), what files among them define, and
    whether the model must call them."""

    names: tuple[str, ...] | None = None
    choice: str | None = None
    definitions: tuple[Definition, ...] = ()


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
