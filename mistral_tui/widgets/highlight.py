"""Source code to styled lines, by Pygments."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from rich.style import Style

from mistral_tui.widgets.palette import Palette
from mistral_tui.widgets.wrap import Row

if TYPE_CHECKING:
    from pygments.lexer import Lexer

# Foreign code can be made to slow a lexer down; beyond these it is shown without colours.
MAX_CHARS = 100_000
MAX_LINE = 4_000
SECTION_CHARS = 3_000

# Languages whose lexers can start afresh at a line at the margin.
_SECTIONED = frozenset(
    {"python", "py", "python3", "javascript", "js", "jsx", "typescript", "ts", "tsx", "java"}
    | {"kotlin", "scala", "swift", "go", "golang", "rust", "rs", "c", "cpp", "c++", "csharp"}
    | {"cs", "zig"}
)
_BREAK = re.compile(r"\n[ \t]*\n(?=[^\s])")

_ROLES = {
    "Token.Keyword": "keyword",
    "Token.Keyword.Type": "type",
    "Token.Operator": "operator",
    "Token.Operator.Word": "keyword",
    "Token.Punctuation": "operator",
    "Token.Comment": "comment",
    "Token.Comment.Preproc": "decorator",
    "Token.Literal.String": "string",
    "Token.Literal.Number": "number",
    "Token.Literal": "string",
    "Token.Name.Function": "function",
    "Token.Name.Class": "type",
    "Token.Name.Namespace": "type",
    "Token.Name.Exception": "type",
    "Token.Name.Builtin": "builtin",
    "Token.Name.Decorator": "decorator",
    "Token.Name.Variable": "variable",
    "Token.Name.Attribute": "function",
    "Token.Name.Tag": "keyword",
    "Token.Name.Constant": "number",
    "Token.Generic.Inserted": "inserted",
    "Token.Generic.Deleted": "deleted",
    "Token.Generic.Heading": "heading",
    "Token.Generic.Subheading": "heading",
    "Token.Generic.Prompt": "comment",
}


@lru_cache(maxsize=64)
def _lexer(language: str) -> Lexer | None:
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    try:
        return get_lexer_by_name(language, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return None


@lru_cache(maxsize=1024)
def _role(token: Any) -> str:
    while token is not None:
        if (role := _ROLES.get(str(token))) is not None:
            return role
        token = token.parent
    return "text"


def sections(code: str, language: str) -> list[str]:
    """`code` in parts that can be coloured one by one; text added later changes only the last.

    A part ends, after enough lines, before a line that starts at the margin after an empty one,
    outside any string or comment that spans lines.
    """
    if language.lower() not in _SECTIONED or len(code) < SECTION_CHARS:
        return [code]
    parts: list[str] = []
    start = 0
    for match in _BREAK.finditer(code):
        part = code[start : match.end()]
        if len(part) >= SECTION_CHARS and _balanced(part):
            parts.append(part)
            start = match.end()
    return [*parts, code[start:]]


def _balanced(part: str) -> bool:
    return not any(part.count(mark) % 2 for mark in ('"""', "'''", "`")) and part.count(
        "/*"
    ) == part.count("*/")


def highlight(code: str, language: str, palette: Palette) -> list[Row]:
    """One row of spans for each line of `code`; plain where the language is not known."""
    if len(code) > MAX_CHARS:
        language = ""
    rows: list[Row] = [[]]
    *done, last = sections(code, language)
    for part in done:
        rows[-1:] = highlight_section(part, language, palette)
    rows[-1:] = _highlight(last, language, palette)
    return rows


@lru_cache(maxsize=128)
def highlight_section(part: str, language: str, palette: Palette) -> list[Row]:
    """`highlight` of a complete section, remembered: an open code block does it on its way."""
    return _highlight(part, language, palette)


def _highlight(code: str, language: str, palette: Palette) -> list[Row]:
    plain = palette.code["text"]
    lines = code.split("\n")
    uncoloured: list[Row] = [[(line, plain)] if line else [] for line in lines]
    lexer = _lexer(language.lower()) if language else None
    if lexer is None or max(map(len, lines)) > MAX_LINE:
        return uncoloured
    rows: list[Row] = [[]]
    for token, text in lexer.get_tokens(code):
        style: Style = palette.code[_role(token)]
        first, *rest = text.split("\n")
        if first:
            rows[-1].append((first, style))
        rows.extend([(line, style)] if line else [] for line in rest)
    return rows if len(rows) == len(lines) else uncoloured
