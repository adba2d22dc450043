"""All that the first paint does without, in one import: it takes longer than the paint."""

from __future__ import annotations

from inference.errors import InferenceError
from mistral_tui import paths
from mistral_tui.config.file import load as load_config
from mistral_tui.config.user_files import FileProblem
from mistral_tui.copying import Copier
from mistral_tui.engine_client import EngineClient, LocalEngine
from mistral_tui.happenings import ContextFull, ReplyEnded, TakenBack, Trouble
from mistral_tui.history.schema import StoreError
from mistral_tui.history.store import AsyncStore
from mistral_tui.presenter import Presenter
from mistral_tui.room import Conversing
from mistral_tui.widgets.transcript import Transcript

__all__ = [
    "TROUBLES",
    "ContextFull",
    "Conversing",
    "Copier",
    "EngineClient",
    "Presenter",
    "ReplyEnded",
    "TakenBack",
    "Transcript",
    "Trouble",
    "connect",
    "load_config",
    "model_path",
]

# What may go wrong by no fault of ours; each says so in a sentence.
TROUBLES = (StoreError, InferenceError, paths.FolderError, FileProblem, OSError)


async def connect() -> tuple[EngineClient, AsyncStore]:
    """The engine process (not started yet) and the conversations of this machine."""
    client = LocalEngine(paths.log_dir() / "engine.log")
    return client, await AsyncStore.open(paths.database_path())


def model_path(name: str) -> str:
    """What the config or the last session names → `starter`, or a folder."""
    from inference.files import expanded

    if name == "starter":
        return name
    folder = expanded(name)
    pulled = paths.data_dir() / "models" / name
    if not folder.exists() and "/" not in name and pulled.is_dir():
        return str(pulled)
    return str(folder.absolute())
