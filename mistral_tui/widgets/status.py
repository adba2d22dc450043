"""The status line: model, speed, context; what does not fit is left out, least first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from textual import events
from textual.content import Content
from textual.widget import Widget

from mistral_tui.actions import key_of
from mistral_tui.sanitize import one_line

if TYPE_CHECKING:  # the first paint does not wait for it
    from mistral_tui.happenings import EngineState


@dataclass(frozen=True, slots=True)
class Status:
    """What the line shows. Times in seconds, sizes in bytes or tokens."""

    engine: EngineState = "off"
    model: str = ""
    shape: str = ""  # for instance "bf16 cpu"
    stage: str = ""  # of loading
    done: int = 0
    total: int = 0
    answering: bool = False
    prefilled: int = 0
    prompt: int = 0
    reused: int = 0
    tokens: int = 0
    rate: float = 0.0  # tokens per second
    ttft: float = 0.0
    used: int = 0
    context: int = 0
    cache: int = 0
    silent: float = 0.0
    silent_who: str = "engine"
    tools: int = 0  # that the model may call


_Segment = tuple[int, Content]  # priority (higher stays longer), what is shown


class StatusLine(Widget):
    """One line; `show(field=value, …)` changes it."""

    DEFAULT_CSS = """
    StatusLine { height: 1; padding: 0 1; background: $surface; color: $foreground; }
    """

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self.status = Status()

    def show(self, **changes: Any) -> None:
        """Change some of it."""
        status = replace(self.status, **changes)
        if status != self.status:
            self.status = status
            self.refresh()

    def on_resize(self, _: events.Resize) -> None:
        self.refresh()

    def render(self) -> Content:
        width = self.content_size.width
        hint = (4, Content.styled(f"{key_of('help')} help", "$text-muted"))
        left = [*(part for part in self._segments() if part[1].cell_length), hint]
        while len(left) > 1 and _length(left) > width:
            left.remove(min(left, key=lambda part: part[0]))
        shown = [part[1] for part in left if part is not hint]
        line = Content("  ").join(shown).truncate(width, ellipsis=True)
        if hint in left:
            line = Content.assemble(
                line, " " * (width - line.cell_length - hint[1].cell_length), hint[1]
            )
        return line

    def _segments(self) -> list[_Segment]:
        s = self.status
        parts: list[_Segment] = [(9, self._state())]
        if s.model:
            parts.append((5, Content.styled(one_line(s.model, 32), "bold")))
        if s.shape:
            parts.append((1, Content.styled(s.shape, "$text-muted")))
        if s.answering:
            parts.append((8, self._progress()))
        if s.rate:
            parts.append((7, Content(f"{s.rate:.1f} tok/s")))
        if s.ttft and not s.answering:
            parts.append((3, Content.styled(f"first {s.ttft:.2f} s", "$text-muted")))
        if s.context:
            parts.append((6, Content(f"context {s.used:,}/{s.context:,}")))
        if s.tools:
            text = f"{s.tools} tool" + "s" * (s.tools > 1)
            parts.append((4, Content.styled(text, "$text-muted")))
        if s.reused and not s.answering:
            text = f"reused {s.reused:,} of {s.prompt:,}"
            parts.append((2, Content.styled(text, "$text-muted")))
        if s.cache and not s.answering:
            text = f"cache {s.cache / 1e6:,.0f} MB"
            parts.append((0, Content.styled(text, "$text-muted")))
        return parts

    def _state(self) -> Content:
        s = self.status
        if s.silent:
            return Content.styled(f"▲ {s.silent_who} silent for {s.silent:.0f} s", "$text-warning")
        match s.engine:
            case "loading" if s.total:
                share = f"{min(1.0, s.done / s.total):.0%} of {s.total / 1e6:,.0f} MB"
                return Content.styled(f"◌ {one_line(s.stage, 24)} {share}", "$text-accent")
            case "loading":
                return Content.styled(f"◌ {one_line(s.stage, 24) or 'loading'} …", "$text-accent")
            case "ready":
                return Content.styled("●", "$text-success")
            case "lost":
                said = f"✕ engine stopped · {key_of('restart')} restarts it"
                return Content.styled(said, "$text-error")
            case "failed":
                said = f"✕ no model · {key_of('restart')} tries again"
                return Content.styled(said, "$text-error")
            case _:
                return Content.styled("○ no model", "$text-muted")

    def _progress(self) -> Content:
        s, stops = self.status, (f"{key_of('stop')} stops", "$text-muted")
        if s.tokens:
            return Content.assemble(f"{s.tokens:,} tokens ", stops)
        done, total = s.prefilled - s.reused, s.prompt - s.reused
        reading = f"reading {done:,}/{total:,}" if total > 0 else "reading"
        return Content.assemble(reading + " ", stops)


def _length(parts: list[_Segment]) -> int:
    return sum(part[1].cell_length for part in parts) + 2 * (len(parts) - 1)
