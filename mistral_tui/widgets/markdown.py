"""A Markdown text that grows: finished blocks stay as strips, only the end is laid out again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from markdown_it.token import Token
from rich.style import Style
from textual.strip import Strip

from mistral_tui.widgets import blocks
from mistral_tui.widgets.highlight import SECTION_CHARS, highlight, highlight_section, sections
from mistral_tui.widgets.inline import inline
from mistral_tui.widgets.palette import Palette
from mistral_tui.widgets.wrap import Row, to_strip, wrap

LONG_PARAGRAPH = 1_200
LONG_LIST = 8
CODE_TAIL = 24
"""Lines of an open code block whose colours may still change."""

_FENCE = re.compile(r"( {0,3})(`{3,}|~{3,})")
_GAP = Strip([], 0)
_LISTS = ("bullet_list_open", "ordered_list_open")


@dataclass
class _Draft:
    """The beginning of a long open block: kept as it was shown, not parsed again.

    What follows `offset` in the open text is parsed and laid out on each append.
    """

    kind: str
    offset: int
    number: int | None = None
    """Of the next item of an ordered list."""
    loose: bool = False
    """Whether the items of the list stand apart."""
    carry: Row = field(default_factory=list)
    """The last row of a paragraph: the rest wraps on from it."""
    language: str = ""
    closing: re.Pattern[str] | None = None
    """The line that ends a code block."""
    indent: int = 0
    section: int = 0
    """Where the first section of code starts that has not been coloured as a whole."""


class MarkdownDocument:
    """Foreign Markdown, already sanitized, as strips of at most `width` cells.

    A long block is drafted while it is open and laid out as a whole once it closes: after
    `finish` the lines do not depend on how the text came in.
    """

    def __init__(self, width: int, palette: Palette, text: str = "") -> None:
        self._closed: list[str] = []
        self._open = ""
        self._finished = False
        self._restart(width, palette)
        self.append(text)

    def _restart(self, width: int, palette: Palette) -> None:
        self.width = max(4, width)
        self.palette = palette
        self._layout = blocks.Layout(palette)
        self._closed, self._open = [], "".join(self._closed) + self._open
        self._lines: list[Strip] = []
        self._frozen = 0  # so many of the lines are final,
        self._kept = 0  # and so many are final or drafted
        self.stable = 0
        """How many of the lines the last append left as they were, at least."""
        self._previous = ""  # type of the last frozen block
        self._rendered: dict[str, list[Strip]] = {}
        self._draft: _Draft | None = None

    @property
    def text(self) -> str:
        """The source so far."""
        return "".join(self._closed) + self._open

    @property
    def lines(self) -> Sequence[Strip]:
        """The laid out rows; those already there may change with the next append."""
        return self._lines

    @property
    def code_blocks(self) -> list[tuple[str, str]]:
        """(language, code) of every code block so far."""
        return blocks.code_blocks(self.text)

    def append(self, text: str) -> None:
        """Adds text at the end and lays out what that changes."""
        if text:
            self._open += text
            self._finished = False
            self._refresh()

    def finish(self) -> None:
        """The text is complete: everything is laid out for good."""
        if not self._finished:
            self._finished = True
            self._refresh()

    def resize(self, width: int, palette: Palette | None = None) -> None:
        """Lays everything out again for another width or other colours."""
        self._restart(width, palette or self.palette)
        self._refresh()

    def _refresh(self) -> None:
        draft, frozen = self._draft, self._frozen
        start = frozen if draft is None else self._kept
        before = self._lines[start:]
        if draft is None or self._finished or not self._extend(draft):
            if draft is not None:
                start, before = frozen, []
            self._draft = None
            self._lay_out_open()
        # Lines laid out again that came out the same need no drawing: on a slow line each counts.
        for old in before:
            if start == len(self._lines) or self._lines[start] != old:
                break
            self._lines[start] = old
            start += 1
        self.stable = start

    def _lay_out_open(self) -> None:
        """Parses and lays out all that is open."""
        parsed = blocks.parse(self._open)
        starts = _line_starts(self._open)
        final = len(parsed) if self._finished else _final(parsed, len(starts) - 1)
        del self._lines[self._frozen :]
        rendered: dict[str, list[Strip]] = {}
        previous = self._previous
        for index, tokens in enumerate(parsed):
            begin, end = _span(tokens)
            key = f"{tokens[0].type} {self._open[starts[begin] : starts[end]]}"
            strips = self._rendered.get(key)
            if strips is None:
                strips = [to_strip(row) for row in self._layout.block(tokens, self.width)]
            rendered[key] = strips
            if self._lines and blocks.gap_after(previous):
                self._lines.append(_GAP)
            if index == len(parsed) - 1:
                self._kept = len(self._lines)
            self._lines.extend(strips)
            previous = tokens[0].type
            if index == final - 1:
                self._frozen, self._previous = len(self._lines), previous
        top = starts[_span(parsed[final])[0]] if final < len(parsed) else len(self._open)
        if final:
            self._closed.append(self._open[:top])
            self._open = self._open[top:]
        self._rendered = rendered
        if len(parsed) - final == 1:
            self._begin_draft(parsed[-1], 0 if final else top)

    # Drafts.

    def _begin_draft(self, tokens: Sequence[Token], top: int) -> None:
        """Drafts the only open block, which starts at `top`, if it is long."""
        kind = tokens[0].type
        if kind == "fence":
            opening = self._open[top:].partition("\n")
            match = _FENCE.match(opening[0])
            if match is None or not opening[1]:
                return
            closing = re.compile(rf"(?m)^ {{0,3}}{match[2][0]}{{{len(match[2])},}}[ \t]*$")
            body = top + len(opening[0]) + 1
            if closing.search(self._open, body):
                return
            language = blocks.language_of(tokens[0].info)
            self._draft = _Draft(kind, body, language=language, closing=closing)
            self._draft.indent, self._draft.section = len(match[1]), body
            label = self._layout.code_label(language, self.width)
            self._keep([to_strip(row) for row in label])
            self._extend(self._draft)
        elif kind == "paragraph_open" and len(self._open) - top > LONG_PARAGRAPH:
            self._draft = _Draft(kind, top)
            self._shorten_paragraph(self._draft)
        elif kind in _LISTS and _count_items(tokens) > LONG_LIST:
            number = tokens[0].attrs.get("start", 1) if kind == "ordered_list_open" else None
            self._draft = _Draft(kind, top, number=None if number is None else int(number))
            self._shorten_list(self._draft, tokens)

    def _keep(self, strips: list[Strip]) -> None:
        """Replaces what is after the kept lines, and keeps it."""
        self._lines[self._kept :] = strips
        self._kept = len(self._lines)

    def _extend(self, draft: _Draft) -> bool:
        """Lays out what follows the draft; False once its block has closed."""
        if draft.closing is not None:
            return self._extend_code(draft, draft.closing)
        tail = self._open[draft.offset :]
        parsed = blocks.parse(tail)
        complete = tail.count("\n")
        if len(parsed) > 2 or (len(parsed) == 2 and _span(parsed[1])[0] < complete):
            return False
        if not parsed or parsed[0][0].type != draft.kind:
            return False
        tokens = parsed[0]
        rows: list[Row]
        if draft.kind == "paragraph_open":
            spans = draft.carry + inline(tokens[1].content, self.palette, Style())
            rows = wrap(spans, self.width)
        else:
            rows = [[]] if draft.loose else []
            rows += self._layout.block(tokens, self.width, number=draft.number)
        for more in parsed[1:]:
            rows += [[], *self._layout.block(more, self.width)]
        self._lines[self._kept :] = [to_strip(row) for row in rows]
        if len(parsed) == 1:
            if draft.kind == "paragraph_open" and len(tail) > LONG_PARAGRAPH:
                self._shorten_paragraph(draft)
            elif draft.kind in _LISTS and _count_items(tokens) > LONG_LIST:
                self._shorten_list(draft, tokens)
        return True

    def _extend_code(self, draft: _Draft, closing: re.Pattern[str]) -> bool:
        code = self._open[draft.offset :]
        if closing.search(code):
            return False
        lines = code.split("\n")
        if draft.indent:
            lines = [line.removeprefix(" " * draft.indent) for line in lines]
        if not lines[-1].strip(" `~"):
            lines.pop()  # the closing fence, perhaps, on its way
        rows = highlight("\n".join(lines).expandtabs(4), draft.language, self.palette)
        if not lines:
            rows = []
        strips = [
            [to_strip(row) for row in self._layout.code_line(line, self.width)] for line in rows
        ]
        keep = len(lines) - CODE_TAIL // 2 if len(lines) > CODE_TAIL else 0
        if keep:
            self._keep([strip for line in strips[:keep] for strip in line])
            draft.offset += sum(len(line) + 1 for line in code.split("\n")[:keep])
            self._colour_sections(draft)
        self._lines[self._kept :] = [strip for line in strips[keep:] for strip in line]
        return True

    def _colour_sections(self, draft: _Draft) -> None:
        """Colours the sections that are complete, one by one: closing finds them done."""
        body = self._open[draft.section : draft.offset]
        if draft.indent or len(body) < SECTION_CHARS:
            return
        for part in sections(body, draft.language)[:-1]:
            highlight_section(part.expandtabs(4), draft.language, self.palette)
            draft.section += len(part)

    def _shorten_paragraph(self, draft: _Draft) -> None:
        tail = self._open[draft.offset :]
        cut = _safe_cut(tail, len(tail) - LONG_PARAGRAPH // 4)
        if not cut:
            return
        spans = draft.carry + inline(tail[:cut], self.palette, Style())
        rows = wrap(spans, self.width)
        # Wrapping drops a space at the end of a row: the carried row gets it back.
        draft.carry = rows[-1]
        if tail[cut - 1] in " \n":
            draft.carry = [*rows[-1], (tail[cut - 1], Style())]
        rest = self._lines[self._kept + len(rows) - 1 :]
        self._keep([to_strip(row) for row in rows[:-1]])
        self._lines.extend(rest)
        draft.offset += cut

    def _shorten_list(self, draft: _Draft, tokens: Sequence[Token]) -> None:
        opens = [i for i, t in enumerate(tokens) if t.type == "list_item_open" and t.level == 1]
        last = opens[-2]  # two items stay open: the looseness of the one before may change
        done = [*tokens[:last], tokens[-1]]
        rows: list[Row] = [[]] if draft.loose else []
        rows += self._layout.block(done, self.width, number=draft.number)
        rest = self._layout.block(
            [tokens[0], *tokens[last:]], self.width, number=_plus(draft.number, len(opens) - 2)
        )
        draft.loose = any(t.type == "paragraph_open" and not t.hidden for t in done if t.level == 2)
        draft.number = _plus(draft.number, len(opens) - 2)
        line = _span(tokens[last:])[0] - _span(tokens)[0]
        draft.offset += _line_starts(self._open[draft.offset :])[line]
        self._keep([to_strip(row) for row in rows])
        if draft.loose:
            self._lines.append(_GAP)
        self._lines.extend(map(to_strip, rest))


def _plus(number: int | None, count: int) -> int | None:
    return None if number is None else number + count


def _count_items(tokens: Sequence[Token]) -> int:
    return sum(token.type == "list_item_open" and token.level == 1 for token in tokens)


def _span(tokens: Sequence[Token]) -> tuple[int, int]:
    """First line and the line after the last of a block."""
    begin, end = tokens[0].map or (0, 0)
    return begin, end


def _line_starts(text: str) -> list[int]:
    """Offset of each line, and after them the length of the text (twice if it ends a line)."""
    starts = [0]
    at = text.find("\n")
    while at >= 0:
        starts.append(at + 1)
        at = text.find("\n", at + 1)
    starts.append(len(text))
    return starts


def _final(parsed: Sequence[Sequence[Token]], lines: int) -> int:
    """How many of the first blocks no further text can change, of `lines` lines.

    The next block must have begun for sure: a line that is not complete may yet turn out to
    belong to the block above, and a table needs two lines to be known as one.
    """
    for index in range(len(parsed) - 1, 0, -1):
        if _span(parsed[index])[0] + 2 <= lines - 1:
            return index
    return 0


def _safe_cut(text: str, limit: int) -> int:
    """An offset up to `limit` where a paragraph can be cut outside any inline markup; 0 = none."""
    spaced = [match.end() for match in re.finditer(r"[ \n](?=[^\W\d_])", text[: limit + 1])]
    if not spaced:
        spaced = [match.end() for match in re.finditer(r"[^\W\d_](?=[^\W\d_])", text[:limit])][-1:]
    for cut in reversed(spaced[-40:]):
        head = text[:cut]
        if (
            not any(head.count(mark) % 2 for mark in ("`", "*", "_", "~~"))
            and head.count("[") == head.count("]")
            and head.count("(") == head.count(")")
            and head.count("<") == head.count(">")
        ):
            return cut
    return 0
