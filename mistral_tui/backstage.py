"""All that the first paint does without, in one import: it takes longer than the paint."""

from __future__ import annotations

from inference.errors import InferenceError
from mistral_tui import paths
from mistral_tui.choices import ToolsChoice
from mistral_tui.code.errors import CodeError
from mistral_tui.config.file import Config
from mistral_tui.config.file import load as load_config
from mistral_tui.config.user_files import FileProblem
from mistral_tui.copying import Copier
from mistral_tui.engine_client import EngineClient, LocalEngine
from mistral_tui.happenings import (
    CallsWait,
    ContextFull,
    EngineChanged,
    Opened,
    ReplyEnded,
    Settled,
    TakenBack,
    Trouble,
    Tuned,
)
from mistral_tui.history.schema import StoreError
from mistral_tui.history.store import AsyncStore
from mistral_tui.presenter import Presenter
from mistral_tui.room import Conversing
from mistral_tui.tools.errors import ToolError
from mistral_tui.tools.toolbox import Toolbox
from mistral_tui.widgets.transcript import Transcript

__all__ = [
    "SETTINGS",
    "TROUBLES",
    "CallsWait",
    "ContextFull",
    "Conversing",
    "Copier",
    "EngineClient",
    "Presenter",
    "ReplyEnded",
    "Settled",
    "TakenBack",
    "Transcript",
    "Trouble",
    "connect",
    "load_config",
    "model_path",
    "toolbox",
]

# What may go wrong by no fault of ours; each says so in a sentence.
TROUBLES = (
    *(StoreError, InferenceError, paths.FolderError, FileProblem, ToolError, CodeError, OSError),
)

SETTINGS = (Opened, Tuned, EngineChanged)
"""What is told when other settings, or another model, are in effect."""


async def connect(ranks: int = 1) -> tuple[EngineClient, AsyncStore]:
    """The engine's processes (not started yet) and the conversations of this machine."""
    client = LocalEngine(paths.log_dir() / "engine.log", ranks=ranks)
    return client, await AsyncStore.open(paths.database_path())


def toolbox(config: Config, said: ToolsChoice) -> Toolbox:
    """The tools of this window; nothing is read or started yet."""
    modules = config.values.get("tool_modules", ())
    return Toolbox(said.definitions, modules=modules if isinstance(modules, tuple) else ())


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
