"""Errors whose message is one sentence for the user: what is wrong and what to do."""

from __future__ import annotations


class InferenceError(Exception):
    """Base of all errors of this package; `str(error)` is shown to the user as it stands.

    `kind` is a stable word for programs; `detail` is for the log only.
    """

    kind = "error"

    def __init__(self, message: str, *, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


class CheckpointError(InferenceError):
    """A model folder that is missing, incomplete, damaged or not understood."""

    kind = "checkpoint"


class ForeignModel(CheckpointError):
    """A sound model folder of another family than Mistral's."""


class TokenizerError(InferenceError):
    """A tokenizer file that cannot be read, or a request it has no tokens for."""

    kind = "tokenizer"


class ContextFull(InferenceError):
    """The prompt leaves no room in the model's context."""

    kind = "context_full"


class SettingError(InferenceError):
    """An impossible setting (temperature, device, dtype, threads …)."""

    kind = "setting"


class FetchError(InferenceError):
    """A model could not be fetched, or is not the file it claims to be."""

    kind = "fetch"


class StarterMissing(FetchError):
    """The starter model has not been fetched yet."""

    kind = "starter_missing"


class RequestError(InferenceError):
    """A request that this model or this state of the engine cannot serve."""

    kind = "request"
