"""A grammar of JSON texts as Lark text for llguidance.

llguidance's lexer takes the longest match and never goes back. A grammar in which no rule holds
itself is regular, and becomes one terminal: there is nothing to choose then, and it is fastest.
Any other is cut into terminals where a JSON lexer would cut: at brackets, commas, colons and
spaces outside of strings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from inference.constrained.grammar import (
    Alt,
    Chars,
    Grammar,
    Node,
    Ref,
    Repeat,
    Seq,
    Text,
    inner_first,
    names_in,
)

_EMPTY = '""'
# Without this llguidance would narrow the mask to one way of spelling what is forced.
_HEADER = '%llguidance {"no_forcing": true}\n'


def lark(grammar: Grammar) -> str:
    """Lark text of the same language. Raises `RecursionError` where it nests too deep, and
    `ValueError` where it cannot be cut."""
    return _Writer(grammar).text()


class _Writer:
    """Writes one grammar."""

    def __init__(self, grammar: Grammar) -> None:
        self._grammar = grammar
        self._order = _regular(grammar)
        self._looped = grammar.rules.keys() - self._order
        self._names: dict[tuple[str, bool], str] = {}
        self._waiting: list[tuple[str, bool]] = []
        self._whole: dict[str, bool] = {}  # asked for from the bottom up: no chain goes deep
        self._lines: list[str] = []

    def text(self) -> str:
        start = self._grammar.start
        if self._looped.isdisjoint(names_in(start)):
            self._lines += ["start: T", f"T: {self._terminal(start) or _EMPTY}"]
        else:
            for rule in self._order:
                self._is_whole(Ref(rule))
            self._lines.append(f"start: {self._rule(start) or _EMPTY}")
        while self._waiting:
            rule, terminal = self._waiting.pop()
            body = (self._terminal if terminal else self._rule)(self._grammar.rules[rule])
            self._lines.append(f"{self._names[rule, terminal]}: {body or _EMPTY}")
        return "\n".join([_HEADER, *self._lines, ""])

    def _name(self, rule: str, *, terminal: bool) -> str:
        """The name of a rule of the grammar, to be written later; a terminal's is in capitals."""
        key = (rule, terminal)
        if key not in self._names:
            self._names[key] = f"{'R' if terminal else 'r'}{len(self._names)}"
            self._waiting.append(key)
        return self._names[key]

    # ── terminals ─────────────────────────────────────────────────────────────────────

    def _terminal(self, node: Node) -> str:
        """What a terminal is made of; nothing for the empty text."""
        match node:
            case Text():
                return f"/{_escaped(node.text)}/" if node.text else ""
            case Chars():
                return f"/[{''.join(f'{_char(a)}-{_char(b)}' for a, b in node.ranges)}]/"
            case Seq():
                return _joined(map(self._terminal, node.parts))
            case Alt():
                return _either(map(self._terminal, node.choices))
            case Repeat():
                return _repeated(self._terminal(node.node), node)
            case Ref():
                return self._name(node.name, terminal=True)

    def _new_terminal(self, nodes: Sequence[Node]) -> str:
        body = self._terminal(Seq(tuple(nodes)))
        if not body:
            return ""
        name = f"T{len(self._lines)}"
        self._lines.append(f"{name}: {body}")
        return name

    # ── rules ─────────────────────────────────────────────────────────────────────────

    def _rule(self, node: Node) -> str:
        """What a rule is made of: terminals that a JSON lexer would find, and rules."""
        if self._is_whole(node):
            return self._new_terminal([node])
        match node:
            case Text():
                return self._cut([node])
            case Seq():
                return self._cut(node.parts)
            case Alt():
                whole = tuple(choice for choice in node.choices if self._is_whole(choice))
                choices = [self._new_terminal([Alt(whole)])] if whole else []
                rest = (choice for choice in node.choices if not self._is_whole(choice))
                return _either([*choices, *map(self._rule, rest)])
            case Repeat():
                return _repeated(self._rule(node.node), node)
            case Ref():
                return self._name(node.name, terminal=False)
        raise ValueError("a character that may be punctuation")

    def _is_whole(self, node: Node) -> bool:
        """Whether all its texts are strings, numbers or words, without punctuation."""
        match node:
            case Text():
                return self._is_whole(Seq((node,)))
            case Chars():
                return not any(
                    low <= mark <= high for low, high in node.ranges for mark in map(ord, _MARKS)
                )
            case Seq():
                quoted = False
                for part in node.parts:
                    if isinstance(part, Text):
                        pieces, quoted = _pieces(part.text, quoted=quoted)
                        if any(mark for _, mark in pieces):
                            return False
                    elif not quoted and not self._is_whole(part):
                        return False
                return not quoted
            case Alt():
                return all(map(self._is_whole, node.choices))
            case Repeat():
                return self._is_whole(node.node)
            case Ref():
                if node.name not in self._whole:
                    rule = self._grammar.rules[node.name]
                    self._whole[node.name] = node.name not in self._looped and self._is_whole(rule)
                return self._whole[node.name]

    def _cut(self, parts: Sequence[Node]) -> str:
        """A sequence, cut at its punctuation."""
        written: list[str] = []
        run: list[Node] = []  # of a string, a number or a word

        def end() -> None:
            written.append(self._new_terminal(run))
            run.clear()

        quoted = False
        for part in parts:
            if isinstance(part, Text):
                pieces, quoted = _pieces(part.text, quoted=quoted)
                for piece, mark in pieces:
                    if mark:
                        end()
                        written.append(self._new_terminal([Text(piece)]))
                    else:
                        run.append(Text(piece))
            elif quoted or self._is_whole(part):
                run.append(part)
            else:
                end()
                written.append(self._rule(part))
        if quoted:
            raise ValueError("a string that is in two parts of the grammar")
        end()
        return _joined(written)


# Outside of strings each of these is a terminal.
_MARKS = "{}[],: "
_PIECE = re.compile(r'[{}\[\],: ]|"|[^{}\[\],: "]+')
_IN_STRING = re.compile(r'(?:[^"\\]|\\.?)+|"', re.DOTALL)


def _pieces(text: str, *, quoted: bool = False) -> tuple[list[tuple[str, bool]], bool]:
    """A text cut at its punctuation: the pieces, each with whether it is punctuation, and whether
    the text ends within a string. `quoted`: it begins there."""
    pieces: list[tuple[str, bool]] = []
    at = 0
    while at < len(text):
        found = (_IN_STRING if quoted else _PIECE).match(text, at)
        assert found is not None
        pieces.append((found[0], not quoted and found[0] in _MARKS))
        quoted = quoted != (found[0] == '"')
        at = found.end()
    return pieces, quoted


def _regular(grammar: Grammar) -> list[str]:
    """The rules that lead to no rule that holds itself, each behind those that it refers to."""
    found: dict[str, None] = {}
    for name in inner_first(grammar.rules, list(grammar.rules)):
        if all(used in found for used in names_in(grammar.rules[name])):
            found[name] = None
    return list(found)


def _joined(parts: Iterable[str]) -> str:
    return " ".join(part for part in parts if part)


def _either(choices: Iterable[str]) -> str:
    choices = list(choices)
    full = " | ".join(choice for choice in choices if choice)
    if not full:
        return ""
    return f"({full})" if all(choices) else f"({full})?"


def _repeated(body: str, repeat: Repeat) -> str:
    if not body or repeat.most == 0:
        return ""
    if (repeat.least, repeat.most) == (1, 1):
        return body
    if repeat.most is None:
        count = {0: "*", 1: "+"}.get(repeat.least, f"{{{repeat.least},}}")
    else:
        count = (
            "?" if (repeat.least, repeat.most) == (0, 1) else f"{{{repeat.least},{repeat.most}}}"
        )
    return f"({body}){count}"


def _escaped(text: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else _char(ord(c)) for c in text)


def _char(code: int) -> str:
    return f"\\x{{{code:x}}}"
