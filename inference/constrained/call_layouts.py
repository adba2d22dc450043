"""How a reply writes its tool calls, as languages with control tokens between them:

    v2 … v7    [{"name": …, "arguments": {…}, "id": …}, …]     one language, then the end
    v11 …      name [CALL_ID] id [ARGS] {…}                 a language each, then again, or the end
    v13 …      name [ARGS] {…}

A `Place` is where a reply stands behind [TOOL_CALLS]; nothing here changes one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from inference.api import Tool
from inference.calls import ARGS, CALL_ID
from inference.constrained.automaton import State
from inference.constrained.grammar import Alt, Chars, Grammar, Node, Ref, Repeat, Seq, Text
from inference.constrained.json_schema import SchemaError, compile_parameters
from inference.constrained.masks import Language, MaskSource, language
from inference.constrained.vocabulary import Vocabulary
from inference.errors import RequestError
from inference.parse import CALLS
from inference.prompts import parsed_parameters

if TYPE_CHECKING:
    from inference.tokenizer import Tokenizer

MOST_CALLS = 16
ID_LENGTH = 9
_LONGEST = 1 << 20  # bytes; no context has room for more

_ID = Repeat(
    Chars(((ord("0"), ord("9")), (ord("A"), ord("Z")), (ord("a"), ord("z")))), ID_LENGTH, ID_LENGTH
)
_SPACE = Repeat(Text(" "), 0, 1)


@dataclass(frozen=True, slots=True)
class Place:
    """`state` of `language`: in the text between two control tokens; `over`: behind the end of
    the reply. `calls` counts them, with the one that is being written; `name` is what of its
    name is there, `tool` which one it is then."""

    language: Language
    state: State
    calls: int = 1
    name: bytes = b""
    tool: int = -1
    over: bool = False


class Layout(Protocol):
    """What one reply's calls look like."""

    def begin(self) -> Place:
        """Behind the first [TOOL_CALLS]."""

    def step(self, place: Place, token: int) -> Place | None:
        """Behind one more token; None: it may not come."""

    def controls(self, place: Place) -> tuple[int, ...]:
        """The control tokens, and the ends of a reply, that may come."""

    def bound(self, place: Place) -> int:
        """So many tokens are enough to end the reply, if every byte can be one."""

    def plan(self, place: Place) -> list[int] | None:
        """Tokens that end the reply, in a short way; None: it cannot be spelled."""


class ListLayout:
    """`[{"name": …, "arguments": …, "id": …}, …]`."""

    def __init__(self, language: Language, stops: tuple[int, ...]) -> None:
        self._language = language
        self._automaton = language.automaton
        self._pieces = language.vocabulary.pieces
        self._stops = stops

    def begin(self) -> Place:
        return Place(self._language, self._automaton.start())

    def step(self, place: Place, token: int) -> Place | None:
        if token in self.controls(place):
            return replace(place, over=True)
        return _read(place, self._pieces[token])

    def controls(self, place: Place) -> tuple[int, ...]:
        done = place.over or self._automaton.complete(place.state)
        return self._stops if done else ()

    def bound(self, place: Place) -> int:
        return 0 if place.over else self._automaton.distance(place.state) + 1

    def plan(self, place: Place) -> list[int] | None:
        if place.over:
            return []
        return _chain(_shortest(self._language, place.state), [self._stops[0]])


class NamedLayout:
    """`name [CALL_ID] id [ARGS] {…}`, without the id where there is no `id_mark`."""

    def __init__(
        self,
        names: Sequence[str],
        arguments: Sequence[Language],
        marks: tuple[int, int | None, int],
        stops: tuple[int, ...],
        masks: MaskSource,
    ) -> None:
        self._begin, self._id_mark, self._args_mark = marks
        self._stops = stops
        self._names = [name.encode() for name in names]
        self._arguments = arguments
        self._vocabulary = arguments[0].vocabulary
        self._name = language(
            "names " + json.dumps(names),
            lambda: Grammar(Alt(tuple(map(Text, names)))),
            self._vocabulary,
            masks,
        )
        self._id = language("id", lambda: Grammar(_ID), self._vocabulary, masks)

    def begin(self) -> Place:
        return self._call(1)

    def _call(self, number: int) -> Place:
        return Place(self._name, self._name.automaton.start(), number)

    def step(self, place: Place, token: int) -> Place | None:
        if token in self.controls(place):
            return self._behind(place, token)
        after = _read(place, self._vocabulary.pieces[token])
        if after and after.language is self._name:
            name = place.name + self._vocabulary.pieces[token]
            tool = self._names.index(name) if name in self._names else -1
            return replace(after, name=name, tool=tool)
        return after

    def _behind(self, place: Place, control: int) -> Place:
        if control in self._stops:
            return replace(place, over=True)
        if control == self._begin:
            return self._call(place.calls + 1)
        part = self._id if control == self._id_mark else self._arguments[place.tool]
        return replace(place, language=part, state=part.automaton.start())

    def controls(self, place: Place) -> tuple[int, ...]:
        if place.over:
            return self._stops
        if not place.language.automaton.complete(place.state):
            return ()
        if place.language is self._name:
            return (self._args_mark if self._id_mark is None else self._id_mark,)
        if place.language is self._id:
            return (self._args_mark,)
        return (*self._stops, self._begin) if place.calls < MOST_CALLS else self._stops

    def bound(self, place: Place) -> int:
        if place.over:
            return 0
        if place.language is self._name:
            marks = 1 if self._id_mark is None else 2 + ID_LENGTH
            return marks + min(
                len(name) - len(place.name) + self._arguments_bound(tool) + 1
                for tool, name in self._matching(place)
            )
        own = place.language.automaton.distance(place.state) + 1
        return own + self._arguments_bound(place.tool) + 1 if place.language is self._id else own

    def _arguments_bound(self, tool: int) -> int:
        automaton = self._arguments[tool].automaton
        return automaton.distance(automaton.start())

    def _matching(self, place: Place) -> list[tuple[int, bytes]]:
        """The tools whose name goes on from here."""
        return [(n, name) for n, name in enumerate(self._names) if name.startswith(place.name)]

    def plan(self, place: Place) -> list[int] | None:
        if place.over:
            return []
        if place.language is self._name:
            plans = (
                self._named_plan(tool, name[len(place.name) :])
                for tool, name in self._matching(place)
            )
            return min((plan for plan in plans if plan is not None), key=len, default=None)
        own = _shortest(place.language, place.state)
        if place.language is not self._id:
            return _chain(own, [self._stops[0]])
        return _chain(own, [self._args_mark], self._arguments_plan(place.tool))

    def _named_plan(self, tool: int, rest: bytes) -> list[int] | None:
        number: list[int] | None = []
        if self._id_mark is not None:
            number = _chain([self._id_mark], _shortest(self._id))
        name = self._vocabulary.spell(rest)
        return _chain(name, number, [self._args_mark], self._arguments_plan(tool))

    def _arguments_plan(self, tool: int) -> list[int] | None:
        """The shortest arguments, and the end."""
        return _chain(_shortest(self._arguments[tool]), [self._stops[0]])


def _shortest(language: Language, state: State | None = None) -> list[int] | None:
    """The shortest completion, from the beginning where there is no state, in tokens."""
    automaton = language.automaton
    state = automaton.start() if state is None else state
    if automaton.distance(state) > _LONGEST:
        return None
    return language.vocabulary.spell(automaton.shortest(state))


def _read(place: Place, piece: bytes) -> Place | None:
    """Behind the bytes of a token."""
    if place.over or not piece:
        return None
    state = place.language.automaton.advance(place.state, piece)
    return None if state is None else replace(place, state=state)


def _chain(*parts: list[int] | None) -> list[int] | None:
    ids: list[int] = []
    for part in parts:
        if part is None:
            return None
        ids += part
    return ids


# ── from tools ────────────────────────────────────────────────────────────────────────


def layout_of(
    tokenizer: Tokenizer, vocabulary: Vocabulary, tools: Sequence[Tool], masks: MaskSource
) -> Layout:
    """The layout of this tokenizer's version. Raises `RequestError` where a tool's parameters
    allow no call."""
    if not all(tool.name for tool in tools):
        raise RequestError("A tool has no name; give it one.")
    eos = tokenizer.eos_id
    stops = tuple(sorted(tokenizer.stop_ids, key=lambda token: (token != eos, token)))
    if tokenizer.version_number < 11:
        with_id = tokenizer.version_number > 2
        key = f"list {with_id} " + json.dumps([[tool.name, tool.parameters] for tool in tools])
        whole = language(key, lambda: _list_grammar(tools, with_id), vocabulary, masks)
        return ListLayout(whole, stops)
    begin, args = tokenizer.control_id(CALLS), tokenizer.control_id(ARGS)
    id_mark = tokenizer.control_id(CALL_ID) if tokenizer.version_number < 13 else None
    if begin is None or args is None:
        raise RequestError("This model's tokenizer has no [ARGS] token, so it cannot call tools.")
    arguments = [_arguments(tool, vocabulary, masks) for tool in tools]
    names = [tool.name for tool in tools]
    return NamedLayout(names, arguments, (begin, id_mark, args), stops, masks)


def _arguments(tool: Tool, vocabulary: Vocabulary, masks: MaskSource) -> Language:
    return language(f"tool {tool.parameters}", lambda: _grammar(tool), vocabulary, masks)


def _grammar(tool: Tool) -> Grammar:
    """Of a tool's arguments."""
    try:
        return compile_parameters(parsed_parameters(tool))
    except SchemaError as error:
        raise SchemaError(f"The tool {tool.name!r:.80} cannot be called: {error}") from None


def _list_grammar(tools: Sequence[Tool], with_id: bool) -> Grammar:
    """One call or more, of all the tools."""
    calls: list[Node] = []
    rules: dict[str, Node] = {}
    unheld: list[str] = []
    for n, tool in enumerate(tools):
        grammar = _grammar(tool)
        calls.append(_listed(tool.name, _renamed(grammar.start, f"{n}."), with_id))
        rules |= {f"{n}.{name}": _renamed(node, f"{n}.") for name, node in grammar.rules.items()}
        unheld += grammar.unheld
    rules["call"] = Alt(tuple(calls))
    comma = Seq((Text(","), _SPACE))
    more = Repeat(Seq((comma, Ref("call"))), 0, MOST_CALLS - 1)
    start = Seq((_SPACE, Text("["), Ref("call"), more, Text("]")))
    return Grammar(start, rules, tuple(dict.fromkeys(unheld)))


def _listed(name: str, arguments: Node, with_id: bool) -> Node:
    parts: list[Node] = [
        Text('{"name":'), _SPACE, Text(f"{json.dumps(name, ensure_ascii=False)},"), _SPACE,
        Text('"arguments":'), _SPACE, arguments,
    ]  # fmt: skip
    if with_id:
        parts += [Text(","), _SPACE, Text('"id":'), _SPACE, Text('"'), _ID, Text('"')]
    return Seq((*parts, Text("}")))


def _renamed(node: Node, prefix: str) -> Node:
    """The node with its rules' names made apart from those of other tools."""
    match node:
        case Ref():
            return Ref(prefix + node.name)
        case Seq():
            return Seq(tuple(_renamed(part, prefix) for part in node.parts))
        case Alt():
            return Alt(tuple(_renamed(choice, prefix) for choice in node.choices))
        case Repeat():
            return Repeat(_renamed(node.node, prefix), node.least, node.most)
    return node
