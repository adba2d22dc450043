"""Whether a line still belongs to the block in which a middle began: told by indentation, for
any language. Where it cannot be told, the block goes on."""

from __future__ import annotations

import re

_TAB = 8
_LOOKED_AT = 4096  # characters before the cursor, for what the language is like
_TOKEN = re.compile(
    r"\\."
    r'|(?P<quote>"""|\'\'\'|`)'
    r'|"(?:\\.|[^"\\])*"'
    r"|(?<![\w&<])[bBfFrRuU]{0,2}'(?!'')(?:\\.|[^'\\])*'"
    r"|(?<=[;{},(\[])\s*//.*|(?<=\s)(?:#|--)\s.*"  # a comment; `a // b` is a division
    r"|(?<!\S)<<<?[-~]?(?P<mark>[\"']?)(?P<here>[A-Z_]\w*)(?P=mark)"
    r"|(?P<open>[(\[{])|(?P<close>[)\]}])"
)
_COMMENT = re.compile(r"#(?:[\s#!]|$)|//|--\s|/\*|\*\s|<!--")  # a whole line of it
_COMMENT_ENDS = {"/*": "*/", "<!--": "-->"}
_BRACES = re.compile(r"(?:;|\)\s*\{)[ \t]*\r?$", re.M)
_LABEL = re.compile(r"(\w+)\s*:\s*")
_MAYBE_LABEL = re.compile(r"(\w+)\s*:?\s*")
_DIRECTIVE = re.compile(
    r"#(?:if|ifdef|ifndef|else|elif|elifdef|elifndef|endif|define|undef|include|pragma|error|"
    r"warning|line|region|endregion)\b"
)
_TEMPLATE = re.compile(r"(?:\{%|\{\{|<%)[-~+=]?\s*(\w+|/|\}|)")
_WORD = re.compile(r"\w*")
_DO = re.compile(r"[\s}]*do\b", re.I)
_COLON = re.compile(r":\s*(?:#.*|//.*)?$")
_BRANCHES = frozenset(
    (
        *("else", "elif", "elsif", "elseif", "except", "finally", "rescue", "ensure", "catch"),
        *("case", "default", "when", "endif", "endfor", "endforeach", "endwhile", "endswitch"),
        *("endfunction", "endmacro"),
    )
)
_CLOSING = frozenset(("then", "do", "end", "fi", "done", "esac", "until", "next", "wend"))
_GOES_ON = _BRANCHES | _CLOSING | {"while"}
_NO_CALLS = (_CLOSING - {"until"}) | {"default"}  # `end(…)` is a function


class Open:
    """What is open behind the lines read so far: a text over several lines, brackets.

    Args:
        quote: what ends the text that is open at the beginning; "": none is.
    """

    def __init__(self, quote: str = "") -> None:
        self.depth = 0  # of brackets
        self._quote = quote
        self._here = ""  # the word that ends a here document

    @property
    def text(self) -> bool:
        """Whether the next line begins inside a string, a here document or a comment."""
        return bool(self._quote or self._here)

    def line(self, line: str) -> None:
        """One more line."""
        if self._here:
            if re.match(rf"\s*{self._here}\b", line):
                self._here = ""
            return
        at = 0
        if not self._quote and (comment := _COMMENT.match(line.lstrip())):
            self._quote = _COMMENT_ENDS.get(comment[0], "")
            at = line.index(comment[0]) + len(comment[0]) if self._quote else len(line)
        while True:
            if self._quote:
                end = _unescaped(line, self._quote, at)
                if end < 0:
                    return
                at, self._quote = end + len(self._quote), ""
            token = _TOKEN.search(line, at)
            if token is None:
                return
            at = token.end()
            self._quote = token["quote"] or ""
            self._here = token["here"] or self._here
            if token["open"]:
                self.depth += 1
            elif token["close"] and self.depth:
                self.depth -= 1


def is_open(text: str) -> bool:
    """Whether a bracket or a string over several lines is open at the end of a text."""
    state = Open()
    for line in text.split("\n"):
        state.line(line)
    return state.depth > 0 or state.text


class Block:
    """The block around a cursor.

    Its lines are indented as the cursor's line, or more. Where that line opened a block, a line
    at its own column belongs to it only if it goes on with it: a closing bracket or tag, `{` behind
    an unfinished line, `else`, `end` and the like. Whatever stands in a bracket or a string that
    was opened in it belongs to it. Comments, labels and `#if` decide nothing: what follows does.
    An empty line of the cursor counts as indented like the first line that is written.

    Not known are here documents whose word is not in capitals, other languages' directives at
    the first column (make's `ifeq`), and a quote that opens a text only with the language known.

    Args:
        prefix: what stands before the cursor.
    """

    def __init__(self, prefix: str) -> None:
        before, _, self._cursor = prefix.rpartition("\n")
        self._base = indentation(self._cursor) if self._cursor else None
        self._may_open = bool(self._cursor.strip())
        self._opened: bool | None = None  # by the cursor's line; None: not known yet
        odd = (quote for quote in ('"""', "'''") if before.count(quote) % 2)
        self._open = Open(next(odd, ""))
        self._braces = bool(_BRACES.search(before[-_LOOKED_AT:]))
        self._opener = ""  # the whole line of the cursor
        self._last = ""  # the last line that is not empty
        self._number = 0
        self._undecided = False

    def goes_on(self, line: str, *, ended: bool = False) -> bool | None:
        """Whether the next line, as far as it came, belongs to the block; None: that depends on
        how it goes on, or on the line behind it."""
        text = line.strip()
        if not text or self._open.text:
            return None if self._undecided else True
        column = indentation(line)
        base = column if self._base is None else self._base
        if self._number == 0 or self._open.depth or column > base:
            return True
        if column == base and not (self._may_open and self._opened):
            return True
        text = line.lstrip()
        verdict = self._continues(text, ended) if column == base else self._begins(text, ended)
        if verdict is False and self._decides_nothing(text, ended):
            return None
        return verdict

    def end_line(self, line: str) -> bool | None:
        """The line has ended: as `goes_on`; None: what follows decides."""
        verdict = self.goes_on(line, ended=True)
        self._undecided = verdict is None
        text = line.strip()
        if text and self._base is None:
            self._base = indentation(line)
        if text and self._number and self._opened is None and not self._open.text:
            deeper = indentation(line) > (self._base or 0)
            nothing = self._decides_nothing(text, True) and not text.startswith("--")
            tells = not (self._open.depth or text[0] == "{" or nothing)
            if deeper or tells:
                self._opened = deeper
        whole = line if self._number else self._cursor + line
        self._open.line(whole)
        self._braces = self._braces or bool(_BRACES.search(whole))
        self._opener = self._opener if self._number else whole.strip()
        self._last = whole.strip() or self._last
        self._number += 1
        return verdict

    def _begins(self, text: str, ended: bool) -> bool | None:
        """Whether a line begins with the `{` of what the line before it left unfinished."""
        if text[0] != "{":
            return False
        if len(text) == 1 and not ended:
            return None
        return text[1:2] not in ("%", "{") and not self._last.endswith(("}", ";"))

    def _continues(self, text: str, ended: bool) -> bool | None:
        """Whether a line at the column of a block's opener goes on with it."""
        if text[0] in ")]}>" or text.startswith(("</", "/>")):
            return True
        if text in ("<", "/", "{") and not ended:
            return None
        if template := _TEMPLATE.match(text):
            if template.end() == len(text) and not ended:
                return None
            word = template[1]
            return word in ("/", "}") or word in _BRANCHES or word.startswith("end")
        return self._begins(text, ended) if text[0] == "{" else self._branches(text, ended)

    def _branches(self, text: str, ended: bool) -> bool | None:
        match = _WORD.match(text)
        word = match[0].casefold() if match else ""
        rest = text[len(word) :].lstrip()
        if not ended and (not rest or rest == "="):
            whole = len(word) < len(text)
            may = word in _GOES_ON if whole else any(one.startswith(word) for one in _GOES_ON)
            return None if may and word else False
        if word not in _GOES_ON or (rest.startswith("=") and not rest.startswith("=>")):
            return False
        if word == "while":
            return _DO.match(self._opener) is not None
        if word in _NO_CALLS and rest.startswith("("):
            return False
        if word in _BRANCHES:
            return not rest.startswith((".", ","))
        return not _COLON.search(self._opener)  # in Python, `end` is a name

    def _decides_nothing(self, text: str, ended: bool) -> bool:
        """Whether a line is, or may become, one whose column tells nothing."""
        for mark in ("//", "--", "/*", "<!--"):
            if text.startswith(mark) or (not ended and mark.startswith(text)):
                return True
        if text[0] == "#":
            bare = not ended and re.fullmatch(r"#\w*", text)
            return bool(_COMMENT.match(text) or _DIRECTIVE.match(text) or bare)
        label = (_LABEL if ended else _MAYBE_LABEL).fullmatch(text)
        return self._braces and label is not None and label[1].casefold() not in _GOES_ON


def indentation(line: str) -> int:
    """The column of the first character that is no space; tabs go to the next multiple of 8."""
    column = 0
    for char in line:
        if char == "\t":
            column += _TAB - column % _TAB
        elif char.isspace():
            column += 1
        else:
            break
    return column


def _unescaped(line: str, mark: str, at: int) -> int:
    """Where a mark stands that has no backslash before it; -1: nowhere."""
    while (at := line.find(mark, at)) > 0 and line[at - 1] == "\\":
        at += 1
    return at
