"""The command line: where the command goes, what is refused, and with which exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

import tiny
from mistral_tui import cli
from mistral_tui.cli import STARTER, with_command
from mistral_tui.launch import resolve


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("", "chat"),
        ("starter", "chat starter"),
        ("starter --seed 3", "chat starter --seed 3"),
        ("--seed 3 starter", "chat --seed 3 starter"),
        ("--seed=3 starter --json", "chat --seed=3 starter --json"),
        ("chat starter", "chat starter"),
        ("--seed 3 chat starter", "chat --seed 3 starter"),
        ("pull starter", "pull starter"),
        ("pull --from x.whl starter", "pull --from x.whl starter"),
        ("--from x.whl pull starter", "pull --from x.whl starter"),
        ("--from pull pull starter", "pull --from pull starter"),
        ("--help", "chat --help"),
        ("--help pull", "pull --help"),
        ("-h pull", "pull -h"),
        ("--version", "chat --version"),
        ("--json pull x", "pull --json x"),
        # The value of an option is no command, and no option either.
        ("-p pull", "chat -p pull"),
        ("-p pull starter", "chat -p pull starter"),
        ("--prompt chat m", "chat --prompt chat m"),
        ("--prompt=x pull m", "pull --prompt=x m"),
        ("--system pull m", "chat --system pull m"),
        ("-p --json pull", "pull -p --json"),
        ("-p --the_word m", "chat -p --the_word m"),
        ("--prompt=--the_word m", "chat --prompt=--the_word m"),
        ("-cp pull m", "chat -cp pull m"),
        ("-ppull m", "chat -ppull m"),
        ("-pHello pull m", "pull -pHello m"),
        ("-c pull m", "pull -c m"),
        ("-p - m", "chat -p - m"),
        ("- pull", "chat - pull"),
        # A word that names a command is one only in the first place.
        ("starter pull", "chat starter pull"),
        ("./pull", "chat ./pull"),
        ("./pull -p hi", "chat ./pull -p hi"),
        ("-- pull", "chat -- pull"),
        ("--seed 3 -- --odd_name", "chat --seed 3 -- --odd_name"),
        ("models --json", "models --json"),
        ("demo m --max_tokens 5", "demo m --max-tokens 5"),
        ("fim m --prefix demo --suffix pull", "fim m --prefix demo --suffix pull"),
        ("code -m pull a_b.py code", "code -m pull a_b.py code"),
        ("-m x code a.py", "code -m x a.py"),
        ("./code", "chat ./code"),
        ("fim -:3:4 m", "fim /dev/stdin:3:4 m"),
        ("fim --prefix -:3 m", "fim --prefix -:3 m"),
        ("m --no-instruct --lora demo", "chat m --no-instruct --lora demo"),
        ("--instruct models", "models --instruct"),
        # The reference's spelling.
        ("m --lora_path demo --instruct", "chat m --lora-path demo --instruct"),
        ("--max_tokens=5 m", "chat --max-tokens=5 m"),
        ("m --max_tokens 5 --top_p 0.5", "chat m --max-tokens 5 --top-p 0.5"),
        ("my_model --repetition_penalty 1", "chat my_model --repetition-penalty 1"),
    ],
)
def test_the_command_is_put_first(typed: str, meant: str) -> None:
    assert with_command(typed.split()) == meant.split()


def test_words_with_spaces_and_empty_words_stay_whole() -> None:
    assert with_command(["-p", "two words", ""]) == ["chat", "-p", "two words", ""]
    assert with_command(["-p", "--a_b c=d_e"]) == ["chat", "-p", "--a_b c=d_e"]


def test_the_given_list_is_not_changed() -> None:
    args = ["--max_tokens", "5", "pull"]
    with_command(args)
    assert args == ["--max_tokens", "5", "pull"]


def _commands() -> dict[str, Any]:
    group: Any = typer.main.get_command(cli.app)
    return dict(group.commands)


def test_the_commands_are_those_that_there_are() -> None:
    assert set(cli.COMMANDS) == set(_commands())


def test_the_flags_are_those_options_that_take_no_value() -> None:
    flags, others = {"--help", "-h"}, set()
    for command in _commands().values():
        for option in command.params:
            if option.param_type_name == "option":
                names = {*option.opts, *option.secondary_opts}
                if option.is_flag or option.count:
                    flags |= names
                else:
                    assert option.nargs == 1, option.name
                    others |= names
    assert flags == cli._FLAGS
    assert {"-p", "--seed", "--from"} <= others
    assert not flags & others
    assert all(cli._takes_next(name) for name in others)
    assert not any(cli._takes_next(name) for name in flags)


def test_a_model_is_a_folder_a_pulled_one_or_the_starter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MISTRAL_TUI_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    pulled = tmp_path / "data" / "models" / "mine"
    pulled.mkdir(parents=True)
    assert resolve("") == ""
    assert resolve(STARTER) == STARTER
    assert resolve("mine") == str(pulled)
    assert resolve("./mine") == str(tmp_path / "mine")
    assert resolve("~/mine") == str(tmp_path / "mine")
    assert resolve("unknown") == str(tmp_path / "unknown")
    (tmp_path / "mine").mkdir()
    assert resolve("mine") == str(tmp_path / "mine")
    for impossible in ("x" * 5000, "~nobody-of-this-name/model"):
        with pytest.raises(SystemExit) as left:
            resolve(impossible)
        assert left.value.code == 1
        assert "cannot be opened" in capsys.readouterr().err


# ── as a program ────────────────────────────────────────────────────────────────────


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """An environment with empty folders and no way to any network."""
    names = ("DATA", "STATE", "CONFIG", "CACHE")
    folders = {f"MISTRAL_TUI_{name}": str(tmp_path / name) for name in names}
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0", "NO_PROXY": "*"}
    return {**os.environ, **folders, **nowhere, "COLUMNS": "100"}


def call(env: dict[str, str], *args: str | bytes, **how: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mistral_tui", *args]
    defaults = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.run(command, env=env, text=True, timeout=60, **defaults | how)


def refused(done: subprocess.CompletedProcess[str], code: int) -> str:
    """The sentence of a refusal."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout
    return done.stderr


def test_help_names_every_option_and_the_other_command(env: dict[str, str]) -> None:
    done = call(env, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    for option in _commands()["chat"].params:
        assert all(name in done.stdout for name in option.opts if name.startswith("-"))
    assert "pull" in done.stdout
    done = call(env, "pull", "--help")
    assert "--from" in done.stdout


def test_the_version_is_the_installed_one(env: dict[str, str]) -> None:
    from importlib.metadata import version

    assert call(env, "--version").stdout == f"mistral-tui {version('mistral-tui')}\n"


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (["--sead", "3"], "--sead"),
        (["--seed", "three"], "--seed"),
        (["--seed"], "--seed"),
        (["one", "two"], "two"),
        (["--json"], "-p"),
        ([], "terminal"),
        (["starter"], "terminal"),
        (["pull"], "NAME"),
        (["pull", "other"], "other"),
        (["pull", "starter", "-p", "x"], "-p"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_wrong_usage_exits_with_2_and_says_what(
    env: dict[str, str], args: list[str], word: str
) -> None:
    assert word in refused(call(env, *args), 2)


def test_the_starter_from_a_file_that_is_not_there(env: dict[str, str], tmp_path: Path) -> None:
    sentence = refused(call(env, "pull", "starter", "--from", str(tmp_path / "no.whl")), 1)
    assert "no.whl" in sentence
    assert sentence.count("\n") == 1
    assert not (tmp_path / "DATA" / "models" / "starter").exists()


def test_the_starter_from_a_file_that_is_another(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "other.gguf").write_bytes(os.urandom(1000))
    sentence = refused(call(env, "pull", "starter", "--from", str(tmp_path / "other.gguf")), 1)
    assert "other.gguf" in sentence
    assert sentence.count("\n") == 1


def broken_models(folder: Path) -> dict[str, Path | bytes]:
    """Model arguments that cannot be used."""
    (folder / "empty").mkdir()
    (folder / "file").touch()
    cut = tiny.make(folder / "cut", n_layers=1) / "consolidated.safetensors"
    os.truncate(cut, cut.stat().st_size // 2)
    (folder / "esc\x1b]52;c;AAAA\x07").mkdir()
    return {
        "not there": folder / "nowhere",
        "empty": folder / "empty",
        "a file": folder / "file",
        "cut off": folder / "cut",
        "a name with control bytes": folder / "esc\x1b]52;c;AAAA\x07",
        "a name that is too long": b"x" * 5000,
        "a name that is not UTF-8": b"\xff\xfe",
        "an unknown user": b"~nobody-of-this-name",
    }


def test_a_folder_that_is_no_model_is_refused_with_one_sentence(
    env: dict[str, str], tmp_path: Path
) -> None:
    for name, model in broken_models(tmp_path).items():
        argument = model if isinstance(model, bytes) else str(model)
        sentence = refused(call(env, argument, "-p", "hi"), 1)
        assert sentence.count("\n") == 1, (name, sentence)
        assert "\x1b" not in sentence
        assert "\x07" not in sentence


def test_a_data_folder_that_cannot_be_made_is_named(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    env["MISTRAL_TUI_STATE"] = str(tmp_path / "file" / "state")
    assert "MISTRAL_TUI_STATE" in refused(call(env, "starter", "-p", "hi"), 1)
    env["MISTRAL_TUI_DATA"] = str(tmp_path / "file" / "data")
    assert "MISTRAL_TUI_DATA" in refused(call(env, "some-name", "-p", "hi"), 1)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_do_no_harm(env: dict[str, str], closed: str) -> None:
    script = f'"{sys.executable}" -m mistral_tui --json {closed}'
    done = subprocess.run(["sh", "-c", script], env=env, capture_output=True, text=True)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_code_is_refused_where_it_cannot_work(env: dict[str, str], tmp_path: Path) -> None:
    said = refused(call(env, "code", "-m", "starter", "--preset", "none such"), 2)
    assert "There is no preset 'none such'; there are precise" in said
    assert "needs a terminal" in refused(call(env, "code", "-m", "starter", "a.py"), 2)
    assert "does not exist" in refused(call(env, "code", "-m", str(tmp_path / "gone"), "a.py"), 1)
