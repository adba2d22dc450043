"""The registry of actions: what bindings, help, palette and the tables of keys are made from."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections import Counter
from collections.abc import Iterator

import pytest
from textual.app import App
from textual.binding import Binding
from textual.dom import DOMNode
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import TextArea

import mistral_tui
from mistral_tui.actions import (
    ACTIONS,
    BY_ID,
    FIRST,
    PLACES,
    bindings,
    grouped,
    markdown_list,
    markdown_table,
)
from mistral_tui.app import ChatApp
from mistral_tui.keys import NAMES, UNBOUND, character, parse_key, show_key
from mistral_tui.slash import name_of
from mistral_tui.widgets.prompt import Prompt
from mistral_tui.widgets.transcript import Transcript

# What everyone's fingers expect of a text field.
TEXT_KEYS = [f"ctrl+{letter}" for letter in "aewukzyxcv"]


def classes() -> Iterator[type[DOMNode]]:
    """Every widget, screen and app of ours."""
    for module in pkgutil.walk_packages(mistral_tui.__path__, "mistral_tui."):
        if module.name.endswith("__main__"):
            continue
        for _, found in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if issubclass(found, Widget | App) and found.__module__ == module.name:
                yield found


def own_bindings(where: type[DOMNode]) -> list[Binding]:
    """What a class itself binds."""
    found = where.__dict__.get("BINDINGS", [])
    assert all(isinstance(binding, Binding) for binding in found), where
    return list(found)


def keys_of(where: type[DOMNode]) -> list[str]:
    return [key for binding in own_bindings(where) for key in binding.key.split(",")]


def target_of(action: str, where: type[DOMNode]) -> tuple[type[DOMNode], str]:
    """The class and method that Textual's action is."""
    place, _, name = action.partition("(")[0].rpartition(".")
    return ChatApp if place == "app" else where, f"action_{name}"


def test_ids_are_unique_and_so_are_titles_where_they_stand_alone() -> None:
    assert len(BY_ID) == len(ACTIONS)
    for where in PLACES:
        titles = [action.title for action in ACTIONS if action.where == where]
        assert len(set(titles)) == len(titles), where
    titles = [action.title for action in ACTIONS if action.palette]
    assert len(set(titles)) == len(titles)


def test_ids_of_screens_and_fields_begin_with_their_place() -> None:
    plain = ("app", "prompt", "transcript", "message")
    for action in ACTIONS:
        place, dot, _ = action.id.rpartition(".")
        assert (place == action.where) if dot else (action.where in plain), action
        assert not (dot and action.palette)
        assert not (action.palette and action.call), "a command runs the action by its id"
    assert set(BY_ID) >= FIRST


def test_the_words_are_whole() -> None:
    for action in ACTIONS:
        assert action.help.endswith("."), action
        assert action.title[-1] != ".", action
        assert len(action.hint) <= 11
        if action.hint:
            assert action.where in ("app", "transcript", "message", "consent")


@pytest.mark.parametrize("where", sorted(classes(), key=str))
def test_every_binding_is_in_the_registry_and_can_be_done(where: type[DOMNode]) -> None:
    for binding in own_bindings(where):
        assert binding.id in BY_ID, (where, binding)
        action = BY_ID[binding.id]
        assert binding.key == (",".join(action.keys) or UNBOUND)
        target, method = target_of(binding.action, where)
        assert hasattr(target, method), (target, method)


def test_every_action_is_bound_somewhere() -> None:
    bound = {binding.id for where in classes() for binding in own_bindings(where)}
    # These are decided key by key, in the prompt and in the code.
    elsewhere = {"earlier", "later"} | {a.id for a in ACTIONS if a.where in ("menu", "code")}
    assert {action.id for action in ACTIONS} - bound - elsewhere == set()


def test_every_command_can_be_run() -> None:
    for action in ACTIONS:
        if action.palette:
            target = Transcript if action.where == "message" else ChatApp
            assert hasattr(target, f"action_{action.id}"), action.id


def test_no_key_is_bound_twice_in_one_place() -> None:
    together = [("prompt", "app"), ("transcript", "message"), *((where,) for where in PLACES)]
    for places in together:
        keys = [key for action in ACTIONS if action.where in places for key in action.keys]
        assert [key for key, count in Counter(keys).items() if count > 1] == [], places


def test_no_key_of_the_text_field_is_taken() -> None:
    in_prompt = {k for a in ACTIONS if a.where in ("app", "prompt", "menu") for k in a.keys}
    assert in_prompt.isdisjoint(TEXT_KEYS)
    stock = {key for binding in TextArea.BINDINGS for key in binding.key.split(",")}  # type: ignore[union-attr]
    assert set(TEXT_KEYS) <= stock
    assert set(keys_of(Prompt)).isdisjoint(stock)
    # F6 and F7 select lines there, which nobody knows; what selects with Shift still does.
    assert in_prompt & stock == {"pageup", "pagedown", "up", "down", "f6", "f7"}
    assert not any(character(key) for key in in_prompt)


def test_few_keys_go_before_those_of_what_has_the_focus() -> None:
    first = {binding.key for binding in bindings("app") if binding.priority}
    assert first == {"ctrl+q", "ctrl+p"}
    assert [b.id for b in bindings("settings") if b.priority] == ["settings.keep"]


def test_every_default_key_is_written_as_textual_calls_it() -> None:
    for action in ACTIONS:
        for key in action.keys:
            assert parse_key(key) == key, key
            assert parse_key(show_key(key)) == key, key
            last = key.split("+")[-1]
            assert character(last) or last in NAMES


def test_the_tables_have_every_key() -> None:
    table, whole = markdown_table(), markdown_list()
    for action in ACTIONS:
        keys = ", ".join(map(show_key, action.keys)).replace("|", "\\|")
        row = f"| {keys} | {action.help} |"
        assert row in table or action.where not in ("app", "prompt", "transcript", "message")
        assert f"| `{action.id}` {row}" in whole
    assert [line[3:] for line in whole.splitlines() if line.startswith("## ")] == list(grouped())


def test_commands_have_plain_names() -> None:
    assert all(name_of(a).replace("-", "").isalpha() for a in ACTIONS if a.palette)


def test_screens_take_no_key_of_the_app_by_accident() -> None:
    """A screen's own keys are in its own bindings, not in those of a base class."""
    for where in classes():
        if issubclass(where, Screen):
            inherited = {key for base in where.__mro__[1:] if base.__module__.startswith("mistral")
                         for key in keys_of(base)}  # fmt: skip
            assert not inherited
