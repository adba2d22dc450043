"""`[keys]` of config.toml: how keys are written, and what cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.keys import Keys as TextualKeys
from textual.keys import _character_to_key
from textual.widgets import Input, OptionList
from typer.testing import CliRunner

from mistral_tui import config_command
from mistral_tui.actions import ACTIONS
from mistral_tui.config import file as config
from mistral_tui.config.rebinding import CURSOR, FIELD_KEYS, LIST_KEYS, table
from mistral_tui.keys import NAMES, parse_key, show_key


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's config file."""
    monkeypatch.setenv("MISTRAL_TUI_CONFIG", str(tmp_path))
    return tmp_path / "config.toml"


# ── how they are written ────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("ctrl+k", "ctrl+k"), ("Ctrl+K", "ctrl+k"), ("ctrl-k", "ctrl+k"), ("C-k", "ctrl+k"),
        ("^K", "ctrl+k"), ("Control-K", "ctrl+k"), ("M-x", "alt+x"), ("Alt+X", "alt+x"),
        ("/", "slash"), ("{", "left_curly_bracket"), ("left_curly_bracket", "left_curly_bracket"),
        ("Esc", "escape"), ("PgUp", "pageup"), ("page up", "pageup"), ("Space", "space"),
        (" ", "space"), ("F12", "f12"), ("k", "k"), ("K", "K"), ("Shift+k", "K"), ("S-Tab",
        "shift+tab"), ("Ctrl+Shift+Left", "ctrl+shift+left"), ("shift+ctrl+left",
        "ctrl+shift+left"), ("ctrl++", "ctrl+plus"), ("+", "plus"), ("-", "minus"), ("↑", "up"),
        ("ctrl+/", "ctrl+slash"), ("?", "question_mark"), ("é", "é"), ("C-i", "tab"),
        ("ctrl+m", "enter"), (",", "comma"), ("Return", "enter"), ("^", "circumflex_accent"),
    ],
)  # fmt: skip
def test_keys_are_read_as_people_write_them(written: str, key: str) -> None:
    assert parse_key(written) == key


@pytest.mark.parametrize(
    "written", ["", "ctrk+k", "ctrl+", "kk", "f25", "ctrl+nokey", "a b", "\x1b", "\x00", "shift+1",
                "ctrl", "\ud800", "x" * 5000, "[bold]"]
)  # fmt: skip
def test_what_is_no_key_is_none(written: str) -> None:
    assert parse_key(written) is None


def test_the_names_are_textual_s() -> None:
    theirs = {key.value for key in TextualKeys}
    assert theirs >= NAMES
    for char in map(chr, range(33, 127)):
        name = _character_to_key(char)
        assert parse_key(char) == name
        assert parse_key(name) == name
        assert show_key(name) == char


def test_keys_are_shown_as_people_write_them() -> None:
    written = {
        "ctrl+j": "Ctrl+J", "shift+enter": "Shift+Enter", "escape": "Esc", "pageup": "PgUp",
        "f1": "F1", "y": "y", "K": "K", "left_curly_bracket": "{", "ctrl+slash": "Ctrl+/",
        "space": "Space", "home": "Home", "alt+up": "Alt+↑",
    }  # fmt: skip
    assert {key: show_key(key) for key in written} == written


def test_the_keys_of_fields_and_lists_are_textual_s() -> None:
    def stock(where: type[Input | OptionList]) -> set[str]:
        return {key for binding in where.BINDINGS for key in binding.key.split(",")}  # type: ignore[union-attr]

    assert stock(Input) == FIELD_KEYS
    assert stock(OptionList) == LIST_KEYS
    assert CURSOR <= FIELD_KEYS


# ── the config file ─────────────────────────────────────────────────────────────────


def loaded(own: Path, text: str) -> config.Config:
    own.write_text(text, encoding="utf-8")
    return config.load(own)


def test_ids_with_a_dot_are_written_in_two_ways(own: Path) -> None:
    found = loaded(
        own,
        '[keys]\nnew = "Ctrl+K"\ncopy_code = ["ctrl-g", "F10"]\ndelete_turn = []\n'
        '"history.pin" = "P"\n[keys.tokens]\nleft = "{"\n',
    )
    assert found.problems == ()
    assert found.keys == {
        "new": ("ctrl+k",),
        "copy_code": ("ctrl+g", "f10"),
        "delete_turn": (),
        "history.pin": ("P",),
        "tokens.left": ("left_curly_bracket",),
    }


@pytest.mark.parametrize(
    ("line_", "sentence"),
    [
        ("nwe = 'f7'", "nwe in [keys] is not known; did you mean new?"),
        ("'history.pim' = 'P'", "history.pim in [keys] is not known; did you mean history.pin?"),
        ("xyzzy = 'f7'", "`mistral-tui config keys` prints all actions."),
        ("find = 'ctrk+k'", 'find in [keys] names "ctrk+k", which is no key; write it like'),
        ("find = 3", "find in [keys] is 3; it must be a key such as \"ctrl+k\", or a list"),
        ("find = [3]", "find in [keys] names 3, which is no key"),
        ("find = ['" + "','".join("abcdefghi") + "']", "or a list of up to 8 of them"),
        ("new = 'x'", 'new in [keys] cannot have the key "x": text is written with it; take'),
        ("new = 'space'", 'cannot have the key "Space": text is written with it'),
        ("new = 'left'", 'cannot have the key "←": text is written with it'),
        ("newline = 'é'", 'newline in [keys] cannot have the key "é": text is written'),
        ("'menu.take' = 'x'", 'menu.take in [keys] cannot have the key "x": text is written'),
        ("quit = 'q'", 'quit in [keys] cannot have the key "q": text is written with it'),
        ("quit = []", "quit in [keys] must have a key"),
        ("new = 'ctrl+l'", "new in [keys] has the key Ctrl+L, which is that of history (Conv"),
        ("fold = 'e'", "fold in [keys] has the key e, which is that of edit_message (Edit a mes"),
        ("fold = 'ctrl+n'", "which is that of new (New conversation), too; give one of them"),
        ("send = 'ctrl+q'", "which is that of quit (Quit), too"),
        ("'tokens.copy' = 'ctrl+q'", "which is that of quit (Quit), too"),
        ("'tokens.copy' = 'm'", "which is that of tokens.measure (Measure), too"),
        ("'history.pin' = 'ctrl+k'", "the text field there has its own use for it."),
        ("'models.leave' = 'home'", "the list there has its own use for it."),
        ("history.pin.x = 'p'", "pin in [keys.history] is a table; it must be a key"),
        ("\"\\u001b[31m\" = 'p'", "[keys] is not known"),
        ("find = \"\\u001b[31m\"", "which is no key"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_and_left_out(own: Path, line_: str, sentence: str) -> None:
    found = loaded(own, f"[keys]\n{line_}\n")
    [problem] = found.problems
    assert sentence in problem
    assert problem.startswith("config.toml, line 2: ")
    assert problem.isprintable()
    assert found.keys == {}


def test_of_two_with_one_key_the_later_is_left_out_and_both_are_named(own: Path) -> None:
    found = loaded(own, '[keys]\nnew = "ctrl+k"\nunload = "ctrl+k"\n')
    [problem] = found.problems
    assert problem.startswith("config.toml, line 3: unload in [keys] has the key Ctrl+K, which is")
    assert "new (New conversation)" in problem
    assert found.keys == {"new": ("ctrl+k",)}


def test_keys_can_change_places(own: Path) -> None:
    found = loaded(own, '[keys]\nsend = "ctrl+s"\nnewline = "enter"\nnew = "f1"\nhelp = "ctrl+n"\n')
    assert found.problems == ()
    assert found.keys["newline"] == ("enter",)
    # If one of two cannot be, what the other needs is not free.
    found = loaded(own, '[keys]\nnewline = "enter"\nsend = "x"\n')
    assert len(found.problems) == 2
    assert found.keys == {}


def test_what_is_no_table_is_said(own: Path) -> None:
    [problem] = loaded(own, "keys = 3\n").problems
    assert problem == "config.toml, line 1: keys must be a table, [keys]."
    [problem] = loaded(own, '[keys]\n"history.pin" = "P"\n[keys.history]\npin = "Q"\n').problems
    assert "pin in [keys.history] is set twice" in problem


def test_the_command_prints_a_table_that_can_be_read(own: Path) -> None:
    own.write_text('[keys]\nnew = "ctrl+k"\nfind = ["ctrl+f", "/"]\npager = []\npage_below = []\n')
    done = CliRunner().invoke(config_command.app, ["keys"])
    assert (done.exit_code, done.stderr) == (0, "")
    assert '\nnew = "ctrl+k" ' in done.stdout
    assert '\n# "history.pin" = "p" ' in done.stdout
    before = config.load(own).keys
    assert loaded(own, done.stdout).keys == before
    everything = "\n".join(row.removeprefix("# ") if " = " in row else row
                           for row in table({}).splitlines())  # fmt: skip
    found = loaded(own, everything)
    assert found.problems == ()
    assert all(action.id in everything for action in ACTIONS)
    done = CliRunner().invoke(config_command.app, ["keys"])
    assert done.exit_code == 0
    own.write_text('[keys]\nnwe = "ctrl+k"\n')
    done = CliRunner().invoke(config_command.app, ["keys"])
    assert done.exit_code == 1
    assert "did you mean new?" in done.stderr
