"""The registry of actions: what bindings, help and palette are made from."""

from __future__ import annotations

from collections import Counter

from textual.app import App
from textual.screen import Screen
from textual.widgets import TextArea

from mistral_tui.actions import ACTIONS, bindings, markdown_table, show_key
from mistral_tui.app import ChatApp
from mistral_tui.widgets.prompt import Prompt
from mistral_tui.widgets.transcript import Transcript

# What everyone's fingers expect of a text field.
TEXT_KEYS = [f"ctrl+{letter}" for letter in "aewukzyxcv"]


def keys_of(where: type[App[int] | TextArea | Transcript | Screen[object]]) -> list[str]:
    """Every key that a class itself binds, once for each binding."""
    found = []
    for binding in where.__dict__["BINDINGS"]:
        found += binding.key.split(",")
    return found


def test_ids_and_titles_are_unique() -> None:
    assert len({action.id for action in ACTIONS}) == len(ACTIONS)
    assert len({action.title for action in ACTIONS}) == len(ACTIONS)


def test_every_action_can_be_done() -> None:
    for action in ACTIONS:
        if action.id == "focus_other":
            continue  # Textual's own, on Tab
        if action.where == "message":
            assert hasattr(Transcript, f"action_{action.id}")
        elif action.where == "prompt":
            assert hasattr(Prompt, f"action_{action.id}") or action.id in ("earlier", "later")
        else:
            assert callable(getattr(ChatApp, f"action_{action.id}"))


def test_no_key_is_bound_twice_in_one_place() -> None:
    for place in (ChatApp, Prompt, Transcript):
        assert [key for key, count in Counter(keys_of(place)).items() if count > 1] == []
    for where in ("app", "prompt", "transcript"):
        keys = [key for action in ACTIONS if action.where == where for key in action.keys]
        assert len(set(keys)) == len(keys)


def test_every_bound_key_is_in_the_registry() -> None:
    known = {key for action in ACTIONS for key in action.keys}
    assert set(keys_of(ChatApp)) <= known
    assert set(keys_of(Prompt)) <= known


def test_no_key_of_the_text_field_is_taken() -> None:
    taken = {key for action in ACTIONS for key in action.keys}
    assert taken.isdisjoint(TEXT_KEYS)
    stock = {key for binding in TextArea.BINDINGS for key in binding.key.split(",")}  # type: ignore[union-attr]
    assert set(TEXT_KEYS) <= stock
    assert set(keys_of(Prompt)) & stock == {"pageup", "pagedown"}
    priority = {b.key for b in bindings("app") if b.priority}
    assert priority == {"ctrl+q"}


def test_every_key_is_in_the_help_and_the_table() -> None:
    shown = " ".join(f"{a.shown_keys.split(', ')[0]} {a.help}" for a in ACTIONS)
    for action in ACTIONS:
        for key in action.keys:
            assert show_key(key) in shown
            assert show_key(key) in markdown_table()


def test_keys_are_written_as_people_write_them() -> None:
    shown = [show_key(key) for key in ("ctrl+j", "shift+enter", "escape", "pageup", "f1", "y")]
    assert shown == ["Ctrl+J", "Shift+Enter", "Esc", "PgUp", "F1", "y"]
