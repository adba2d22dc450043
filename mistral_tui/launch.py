"""From the command line to the first paint by the shortest way: nothing heavy up here.

`mistral-tui` and `mistral-tui MODEL` come straight here; with options they come by way of
`cli`, which costs the import of typer.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

from mistral_tui.choices import ModelChoice, SamplingChoice, ToolsChoice

STARTER = "starter"
COMMANDS = ("chat", "code", "pull", "demo", "fim", "models", "sessions", "config", "doctor")


def is_plain(args: list[str]) -> bool:
    """Whether there is nothing to parse: no option, at most a MODEL."""
    return not args or (len(args) == 1 and args[0] not in COMMANDS and args[0][:1] != "-")


def open_chat(
    choice: ModelChoice,
    *,
    sampling: SamplingChoice,
    system_prompt: str = "",
    reopen: bool = False,
    resume: str = "",
    theme: str = "",
    tools: ToolsChoice = ToolsChoice(),  # noqa: B008 (frozen)
    code: tuple[str, ...] | None = None,
    preset: str = "",
) -> NoReturn:
    """The chat, until the user leaves it; `code`: with these files in the code panel. Under
    torchrun and with --ranks the terminal is left whole whoever dies."""
    from mistral_tui import torchrun

    if torchrun.started_us():
        from mistral_tui import terminal

        terminal.take()
    if choice.model not in ("", STARTER):
        check_folder(choice.model, choice.lora)
    if not (os.isatty(0) and os.isatty(1)):
        usage("The chat needs a terminal; for one answer without it use -p TEXT.")
    if not os.isatty(2):
        # Textual draws on standard error: `2>file` must not swallow the screen.
        setattr(sys, "__stderr__", sys.__stdout__)  # noqa: B010
    guard = None
    if torchrun.started_us() or (choice.ranks or 1) > 1:
        from mistral_tui import terminal

        guard = terminal.guard()
    from mistral_tui.app import ChatApp, stay
    from mistral_tui.paths import FolderError

    try:
        app = ChatApp(
            choice,
            sampling=sampling,
            system_prompt=system_prompt,
            reopen=reopen,
            resume=resume,
            theme_name=theme,
            tools=tools,
            code=code,
            preset=preset,
        )
        exit_code = stay(app, guard)
    except FolderError as error:
        fail(str(error))
    sys.exit(exit_code)


def resolve(model: str) -> str:
    """What the user typed → `starter`, an absolute folder, or "" for the last one used."""
    if model in ("", STARTER):
        return model
    try:
        folder = Path(model).expanduser()
        if not folder.exists() and os.sep not in model:
            pulled = _pulled(model)
            if pulled.is_dir():
                return str(pulled)
        return str(folder.absolute())
    except (OSError, RuntimeError) as error:  # too long, no permission; `~nobody`
        fail(f"{model} cannot be opened: {getattr(error, 'strerror', None) or error}")


def _pulled(model: str) -> Path:
    from mistral_tui import paths

    try:
        return paths.data_dir() / "models" / model
    except paths.FolderError as error:
        fail(str(error))


def check_folder(folder: str, lora: str = "") -> None:
    """A folder that cannot be a model, or an adapter that is not of it, is refused at once:
    before the screen is taken, and before seconds are spent on starting the engine."""
    from inference.adapter import inspect_adapter
    from inference.errors import InferenceError
    from inference.folder import inspect_folder

    try:
        found = inspect_folder(Path(folder))
        if lora:
            inspect_adapter(Path(lora), found.config)
    except InferenceError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{folder} cannot be opened: {error.strerror}.")


def last_model() -> str:
    """The model that config.toml names, else the one used last, else the starter."""
    from mistral_tui import paths
    from mistral_tui.config import file as config
    from mistral_tui.history.store import Store, StoreError

    try:
        if named := str(config.load().values.get("model", "")):
            return resolve(named)
        path = paths.database_path()
        if not path.exists():
            return STARTER
        store = Store(path)
        try:
            return store.get_setting("last_model", STARTER) or STARTER
        finally:
            store.close()
    except (StoreError, paths.FolderError):
        return STARTER


def open_standard_streams() -> None:
    """Give what was closed (`>&-`) to the null device, or the engine's socket takes its place."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number: this one
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


def usage(sentence: str) -> NoReturn:
    print(f"mistral-tui: {sentence}", file=sys.stderr)  # noqa: T201
    sys.exit(2)


def fail(sentence: str) -> NoReturn:
    from mistral_tui.sanitize import sanitize

    print(f"mistral-tui: {sanitize(sentence)}", file=sys.stderr)  # noqa: T201
    sys.exit(1)
