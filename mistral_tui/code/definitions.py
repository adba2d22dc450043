"""Where functions, types and the like begin and end in a text, whatever the language.

No parser: headers are told by their words, ends by brackets, and by indentation where there are
none. Strings and comments are masked first.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

from mistral_tui.code.styles import STRING, TOKENS, Style

_MODIFIERS = (
    r"(?:(?:export|default|pub(?:\([\w: ]+\))?|public|private|protected|internal|static|final"
    r"|abstract|async|unsafe|extern|const|inline|virtual|override|sealed|partial|declare|open"
    r"|data|suspend|constexpr|explicit|friend|local|\x01+)\s+)*"
)
_NAME = r"[^\W\d][\w$]*(?:(?:::|[.:])~?[\w$]+)*[?!]?"
_NAMED = re.compile(
    rf"\s*{_MODIFIERS}(?P<kind>def|class|fn|func|function\b\s*\*?|fun|sub|struct|enum(?:\s+class)?"
    r"|trait|union|interface|protocol|record|type|mod|module|namespace|macro_rules!)\s+"
    rf"(?:\((?P<receiver>[^)]*)\)\s*)?(?P<name>{_NAME})(?P<rest>.*)"
)
_IMPL = re.compile(r"\s*(?:unsafe\s+)?impl\b(?P<rest>.*)")
_TYPEDEF = re.compile(r"\s*typedef\s+(?:struct|enum|union)\b\s*\w*\s*(?:\{|$)")
_GUARD = re.compile(r"if\s+__name__\s*==")
_ARROW = re.compile(
    r"\s*(?:export\s+)?(?:default\s+)?(?:const|let|var)\s+(?P<name>[\w$]+)\s*(?::[^=]+)?="
    r"\s*(?:async\s*)?(?:function\b|\(|[\w$]+\s*=>)"
)
_VARIABLE = re.compile(
    r"\s*(?:(?:export|pub|static|final|public|private)\s+)*(?:const|let|var|val|static)\s+"
    r"(?:mut\s+)?(?:[\w:<>]+[\s*&]+)??(?P<name>[\w$]+)\s*(?:\[[^\]]*\]\s*)?(?::[^=]+)?=(?!=)"
    r"|(?P<constant>[A-Z][A-Z0-9_]+)\s*(?::[^=]+)?=(?!=)|\s*#\s*define\s+(?P<macro>\w+)"
)
_BEFORE_CALL = re.compile(r"[\w\s*&:<>,\[\]~@]*")
_EMAN_LLAC = re.compile(r"[\w$]+(?:~?::[\w$]+)*[~#]?")  # a name before its bracket, read backwards
_BARE_CALL = re.compile(r"\s*\*?\w+\s*\(")
_TYPE = re.compile(r"\s*(?!(?:else|do)\b)(?:[a-z_]\w*[\s*]+)*[a-z_]\w*[\s*]*")
_STATEMENT = re.compile(
    r"(?:if|for|while|switch|return|else|do|catch|new|await|yield|elif|except|case|sizeof|and|or"
    r"|not|in|function|func|fn|go|defer|typeof|foreach|synchronized|try|goto|throw)\Z"
)
_MAYBE_STATEMENT = re.compile(r"(?:lock|match|select|unless|until|using|when|with)\Z")
"""A statement with a space before the bracket, `when (x) {`; a method without one."""
_MORE_HEADER = (
    "{",
    "where",
    "throws",
    "->",
    ":",
    "extends",
    "implements",
    "=",
    ".",
    "?",
    "noexcept",
)
_LONGEST = 1000  # characters of a header line
_CLOSING = re.compile(r"\s*end\b[\s;,)]*$")
_ELSE = re.compile(r"\s*(?:else|elif|except|finally|rescue|ensure|catch)\b")
GAP = "\0"
"""Ends a line that stands for others which were left out; `eliding.marked` puts it there."""
_SETS = re.compile(r"\s*@([\w.]+\.(?:setter|deleter|getter))\b")


class Key(NamedTuple):
    """What tells a definition from others: its group (`function`, `type`, `impl`, `module`,
    `variable`, `guard`) and its name."""

    group: str
    name: str


@dataclass(frozen=True, slots=True)
class Definition:
    """Lines from 0: what is attached above it (comments, decorators) begins at `first`, its header
    at `start`; `end` is behind its last line. `kind` is the word for it."""

    key: Key
    kind: str
    first: int
    start: int
    end: int


def indent(line: str) -> str:
    """The white space that a line begins with."""
    return line[: len(line) - len(line.lstrip())]


def _depth(line: str) -> int:
    return len(indent(line).expandtabs(4))


def is_gap(line: str) -> bool:
    """Whether a line stands for others that were left out."""
    return line.endswith(GAP)


def _call(code: str) -> tuple[str, str, int] | None:
    """What `void f (int x) {` calls: the words before the name, the name, where its bracket is."""
    column = code.find("(")
    head = code[:column].rstrip() if column > 0 else ""
    match = _EMAN_LLAC.match(head[::-1])
    if match is None or head[-match.end()].isdigit():
        return None
    before, name = head[: -match.end()], head[-match.end() :]
    return (before, name, column) if _BEFORE_CALL.fullmatch(before) else None


class Outline:
    """The lines of a text and the definitions in them."""

    def __init__(self, lines: Sequence[str], style: Style) -> None:
        self.lines, self.style = lines, style
        text = "\n".join(lines)
        starts = [0, *accumulate(len(line) + 1 for line in lines)]
        self.inside = [False] * (len(lines) + 1)
        """Whether a line begins within a string or a comment."""

        def mask(match: re.Match[str]) -> str:
            first = bisect_right(starts, match.start())
            last = bisect_right(starts, match.end() - 1)
            self.inside[first:last] = [True] * (last - first)
            char = STRING if match["comment"] is None else " "
            return "\n".join(char * len(part) for part in match[0].split("\n"))

        self.code = TOKENS[style].sub(mask, text).split("\n")
        """The lines without comments, and without what is in strings."""
        self.depth = [0]
        """How many brackets are open before each line."""
        for line in self.code:
            opened = sum(map(line.count, "([{"))
            self.depth.append(self.depth[-1] + opened - sum(map(line.count, ")]}")))
        self._braced = [0, *accumulate("{" in line for line in self.code)]
        self._less = [len(lines) + 1] * (len(lines) + 1)
        """The next line, behind each, before which fewer brackets are open."""
        waiting: list[int] = []
        for at, depth in enumerate(self.depth):
            while waiting and self.depth[waiting[-1]] > depth:
                self._less[waiting.pop()] = at
            waiting.append(at)

    # ── headers ─────────────────────────────────────────────────────────────────────

    def header(self, at: int) -> tuple[Key, str] | None:
        """Which definition begins in a line, and the word for it."""
        line = self.code[at]
        if self.inside[at] or not line.strip() or len(line) > _LONGEST:
            return None
        if match := _NAMED.match(line):
            return self._named(match, at)
        if self.style == "rust" and (match := _IMPL.match(line)):
            name = _without_generics(match["rest"].partition("{")[0].partition(" where")[0])
            return Key("impl", name), "impl"
        if _TYPEDEF.match(line):
            words = re.findall(r"\w+", self.code[self.end(at) - 1])
            return (Key("type", words[-1]), "type") if words else None
        if _GUARD.match(self.lines[at]):
            return Key("guard", "__main__"), "main part"
        if self.style == "c" and (match := _ARROW.match(line)):
            return Key("function", match["name"]), "function"
        if match := _VARIABLE.match(line):
            name = match["name"] or match["constant"] or match["macro"]
            return Key("variable", name), "line of"
        if self.style == "c" and (call := _call(line)):
            before, name, column = call
            words = before.split()
            statement = _STATEMENT.match(name) or (words and _STATEMENT.match(words[0]))
            if not words and line[column - 1] == " " and _MAYBE_STATEMENT.match(name):
                return None
            if not statement and self._has_body(at, column):
                of = f"{words[-1]} " if words and words[-1] in ("get", "set") else ""
                return Key("function", of + name), "function"
        return None

    def _named(self, match: re.Match[str], at: int) -> tuple[Key, str] | None:
        kind, name, rest = (
            match["kind"].split()[0].rstrip("*!"),
            match["name"].rstrip(":"),
            match["rest"],
        )
        if kind in ("struct", "enum", "union", "class") and self.style == "c":
            call = _call(rest)
            if call and "{" not in rest[: call[2]] and "=" not in rest[: call[2]]:
                if not self._has_body(at, match.start("rest") + call[2]):
                    return None
                return Key("function", call[1]), "function"
            if not re.match(r"\s*(?:[{:<(]|extends\b|implements\b|final\b|$)", rest):
                return None  # a variable of that type, or a declaration only
        if kind in ("def", "fn", "func", "function", "fun", "sub", "macro_rules"):
            receiver = re.findall(r"\w+", match["receiver"] or "")
            of = f"{receiver[-1] if len(receiver) < 3 else receiver[1]}." if receiver else ""
            if at and self.style == "hash" and (sets := _SETS.match(self.lines[at - 1])):
                return Key("function", sets[1]), "function"
            return Key("function", of + name), "function"
        if kind in ("mod", "module", "namespace"):
            return Key("module", name), kind
        if kind == "type" and self.style == "hash":
            return None
        return Key("type", name), kind

    def _has_body(self, at: int, column: int) -> bool:
        """Whether what begins with a bracket there goes on with a body in braces."""
        more = (line[:_LONGEST] for line in self.code[at + 1 : at + 40])
        text = "\n".join([self.code[at][column:], *more])
        depth = 0
        for match in re.finditer(r"[()]", text):
            depth += 1 if match[0] == "(" else -1
            if depth == 0:
                after = re.match(r"\s*:(?!:)[^{};]*\{|[^(){};=\n]*\s*\{", text[match.end() :])
                return after is not None
        return False

    # ── ends ────────────────────────────────────────────────────────────────────────

    def end(self, at: int) -> int:
        """The line behind what begins in a line: a definition, or a statement with its body."""
        if self.style == "hash":
            return self._suite(at, self.header_end(at))
        return self._braces(at)

    def _past(self, line: int, depth: int) -> int:
        """The first line from one on before which at most `depth` brackets are open."""
        while line <= len(self.lines) and self.depth[line] > depth:
            line = self._less[line]
        return line

    def header_end(self, at: int) -> int:
        """The line behind one and what its brackets hold."""
        line = self._past(at + 1, self.depth[at])
        while line < len(self.lines) and self.inside[line]:
            line = self._past(line + 1, self.depth[at])
        return line if line <= len(self.lines) else at + 1

    def _suite(self, at: int, begin: int) -> int:
        """The end of what is indented more than a line, from `begin` on."""
        last, line, width = begin, begin, _depth(self.lines[at])
        while line < len(self.lines):
            here = line
            line += 1
            if self.depth[here] > self.depth[at]:
                line = last = min(self._past(here, self.depth[at]), len(self.lines))
            elif self.inside[here]:
                last = line
            elif not self.lines[here].strip():
                continue
            elif (other := _depth(self.lines[here])) > width:
                last = line
            elif other < width and self.code[here].strip():
                break
            elif _CLOSING.match(self.code[here]):
                return line
            elif _ELSE.match(self.code[here]) and other == width:
                last = line
            elif self.code[here].strip():
                break
        return last

    def _braces(self, at: int) -> int:
        base, line = self.depth[at], at
        while True:
            line = self._past(line + 1, base)
            if line >= len(self.lines):
                closed = line == len(self.lines) and self.depth[line] < base
                return max(line - 1, at + 1) if closed else len(self.lines)
            if self.inside[line] or self.lines[line - 1].endswith("\\"):  # a macro goes on
                continue
            if self.depth[line] < base:  # what is around it closes
                return max(line - 1, at + 1)
            code = self.code[line - 1].rstrip()
            body = self._braced[line] > self._braced[at]
            if body or code.endswith(";") or (line == at + 1 and code.endswith(",")):
                return line
            after = self._next(line)
            if after is None:
                return line
            more = self.code[after].lstrip()
            deeper = _depth(self.lines[after]) - _depth(self.lines[at])
            if _CLOSING.match(more) and deeper == 0:
                return after + 1
            if deeper <= 0 and not more.startswith(_MORE_HEADER):
                return line

    def _next(self, line: int) -> int | None:
        return next((at for at in range(line, len(self.code)) if self.code[at].strip()), None)

    def attached(self, at: int, least: int = 0) -> int:
        """Where the comments and decorators right above a header begin, not before `least`."""
        while at > least:
            above = at - 1
            while above > least and (self.inside[above] or self.depth[above] > self.depth[at]):
                above -= 1
            line = self.lines[above].strip()
            mark = line.startswith(("@", "#[", "//", "/*", "template"))
            mark = mark or (self.style == "hash" and line.startswith("#") and line[:2] != "#!")
            if not mark or is_gap(line) or self.header(above) is not None:
                break
            at = above
        return at

    # ── definitions ─────────────────────────────────────────────────────────────────

    def definition(self, at: int, least: int = 0) -> Definition | None:
        """The one whose header is in a line."""
        found = self.header(at)
        if found is None:
            return None
        start = at - (at > least and self.typed(at))
        return Definition(*found, self.attached(start, least), start, self.end(at))

    def typed(self, at: int) -> bool:
        """Whether the type of a function stands above its name, as in C."""
        bare = self.style == "c" and at > 0 and _BARE_CALL.match(self.code[at])
        return bool(bare) and _TYPE.fullmatch(self.code[at - 1]) is not None

    @cached_property
    def places(self) -> dict[Key, list[int]]:
        """The lines of the headers of all definitions, nested ones too."""
        places: dict[Key, list[int]] = {}
        for at in range(len(self.lines)):
            if (found := self.header(at)) is not None:
                places.setdefault(found[0], []).append(at)
        return places

    @cached_property
    def known(self) -> dict[str, list[int]]:
        """Where the lines are, by what they are without the space around them."""
        known: dict[str, list[int]] = {}
        for at, line in enumerate(self.lines):
            known.setdefault(line.strip(), []).append(at)
        return known

    @cached_property
    def heads(self) -> list[int]:
        """The lines of the headers that are not indented, but those of variables."""
        return sorted(
            at for key, places in self.places.items() if key.group != "variable"
            for at in places if not self.lines[at][:1].isspace()
        )  # fmt: skip

    def children(self, begin: int, end: int, groups: Iterable[str] = ()) -> list[Definition]:
        """The definitions between two lines that are not within each other."""
        found: list[Definition] = []
        at = least = begin
        while at < end:
            here = self.definition(at, least)
            if here is None or (groups and here.key.group not in groups):
                at += 1
                continue
            found.append(here)
            at = least = max(at + 1, min(here.end, end))
        return found


def _without_generics(text: str) -> str:
    """`<T: Into<X>> Trait for Y<T>` → `Trait for Y`."""
    kept, depth = [], 0
    for char in text.replace("->", ""):
        depth += char == "<"
        if not depth:
            kept.append(char)
        depth -= char == ">"
    return " ".join("".join(kept).split())
