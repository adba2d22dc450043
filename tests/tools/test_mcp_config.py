"""The files that say which MCP servers there are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mistral_tui.tools import mcp_config
from mistral_tui.tools.mcp_config import Server, load

ROOT = Path(__file__).parents[2]


def write(folder: Path, entries: Any, name: str = "mcp.json") -> None:
    folder.mkdir(exist_ok=True)
    text = entries if isinstance(entries, str) else json.dumps({"mcpServers": entries})
    (folder / name).write_text(text)


def one(tmp_path: Path, entry: Any) -> tuple[Server | None, list[str]]:
    write(tmp_path, {"it": entry})
    servers, problems = load(tmp_path, None)
    return (servers[0] if servers else None), problems


def test_both_kinds_of_servers_are_read(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "a": {"command": "run", "args": ["-x", "1"], "env": {"K": "v"}, "timeout": 3},
            "b": {"url": "https://example.com/mcp", "headers": {"X-Key": "k"}},
            "c": {"type": "streamable-http", "url": "http://127.0.0.1:81/mcp"},
            "d": {"type": "stdio", "command": "run", "cwd": "sub"},
        },
    )
    servers, problems = load(tmp_path, None)
    assert problems == []
    a, b, c, d = servers
    assert (a.kind, a.command, a.args, a.env, a.timeout) == (
        "stdio",
        "run",
        ("-x", "1"),
        {"K": "v"},
        3,
    )
    assert (a.cwd, a.from_project, a.source) == ("", False, str(tmp_path / "mcp.json"))
    assert (b.kind, b.url, b.headers) == ("http", "https://example.com/mcp", {"X-Key": "k"})
    assert (c.kind, c.url) == ("http", "http://127.0.0.1:81/mcp")
    assert d.cwd == str(tmp_path / "sub")


def test_no_folder_and_no_file_are_no_problem(tmp_path: Path) -> None:
    assert load(None, None) == ([], [])
    assert load(tmp_path, tmp_path / "nowhere") == ([], [])
    write(tmp_path, "  \n")
    assert load(tmp_path, None) == ([], [])


def test_variables_are_filled_in_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCP_A", "secret")
    monkeypatch.setenv("MCP_EMPTY", "")
    monkeypatch.delenv("MCP_NONE", raising=False)
    entry = {
        "command": "${MCP_NONE:-run}",
        "args": ["--key=${MCP_A}", "${MCP_EMPTY:-full}", "$MCP_A ${input:x}"],
        "env": {"K": "${MCP_A}${MCP_NONE:-}"},
    }
    server, problems = one(tmp_path, entry)
    assert server is not None
    assert problems == []
    assert server.command == "run"
    assert server.args == ("--key=secret", "full", "$MCP_A ${input:x}")
    assert server.env == {"K": "secret"}
    assert server.uses == ("MCP_A",)
    assert "secret" not in repr(server).replace("--key=secret", "")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"command": "${MCP_NONE}"}, "no variable MCP_NONE"),
        ({"type": "sse", "url": "https://e.com/sse"}, "SSE transport is not supported"),
        ({"type": "pigeon", "command": "x"}, "type is stdio or http"),
        ({"type": "http", "command": "x"}, "does not go with a command"),
        ({}, "either a command or a url"),
        ({"command": "x", "url": "https://e.com"}, "either a command or a url"),
        ({"command": ["x"]}, "command is no text"),
        ({"command": " "}, "command is empty"),
        ({"command": "a\0b"}, "zero character"),
        ({"command": "x", "args": "-v"}, "args is a list"),
        ({"command": "x", "args": [1]}, "args is no text"),
        ({"command": "x", "args": ["-"] * 201}, "args is a list of at most 200"),
        ({"command": "x", "args": ["y" * 40_000]}, "args is too long"),
        ({"command": "x", "env": {"A=B": "c"}}, "env has the name A=B"),
        ({"command": "x", "env": {"A": 1}}, "env is no text"),
        ({"command": "x", "timeout": True}, "number of seconds"),
        ({"command": "x", "timeout": 60_000}, "in seconds, at most 3600"),
        ({"command": "x", "timeout": float("nan")}, "in seconds, at most 3600"),
        ({"command": "x", "disabled": "yes"}, "disabled is true or false"),
        ({"url": "http://example.com/mcp"}, "use https://"),
        ({"url": "http://127.0.0.1.example.com/mcp"}, "use https://"),
        ({"url": "ftp://example.com/"}, "no https:// address"),
        ({"url": "https://user:key@example.com/"}, "password"),
        ({"url": "https://e.com/a\nb"}, "no https:// address"),
        ({"url": "https://[::1/"}, "url is none"),
        ({"url": "https://e.com", "headers": {"A b": "c"}}, "no name of a header"),
        ({"url": "https://e.com", "headers": {"A": "b\r\nC: d"}}, "cannot have"),
        ("run", "its entry is no"),
    ],
)
def test_a_bad_entry_is_left_out_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: Any, words: str
) -> None:
    monkeypatch.delenv("MCP_NONE", raising=False)
    text = '{"mcpServers": {\n"good": {"command": "x"},\n"it": ' + json.dumps(entry) + "}}"
    write(tmp_path, text)
    servers, (problem,) = load(tmp_path, None)
    assert [server.name for server in servers] == ["good"]
    assert problem.startswith("mcp.json, line 3: the server it is left out: ")
    assert words in problem


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"mcpServers": {\n"a": }}', "mcp.json, line 2: this is not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", 'there is no "mcpServers"'),
        ('{"servers": {}}', 'there is no "mcpServers"'),
        ('{"mcpServers": []}', 'there is no "mcpServers"'),
        ("x" * (300 << 10), "too large"),
    ],
)
def test_a_file_that_is_no_such_file_is_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    write(tmp_path, text)
    servers, (problem,) = load(tmp_path, None)
    assert servers == []
    assert words in problem
    assert "\n" not in problem


def test_unknown_keys_are_said_and_double_ones_too(tmp_path: Path) -> None:
    write(
        tmp_path,
        '{"mcpServers": {"a": {"command": "x"},\n "a": {"command": "y", "autoApprove": []}}}',
    )
    (server,), problems = load(tmp_path, None)
    assert server.command == "y"
    assert "a is there twice" in problems[0]
    assert "not known here: autoApprove" in problems[1]


def test_a_name_must_be_one_that_can_be_shown(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"\x1b[31mred": {"command": "x"}, "": {"command": "x"}, "n" * 65: {"command": "x"}},
    )
    servers, problems = load(tmp_path, None)
    assert servers == []
    assert len(problems) == 3
    assert all("\x1b" not in problem for problem in problems)


def test_a_disabled_server_is_not_there(tmp_path: Path) -> None:
    assert one(tmp_path, {"command": "x", "disabled": True}) == (None, [])


def test_the_users_server_wins_over_the_projects(tmp_path: Path) -> None:
    user, project = tmp_path / "user", tmp_path / "project"
    write(user, {"a": {"command": "mine"}})
    write(project, {"a": {"command": "theirs"}, "b": {"command": "./run.sh"}}, ".mcp.json")
    (a, b), (problem,) = load(user, project)
    assert (a.command, a.from_project) == ("mine", False)
    assert (b.command, b.cwd, b.from_project) == ("./run.sh", str(project), True)
    assert problem.startswith(".mcp.json: the server a is left out")


def test_a_digest_names_the_entry_as_written_and_its_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def digest(folder: str, entry: Any) -> str:
        write(tmp_path / folder, {"a": entry}, ".mcp.json")
        ((server,), _) = load(None, tmp_path / folder)
        return server.digest

    monkeypatch.setenv("MCP_A", "one")
    first = digest("p", {"command": "${MCP_A}"})
    assert digest("q", {"command": "${MCP_A}"}) != first
    assert digest("p", {"command": "${MCP_A}", "args": ["x"]}) != first
    monkeypatch.setenv("MCP_A", "two")
    assert digest("p", {"command": "${MCP_A}"}) == first


def test_the_number_of_servers_and_problems_is_bounded(tmp_path: Path) -> None:
    write(tmp_path, {f"s{n}": {"command": "x"} for n in range(60)})
    servers, problems = load(tmp_path, None)
    assert len(servers) == mcp_config.MOST_SERVERS
    assert problems == ["Only the first 50 MCP servers are used."]
    write(tmp_path, {f"s{n}": {} for n in range(60)})
    servers, problems = load(tmp_path, None)
    assert len(problems) == 21
    assert problems[-1] == "There are 40 more problems with MCP servers."


def test_the_example_is_a_good_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("TZ", raising=False)
    servers, problems = load(ROOT / "examples" / "mcp", None)
    assert problems == []
    assert [server.name for server in servers] == ["files", "mine"]
    assert servers[0].args[-1] == "/home/me/notes"
    assert servers[1].env == {"CLOCK_ZONE": "UTC"}
