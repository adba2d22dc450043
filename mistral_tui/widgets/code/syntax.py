"""Colours of code: tree-sitter's view of a document, as roles of a palette.

All of tree-sitter is optional, and its queries come from elsewhere: whatever is missing or fails
means no colours.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import lru_cache, partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mistral_tui.widgets.code.document import Change, CodeDocument, Point, encoded

if TYPE_CHECKING:
    from tree_sitter import Language, Node, Parser, Query, Tree, TreeCursor

MOST_COLOURED = 2 << 20
"""Characters of a file beyond which it has no colours."""
LONGEST_COLOURED = 2_000
"""Characters of a line beyond which it has none."""
LONGEST_PARSED = 50_000
"""Characters of a line beyond which its file has none: a key would wait for the parser."""
_MANY = 4_000  # parts of code that makes no sense, in one node
_PIECE = 64  # lines that the parser is handed at once
_BYTES = 16 << 10  # of a long line, likewise
_MATCHES = 4096  # under way at once in a query

ROLES = {
    "keyword": "keyword", "conditional": "keyword", "repeat": "keyword", "include": "keyword",
    "exception": "keyword", "storageclass": "keyword", "type.qualifier": "keyword",
    "import": "keyword", "media": "keyword", "charset": "keyword", "keyframes": "keyword",
    "supports": "keyword", "namespace": "keyword", "tag": "keyword", "boolean": "keyword",
    "constant.builtin": "keyword", "variable.builtin": "builtin", "json.null": "keyword",
    "string": "string", "text.literal": "string", "markup.raw": "string", "character": "string",
    "string.escape": "number", "escape": "number", "string.special.symbol": "number",
    "comment": "comment", "number": "number", "float": "number", "constant": "number",
    "toml.datetime": "number", "function": "function", "method": "function",
    "function.builtin": "builtin", "function.macro": "builtin", "function.special": "builtin",
    "constructor": "type", "type": "type", "module": "type", "type.builtin": "builtin",
    "attribute": "decorator", "preproc": "decorator", "label": "decorator",
    "tag.attribute": "function", "css.property": "function", "property": "variable",
    "json.label": "function", "yaml.field": "function", "toml.type": "function",
    "field": "variable", "parameter": "variable", "variable": "variable",
    "operator": "operator", "punctuation": "operator", "delimiter": "operator",
    "tag.delimiter": "operator", "keyword.operator": "keyword", "heading": "heading",
    "markup.heading": "heading", "markup.link": "function", "link": "function",
    "text.uri": "function", "list.marker": "keyword", "none": "text", "embedded": "text",
    "interpolation": "text",
}  # fmt: skip
"""By a capture's name or what it begins with, up to a dot."""


class Grammar(NamedTuple):
    """Where a language is found: a module, its function, and modules whose queries come first."""

    module: str
    function: str = "language"
    base: tuple[str, ...] = ()


_GRAMMARS = {
    "c": Grammar("tree_sitter_c"),
    "cpp": Grammar("tree_sitter_cpp", base=("tree_sitter_c",)),
    "c-sharp": Grammar("tree_sitter_c_sharp"),
    "typescript": Grammar(
        "tree_sitter_typescript", "language_typescript", ("tree_sitter_javascript",)
    ),
    "tsx": Grammar("tree_sitter_typescript", "language_tsx", ("tree_sitter_javascript",)),
    "php": Grammar("tree_sitter_php", "language_php"),
    "xml": Grammar("tree_sitter_xml", "language_xml"),
}
Span = tuple[int, int, str]
"""Columns from and to, and a role."""


@lru_cache(maxsize=256)
def role_of(capture: str) -> str:
    """The role of what a query captures; "" for none."""
    while capture:
        if capture in ROLES:
            return ROLES[capture]
        capture = capture.rpartition(".")[0]
    return ""


@lru_cache(maxsize=32)
def grammar(language: str) -> tuple[Language, Query] | None:
    """A language and what is coloured in it; None if that cannot be had."""
    try:
        from tree_sitter import Language, Query

        name = language.replace("-", "_")
        found = _GRAMMARS.get(language, Grammar(f"tree_sitter_{name}"))
        loaded = Language(getattr(import_module(found.module), found.function)())
        for text in _queries(name, found):
            try:
                return loaded, Query(loaded, text)
            except Exception:
                continue
    except Exception:
        return None
    return None


def _queries(name: str, found: Grammar) -> Iterator[str]:
    """Queries that may fit, the best one first."""
    import textual

    own = _query_of(found.module)
    if found.base and own:
        yield "\n".join((*map(_query_of, found.base), own))
    bundled = Path(textual.__file__).parent / "tree-sitter" / "highlights" / f"{name}.scm"
    if bundled.is_file():
        yield bundled.read_text(encoding="utf-8")
    if own:
        yield own


def _query_of(module: str) -> str:
    loaded = import_module(module)
    if text := getattr(loaded, "HIGHLIGHTS_QUERY", None):
        return str(text)
    # One wheel has its queries in a folder whose name is not the module's.
    folder = Path(loaded.__file__ or "").parent
    named = module.removeprefix("tree_sitter_").replace("_", "-")
    beside = folder.parent / f"tree_sitter_{named}" / "queries" / "highlights.scm"
    return beside.read_text(encoding="utf-8") if beside.is_file() else ""


class Syntax:
    """Follows a document. Parsing is done in slices: a large file, or an edit that turns all of
    it over, holds no key up."""

    def __init__(self, document: CodeDocument, language: str) -> None:
        self._document = document
        self._tree: Tree | None = None
        self._spans: dict[int, list[Span]] = {}
        self._encoded: tuple[str, bytes] = ("", b"")  # the long line handed over last
        self.done = True
        """Whether the colours are those of the text as it is."""
        self._parser: Parser | None = None
        self._query: Query | None = None
        self.use(language)

    def use(self, language: str) -> None:
        """Begin anew, in a language."""
        self._give_up()
        known = grammar(language) if language else None
        if known is not None and self._small_enough():
            from tree_sitter import Parser

            loaded, self._query = known
            self._parser = Parser(loaded)
            self._document.changed = self._edited
            self.done = False

    def _give_up(self) -> None:
        self._parser, self._query, self._tree = None, None, None
        self._spans = {}
        self.done = True
        self._document.changed = None

    def _small_enough(self) -> bool:
        lengths = list(map(len, self._document.lines))
        return sum(lengths) <= MOST_COLOURED and max(lengths) <= LONGEST_PARSED

    def _edited(self, change: Change) -> None:
        self._spans = {}
        self.done = False
        if self._parser is None:
            return
        first, last = change.start_point[0], change.new_end_point[0]
        if max(map(len, self._document.lines[first : last + 1])) > LONGEST_PARSED:
            self._give_up()
            return
        self._parser.reset()
        if self._tree is not None:
            self._tree.edit(*change)

    def parse(self, seconds: float) -> bool:
        """Go on for so long; whether it is done."""
        if self.done or self._parser is None:
            return True
        until = time.perf_counter() + seconds
        try:
            parse = partial(
                self._parser.parse, progress_callback=lambda *_: time.perf_counter() > until
            )
            old = self._tree
            self._tree = parse(self._read) if old is None else parse(self._read, old)
        except ValueError:  # it was stopped, and goes on from there
            return False
        except Exception:
            self._give_up()
            return True
        self._spans = {}
        self.done = True
        return True

    def _read(self, _offset: int, point: Point) -> bytes:
        """The text from a point on, or a part of it."""
        row, column = point
        lines = self._document.lines
        if row >= len(lines):
            return b""
        line = lines[row]
        if len(line) > LONGEST_COLOURED:
            if self._encoded[0] is not line:
                self._encoded = line, encoded(line) + b"\n"
            piece = self._encoded[1][column : column + _BYTES]
        else:
            last = row + 1
            while last < min(row + _PIECE, len(lines)) and len(lines[last]) <= LONGEST_COLOURED:
                last += 1
            piece = encoded("\n".join(lines[row:last]) + "\n")[column:]
        if row + 1 == len(lines) and column + len(piece) > len(encoded(line)):
            piece = piece[:-1]  # there is no line break at the end
        return piece

    def spans(self, row: int, first: int, last: int) -> list[Span]:
        """What is coloured in a row, inner parts behind outer ones. `first` to `last` are the
        rows in view: they are looked up together."""
        known = self._spans.get(row)
        if known is None:
            self._look_up(min(first, row), max(last, row))
            known = self._spans.setdefault(row, [])
        return known

    def _look_up(self, first: int, last: int) -> None:
        last = min(last, self._document.line_count - 1)
        begin: int | None = None
        for row in range(first, last + 2):
            wanted = (
                row <= last
                and row not in self._spans
                and len(self._document.get_line(row)) <= LONGEST_COLOURED
            )
            if wanted and begin is None:
                begin = row
            elif not wanted and begin is not None:
                self._find(begin, row - 1)
                begin = None

    def _find(self, first: int, last: int) -> None:
        if self._tree is None or self._query is None:
            return
        from tree_sitter import QueryCursor

        try:
            cursor = QueryCursor(self._query, match_limit=_MATCHES)
            cursor.set_point_range((first, 0), (last + 1, 0))
            roots = self._roots(self._tree, first, last)
            matches = [match for root in roots for match in cursor.matches(root)]
        except Exception:
            self._query = None
            return
        found: list[tuple[int, int, int, Point, Point, str]] = []
        for pattern, captures in matches:
            for capture, nodes in captures.items():
                if role := role_of(capture):
                    for node in nodes:
                        (row, column), (last_row, stop) = node.start_point, node.end_point
                        start, end = (row, column), (last_row, stop)
                        if end >= (first, 0) and start[0] <= last:
                            found.append(
                                (node.start_byte, -node.end_byte, pattern, start, end, role)
                            )
        spans: dict[int, list[Span]] = {row: [] for row in range(first, last + 1)}
        for *_, start, end, role in sorted(found):
            for row in range(max(first, start[0]), min(last, end[0]) + 1):
                line = self._document.get_line(row)
                begin = start[1] if row == start[0] else 0
                stop = end[1] if row == end[0] else len(line.encode("utf-8", "replace"))
                if not line.isascii():
                    data = encoded(line)
                    begin = len(data[:begin].decode("utf-8", "ignore"))
                    stop = len(data[:stop].decode("utf-8", "ignore"))
                if begin < stop:
                    spans[row].append((begin, stop, role))
        self._spans.update(spans)

    def _roots(self, tree: Tree, first: int, last: int) -> list[Node]:
        """Where to look for what is coloured in rows: in all of the tree. But what makes no sense
        to the parser may be one node of a million parts, and a query takes the square of them:
        there, in each part by itself."""
        if not tree.root_node.has_error:
            return [tree.root_node]
        begin = self._document.byte_offset((first, 0))
        for row in {*range(first, last, 8), last}:
            cursor = tree.walk()
            byte = self._document.byte_offset((row, 0))
            while (node := cursor.node) is not None and node.has_error:
                lost = node.is_error and node.child_count > _MANY
                if cursor.goto_first_child_for_byte(begin if lost else byte) is None:
                    break
                if lost:
                    return list(_siblings(cursor, last))
        return [tree.root_node]


def _siblings(cursor: TreeCursor, last: int) -> Iterator[Node]:
    """A node and those that follow it, to the row `last`."""
    for _ in range(_MANY):
        if cursor.node is None or cursor.node.start_point[0] > last:
            return
        yield cursor.node
        if not cursor.goto_next_sibling():
            return
