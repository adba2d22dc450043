"""`mistral-tui sessions` as a program: what it prints, what it refuses, with which exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

from mistral_tui import sessions
from mistral_tui.cli import with_command
from mistral_tui.history.store import Store


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    names = ("DATA", "STATE", "CONFIG", "CACHE")
    folders = {f"MISTRAL_TUI_{name}": str(tmp_path / name) for name in names}
    return {**os.environ, **folders, "COLUMNS": "100"}


@pytest.fixture
def ids(tmp_path: Path) -> list[str]:
    """Two conversations."""
    store = Store(tmp_path / "DATA" / "conversations.db")
    made = []
    for title, text in (("Lighthouses", "A \x1b[31m red lighthouse"), ("Café", "An espresso")):
        made.append(store.create_conversation(model_name="tiny").id)
        store.set_title(made[-1], title)
        store.add_message(made[-1], None, "user", text)
    store.close()
    return made


def call(env: dict[str, str], *args: str, **how: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mistral_tui", "sessions", *args]
    defaults = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.run(command, env=env, text=True, timeout=60, **defaults | how)


def refused(done: subprocess.CompletedProcess[str], code: int, sentences: int = 1) -> str:
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout
    if code == 1:
        assert done.stderr.count("\n") == sentences
    return done.stderr


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("sessions search foo", "sessions search foo"),
        ("sessions search pull chat", "sessions search pull chat"),
        ("sessions export --all -o out.md", "sessions export --all -o out.md"),
        ("sessions", "sessions"),
        ("--help sessions", "sessions --help"),
    ],
)
def test_the_words_stay_in_their_order(typed: str, meant: str) -> None:
    assert with_command(typed.split()) == meant.split()


def test_each_command_has_help(env: dict[str, str]) -> None:
    group: Any = typer.main.get_command(sessions.app)
    overview = call(env, "--help").stdout
    for name, command in group.commands.items():
        assert name in overview
        done = call(env, name, "--help")
        assert (done.returncode, done.stderr) == (0, "")
        assert all(
            option.opts[0] in done.stdout for option in command.params if option.opts[0][0] == "-"
        )


def test_list(env: dict[str, str], ids: list[str]) -> None:
    lines = call(env, "list").stdout.splitlines()
    assert [line.split("  ")[0] for line in lines] == [ids[1][:8], ids[0][:8]]
    assert lines[1].endswith("Lighthouses (1)")
    found = json.loads(call(env, "list", "--json", "--limit", "1").stdout)
    assert [(c["id"], c["title"], c["messages"]) for c in found] == [(ids[1], "Café", 1)]
    assert set(found[0]) == {
        *("id", "title", "created_at", "updated_at", "model_name", "pinned", "deleted_at"),
        *("messages", "preview", "draft"),
    }


def test_nothing_yet(env: dict[str, str]) -> None:
    for args in (["list"], ["search", "x"]):
        done = call(env, *args)
        assert (done.returncode, done.stdout) == (0, "")
        assert done.stderr.count("\n") == 1
        assert call(env, *args, "--json").stdout == "[]\n"


def test_search(env: dict[str, str], ids: list[str]) -> None:
    out = call(env, "search", "red", "light").stdout
    assert out.splitlines()[0].startswith(ids[0][:8])
    assert "user: A red lighthouse" in out
    (hit,) = json.loads(call(env, "search", "cafe", "--json").stdout)
    assert (hit["conversation_id"], hit["message_id"], hit["snippet"]) == (ids[1], None, "Café")
    assert hit["spans"] == [[0, 4]]
    assert call(env, "search", '"red light').returncode == 0
    assert call(env, "search", '"""(*').returncode == 0


def test_export_and_import(env: dict[str, str], ids: list[str], tmp_path: Path) -> None:
    text = call(env, "export", ids[0][:6]).stdout
    assert text.startswith("# Lighthouses\n")
    assert "A  red lighthouse" in text
    file = tmp_path / "all.json"
    done = call(env, "export", "--all", "--format", "json", "-o", str(file))
    assert (done.returncode, done.stdout) == (0, "")
    assert "2 conversations" in done.stderr
    assert json.loads(call(env, "export", "--all", "--format", "json").stdout)["version"] == 1
    assert "2 there already" in call(env, "import", str(file)).stderr
    other = {**env, "MISTRAL_TUI_DATA": str(tmp_path / "other")}
    assert "2 conversations" in call(other, "import", str(file)).stderr
    assert call(other, "list").stdout == call(env, "list").stdout
    assert "no.json" in refused(call(env, "import", str(tmp_path / "no.json")), 1)
    assert "no/x" in refused(call(env, "export", "--all", "-o", str(tmp_path / "no" / "x")), 1)


def test_delete_and_restore(env: dict[str, str], ids: list[str]) -> None:
    assert "--yes" in call(env, "delete", ids[0]).stderr
    assert call(env, "delete", ids[0]).returncode == 2
    assert call(env, "delete", ids[0][:7], ids[0], "--yes").returncode == 0
    assert "No conversation" in refused(call(env, "delete", ids[0], "--yes"), 1)
    assert [c["id"] for c in json.loads(call(env, "list", "--json").stdout)] == [ids[1]]
    assert ids[0][:8] in call(env, "list", "--deleted").stdout
    assert call(env, "restore", ids[0][:7]).returncode == 0
    assert len(call(env, "list").stdout.splitlines()) == 2
    call(env, "delete", ids[0], "--yes")
    assert "1" in call(env, "purge", "--yes").stderr
    assert "No conversation" in refused(call(env, "restore", ids[0]), 1)


def test_rename(env: dict[str, str], ids: list[str]) -> None:
    assert call(env, "rename", ids[0][:8], "New\x1b[31m title\nmore").returncode == 0
    assert "New title" in call(env, "list").stdout
    assert "empty" in refused(call(env, "rename", ids[0], " "), 2)


def test_ids_must_be_unique_and_there(env: dict[str, str], ids: list[str], tmp_path: Path) -> None:
    store = Store(tmp_path / "DATA" / "conversations.db")
    while len({key[0] for key in ids}) == len(ids):
        ids.append(store.create_conversation().id)
        store.add_message(ids[-1], None, "user", "x")
    store.close()
    several = ids[-1][0]
    assert "Several conversations" in refused(call(env, "export", several), 1)
    assert "No conversation" in refused(call(env, "export", "zz\x1b[31m"), 1)
    assert "No conversation" in refused(call(env, "rename", "", "x"), 1)


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (["nonsense"], "nonsense"),
        (["export"], "--all"),
        (["export", "x", "--all"], "--all"),
        (["export", "--all", "--format", "pdf"], "md or json"),
        (["search"], "WORD"),
        (["import"], "FILE"),
        (["rename", "x"], "TITLE"),
        (["list", "--limit", "0"], "--limit"),
    ],
)
def test_wrong_usage_exits_with_2(env: dict[str, str], args: list[str], word: str) -> None:
    assert word in refused(call(env, *args), 2)


def test_resume_names_a_conversation(env: dict[str, str], ids: list[str]) -> None:
    def chat(*args: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mistral_tui", *args]
        return subprocess.run(
            command, env=env, text=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=60
        )

    assert "No conversation" in refused(chat("--resume", "zz"), 1)
    assert "--continue" in refused(chat("--resume", ids[0], "-c"), 2)
    assert "terminal" in refused(chat("starter", "--resume", ids[0][:8]), 2)


def test_a_closed_pipe_ends_quietly(env: dict[str, str], tmp_path: Path) -> None:
    store = Store(tmp_path / "DATA" / "conversations.db")
    chat = store.create_conversation().id
    store.add_message(chat, None, "user", "long " * 200_000)
    store.close()
    script = f'"{sys.executable}" -m mistral_tui sessions export --all | head -c 10'
    done = subprocess.run(["sh", "-c", script], env=env, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_one_sentence(env: dict[str, str], ids: list[str]) -> None:
    assert "full" in refused(call(env, "export", "--all", "-o", "/dev/full"), 1)
    with Path("/dev/full").open("w") as full:
        done = call(env, "export", "--all", stdout=full)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
