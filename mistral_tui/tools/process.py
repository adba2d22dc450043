"""One call in a process of its own: bounded in time and output, gone without a trace."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mistral_tui.sanitize import one_line, sanitize
from mistral_tui.tools.definition import Definition, Outcome
from mistral_tui.tools.limits import MOST_BYTES, TIMEOUT_SECONDS, outcome

_ROOT = Path(__file__).parents[2]  # what `mistral_tui` and `inference` are imported from
_CHILD = Path(__file__).with_name("child.py")
_GRACE = 0.5  # seconds that a process has for its end, once it has answered
_GONE = 2.0  # seconds for the system to take a killed one away
_MOST_PRINTED = 2000  # bytes, the last ones, of what it printed
_MOST_REQUEST = 4 << 20


@dataclass(frozen=True, slots=True)
class Reply:
    """What a process had to say: `text`, or `problem` if it failed, a sentence, and the last of
    what it `printed`. `cut`: there was more than was read."""

    text: str
    problem: str = ""
    printed: str = ""
    cut: bool = False


async def run(
    definition: Definition,
    arguments: Mapping[str, Any],
    *,
    folder: Path,
    timeout: float = TIMEOUT_SECONDS,
) -> Outcome:
    """Run a call of a built-in tool or of a Python function, with `folder` as its working folder.
    Whatever happens is an outcome; a cancelled task ends the whole process group."""
    started = time.monotonic()
    module, _, function = definition.target.rpartition(":")
    if definition.kind not in ("builtin", "python") or not module:
        return outcome(f"{one_line(definition.name, 64)} is no tool that is run here.", error=True)
    request = {
        "do": definition.kind,
        "module": module,
        "function": function,
        "arguments": dict(arguments),
    }
    alone = definition.kind == "builtin"
    reply = await ask(request, folder=folder, timeout=timeout, most=MOST_BYTES, alone=alone)
    text, failed = reply.problem or reply.text, bool(reply.problem)
    if reply.printed:
        text += f"\nIt had printed:\n{reply.printed}"
    return outcome(text, error=failed, seconds=time.monotonic() - started, cut=reply.cut)


async def ask(
    request: Mapping[str, Any],
    *,
    folder: Path,
    timeout: float,
    most: int,
    alone: bool = False,
    what: str = "The tool",
) -> Reply:
    """Have a request answered by a process of its own; of the answer `most` bytes are read.
    `alone`: without the user's packages and environment. `what` begins the sentences."""
    try:
        line = json.dumps({**request, "paths": _paths(alone)}).encode() + b"\n"
    except (TypeError, ValueError, RecursionError):
        return Reply("", "The arguments are not JSON.")
    if len(line) > _MOST_REQUEST:
        return Reply("", "The arguments are too large.")
    how = ["-I", "-S", "-X", "utf8"] if alone else ["-P"]
    talk = _Talk(most)
    loop = asyncio.get_running_loop()
    try:
        transport, _ = await loop.subprocess_exec(
            lambda: talk,
            *(sys.executable, *how, str(_CHILD)),
            cwd=folder,
            env={} if alone else None,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        why = one_line(getattr(error, "strerror", None) or str(error), 120)
        return Reply("", f"{what} cannot be started in {one_line(str(folder), 120)}: {why}.")
    late = False
    try:
        stdin: Any = transport.get_pipe_transport(0)
        stdin.write(line)
        ends = {talk.answered, talk.exited}
        done, _ = await asyncio.wait(ends, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        late = not done
        if done:
            await asyncio.wait({talk.exited}, timeout=_GRACE)
    finally:
        _kill(transport.get_pid())
        try:
            await asyncio.wait({talk.answered, talk.exited, talk.quiet}, timeout=_GONE)
        finally:
            transport.close()
    mark, text = bytes(talk.answer[:1]), talk.answer[1:].decode("utf-8", "replace")
    if mark == b"+" and not late:
        return Reply(text, cut=talk.cut)
    if late:
        problem = f"{what} took longer than {timeout:g} seconds and was stopped."
    elif mark == b"-":
        problem = one_line(text, 500) or f"{what} failed without a word."
    else:
        problem = f"{what} ended without an answer ({_ending(transport.get_returncode())})."
    printed = sanitize(talk.printed.decode("utf-8", "replace")).strip()
    return Reply("", problem, printed)


class _Talk(asyncio.SubprocessProtocol):
    """Reads all that comes and keeps a bounded part of it: the first of the answer, the last of
    what was printed."""

    def __init__(self, most: int) -> None:
        loop = asyncio.get_running_loop()
        self.answered: asyncio.Future[None] = loop.create_future()
        self.exited: asyncio.Future[None] = loop.create_future()
        self.quiet: asyncio.Future[None] = loop.create_future()
        self.answer = bytearray()
        self.printed = bytearray()
        self.cut = False
        self._most = most

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 1:
            self.cut = self.cut or len(self.answer) + len(data) > self._most
            self.answer += data[: self._most - len(self.answer)]
        else:
            self.printed += data
            del self.printed[:-_MOST_PRINTED]

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        future = {1: self.answered, 2: self.quiet}.get(fd)
        if future and not future.done():
            future.set_result(None)

    def process_exited(self) -> None:
        if not self.exited.done():
            self.exited.set_result(None)


def _paths(alone: bool) -> list[str]:
    """Where modules are looked for, after all other places."""
    if alone:
        return [str(_ROOT)]
    from mistral_tui import paths

    try:
        return [str(_ROOT), str(paths.config_dir() / "tools")]
    except paths.FolderError:
        return [str(_ROOT)]


def _kill(group: int) -> None:
    # Its number is not given away as long as one of it is there.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _ending(code: int | None) -> str:
    if code is None:
        return "it is not known how"
    if code >= 0:
        return f"exit status {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
