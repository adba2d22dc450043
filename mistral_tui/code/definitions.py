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
from typing import Literal, NamedTuple

Style = Literal["hash", "rust", "c"]
"""How comments and strings look: as in Python, Rust, or C, Go and JavaScript."""

_STYLES: dict[str, Style] = {
    **dict.fromkeys(("python", "py", "python3", "pyi", "ruby", "rb", "sh", "bash", "zsh", "shell",
                     "yaml", "yml", "toml", "r", "perl", "elixir", "makefile", "gdscript",
                     "nim", "julia", "cmake", "dockerfile"), "hash"),
    **dict.fromkeys(("rust", "rs"), "rust"),
    **dict.fromkeys(("c", "h", "cpp", "c++", "cc", "hpp", "cs", "csharp", "go", "golang", "java",
                     "javascript", "js", "jsx", "typescript", "ts", "tsx", "kotlin", "kt",
                     "swift", "scala", "php", "css", "json", "dart", "zig"), "c"),
}  # fmt: skip
_HASH = re.compile(r"^[ \t]*(?:async[ \t]+)?(?:def|class)[ \t]+\w.*:[ \t]*(?:#.*)?$", re.M)
_RUST = re.compile(r"^[ \t]*(?:pub(?:\([\w: ]+\))?[ \t]+)?(?:fn[ \t]+\w|impl\b)", re.M)

_STRING, _IN_STRING = "\1", "\2"
_BLOCK = r"/\*(?:[^*]|\*(?!/))*(?:\*/|\Z)"
_DOUBLE, _SINGLE = r'"(?:[^"\\\n]|\\.)*"?', r"'(?:[^'\\\n]|\\.)*'?"
_TOKENS: dict[Style, re.Pattern[str]] = {
    "hash": re.compile(
        r"(?P<comment>\#[^\n]*)"
        r'|"""(?:[^"\\]|\\.|"(?!""))*(?:"""|\Z)' r"|'''(?:[^'\\]|\\.|'(?!''))*(?:'''|\Z)"
        rf"|{_DOUBLE}|{_SINGLE}", re.S),
    "rust": re.compile(
        rf"(?P<comment>//[^\n]*|{_BLOCK})"
        r'|r(?P<hashes>\#*)"(?:[^"]|"(?!(?P=hashes)))*(?:"(?P=hashes)|\Z)'
        r'|"(?:[^"\\]|\\.)*(?:"|\Z)' r"|'(?:[^'\\\n]|\\[^\n]{1,10}?)'", re.S),
    "c": re.compile(
        rf"(?P<comment>//[^\n]*|{_BLOCK})|`(?:[^`\\]|\\.)*(?:`|\Z)|{_DOUBLE}|{_SINGLE}", re.S),
}  # fmt: skip

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
_CALLABLE = re.compile(r"(?P<before>[\w\s*&:<>,\[\]~@]*?)(?P<name>[~#]?\w[\w$]*(?:::~?\w+)*)\s*\(")
_BARE_CALL = re.compile(r"\s*\*?\w+\s*\(")
_TYPE = re.compile(r"\s*(?!(?:else|do)\b)(?:[a-z_]\w*[\s*]+)*[a-z_]\w*[\s*]*")
_NO_NAME = re.compile(
    r"(?:if|for|while|switch|return|else|do|catch|with|throw|new|delete|await|yield|assert|print"
    r"|elif|except|case|sizeof|and|or|not|in|let|const|var|function|func|fn|go|defer|typeof|when"
    r"|match|unless|until|using|lock|foreach|super|this|synchronized|try|goto|throws|select)\Z"
)
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
GAP = re.compile(
    r"\s*(?:\#+|//+|--|/\*+|<!--|;+|%)\s*[(\[{<]?\s*(?:"
    r"(?:\.{3}|…).*"
    r"|.*(?:\.{3}|…)\s*[)\]}>]?"
    r"|(?:the )?(?:rest|remainder|remaining|existing)\b.*\b(?:code|same|unchanged|as before"
    r"|methods?|functions?|implementation|stays?|remains?|file|class|logic|body)\b.*"
    r"|(?:same as before|unchanged|no changes?|as before|existing code)\b.*"
    r")(?:\*/|-->)?\s*"
    r"|\s*[{<(\[]?\s*…\s*[)\]}>]?\s*",
    re.I,
)
"""A line that stands for lines which were left out."""


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


def style_of(language: str, *texts: str) -> Style:
    """How to read these texts; where the language is not known, by how they look."""
    known = _STYLES.get(language.lower())
    if known is not None:
        return known
    if any(_HASH.search(text) for text in texts):
        return "hash"
    return "rust" if any(_RUST.search(text) for text in texts) else "c"


def indent(line: str) -> str:
    """The white space that a line begins with."""
    return line[: len(line) - len(line.lstrip())]


def _depth(line: str) -> int:
    return len(indent(line).expandtabs(4))


def is_gap(line: str) -> bool:
    """Whether a line stands for others that were left out. A bare `...` is not told here."""
    return len(line) < 300 and GAP.fullmatch(line) is not None


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
            comment = match["comment"] is not None
            return re.sub(r"[^\n]", " " if comment else _STRING, match[0])

        self.code = _TOKENS[style].sub(mask, text).split("\n")
        """The lines without comments, and without what is in strings."""
        self.depth = [0]
        """How many brackets are open before each line."""
        for line in self.code:
            opened = sum(map(line.count, "([{"))
            self.depth.append(self.depth[-1] + opened - sum(map(line.count, ")]}")))

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
        if self.style == "c" and (match := _CALLABLE.match(line)):
            words = match["before"].split()
            if _NO_NAME.match(match["name"]) or (words and _NO_NAME.match(words[0])):
                return None
            if self._has_body(at, match.end() - 1):
                return Key("function", match["name"]), "function"
        return None

    def _named(self, match: re.Match[str], at: int) -> tuple[Key, str] | None:
        kind, name, rest = (
            match["kind"].split()[0].rstrip("*!"),
            match["name"].rstrip(":"),
            match["rest"],
        )
        if kind in ("struct", "enum", "union", "class") and self.style == "c":
            call = _CALLABLE.match(rest)
            if call and "{" not in rest[: call.end()] and "=" not in rest[: call.end()]:
                if not self._has_body(at, match.start("rest") + call.end() - 1):
                    return None
                return Key("function", call["name"]), "function"
            if not re.match(r"\s*(?:[{:<(]|extends\b|implements\b|final\b|$)", rest):
                return None  # a variable of that type, or a declaration only
        if kind in ("def", "fn", "func", "function", "fun", "sub", "macro_rules"):
            receiver = re.findall(r"\w+", match["receiver"] or "")
            of = f"{receiver[-1] if len(receiver) < 3 else receiver[1]}." if receiver else ""
            return Key("function", of + name), "function"
        if kind in ("mod", "module", "namespace"):
            return Key("module", name), kind
        if kind == "type" and self.style == "hash":
            return None
        return Key("type", name), kind

    def _has_body(self, at: int, column: int) -> bool:
        """Whether what begins with a bracket there goes on with a body in braces."""
        text = "\n".join([self.code[at][column:], *self.code[at + 1 : at + 40]])
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
            return self._suite(at, self._header_end(at))
        return self._braces(at)

    def _header_end(self, at: int) -> int:
        for line in range(at, len(self.lines)):
            if self.depth[line + 1] <= self.depth[at] and not self.inside[line + 1]:
                return line + 1
        return at + 1

    def _suite(self, at: int, begin: int) -> int:
        """The end of what is indented more than a line, from `begin` on."""
        last = begin
        for line in range(begin, len(self.lines)):
            if self.inside[line] or self.depth[line] > self.depth[at]:
                last = line + 1
            elif not self.lines[line].strip():
                continue
            elif _depth(self.lines[line]) > _depth(self.lines[at]):
                last = line + 1
            elif _depth(self.lines[line]) < _depth(self.lines[at]) and self.code[line].strip():
                break
            elif _CLOSING.match(self.code[line]):
                return line + 1
            elif _ELSE.match(self.code[line]) and _depth(self.lines[line]) == _depth(
                self.lines[at]
            ):
                last = line + 1
            elif self.code[line].strip():
                break
        return last

    def _braces(self, at: int) -> int:
        base, body = self.depth[at], False
        for line in range(at, len(self.lines)):
            code = self.code[line].rstrip()
            body = body or "{" in code
            if self.depth[line + 1] > base or self.inside[line + 1]:
                continue
            if self.lines[line].endswith("\\"):  # a macro goes on
                continue
            if self.depth[line + 1] < base:  # what is around it closes
                return max(line, at + 1)
            if body or code.endswith(";") or (line == at and code.endswith(",")):
                return line + 1
            after = self._next(line + 1)
            if after is None:
                return line + 1
            more = self.code[after].lstrip()
            if _CLOSING.match(more) and _depth(self.lines[after]) == _depth(self.lines[at]):
                return after + 1
            deeper = _depth(self.lines[after]) > _depth(self.lines[at])
            if not deeper and not more.startswith(_MORE_HEADER):
                return line + 1
        return self._suite(at, at + 1)  # the brackets do not close

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
            if not mark or is_gap(line):
                break
            at = above
        return at

    # ── definitions ─────────────────────────────────────────────────────────────────

    def definition(self, at: int, least: int = 0) -> Definition | None:
        """The one whose header is in a line."""
        found = self.header(at)
        if found is None:
            return None
        start = at
        if self.style == "c" and at > least and _BARE_CALL.match(self.code[at]):
            start -= _TYPE.fullmatch(self.code[at - 1]) is not None  # in C it may stand above
        return Definition(*found, self.attached(start, least), start, self.end(at))

    @cached_property
    def places(self) -> dict[Key, list[int]]:
        """The lines of the headers of all definitions, nested ones too."""
        places: dict[Key, list[int]] = {}
        for at in range(len(self.lines)):
            if (found := self.header(at)) is not None:
                places.setdefault(found[0], []).append(at)
        return places

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
