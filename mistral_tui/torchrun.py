"""`torchrun --no-python mistral-tui …`: rank 0 is the program that the user sees, and every other
rank a part of its engine that writes to a log only."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mistral_tui.app import ChatApp

_WITH_ENGINE = ("chat", "code", "demo", "fim")
_HELP = ("--help", "-h", "--version")
_STALE_SECONDS = 86_400
_NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_PREFIXES = ("TORCHELASTIC_", "GROUP_", "ROLE_")
REASON_SECONDS = 1.5
"""In which the engine can say why torchrun ends all ranks."""
_said: dict[str, str] = {}


def enter(args: list[str]) -> None:
    """Come back on rank 0; on any other rank be that rank to the end of the process."""
    from inference.errors import SettingError
    from inference.parallel.ranks import from_environment
    from mistral_tui import launch, paths

    try:
        ranks = from_environment()
        logs = paths.log_dir()
    except (SettingError, paths.FolderError) as error:
        launch.fail(str(error))
    # Local ranks share their parent; so they know each other without a word.
    left = logs / f"torchrun-{os.getppid()}.left"
    if ranks.rank == 0:
        _forget_old(logs, left)
        atexit.register(_leave, left)
        # For the engine alone: an editor, a tool or a shell that is started here is no rank.
        for name in list(os.environ):
            if name in _NAMES or name.startswith(_PREFIXES):
                _said[name] = os.environ.pop(name)
        return
    from mistral_tui.rank_processes import rank_log

    log_path = rank_log(logs / "engine.log", ranks.rank)
    _take_log(log_path)
    if not _needs_engine(args):
        os._exit(0)
    from inference.parallel import rank

    rank.run(ranks, os.getppid(), log_path, left.exists)


def started_us() -> bool:
    """Whether this is rank 0 of torchrun's."""
    return bool(_said)


def environment() -> dict[str, str]:
    """The variables of the engine's process, those of torchrun among them."""
    return os.environ | _said


def told_to_end(app: ChatApp, number: int) -> None:
    """SIGTERM or SIGHUP: leave. torchrun sends the first where a rank is lost, and the engine may
    be about to say which."""
    if number == signal.SIGTERM and app.begun and not app.client.can_restart:
        app.start(_leave_for_a_reason(app, 128 + number))
    else:
        app.exit(128 + number)


async def _leave_for_a_reason(app: ChatApp, code: int) -> None:
    until = time.monotonic() + REASON_SECONDS
    while app.return_code is None and time.monotonic() < until:
        app.session.check_engine()
        await asyncio.sleep(0.05)
    if app.return_code is None:
        said = "torchrun has told all ranks to end; it says why itself."
        app.exit(code, message=f"mistral-tui: {said}")


def _needs_engine(args: list[str]) -> bool:
    """Whether rank 0 will start an engine for these arguments (if they make sense)."""
    from mistral_tui import launch

    if launch.is_plain(args):
        return True
    from mistral_tui.cli import with_command

    return with_command(args)[0] in _WITH_ENGINE and not any(word in _HELP for word in args)


def _take_log(path: Path) -> None:
    """Let all output of this process go to its log, from the first line on."""
    from mistral_tui.engine_client import open_log

    with open_log(path) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)


def _leave(mark: Path) -> None:
    """Tell ranks that wait for an engine that there will be none; those that have met it have
    left with it."""
    with contextlib.suppress(OSError):
        mark.touch()


def _forget_old(folder: Path, mark: Path) -> None:
    """Marks of earlier runs."""
    with contextlib.suppress(OSError):
        mark.unlink(missing_ok=True)
        for old in folder.glob("torchrun-*.left"):
            if time.time() - old.stat().st_mtime > _STALE_SECONDS:
                old.unlink(missing_ok=True)
