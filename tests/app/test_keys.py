"""Keys of the user's own: how they are written, what cannot be, and that they hold everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.command import CommandPalette
from textual.keys import Keys as TextualKeys
from textual.keys import _character_to_key
from textual.widgets import Input, OptionList
from typer.testing import CliRunner

from fake_engine import (
    FakeEngine,
    Load,
    ask,
    chat,
    each_size,
    last_row,
    screen_rows,
    screen_text,
    toasts,
    wait_until,
    words_on_screen,
)
from mistral_tui import config_command, keys, slash
from mistral_tui.actions import ACTIONS, BY_ID, key_of, line, pressed
from mistral_tui.app import ChatApp
from mistral_tui.config import file as config
from mistral_tui.config.rebinding import CURSOR, FIELD_KEYS, LIST_KEYS, table
from mistral_tui.keys import NAMES, parse_key, show_key
from mistral_tui.screens.help import HelpScreen
from mistral_tui.screens.history import HistoryScreen
from mistral_tui.screens.settings import SettingsScreen
from mistral_tui.widgets.hints import Hints


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The user's config file, where nobody else's is."""
    for name in ("DATA", "STATE", "CONFIG"):
        monkeypatch.setenv(f"MISTRAL_TUI_{name}", str(tmp_path / name.lower()))
    (tmp_path / "config").mkdir()
    yield tmp_path / "config" / "config.toml"
    keys.use({})


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


# ── what is shown ───────────────────────────────────────────────────────────────────


def test_the_shown_key_is_the_one_in_effect() -> None:
    assert (key_of("new"), BY_ID["newline"].shown_keys) == (
        "Ctrl+N",
        "Ctrl+J, Shift+Enter, Alt+Enter",
    )
    keys.use({"new": ("ctrl+k",), "help": ()})
    assert key_of("new") == "Ctrl+K"
    assert "Help" in key_of("help")
    assert BY_ID["help"].shown_keys == ""
    assert line(("new", "begins"), ("help", "helps"), ("menu.up menu.down", "choose")) == (
        "Ctrl+K begins · ↑↓ choose"
    )
    assert pressed("app", "ctrl+k") is BY_ID["new"]
    assert pressed("app", "ctrl+n") is None
    [choice] = [c for c in slash.choices("new", ()) if c.label == "/new"]
    assert choice.keys == "Ctrl+K"


# ── in the app ──────────────────────────────────────────────────────────────────────


async def test_send_and_newline_change_places(own: Path) -> None:
    own.write_text('[keys]\nsend = "ctrl+s"\nnewline = "enter"\n')
    engine = FakeEngine()
    async with chat(engine) as (app, pilot):
        assert app.prompt.placeholder == "Write a message…  (Ctrl+S sends, Enter: new line)"
        await pilot.press("a", "enter", "b", "ctrl+j")
        assert app.prompt.text == "a\nb"
        assert not engine.asked
        await pilot.press("ctrl+s")
        await wait_until(pilot, lambda: engine.said)
        assert engine.said[0][-1] == ("user", "a\nb")


async def test_a_key_of_the_app_goes_before_the_text_field_s_own(own: Path) -> None:
    own.write_text('[keys]\nhelp = "ctrl+k"\nearlier = "ctrl+up"\n"menu.take" = "ctrl+y"\n')
    async with chat(FakeEngine()) as (app, pilot):
        await ask(pilot, "first")
        await pilot.press("ctrl+k")
        await wait_until(pilot, lambda: isinstance(app.screen, HelpScreen))
        await pilot.press("escape")
        await pilot.press("f1")
        await pilot.pause()
        assert not isinstance(app.screen, HelpScreen)
        await pilot.press("up")
        assert app.prompt.text == ""
        await pilot.press("ctrl+up")
        assert app.prompt.text == "first"
        app.prompt.put("")
        await pilot.press("slash", "n", "e", "w")
        await wait_until(pilot, lambda: app.prompt.menu.open)
        assert "Ctrl+Y takes" in screen_text(app)
        await pilot.press("ctrl+y")
        assert app.prompt.text == "/new"
        assert "Ctrl+K help" in last_row(app)


async def test_quit_and_the_palette_can_be_moved(own: Path) -> None:
    own.write_text('[keys]\nquit = "f10"\ncommand_palette = "ctrl+space"\nfocus_other = "f6"\n')
    async with chat(FakeEngine()) as (app, pilot):
        assert toasts(app) == []
        await ask(pilot, "hello")
        await pilot.press("tab")
        assert app.prompt.has_focus
        await pilot.press("f6")
        assert app.transcript.has_focus
        await pilot.press("ctrl+q", "ctrl+p")
        await pilot.pause()
        assert app.is_running
        assert not isinstance(app.screen, CommandPalette)
        await pilot.press("ctrl+at")
        await wait_until(pilot, lambda: isinstance(app.screen, CommandPalette))
        await pilot.press("f10")
        await wait_until(pilot, lambda: app.return_code is not None or not app.is_running)


async def test_keys_of_the_transcript(own: Path) -> None:
    own.write_text(
        '[keys]\nedit_message = "ctrl+e"\nmessage_above = "p"\nreplay = []\nfind = "?"\n'
    )
    async with chat(FakeEngine()) as (app, pilot):
        await ask(pilot, "hello")
        app.transcript.focus()
        await pilot.press("K")
        assert app.transcript.cursor == ""
        await pilot.press("p")
        assert app.transcript.cursor != ""
        await pilot.press("e")
        assert app.editing is None
        await pilot.press("ctrl+e")
        assert app.editing is not None


async def test_keys_of_a_screen_and_its_help_line(own: Path) -> None:
    own.write_text(
        '[keys.history]\npin = "P"\ndelete = []\n'
        '[keys.settings]\nkeep = "ctrl+s"\nsave_preset = "f10"\nleave = "f4"\n'
    )
    async with chat(FakeEngine(), size=(120, 40)) as (app, pilot):
        await ask(pilot, "hello")
        await pilot.press("ctrl+l")
        await wait_until(pilot, lambda: "hello" in screen_text(app))
        assert "P pins · r renames · u undo" in screen_text(app)
        await pilot.press("down", "p", "d")
        await pilot.pause()
        assert "Pinned" not in screen_text(app)
        await pilot.press("P")
        await wait_until(pilot, lambda: "Pinned" in screen_text(app))
        assert isinstance(app.screen, HistoryScreen)
        await pilot.press("escape", "f3")
        await wait_until(pilot, lambda: isinstance(app.screen, SettingsScreen))
        assert "Ctrl+S keeps · F4 leaves · F10 saves" in words_on_screen(app)
        await pilot.press("escape", "enter")
        await pilot.pause()
        assert isinstance(app.screen, SettingsScreen)
        await pilot.press("ctrl+s")
        assert not isinstance(app.screen, SettingsScreen)


async def test_a_bad_key_is_a_notice_and_the_rest_holds(own: Path) -> None:
    own.write_text('[keys]\nnew = "ctrl+l"\nhelp = "f12"\n')
    async with chat(FakeEngine(), size=(120, 40)) as (app, pilot):
        await wait_until(pilot, lambda: any("Ctrl+L" in said for said in toasts(app)))
        await pilot.press("f12")
        await wait_until(pilot, lambda: isinstance(app.screen, HelpScreen))


async def test_an_app_without_own_keys_has_ours_again(own: Path) -> None:
    own.write_text('[keys]\nnew = "ctrl+k"\n')
    async with chat(FakeEngine()):
        assert key_of("new") == "Ctrl+K"
    own.unlink()
    async with chat(FakeEngine()) as (app, _):
        assert key_of("new") == "Ctrl+N"
        assert "F1 help" in last_row(app)


async def test_notices_name_the_keys_in_effect(own: Path) -> None:
    own.write_text('[keys]\nrestart = "f7"\nsend = "ctrl+s"\nnew = []\n')
    engine = FakeEngine(loads=[Load(fails=("load_failed", "No."))])
    async with chat(engine, size=(120, 40)) as (app, pilot):
        assert "F7 tries again" in last_row(app)
        assert "Ctrl+S sends" in screen_text(app)
        await pilot.press("f1")
        await wait_until(pilot, lambda: isinstance(app.screen, HelpScreen))
        await wait_until(pilot, lambda: "Start the engine again" in screen_text(app))
        [row] = [row for row in screen_rows(app) if "Start the engine again" in row]
        assert "F7 " in row
        await pilot.press(*"new", "space", *"conv")
        await wait_until(pilot, lambda: "Scroll" not in screen_text(app))
        assert "Start a new conversation." in screen_text(app)


async def test_help_is_grouped_and_narrows_by_key_title_and_help(own: Path) -> None:
    async with chat(FakeEngine(), size=(120, 60)) as (app, pilot):
        await pilot.press("f1")
        await wait_until(pilot, lambda: "Anywhere" in screen_text(app))
        field = app.screen.query_one(Input)
        for typed, found, place in (
            ("ctrl+n", "Start a new conversation.", "Anywhere"),
            ("Thinking", "Fold or unfold the thinking", "Conversation"),
            ("measure it", "Have the loaded model read", "Token view"),
            ("rename", "Type another title.", "Conversations screen"),
            ("{", "Choose the code block", "Conversation"),
        ):
            field.value = typed
            await wait_until(pilot, lambda found=found: found in screen_text(app))  # type: ignore[misc]
            await wait_until(pilot, lambda: "everything is saved" not in screen_text(app))
            assert place in screen_text(app)
            assert found in screen_text(app)
        field.value = "[bold]xyzzy[/]"
        await wait_until(pilot, lambda: "Nothing found." in screen_text(app))
        field.value = "q"
        await wait_until(pilot, lambda: "everything is saved." in screen_text(app))
        async for _ in each_size(pilot):
            assert "Help" in screen_text(app)


async def test_commands_run_on_the_transcript_from_the_prompt() -> None:
    async with chat(FakeEngine()) as (app, pilot):
        await ask(pilot, "hello")
        for command in ("/message-above", "/message-above"):
            app.prompt.focus()
            app.prompt.put(command)
            await pilot.press("enter")
            await pilot.pause()
        await wait_until(pilot, lambda: app.transcript.cursor)
        app.prompt.focus()
        app.prompt.put("/edit-message")
        await pilot.press("enter")
        await wait_until(pilot, lambda: app.editing is not None)
        assert app.focused is app.prompt


async def test_the_palette_runs_what_is_the_transcript_s() -> None:
    async with chat(FakeEngine(), size=(120, 40)) as (app, pilot):
        await ask(pilot, "hello")
        await pilot.press("ctrl+p")
        await wait_until(pilot, lambda: isinstance(app.screen, CommandPalette))
        app.screen.query_one(Input).value = "Message above"
        await wait_until(pilot, lambda: "Choose the message above." in screen_text(app))
        await pilot.press("enter")
        await wait_until(pilot, lambda: app.transcript.cursor)
        assert app.focused is app.transcript


# ── the line of hints ───────────────────────────────────────────────────────────────


def hints_of(app: ChatApp) -> str:
    return screen_rows(app)[-2].strip()


async def test_hints_show_while_the_conversation_has_the_focus(own: Path) -> None:
    own.write_text('[keys]\nedit_message = "E"\nregenerate = []\n')
    async with chat(FakeEngine()) as (app, pilot):
        await ask(pilot, "hello")
        line_ = app.query_one(Hints)
        assert not line_.display
        await pilot.press("tab")
        await wait_until(pilot, lambda: line_.display)
        async for width, _ in each_size(pilot):
            shown = hints_of(app)
            assert shown.startswith("Tab prompt  K message ↑  J message ↓  E edit  y copy")
            assert ("/ find" in shown) == (width > 60)
            assert "again" not in shown
            assert len(shown) <= width
        await pilot.press("tab")
        await wait_until(pilot, lambda: not line_.display)
        assert app.focused is app.prompt


async def test_hints_stay_away_from_other_screens() -> None:
    async with chat(FakeEngine()) as (app, pilot):
        app.transcript.focus()
        await pilot.press("f1")
        await wait_until(pilot, lambda: isinstance(app.screen, HelpScreen))
        await pilot.press("escape")
        await wait_until(pilot, lambda: not isinstance(app.screen, HelpScreen))
        assert app.query_one(Hints).display == (app.focused is app.transcript)
