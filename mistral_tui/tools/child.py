"""The process that one call runs in; it is started as a file, on its own, and dies with the app.

A line of JSON comes in through stdin, which stays open as long as the app lives. The result goes
out through what was stdout: `+` and a text, or `-` and what went wrong. What a function prints
goes to stderr.

It is two processes: the one that the app has started only watches, and runs nothing of others.
So the whole group can be ended when the app is killed, whatever the other one is doing then.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
from typing import Any

_MOST_TEXT = 32_001  # characters; one more than anyone gets to see
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """One request, from stdin to stdout."""
    request = _request()
    _fork_watched()
    result = os.dup(1)  # not inherited by what a function starts
    os.dup2(2, 1)
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.path += [path for path in request["paths"] if path not in sys.path]
    try:
        answer = "+" + _do(request)
    except BaseException as error:  # SystemExit too: whatever a function does is a result
        answer = "-" + _words(error)
    data = answer.encode("utf-8", "replace")
    with contextlib.suppress(OSError, ValueError, AttributeError):  # closed by the function
        sys.stdout.flush()
    with contextlib.suppress(OSError):
        while data:
            data = data[os.write(result, data) :]
    os.close(result)


def _request() -> dict[str, Any]:
    data = b""
    while not data.endswith(b"\n"):
        piece = os.read(0, 1 << 16)
        if not piece:
            sys.exit(1)
        data += piece
    request: dict[str, Any] = json.loads(data)
    return request


def _fork_watched() -> None:
    """Return in a new process; this one waits until that ends, or the app."""
    watcher, worker = os.getpid(), os.fork()
    null = os.open(os.devnull, os.O_RDWR)
    if not worker:
        os.dup2(null, 0)
        os.close(null)
        _die_with(watcher)
        return
    os.dup2(null, 1)  # the worker's end of the result is the only one
    os.dup2(null, 2)
    threading.Thread(target=_end_with_app, daemon=True).start()
    code = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
    if code < 0:
        with contextlib.suppress(OSError):
            signal.signal(-code, signal.SIG_DFL)  # refused for SIGKILL
        os.kill(watcher, -code)
    os._exit(code & 0xFF)


def _end_with_app() -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 1):
            pass
    if os.getpgid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _die_with(watcher: int) -> None:
    """Even if a function has left the group."""
    if sys.platform == "linux":
        with contextlib.suppress(ImportError, OSError, AttributeError):
            import ctypes

            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != watcher:
        os._exit(1)


def _do(request: dict[str, Any]) -> str:
    module, arguments = request["module"], request["arguments"]
    if request["do"] == "describe":
        from mistral_tui.tools import signatures

        return json.dumps(signatures.describe(module))
    if request["do"] == "builtin":
        value = getattr(__import__(module, fromlist=["_"]), request["function"])(**arguments)
    else:
        from mistral_tui.tools import signatures

        value = signatures.call(module, request["function"], arguments)
    if hasattr(value, "__await__"):
        import asyncio

        value = asyncio.run(_awaited(value))
    return value[:_MOST_TEXT] if isinstance(value, str) else _json(value)[:_MOST_TEXT]


async def _awaited(value: Any) -> Any:
    return await value


def _json(value: Any) -> str:
    if isinstance(value, (bytes, bytearray)):
        return bytes(value[: 4 * _MOST_TEXT]).decode("utf-8", "replace")
    return json.dumps(value, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    """What JSON has not."""
    import dataclasses
    import enum

    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (set, frozenset)):
        return list(value)
    return str(value)


def _words(error: BaseException) -> str:
    name = type(error).__name__
    try:
        text = str(error)[:1000]
    except Exception:
        text = ""
    if name == "ToolError":
        return text
    return f"{name}: {text}" if text else name


if __name__ == "__main__":
    main()
