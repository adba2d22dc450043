"""What the sampling settings can be; no torch, so that an app can say it at once."""

from __future__ import annotations

import math

from inference.api import SamplingParams
from inference.errors import SettingError


def check(params: SamplingParams) -> None:
    """Refuse impossible settings.

    Raises:
        SettingError: one sentence that names the setting and its range.
    """

    def within(name: str, value: float, low: float, high: float) -> None:
        if not (low <= value <= high):  # NaN fails too
            upper = "" if math.isinf(high) else f" to {high:g}"
            raise SettingError(
                f"The setting {name} is {value:g}; it must be {low:g}{upper or ' or more'}."
            )

    within("temperature", params.temperature, 0.0, 100.0)
    within("top_k", params.top_k, 0, math.inf)
    within("top_p", params.top_p, 0.0, 1.0)
    within("min_p", params.min_p, 0.0, 1.0)
    if not 0.0 < params.repetition_penalty <= 100.0:
        raise SettingError(
            f"The setting repetition_penalty is {params.repetition_penalty:g}; "
            "it must be above 0, up to 100."
        )
    if params.max_tokens is not None:
        within("max_tokens", params.max_tokens, 1, math.inf)
    if params.seed is not None:
        within("seed", params.seed, 0, 2**63 - 1)
