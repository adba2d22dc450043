"""A tool call in the transcript: its name, its arguments as they come, what came of it."""

from __future__ import annotations

import json
from typing import Literal

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from mistral_tui.sanitize import one_line, sanitize
from mistral_tui.widgets.areas import escaped
from mistral_tui.widgets.blocks import Layout
from mistral_tui.widgets.entry import Entry, TranscriptItem
from mistral_tui.widgets.highlight import highlight
from mistral_tui.widgets.palette import Palette
from mistral_tui.widgets.wrap import Row, to_strip, wrap

CallLook = Literal["writing", "waiting", "running", "done", "denied", "unrun", "broken"]

MOST_ARGUMENTS = 20_000  # characters that are drawn
MOST_RESULT = 60_000
FOLDED_LINES = 8
_DEEPEST = 20  # levels that are indented
_SAYS: dict[CallLook, str] = {
    "writing": "is being written …",
    "waiting": "waits for you",
    "running": "is running …",
    "done": "",
    "denied": "denied",
    "unrun": "was not run",
    "broken": "was not finished, and is never run",
}


def pretty(written: str) -> str:
    """JSON, or the beginning of it, with one member a line; what is none stays as it is. A text
    that is too long is cut."""
    written = _bounded(written, MOST_RESULT)
    out: list[str] = []
    depth = 0
    quoted = escaped = False
    opened = False  # nothing stands behind the last bracket yet
    for char in written:
        if quoted:
            out.append(char)
            quoted = escaped or char != '"'
            escaped = not escaped and char == "\\"
            continue
        if char in " \t\r\n":
            continue
        if char in "}]":
            depth = max(0, depth - 1)
            if not opened:
                out.append(_line(depth))
        elif opened:
            out.append(_line(depth))
        opened = char in "{["
        out.append(char)
        if opened:
            depth += 1
        elif char == ",":
            out.append(_line(depth))
        elif char == ":":
            out.append(" ")
        quoted = char == '"'
    return "".join(out)


def _line(depth: int) -> str:
    return "\n" + "  " * min(depth, _DEEPEST)


def is_json(text: str) -> bool:
    """Whether it is a JSON object or list, of a size to be laid out as one."""
    if len(text) > MOST_RESULT or text.lstrip()[:1] not in ("{", "["):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


class CallEntry(Entry):
    """A call; its key is `call-MESSAGE-NUMBER`. The result is folded when it is long."""

    def __init__(self, key: str, name: str, arguments: str = "") -> None:
        super().__init__(TranscriptItem(key, "call"))
        self.name = one_line(name, 80)
        self.look: CallLook = "writing"
        self.folded = True
        self._written = arguments  # as it came; drawn with escapes for what cannot be shown
        self._asked = ""
        self._result = ""
        self._error = False
        self._note = ""
        self._lines: list[Strip] = []
        self._more = False  # written, not drawn yet

    @property
    def text(self) -> str:
        """The arguments and the result, for copies and for finding."""
        parts = [f"{self.name} {self._arguments}", self._result]
        return "\n\n".join(part for part in parts if part)

    @text.setter
    def text(self, text: str) -> None:
        raise AttributeError("the text of a call is made of its parts")

    @property
    def _arguments(self) -> str:
        """What the tool is given, every character of it to be seen."""
        written = self._asked or self._written
        return pretty(escaped(_bounded(written, MOST_RESULT)))

    @property
    def waiting(self) -> bool:
        return self._more

    def append(self, text: str) -> None:
        """More of the arguments."""
        self._written += text
        self._more = True

    def show(
        self,
        look: CallLook,
        *,
        arguments: str | None = None,
        asked: str = "",
        result: str = "",
        error: bool = False,
        note: str = "",
    ) -> None:
        """What has become of it. `asked`: the arguments that the user put in their place."""
        self.look = look
        if arguments is not None:
            self._written = arguments
        self._asked, self._result = asked, sanitize(result)
        self._error, self._note = error, one_line(note, 200)
        self.release()

    def flush(self) -> int:
        self._more = False
        if self.laid_out and self._palette is not None:
            self.lay_out(self._room + 2, self._palette)
        self.version += 1
        return 0

    def estimate(self, width: int) -> None:
        room = max(10, width - 4)
        result = self._result.count("\n") + len(self._result) // room + bool(self._result)
        shown = min(result, FOLDED_LINES + 1) if self.folded else result
        self.height = self._arguments.count("\n") + shown + 4

    def lay_out(self, width: int, palette: Palette) -> None:
        self._more = False
        super().lay_out(width, palette)

    def _lay_out_body(self, palette: Palette) -> list[Strip]:
        room, layout = self._room, Layout(palette)
        rows: list[Row] = []
        arguments = self._arguments
        if arguments not in ("", "{}"):
            for line in highlight(_bounded(arguments, MOST_ARGUMENTS), "json", palette):
                rows += layout.code_line(line, room)
        if self._asked:
            rows += wrap([("You changed the arguments.", palette.chat["muted"])], room)
        rows += self._result_rows(palette)
        return [to_strip(row) for row in rows]

    def _result_rows(self, palette: Palette) -> list[Row]:
        if not self._result:
            return []
        style = palette.chat["error"] if self._error else Style()
        mark: Row = [("→ ", palette.chat["muted"])]
        pad: Row = [("  ", Style())]
        text = _bounded(self._result, MOST_RESULT)
        if is_json(text):
            lines = [(pretty(line), style) for line in (text,)]
        else:
            lines = [(text.expandtabs(4).strip("\n"), style)]
        rows = wrap(lines, max(4, self._room - 2))
        hidden = len(rows) - FOLDED_LINES
        if self.folded and hidden > 1:
            rows = rows[:FOLDED_LINES]
            said = f"… {hidden:,} more lines: {self._unfold_key} unfolds"
            rows.append([(said, palette.chat["muted"])])
        return [[*(pad if number else mark), *row] for number, row in enumerate(rows)]

    @property
    def _unfold_key(self) -> str:
        from mistral_tui.actions import key_of

        return key_of("fold")

    def _lay_out_head(self, palette: Palette, sign: Segment) -> Strip:
        chat = palette.chat
        bad = self.look in ("broken", "denied") or self._error
        color = chat["error"] if bad else chat["assistant"]
        row: Row = [(self.name or "a tool", color + Style(bold=True))]
        says = self._note if self.look == "done" else _SAYS[self.look]
        if self.look == "done" and self._error:
            says = " · ".join(part for part in ("failed", self._note) if part)
        if says:
            strong = chat["user"] + Style(bold=True) if self.look == "waiting" else chat["muted"]
            row.append((f"  {says}", strong))
        return Strip([sign, *to_strip(wrap(row, self._room)[0])])


def _bounded(text: str, most: int) -> str:
    return text if len(text) <= most else text[:most] + " …"
