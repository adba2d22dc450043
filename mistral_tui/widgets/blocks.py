"""Lays out Markdown blocks as rows of styled text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from markdown_it.token import Token
from rich.style import Style

from mistral_tui.sanitize import one_line
from mistral_tui.widgets.highlight import highlight
from mistral_tui.widgets.inline import MAX_NESTING, PARSER, inline
from mistral_tui.widgets.palette import Palette
from mistral_tui.widgets.tables import Cell, lay_out_table
from mistral_tui.widgets.wrap import Row, chop, row_width, width_of, wrap

BULLETS = "•◦▪"
MIN_WIDTH = 12
"""Nothing is indented further once this few cells are left."""
_TASK = re.compile(r"\[([ xX])\]\s+")
_PLAIN = Style()


def parse(text: str) -> list[list[Token]]:
    """The top-level blocks of `text`, each as its tokens; `map` counts lines of `text`."""
    blocks: list[list[Token]] = []
    depth = 0
    for token in PARSER.parse(text):
        if depth == 0:
            blocks.append([])
        blocks[-1].append(token)
        depth += token.nesting
    if any(token.level >= MAX_NESTING - 2 for tokens in blocks for token in tokens):
        return [_literal(text, tokens) for tokens in blocks]
    return blocks


def _literal(text: str, tokens: list[Token]) -> list[Token]:
    """The block as it was written, if it is nested so deeply that the parser drops text."""
    if all(token.level < MAX_NESTING - 2 for token in tokens):
        return tokens
    begin, end = tokens[0].map or (0, 0)
    source = "\n".join(text.split("\n")[begin:end]).rstrip("\n")
    return [Token("literal", "", 0, content=source, map=[begin, end])]


def language_of(info: str) -> str:
    """The language a fence names, fit to be shown."""
    words = one_line(info, 40).split(maxsplit=1)
    return words[0].strip("{}.,:") if words else ""


def code_blocks(text: str) -> list[tuple[str, str]]:
    """(language, code) of every code block in `text`, nested ones included."""
    return [
        (language_of(token.info), token.content.removesuffix("\n"))
        for token in PARSER.parse(text)
        if token.type in ("fence", "code_block")
    ]


class Layout:
    """Renders blocks in the styles of a palette."""

    def __init__(self, palette: Palette) -> None:
        self.palette = palette

    def block(self, tokens: Sequence[Token], width: int, *, number: int | None = None) -> list[Row]:
        """The rows of one block; `number` overrides where an ordered list starts."""
        return self._block(tokens, width, _PLAIN, 0, number)

    def _block(
        self, tokens: Sequence[Token], width: int, base: Style, depth: int, number: int | None
    ) -> list[Row]:
        head = tokens[0]
        match head.type:
            case "heading_open":
                return self._heading(int(head.tag[1]), tokens[1].content, width)
            case "paragraph_open":
                return wrap(inline(tokens[1].content, self.palette, base), width)
            case "fence" | "code_block":
                return self.code(head.content.removesuffix("\n"), language_of(head.info), width)
            case "bullet_list_open" | "ordered_list_open":
                return self._list(tokens, width, base, depth, number)
            case "blockquote_open":
                quote = base + self.palette.chat["quote"]
                if width - 2 < MIN_WIDTH:
                    return self._blocks(tokens[1:-1], width, quote, depth)
                rows = self._blocks(tokens[1:-1], width - 2, quote, depth)
                return [[("▎ ", self.palette.bar), *row] for row in rows]
            case "table_open":
                return self._table(tokens, width, base)
            case "hr":
                return [[("─" * width, self.palette.bar)]]
        return wrap([(token.content, base) for token in tokens if token.content], width)

    def _blocks(self, tokens: Sequence[Token], width: int, base: Style, depth: int) -> list[Row]:
        rows: list[Row] = []
        previous = ""
        for block in _children(tokens):
            if rows and gap_after(previous):
                rows.append([])
            rows.extend(self._block(block, width, base, depth, None))
            previous = block[0].type
        return rows

    def _heading(self, level: int, content: str, width: int) -> list[Row]:
        color = self.palette.chat["heading" if level <= 2 else "subheading"]
        style = color + Style(bold=True, italic=True if level > 3 else None)
        rows = wrap(inline(content, self.palette, style), width)
        if level == 1:
            longest = max(map(row_width, rows), default=0)
            rows.append([("━" * max(1, longest), self.palette.bar)])
        return rows

    def code(self, code: str, language: str, width: int) -> list[Row]:
        """A panel: the language, then the code, long lines cut to the width."""
        rows = self.code_label(language, width)
        for line in highlight(code.expandtabs(4), language, self.palette):
            rows.extend(self.code_line(line, width))
        return rows

    def code_label(self, language: str, width: int) -> list[Row]:
        """The first row of a code block; a long name is cut to the width."""
        label = f" {language}" if language else ""
        cut = chop([(label, self.palette.label)], width)[0] if label else []
        return [[*cut, (" " * (width - row_width(cut)), self.palette.pad)]]

    def code_line(self, line: Row, width: int) -> list[Row]:
        """One line of code on its panel."""
        pad = self.palette.pad
        rows: list[Row] = []
        for row in chop(line, width - 2):
            fill = max(0, width - 1 - row_width(row))
            rows.append([(" ", pad), *row, (" " * fill, pad)])
        return rows

    def _list(
        self, tokens: Sequence[Token], width: int, base: Style, depth: int, number: int | None
    ) -> list[Row]:
        items = list(_children(tokens[1:-1]))
        ordered = tokens[0].type == "ordered_list_open"
        first = int(tokens[0].attrs.get("start", 1)) if number is None else number
        indent = len(f"{first + len(items) - 1}. ") if ordered else 2
        tight = all(t.hidden for item in items for t in _paragraphs(item))
        rows: list[Row] = []
        for index, item in enumerate(items):
            mark = f"{first + index}." if ordered else BULLETS[depth % len(BULLETS)]
            if not ordered and (task := _task(item)):
                mark = task
            if rows and not tight:
                rows.append([])
            rows.extend(self._item(item, mark.rjust(indent - 1), width, base, depth, tight))
        return rows

    def _item(
        self,
        item: Sequence[Token],
        mark: str,
        width: int,
        base: Style,
        depth: int,
        tight: bool,
    ) -> list[Row]:
        indent = width_of(mark) + 1
        inner = width - indent if width - indent >= MIN_WIDTH else width
        body: list[Row] = []
        previous = ""
        for block in _children(item[1:-1]):
            kind = block[0].type
            # A tight item keeps text and sublist together; code always gets its air.
            dense = tight and {kind, previous} <= {
                "paragraph_open",
                "bullet_list_open",
                "ordered_list_open",
            }
            if body and gap_after(previous) and not dense:
                body.append([])
            body.extend(self._block(block, inner, base, depth + 1, None))
            previous = kind
        marker: Row = [(mark, self.palette.chat["marker"]), (" ", base)]
        if inner == width:
            return [marker, *body]
        hang: Row = [(" " * indent, base)]
        first = body[0] if body else []
        return [marker + first, *((hang + row) if row else [] for row in body[1:])]

    def _table(self, tokens: Sequence[Token], width: int, base: Style) -> list[Row]:
        rows: list[list[Cell]] = []
        for token, content in pairwise(tokens):
            if token.type == "tr_open":
                rows.append([])
            elif token.type in ("th_open", "td_open"):
                align = str(token.attrs.get("style", "")).removeprefix("text-align:")
                style = base + Style(bold=True) if token.type == "th_open" else base
                spans = inline(content.content, self.palette, style, cell=True)
                rows[-1].append(Cell(spans, align))
        return lay_out_table(rows, width, self.palette)


def gap_after(kind: str) -> bool:
    """Whether an empty row follows a block of this type; a heading stays with its text."""
    return kind != "heading_open"


def _children(tokens: Sequence[Token]) -> Iterator[Sequence[Token]]:
    depth = start = 0
    for index, token in enumerate(tokens):
        depth += token.nesting
        if depth == 0:
            yield tokens[start : index + 1]
            start = index + 1


def _paragraphs(item: Sequence[Token]) -> Iterator[Token]:
    """The paragraphs that belong to the item itself, not to a list inside it."""
    level = item[0].level + 1
    return (t for t in item if t.type == "paragraph_open" and t.level == level)


def _task(item: Sequence[Token]) -> str:
    """The box of a task item, taken out of its text."""
    if len(item) > 2 and item[1].type == "paragraph_open":
        content = item[2].content
        if match := _TASK.match(content):
            item[2].content = content[match.end() :]
            return "☐" if match[1] == " " else "☑"
    return ""
