"""What stands where the conversation will be, before it begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Container
from textual.content import Content
from textual.widgets import Static

from mistral_tui.actions import line
from mistral_tui.sanitize import one_line, sanitize

if TYPE_CHECKING:  # the first paint does not wait for it
    from inference.api import ModelCard

_LOGO = (
    "█▄ ▄█  █  ▄▀▀ ▀█▀ █▀▄ ▄▀▄ █     ▀█▀ █ █ █",
    "█ ▀ █  █  ▄██  █  █▀▄ █▀█ █▄▄    █  ▀▄▀ █",
)


class Welcome(Container):
    """The name, the model, and how to begin."""

    DEFAULT_CSS = """
    Welcome { align: center middle; height: 1fr; }
    Welcome Static { width: 100%; max-width: 80; text-align: center; padding: 0 2; }
    Welcome #logo { color: $primary; text-style: bold; }
    Welcome #model { margin-top: 1; }
    Welcome #notice { color: $text-muted; margin-top: 1; }
    Welcome #hints { color: $text-muted; margin-top: 1; }
    """

    def compose(self) -> ComposeResult:
        yield Static("\n".join(_LOGO), id="logo", markup=False)
        yield Static("", id="model", markup=False)
        yield Static("", id="notice", markup=False)
        yield Static(_hints(), id="hints", markup=False)

    def show_keys(self) -> None:
        """The keys may be others now."""
        self.query_one("#hints", Static).update(_hints())

    def show_card(self, card: ModelCard) -> None:
        """A loaded model."""
        shape = card.shape
        shown = f"{_count(shape.n_params)} parameters"
        if 0 < shape.n_active_params < shape.n_params:
            shown += f" ({_count(shape.n_active_params)} active)"
        details = f"{shown} · {one_line(card.dtype)} on {one_line(card.device)}"
        if card.ranks > 1:
            details += f" · {card.ranks} ranks ({one_line(card.parallel)})"
        details += f" · context {card.context:,}"
        self._model(card.name, details)
        said = [card.notice, *card.notes]
        if card.adapter:
            said.insert(0, f"With the adapter {card.adapter}.")
        self.query_one("#notice", Static).update(
            "\n".join(one_line(sentence, 300) for sentence in said if sentence)
        )

    def show_text(self, title: str, text: str, *, wrong: bool = False) -> None:
        """A state of loading, or what went wrong."""
        self._model(title, text, "bold $text-error" if wrong else "bold")
        self.query_one("#notice", Static).update("")

    def _model(self, title: str, text: str, style: str = "bold") -> None:
        content = Content.assemble((one_line(title), style), "\n", sanitize(text))
        self.query_one("#model", Static).update(content)


def _hints() -> str:
    does = ("send", "sends"), ("stop", "stops"), ("command_palette", "commands"), ("help", "help")
    return line(*does)


def _count(n: int) -> str:
    return f"{n / 1e9:.1f} B" if n >= 1e9 else f"{n / 1e6:.0f} M"
