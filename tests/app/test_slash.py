"""Commands that begin with a slash."""

from __future__ import annotations

import pytest

from mistral_tui import slash
from mistral_tui.actions import ACTIONS, Action
from mistral_tui.slash import Command
from mistral_tui.widgets.completions import Asked


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("/new", Command("new")),
        ("/New \n", Command("new")),
        ("/copy_code", Command("copy-code")),
        ("/model  big one ", Command("model", "big one")),
        ("/model a\nb", Command("model", "a\nb")),
        ("/", None),
        ("//new", None),
        (" /new", None),
        ("/ new", None),
        ("/usr/bin/env is what?", None),
        ("/7", None),
        ("say /new", None),
        ("", None),
    ],
)
def test_what_is_a_command(text: str, command: Command | None) -> None:
    assert slash.parse(text) == command


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("//new", "/new"),
        ("//model x", "/model x"),
        ("// a comment", "// a comment"),
        ("///usr", "///usr"),
        ("//host/share", "//host/share"),
        ("plain", "plain"),
    ],
)
def test_two_slashes_send_one(text: str, sent: str) -> None:
    assert slash.literal(text) == sent


def test_every_action_of_the_palette_is_a_command() -> None:
    for action in ACTIONS:
        name = slash.name_of(action)
        assert slash.find(name) == (action if action.palette else None)
        if action.palette:
            assert slash.check(Command(name), ()) is action


def test_what_is_wrong_is_said() -> None:
    said = slash.check(Command("nwe"), ())
    assert isinstance(said, str)
    assert "no command /nwe" in said
    assert "//nwe" in said
    said = slash.check(Command("new", "x"), ())
    assert isinstance(said, str)
    assert "/new takes nothing" in said
    assert isinstance(slash.check(Command("new", "x"), ("new",)), Action)


def test_a_lone_slash_offers_all_in_the_order_of_the_registry() -> None:
    offered = [choice.insert for choice in slash.choices("", ())]
    assert offered == [f"/{slash.name_of(a)}" for a in ACTIONS if a.palette]
    assert all(choice.sure for choice in slash.choices("", ()))


def test_beginnings_come_before_letters_and_titles() -> None:
    def names(typed: str) -> list[str]:
        return [choice.label for choice in slash.choices(typed, ())]

    assert names("copy")[:2] == ["/copy-answer", "/copy-code"]
    assert names("code")[0] == "/code"
    assert "/copy-code" in names("code")
    assert names("cpcd") == ["/copy-code"]
    assert "/toggle-theme" in names("light")  # by its title
    assert names("xyzzy") == []
    sure = {choice.label: choice.sure for choice in slash.choices("code", ())}
    assert sure["/copy-code"] is False
    assert sure["/code"] is True
    assert [c.keys for c in slash.choices("copy-code", ())] == ["Ctrl+G"]


def test_a_command_with_an_argument_goes_on() -> None:
    takes = {
        "help": lambda: [("keys", "All keys."), ("files", "Where things are."), ("a\x1bb", "")]
    }
    (choice,) = slash.choices("help", takes)
    assert (choice.insert, choice.more) == ("/help ", True)
    assert slash.asked("/he", takes) == Asked("command", 0, "he")
    assert slash.asked("/help k", takes) == Asked("argument", 6, "k", "help")
    assert slash.asked("/new k", takes) is None
    assert slash.asked("say", takes) is None
    provider = takes["help"]
    assert [c.insert for c in slash.arguments("", provider)] == ["keys", "files"]
    assert [(c.insert, c.detail) for c in slash.arguments("k", provider)] == [("keys", "All keys.")]
