"""How a middle is asked for: the `fim_…` settings as a request to the engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from inference.api import Ends, FillInMiddle, ModelCard, SamplingParams

if TYPE_CHECKING:
    from mistral_tui.config.setting import Value

_CPU_WINDOW = 2048
_WINDOW = 8192


@dataclass(frozen=True, slots=True)
class FimSettings:
    """The settings of the section `[code]`; what each means stands there."""

    auto: bool = True
    pause: float = 0.3
    middles: int = 3
    temperature: float = 0.5
    max_tokens: int = 256
    window: int | None = None
    block: bool = True
    suffix: bool = True
    blank_lines: int = 1
    lines: int = 40

    @classmethod
    def of(cls, values: Mapping[str, Value | None]) -> FimSettings:
        """From settings by their keys, checked ones; None or missing is the default."""
        given = {name: values.get(f"fim_{name}") for name in cls.__slots__}
        return cls(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]

    @property
    def ends(self) -> Ends:
        """Where a middle ends."""
        return Ends(self.suffix, self.block, self.blank_lines, self.lines or None)

    def request(
        self, request_id: int, card: ModelCard, prefix: str, suffix: str, *, several: bool = False
    ) -> FillInMiddle:
        """For the likeliest middle, or for `several` drawn ones."""
        window = self.window or (_CPU_WINDOW if card.device == "cpu" else _WINDOW)
        temperature = self.temperature if several else 0.0
        return FillInMiddle(
            request_id,
            prefix,
            suffix,
            SamplingParams(temperature=temperature, max_tokens=self.max_tokens),
            ends=self.ends,
            middles=self.middles if several else 1,
            window=window,
        )
