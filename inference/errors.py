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


class RankLost(InferenceError):
    """One of the processes that hold a model together is gone, or does not answer."""

    kind = "rank_lost"


def explain(error: BaseException) -> tuple[str, str]:
    """(kind, sentence) for any error: also one that no one foresaw, or that memory ran out."""
    text = str(error)
    if isinstance(error, InferenceError):
        return error.kind, text
    starved = isinstance(error, MemoryError) or (
        # Told by name: torch may be what failed to be imported.
        isinstance(error, RuntimeError)
        and (
            type(error).__name__ == "OutOfMemoryError"
            or "can't allocate memory" in text
            or "Cannot allocate memory" in text  # a file could not be mapped
        )
    )
    if starved:
        return "memory", (
            "There is not enough memory for this; use a smaller model, or a shorter conversation."
        )
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        return "system", f"The system refused{where}: {error.strerror or text}."
    if isinstance(error, ImportError):
        return "install", f"A part of the engine cannot be loaded ({text}); install it again."
    return "internal", (
        f"The engine failed unexpectedly ({type(error).__name__}); the log has the details."
    )


def restored(kind: str, sentence: str) -> InferenceError:
    """An error of that `kind` again, which another process had."""
    kinds = {each.kind: each for each in InferenceError.__subclasses__()}
    error = kinds.get(kind, InferenceError)(sentence)
    if error.kind != kind:
        setattr(error, "kind", kind)  # noqa: B010 (of the instance only)
    return error
