"""Which MCP servers there are: `mcp.json` in the user's config folder, `.mcp.json` in a project's.

    {"mcpServers": {
        "files": {"command": "npx", "args": ["-y", "a-server", "."], "env": {"KEY": "${KEY}"}},
        "search": {"type": "http", "url": "https://example.com/mcp", "headers": {"X-Key": "…"}}
    }}

`${NAME}` and `${NAME:-default}` in values come from the environment.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from mistral_tui.config.user_files import FileProblem, read_text
from mistral_tui.sanitize import one_line

CONFIG_FILE, PROJECT_FILE = "mcp.json", ".mcp.json"
MOST_BYTES = 256 << 10
MOST_SERVERS = 50
MOST_TEXT = 32 << 10  # characters of one value, variables filled in
MOST_ITEMS = 200  # arguments, variables or headers of a server
MOST_SECONDS = 3600.0
_MOST_PROBLEMS = 20
_KEYS = frozenset(
    {"command", "args", "env", "cwd", "url", "headers", "type", "disabled", "timeout"}
)
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,200}")


@dataclass(frozen=True, slots=True)
class Server:
    """One entry, its variables filled in. `timeout`: seconds to wait for its start and for a call,
    0 where the file does not say. `digest` names the entry as it is written, with its file: what
    the user allowed. `uses` are the environment variables that it is given."""

    name: str
    kind: Literal["stdio", "http"]
    command: str = ""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: str = ""
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: float = 0.0
    source: str = ""
    from_project: bool = False
    digest: str = ""
    uses: tuple[str, ...] = ()


class _Bad(Exception):
    """What is wrong with an entry: the end of a sentence."""


def load(config: Path | None, project: Path | None) -> tuple[list[Server], list[str]]:
    """The servers of the two folders' files, and the problems found, as sentences. A server of the
    user's own file wins over one of the project's with the same name."""
    servers: dict[str, Server] = {}
    problems: list[str] = []
    for folder, name, from_project in (
        (config, CONFIG_FILE, False),
        (project, PROJECT_FILE, True),
    ):
        if folder is None:
            continue
        found, said = _read(folder.absolute() / name, from_project)
        problems += said
        for server in found:
            if server.name in servers:
                problems.append(
                    f"{PROJECT_FILE}: the server {server.name} is left out: "
                    f"{CONFIG_FILE} has one of that name."
                )
            elif len(servers) >= MOST_SERVERS:
                problems.append(f"Only the first {MOST_SERVERS} MCP servers are used.")
                break
            else:
                servers[server.name] = server
    if len(problems) > _MOST_PROBLEMS:
        more = len(problems) - _MOST_PROBLEMS
        problems[_MOST_PROBLEMS:] = [f"There are {more} more problems with MCP servers."]
    return list(servers.values()), problems


def _read(path: Path, from_project: bool) -> tuple[list[Server], list[str]]:
    shown = path.name
    twice: list[str] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(items)
        if len(made) < len(items):
            keys = [key for key, _ in items]
            twice.extend({key for key in keys if keys.count(key) > 1})
        return made

    try:
        text = read_text(path, shown, MOST_BYTES)
        written = json.loads(text, object_pairs_hook=pairs) if text.strip() else {"mcpServers": {}}
    except (FileNotFoundError, NotADirectoryError):
        return [], []
    except FileProblem as error:
        return [], [str(error)]
    except json.JSONDecodeError as error:
        return [], [f"{shown}, line {error.lineno}: this is not JSON: {one_line(error.msg)}."]
    except (RecursionError, ValueError):
        return [], [f"{shown}: this is not JSON that can be read."]
    entries = written.get("mcpServers") if isinstance(written, dict) else None
    if not isinstance(entries, dict):
        return [], [f'{shown}: there is no "mcpServers": {{…}} in it.']
    servers: list[Server] = []
    problems = [
        f"{shown}, line {_line(text, key)}: {one_line(key, 40)} is there twice; the last counts."
        for key in twice
    ]
    for name, entry in entries.items():
        where = (
            f"{shown}, line {_line(text, name)}: the server {one_line(name, 40) or 'without name'}"
        )
        try:
            server, unknown = _server(name, entry, path, from_project)
        except _Bad as error:
            problems.append(f"{where} is left out: {error}.")
            continue
        if unknown:
            keys = one_line(", ".join(unknown), 100)
            problems.append(f"{where} has keys that are not known here: {keys}.")
        if server is not None:
            servers.append(server)
    return servers, problems


def _line(text: str, key: str) -> int:
    match = re.search(re.escape(json.dumps(key, ensure_ascii=False)) + r"\s*:", text)
    return text.count("\n", 0, match.start() if match else 0) + 1


def _server(
    name: str, entry: Any, path: Path, from_project: bool
) -> tuple[Server | None, list[str]]:
    """The server (None: it is switched off) and the keys that mean nothing here."""
    if not name or name != one_line(name, 64):
        raise _Bad("a name has up to 64 characters, all of them visible")
    if not isinstance(entry, dict):
        raise _Bad("its entry is no {…}")
    unknown = [key for key in entry if key not in _KEYS]
    disabled = entry.get("disabled", False)
    if not isinstance(disabled, bool):
        raise _Bad("disabled is true or false")
    if disabled:
        return None, unknown
    uses: dict[str, None] = {}
    kind = _kind(entry)
    facts = json.dumps([str(path), name, entry], sort_keys=True)
    digest = hashlib.sha256(facts.encode()).hexdigest()
    if kind == "http":
        made = Server(
            name,
            kind,
            url=_url(_text(entry["url"], "url", uses)),
            headers=_headers(_texts(entry, "headers", uses)),
        )
    else:
        env = _texts(entry, "env", uses)
        if bad := next((key for key in env if not key or "=" in key), None):
            raise _Bad(f"env has the name {one_line(bad, 40)}")
        args = entry.get("args", [])
        if not isinstance(args, list) or len(args) > MOST_ITEMS:
            raise _Bad(f"args is a list of at most {MOST_ITEMS} texts")
        command = _text(entry["command"], "command", uses)
        if not command.strip():
            raise _Bad("command is empty")
        made = Server(
            name,
            kind,
            os.path.expanduser(command),  # noqa: PTH111 (a Path would lose ./)
            tuple(_text(arg, "args", uses) for arg in args),
            env,
            _cwd(_text(entry.get("cwd", ""), "cwd", uses), path, from_project),
        )
    server = Server(
        made.name,
        made.kind,
        made.command,
        made.args,
        made.env,
        made.cwd,
        made.url,
        made.headers,
        _timeout(entry.get("timeout", 0)),
        str(path),
        from_project,
        digest,
        tuple(uses),
    )
    return server, unknown


def _kind(entry: Mapping[str, Any]) -> Literal["stdio", "http"]:
    told = entry.get("type")
    if told == "sse":
        raise _Bad(
            "the old SSE transport is not supported; use its streamable HTTP address "
            '("type": "http")'
        )
    if told not in (None, "stdio", "http", "streamable-http"):
        raise _Bad("type is stdio or http")
    if ("command" in entry) == ("url" in entry):
        raise _Bad("it needs either a command or a url")
    kind: Literal["stdio", "http"] = "stdio" if "command" in entry else "http"
    if told is not None and (told == "stdio") != (kind == "stdio"):
        raise _Bad(f"type {told} does not go with a {'command' if kind == 'stdio' else 'url'}")
    return kind


def _text(value: Any, key: str, uses: dict[str, None]) -> str:
    """A value with its variables filled in; their names go into `uses`."""
    if not isinstance(value, str):
        raise _Bad(f"{key} is no text")

    def filled(match: re.Match[str]) -> str:
        variable, default = match[1], match[2]
        found = os.environ.get(variable)
        if found is not None and (found or default is None):
            uses[variable] = None
            return found
        if default is None:
            raise _Bad(f"the environment has no variable {variable}, which {key} needs")
        return default

    text = _VARIABLE.sub(filled, value)
    if len(text) > MOST_TEXT:
        raise _Bad(f"{key} is too long; at most {MOST_TEXT >> 10} K characters are taken")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _Bad(f"{key} is no text that can be sent") from None
    if "\0" in text:
        raise _Bad(f"{key} has a zero character in it")
    return text


def _texts(entry: Mapping[str, Any], key: str, uses: dict[str, None]) -> dict[str, str]:
    values = entry.get(key, {})
    if not isinstance(values, dict) or len(values) > MOST_ITEMS:
        raise _Bad(f"{key} is a {{…}} of at most {MOST_ITEMS} texts")
    none: dict[str, None] = {}
    return {
        _text(name, key, none) if "$" not in name else name: _text(value, key, uses)
        for name, value in values.items()
    }


def _timeout(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Bad("timeout is a number of seconds")
    if not 0 <= value <= MOST_SECONDS:
        raise _Bad(f"timeout is in seconds, at most {MOST_SECONDS:.0f}")
    return float(value)


def _cwd(value: str, path: Path, from_project: bool) -> str:
    """Where a server runs: a project's in the project, others where the app does (empty)."""
    if not value:
        return str(path.parent) if from_project else ""
    return os.path.normpath(path.parent / os.path.expanduser(value))  # noqa: PTH111


def _headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not _HEADER.fullmatch(name):
            raise _Bad(f"{one_line(name, 40) or 'nothing'} is no name of a header")
        if not value.isprintable() or not value.isascii():
            raise _Bad(f"the header {name} has characters that a header cannot have")
    return headers


def _url(url: str) -> str:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        raise _Bad("its url is none") from None
    if parts.scheme not in ("http", "https") or not host or not url.isprintable() or " " in url:
        raise _Bad("its url is no https:// address")
    if parts.username is not None or parts.password is not None:
        raise _Bad("its url has a password in it; use headers for that")
    if parts.scheme == "http" and not _loopback(host):
        raise _Bad("http:// is for this machine only; use https://")
    return url


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
