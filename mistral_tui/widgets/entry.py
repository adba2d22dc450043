"""One message of the transcript: its text, and its lines once it has been laid out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from mistral_tui.sanitize import StreamSanitizer, one_line, sanitize
from mistral_tui.widgets.markdown import MarkdownDocument
from mistral_tui.widgets.palette import Palette
from mistral_tui.widgets.thinking import Thinking
from mistral_tui.widgets.wrap import to_strip, wrap

Role = Literal["user", "assistant", "call", "note", "error"]
_DIM = Style(dim=True)
_MARKS = {"assistant": "◆ ", "call": "⚙ "}
INDENT = 2
"""Cells left of the text, for the bar or the mark."""


@dataclass(frozen=True)
class TranscriptItem:
    """A finished message, as `Transcript.load` takes it."""

    key: str
    role: Role
    text: str = ""
    title: str = ""
    footnote: str = ""
    dim: bool = False
    thinking: str = ""


class Entry:
    """A message; `height` is an estimate until `lay_out` has made its lines."""

    def __init__(self, item: TranscriptItem, *, open_: bool = False) -> None:
        self.key = item.key
        self.role = item.role
        self.title = one_line(item.title, 200)
        self.footnote = one_line(item.footnote, 400)
        self.status = ""
        self.open = open_
        self.dim = item.dim
        self.current = False  # the cursor is on it
        self.block = -1  # on which of its code blocks; -1: on the message
        self.version = 0
        """Grows whenever the lines change."""
        self.thinking = Thinking(item.thinking)
        self._thought: list[Strip] = []
        self._thinks = False
        self.height = 0
        self.laid_out = False
        self._parts = [sanitize(item.text)]
        self._pending: list[str] = []  # as it came
        self._fresh: list[str] = []  # safe, not yet in the lines
        self._sanitizer = StreamSanitizer()
        self._document: MarkdownDocument | None = None
        self._body: Sequence[Strip] = []
        self._room = 0
        self._palette: Palette | None = None
        self._lead = self._marked_lead = self._blank = Strip([], 0)
        self._head: Strip | None = None
        self._foot: list[Strip] = []
        self._marked, self._marked_at = range(0), -1
        self._painted: dict[int, tuple[Strip, Strip]] = {}

    @property
    def text(self) -> str:
        """The whole text, also what has not been shown yet."""
        self._drain()
        if len(self._parts) > 1:
            self._parts = ["".join(self._parts)]
        return self._parts[0]

    @text.setter
    def text(self, text: str) -> None:
        self._parts, self._pending, self._fresh = [sanitize(text)], [], []
        self._sanitizer = StreamSanitizer()
        self.release()

    @property
    def waiting(self) -> bool:
        """Whether there is text to flush."""
        return bool(self._pending or self._fresh or self.thinking.waiting)

    def append(self, text: str) -> None:
        """Buffers text; `flush` shows it."""
        self._pending.append(text)

    def _drain(self) -> None:
        if self._pending:
            self._take(self._sanitizer.feed("".join(self._pending)))
            self._pending.clear()

    def _take(self, text: str) -> None:
        if text:
            self._parts.append(text)
            self._fresh.append(text)

    def flush(self) -> int:
        """Takes in the buffered text and brings the lines up to date; the first that changed."""
        self._drain()
        unchanged, head = 0, self._head is not None
        self.version += 1
        thought = self.thinking.waiting or self._thinks != self._is_thinking
        if self._document is not None:
            if thought:
                self._lay_out_thinking()
                unchanged = -1
            self._document.append("".join(self._fresh))
            if self._parts != [""]:
                self._body = self._document.lines
            if unchanged == 0:
                stable = min(self._document.stable, self.height)
                unchanged = stable + head + len(self._thought)
            else:
                unchanged = int(head)
            self.height = self._measure()
        elif self._fresh or thought:
            self.release()
        self._fresh.clear()
        return unchanged

    def finish(self, footnote: str) -> None:
        """The text is complete."""
        self._drain()
        self._take(self._sanitizer.flush())
        self.thinking.finish()
        self.open = False
        self.status = ""
        self.footnote = one_line(footnote, 400)
        self.flush()
        if self._document is not None and self.text:
            self._document.finish()
            self._lay_out_thinking()
            self._lay_out_foot()
            self.height = self._measure()
        else:
            self.release()

    def release(self) -> None:
        """Forgets the lines; the height stays the best guess."""
        self.laid_out = False
        self._document = None
        self._body = []
        self.version += 1
        self._painted.clear()

    def estimate(self, width: int) -> None:
        """Guesses the height at `width`, cheaply."""
        room = max(10, width - INDENT)
        lines = sum(1 + len(line) // room for line in self.text.strip().split("\n"))
        self.height = lines + 1 + bool(self.title) + bool(self.footnote) + bool(self.thinking)

    def lay_out(self, width: int, palette: Palette) -> None:
        """Makes the lines, at most `width` cells wide."""
        self._room = room = max(10, width - INDENT)
        self._palette = palette
        chat, text = palette.chat, self.text
        self._fresh.clear()
        color = chat["muted" if self.role in ("note", "call") else self.role]
        marked = self.role in ("user", "error")
        bar = color + Style(meta={"bar": True})
        heavy = bar + Style(bold=True)
        self._marked_lead = Strip([Segment("┃ ", heavy)], INDENT)
        # The cursor is told by shape, not by colour alone.
        whole = self.current and self.block < 0
        lead = Strip([Segment("▎ " if marked else "  ", bar)], INDENT)
        self._lead = self._marked_lead if whole else lead
        mark = "▎ " if marked else _MARKS.get(self.role, "· ")
        sign = Segment("▶ " if whole else mark, heavy if whole else bar)
        self._head = self._lay_out_head(palette, sign)
        if self.title:
            bold = color + Style(bold=True) if self.role != "note" else color
            title = wrap([(self.title, bold)], room)[0]
            self._head = Strip([sign, *to_strip(title)])
        self._lay_out_thinking()
        self._document = None
        if self.role == "assistant" and (text or self.open):
            self._document = MarkdownDocument(room, palette, text)
            if not self.open:
                self._document.finish()
        if self.role == "call":
            self._body = self._lay_out_body(palette)
        elif not text and not (self._thought and self.open):
            status = [(self.status, chat["muted"])]
            self._body = [to_strip(row) for row in wrap(status, room)] if self.status else []
        elif self._document is not None:
            self._body = self._document.lines if text else []
        else:
            style = {"error": chat["error"], "note": chat["muted"]}.get(self.role, Style())
            plain = text.expandtabs(4).strip("\n")
            self._body = [to_strip(row) for row in wrap([(plain, style)], room)]
        self._lay_out_foot()
        self._painted.clear()
        self.laid_out = True
        self.height = self._measure()

    def _lay_out_head(self, palette: Palette, sign: Segment) -> Strip | None:
        """The first line of what has no title."""
        return None

    def _lay_out_body(self, palette: Palette) -> list[Strip]:
        """The lines of what is no text."""
        return []

    def _lay_out_thinking(self) -> None:
        if self._palette is None:
            return
        self._thinks = running = self._is_thinking
        self._thought = self.thinking.lines(self._room, self._palette, running=running)
        if self._thought and not self.thinking.folded and not running:
            self._thought.append(self._blank)

    @property
    def _is_thinking(self) -> bool:
        return self.open and bool(self.thinking) and not any(self._parts)

    def _lay_out_foot(self) -> None:
        self._foot = []
        if self.footnote and self._palette is not None:
            rows = wrap([(self.footnote, self._palette.chat["muted"])], self._room)
            above = [self._blank] if self._body else []
            self._foot = above + [to_strip(row) for row in rows]

    def _measure(self) -> int:
        head = (self._head is not None) + len(self._thought)
        return head + len(self._body) + len(self._foot) + 1

    @property
    def text_lines(self) -> range:
        """The lines of what was said and thought, once it is laid out."""
        head = int(self._head is not None)
        end = head + len(self._thought) + len(self._body)
        return range(head + bool(self._thought), end)  # less the line that counts

    def mark(self, current: bool, block: int = -1) -> None:
        """Puts the cursor on the message or one of its code blocks, or takes it away."""
        self.current, self.block = current, block if current else -1
        self.release()

    def blocks(self) -> list[range]:
        """The lines of each code block, once it is laid out."""
        if self._palette is None:
            return []
        panel = (self._palette.pad, self._palette.label)
        found: list[range] = []
        first = (self._head is not None) + len(self._thought)
        begin = -1
        for number, strip in enumerate((*self._body, self._blank), first):
            code = any(segment.style in panel for segment in strip)
            if code and begin < 0:
                begin = number
            elif not code and begin >= 0:
                found.append(range(begin, number))
                begin = -1
        return found

    def _line(self, number: int) -> tuple[Strip, Strip]:
        """(lead, text) of a line."""
        if self._head is not None:
            if number == 0:
                return self._blank, self._head
            number -= 1
        if number < len(self._thought):
            return self._lead, self._thought[number]
        number -= len(self._thought)
        if number < len(self._body):
            return self._lead, self._body[number]
        number -= len(self._body)
        if number < len(self._foot):
            return self._lead, self._foot[number]
        return self._blank, self._blank

    def paint(self, number: int, margin: int, width: int, base: Style) -> Strip:
        """A whole line of the widget: margin, bar, text, filling."""
        lead, text = self._line(number)
        if self.block >= 0 and number in self._marked_lines():
            lead = self._marked_lead
        known = self._painted.get(number)
        if known is not None and known[0] is text:
            return known[1]
        segments = [Segment(" " * margin), *lead, *text]
        length = margin + lead.cell_length + text.cell_length
        strip = Strip(segments, length).apply_style(base).crop_extend(0, width, base)
        if self.dim:
            strip = Strip([Segment(t, (s or base) + _DIM, c) for t, s, c in strip], width)
        self._painted[number] = (text, strip)
        return strip

    def _marked_lines(self) -> range:
        if self._marked_at != self.version:
            blocks = self.blocks()
            self._marked_at = self.version
            self._marked = blocks[self.block] if self.block < len(blocks) else range(0)
        return self._marked

    def content(self, number: int, margin: int, palette: Palette) -> list[tuple[int, str]]:
        """(character offset in the painted line, text) of what is content in a line."""
        lead, text = self._line(number)
        at = margin + sum(len(segment.text) for segment in lead)
        found: list[tuple[int, str]] = []
        for index, segment in enumerate(text):
            mark = text is self._head and index == 0
            if not mark and not palette.decoration(segment.style):
                found.append((at, segment.text))
            at += len(segment.text)
        return found
