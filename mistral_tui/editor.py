"""The text of the prompt in the user's own editor, and back."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from textual.app import App, SuspendNotSupported

from mistral_tui.attach import FileTrouble, read_text
from mistral_tui.sanitize import one_line
from mistral_tui.terminal import is_borrowed

LIMIT = 32 * 1024 * 1024
_AT_ONCE_SECONDS = 0.5  # an editor that ends so soon has not been used


class EditorTrouble(Exception):
    """Why there is no edited text, in a sentence."""


async def edit(app: App[Any], text: str) -> str | None:
    """What the user made of `text`; None if that cannot be said, and the user knows why.

    The app goes on behind the editor: an answer is still received and saved.
    """
    try:
        return await _edit(app, text)
    except EditorTrouble as trouble:
        _tell(app, trouble)
        return None


def command(env: Mapping[str, str] = os.environ) -> list[str]:
    """The user's editor and its arguments.

    Raises:
        EditorTrouble: none is set, or it cannot be read.
    """
    for name in ("VISUAL", "EDITOR"):
        if env.get(name, "").strip():
            try:
                if words := shlex.split(env[name]):
                    return words
            except ValueError as error:
                raise EditorTrouble(f"${name} cannot be read: {error}.") from error
    raise EditorTrouble("No editor is set; for example: export EDITOR=nano")


async def _edit(app: App[Any], text: str) -> str:
    argv = command()
    try:
        # A folder of its own: also the editor's copies and recovery files stay private and go.
        folder = tempfile.TemporaryDirectory(prefix="mistral-tui-", ignore_cleanup_errors=True)
    except OSError as error:
        raise EditorTrouble(_cannot("be made", error)) from error
    with folder as name:
        path = Path(name) / "prompt.md"
        try:
            path.touch(mode=0o600, exist_ok=False)
            path.write_text(text + "\n", "utf-8", "replace")
        except OSError as error:
            raise EditorTrouble(_cannot("be written", error)) from error
        started = time.monotonic()
        await _run(app, [*argv, str(path)])
        try:
            edited = (await asyncio.to_thread(read_text, path, LIMIT)).removesuffix("\n")
        except FileTrouble as trouble:
            raise EditorTrouble(f"What the editor left {trouble} Your text is kept.") from trouble
    if edited == text and time.monotonic() - started < _AT_ONCE_SECONDS:
        shown = one_line(argv[0], 40)
        raise EditorTrouble(f"{shown} ended at once; it may need an option to wait (code --wait).")
    return edited


async def page(app: App[Any], text: str) -> None:
    """Show `text`, which must be safe for a terminal, in the user's pager; what goes wrong is
    told."""
    try:
        argv = shlex.split(os.environ.get("PAGER", "").strip() or "less")
        with tempfile.TemporaryDirectory(prefix="mistral-tui-") as folder:
            path = Path(folder) / "message.md"
            path.touch(mode=0o600)
            path.write_text(text + "\n", "utf-8", "replace")
            await _run(app, [*argv, str(path)], "$PAGER", "Nothing is changed.")
    except ValueError as error:
        _tell(app, EditorTrouble(f"$PAGER cannot be read: {error}."))
    except OSError as error:
        why = one_line(error.strerror or str(error))
        _tell(app, EditorTrouble(f"A file for the pager cannot be written ({why})."))
    except EditorTrouble as trouble:
        _tell(app, trouble)


def _tell(app: App[Any], trouble: EditorTrouble) -> None:
    app.notify(str(trouble), severity="warning", markup=False, timeout=10)


async def _run(
    app: App[Any], argv: Sequence[str], variable: str = "$EDITOR", kept: str = "Your text is kept."
) -> None:
    """Give the terminal to a program until it ends."""
    shown = one_line(argv[0], 60)
    try:
        # Nothing is drawn meanwhile: the terminal is not ours. An error that passed through
        # `suspend` would keep the app from coming back, so `_wait` raises none.
        with _deaf_to_keys(), app.batch_update(), app.suspend():
            ended = await _wait(argv)
    except SuspendNotSupported as error:
        raise EditorTrouble("This terminal cannot be handed to another program.") from error
    if isinstance(ended, OSError):
        why = one_line(ended.strerror or str(ended))
        raise EditorTrouble(f"{shown} cannot be started ({why}); see {variable}.") from ended
    if ended < 0:
        raise EditorTrouble(f"{shown} was killed ({_signal_name(-ended)}). {kept}")
    if ended:
        raise EditorTrouble(f"{shown} ended with exit code {ended}. {kept}")


async def _wait(argv: Sequence[str]) -> int | OSError:
    if is_borrowed():  # the relay is a terminal of the program's own
        if shutil.which(argv[0]) is None:
            return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        argv = [sys.executable, "-P", "-m", "mistral_tui.relay", *argv]
    try:
        process = await asyncio.create_subprocess_exec(*argv)
    except OSError as error:
        return error
    try:
        return await process.wait()
    except asyncio.CancelledError:  # the app has left already
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        raise


@contextlib.contextmanager
def _deaf_to_keys() -> Iterator[None]:
    """Ctrl+C and Ctrl+\\ are the editor's while it has the terminal (a handler, not SIG_IGN:
    that one the editor would inherit)."""
    numbers = (signal.SIGINT, signal.SIGQUIT)
    before = [signal.signal(number, lambda *_: None) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _cannot(what: str, error: OSError) -> str:
    why = one_line(error.strerror or str(error))
    return f"A file for the editor cannot {what} ({why}). Your text is kept."
