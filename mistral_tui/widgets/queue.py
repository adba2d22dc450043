"""Messages written while the model answers: what waits to be sent, and the lines that show it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from textual.content import Content
from textual.message import Message
from textual.widget import Widget

from mistral_tui.actions import line
from mistral_tui.sanitize import one_line

_SEPARATOR = "\x1e"  # in a stored draft; text of the user never holds one, `sanitize` sees to it
_ROWS = 3
_ROOM = 12  # cells of a line that a hint must leave


class PromptQueue:
    """In the order in which they will be sent. While it is held, nothing is sent by itself."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._held = False
        self.changed: Callable[[], None] = lambda: None

    def __len__(self) -> int:
        return len(self._texts)

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(self._texts)

    @property
    def held(self) -> bool:
        """Whether something waits for the user's word."""
        return self._held and bool(self._texts)

    def add(self, text: str) -> None:
        """One more, at the end."""
        if not self._texts:
            self._held = False
        self._texts.append(text)
        self.changed()

    def next(self) -> str | None:
        """Take out what is sent now; None if there is none, or if it is held."""
        return self._take(0) if self._texts and not self._held else None

    def last(self) -> str | None:
        """Take out what was added last."""
        return self._take(-1) if self._texts else None

    def _take(self, place: int) -> str:
        text = self._texts.pop(place)
        self.changed()
        return text

    def put_back(self, text: str) -> None:
        """What could not be sent comes first again, and all is held."""
        self._texts.insert(0, text)
        self._held = True
        self.changed()

    def hold(self) -> None:
        """Send nothing until the user says so: an answer was stopped or failed."""
        self._held = True
        self.changed()

    def release(self) -> None:
        """The user said so."""
        self._held = False
        self.changed()

    def restore(self, texts: Iterable[str]) -> None:
        """What waited when the app was closed; it waits on."""
        self._texts = [text for text in texts if text.strip()]
        self._held = True
        self.changed()


def pack(queued: Iterable[str], text: str) -> str:
    """One draft of what is queued and what is being written."""
    return _SEPARATOR.join((*queued, text))


def unpack(draft: str) -> tuple[list[str], str]:
    """What was queued, and what was being written."""
    *queued, text = draft.split(_SEPARATOR)
    return queued, text


class QueueLines(Widget):
    """The queue above the prompt: a line for each, three at most."""

    DEFAULT_CSS = """
    QueueLines {
        height: auto; display: none; margin: 0 1; padding: 0 2; color: $text-muted;
    }
    """

    class Changed(Message):
        """The queue is another now."""

    def __init__(self, queue: PromptQueue, *, id: str = "queue") -> None:
        super().__init__(id=id)
        self._queue = queue
        queue.changed = self._queue_changed

    def _queue_changed(self) -> None:
        self.display = bool(self._queue)
        self.refresh(layout=True)
        if self.is_attached:
            self.post_message(self.Changed())

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        return min(len(self._queue), _ROWS)

    def render(self) -> Content:
        width, texts = self.content_size.width, self._queue.texts
        does = [("earlier", "edits")]
        if self._queue.held:
            does = [("send", "sends"), *does, ("stop", "removes")]
        said = line(*does)
        lines = [self._line(number, text, width) for number, text in enumerate(texts, 1)]
        if len(lines) > _ROWS:  # what is sent next and what ↑ brings back stay in view
            lines[1:-1] = [Content(f"… {len(texts) - 2:,} more")]
        room = width - len(said) - 2
        if lines and room >= _ROOM:
            last = lines[-1].truncate(room, ellipsis=True, pad=True)
            lines[-1] = Content.assemble(last, "  ", (said, "$text-accent"))
        return Content("\n").join(lines)

    def _line(self, number: int, text: str, width: int) -> Content:
        what = "waits" if self._queue.held else "queued"
        line = Content.assemble((f"{what} {number}: ", "bold"), one_line(text, 2 * width + 8))
        return line.truncate(width, ellipsis=True)
