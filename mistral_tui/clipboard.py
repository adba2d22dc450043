"""Copies text to the clipboard, and says honestly whether that worked.

A tool of the desktop comes first: it can confirm. Then tmux's own buffer, then the terminal,
asked with the OSC 52 sequence, which gives no answer. In a remote session the desktop's tools
come last: the clipboard that is wanted is on the near side.
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from mistral_tui.sanitize import one_line

OSC52_LIMIT = 100_000  # bytes of base64: what xterm and most others still take
TIMEOUT_S = 3.0
_SCREEN_CHUNK = 252  # GNU screen ends longer strings; 256 with their frame
_DEAF_TERMINALS = ("dumb", "linux")


@dataclass(frozen=True, slots=True)
class CopyResult:
    """`ok` None: asked for, but nobody can tell; `how`: the tool, "tmux", "osc52" or "";
    `sentence` is for the user."""

    ok: bool | None
    how: str
    sentence: str


@dataclass(frozen=True, slots=True)
class _Tool:
    argv: tuple[str, ...]
    encoding: str = "utf-8"
    env: tuple[tuple[str, str], ...] = ()


def copy(
    text: str,
    *,
    write_osc52: Callable[[str], None] | None = None,
    env: Mapping[str, str] = os.environ,
) -> CopyResult:
    """Copy `text`; takes up to some seconds, so call it off the event loop.

    `write_osc52` gets a whole escape sequence to write to the terminal, on this thread.
    """
    if not text:
        return CopyResult(False, "", "Nothing was copied: there is no text.")
    local = (partial(_with_tools, text, env), partial(_with_tmux, text, env))
    terminal = partial(_with_osc52, text, env, write_osc52)
    remote = "SSH_CONNECTION" in env or "SSH_TTY" in env
    troubles: list[str] = []
    for way in (local[1], terminal, local[0]) if remote else (*local, terminal):
        result = way()
        if isinstance(result, CopyResult):
            return result
        troubles += result
    why = "; ".join(troubles) or "this session has no clipboard tool"
    advice = "install wl-clipboard (Wayland) or xclip (X11), or save the text to a file"
    return CopyResult(False, "", f"Nothing was copied: {why}. To get it out, {advice}.")


def _with_tools(text: str, env: Mapping[str, str]) -> CopyResult | list[str]:
    troubles = []
    for tool in _tools(env):
        name = tool.argv[0]
        if shutil.which(name, path=env.get("PATH", os.defpath)) is None:
            continue
        trouble = _run(tool, text, env)
        if trouble is None:
            return CopyResult(True, name, f"Copied to the clipboard ({name}).")
        troubles.append(trouble)
    return troubles


def _tools(env: Mapping[str, str]) -> Iterator[_Tool]:
    if env.get("WAYLAND_DISPLAY"):
        yield _Tool(("wl-copy", "--type", "text/plain"))
    if env.get("DISPLAY"):
        yield _Tool(("xclip", "-selection", "clipboard", "-in"))
        yield _Tool(("xsel", "--clipboard", "--input"))
    if sys.platform == "darwin":
        yield _Tool(("pbcopy",), env=(("LC_CTYPE", "UTF-8"),))  # else it may take it for MacRoman
    if env.get("WSL_DISTRO_NAME") or env.get("WSL_INTEROP"):
        yield _Tool(("clip.exe",), "utf-16-le")


def _with_tmux(text: str, env: Mapping[str, str]) -> CopyResult | list[str]:
    if not env.get("TMUX") or shutil.which("tmux", path=env.get("PATH", os.defpath)) is None:
        return []
    trouble = _run(_Tool(("tmux", "load-buffer", "-w", "-")), text, env)
    if trouble is not None:  # -w, which also tells the terminal, came with tmux 3.2
        trouble = _run(_Tool(("tmux", "load-buffer", "-")), text, env)
    if trouble is not None:
        return [trouble]
    return CopyResult(True, "tmux", "Copied to tmux's buffer (paste with prefix ]).")


def _with_osc52(
    text: str, env: Mapping[str, str], write: Callable[[str], None] | None
) -> CopyResult | list[str]:
    if write is None or env.get("TERM") in _DEAF_TERMINALS:
        return []
    payload = base64.b64encode(text.encode("utf-8", "replace")).decode("ascii")
    if len(payload) > OSC52_LIMIT:
        limit = OSC52_LIMIT * 3 // 4 // 1000
        return [f"the text is too large to pass through the terminal (over {limit} KB)"]
    try:
        write(_wrapped(f"\x1b]52;c;{payload}\x07", env))
    except OSError as error:
        return [f"the terminal could not be written to ({error.strerror})"]
    sentence = "Sent to the terminal's clipboard; the terminal may refuse and cannot confirm it."
    return CopyResult(None, "osc52", sentence)


def _wrapped(sequence: str, env: Mapping[str, str]) -> str:
    """In the envelope with which tmux and GNU screen let it through to the real terminal."""
    if env.get("TMUX"):
        return "\x1bPtmux;" + sequence.replace("\x1b", "\x1b\x1b") + "\x1b\\"
    if env.get("STY"):
        pieces = range(0, len(sequence), _SCREEN_CHUNK)
        return "".join(f"\x1bP{sequence[i : i + _SCREEN_CHUNK]}\x1b\\" for i in pieces)
    return sequence


def _run(tool: _Tool, text: str, env: Mapping[str, str]) -> str | None:
    """Give the text to a tool; None, or why it failed.

    xclip and its like stay behind to serve the clipboard and keep what they inherited open: so
    errors go to a file, not a pipe that would never end, and a session of its own lets them
    outlive the terminal.
    """
    name = tool.argv[0]
    path = shutil.which(name, path=env.get("PATH", os.defpath)) or name
    try:
        with tempfile.TemporaryFile() as errors:
            done = subprocess.run(
                (path, *tool.argv[1:]),
                input=text.encode(tool.encoding, "replace"),
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env={**env, **dict(tool.env)},
                timeout=TIMEOUT_S,
                check=False,
                start_new_session=True,
            )
            errors.seek(0)
            said = one_line(errors.read(2000).decode("utf-8", "replace"))
    except subprocess.TimeoutExpired:
        return f"{name} did not answer within {TIMEOUT_S:g} s"
    except OSError as error:
        return f"{name} could not be started ({error.strerror})"
    if done.returncode == 0:
        return None
    return f"{name} failed ({said or f'exit code {done.returncode}'})"
