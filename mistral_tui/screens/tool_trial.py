"""A tool called by the user, with arguments written here: what the model would get back."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static, TextArea

from mistral_tui.actions import bindings, key_of, line
from mistral_tui.sanitize import one_line, sanitize
from mistral_tui.screens import tool_words
from mistral_tui.screens.tool_editor import as_json
from mistral_tui.tools import limits
from mistral_tui.tools.definition import Definition, Outcome
from mistral_tui.tools.errors import ToolError
from mistral_tui.widgets.areas import JsonArea

if TYPE_CHECKING:
    from mistral_tui.tools.toolbox import Toolbox

_CHECK_SECONDS = 0.2  # after the last key
_TICK_SECONDS = 0.25


class ToolTrial(ModalScreen[None]):
    """Nothing of it gets into the conversation."""

    AUTO_FOCUS = "JsonArea"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("tool", leave_out=("tool.keep",))]
    DEFAULT_CSS = """
    ToolTrial { align: center middle; }
    ToolTrial > Vertical {
        width: 100; max-width: 98%; height: 94%;
        background: $panel; border: round $primary; padding: 0 1;
        border-title-color: $primary; border-subtitle-color: $text-muted;
    }
    ToolTrial #arguments { height: auto; max-height: 2; color: $text-muted; }
    ToolTrial JsonArea { height: 2fr; min-height: 4; }
    ToolTrial VerticalScroll {
        height: 3fr; min-height: 4; border: round $border-blurred; padding: 0 1;
        background: $panel; scrollbar-size-vertical: 1; scrollbar-background: $panel;
        border-title-color: $text-muted;
    }
    ToolTrial VerticalScroll:focus { border: round $border; }
    ToolTrial VerticalScroll:nocolor:focus { border: heavy $border; }
    ToolTrial #state { height: auto; max-height: 4; color: $text-muted; }
    ToolTrial #state.-wrong { color: $text-error; }
    ToolTrial #result { height: auto; }
    """

    def __init__(
        self, tool: Definition, toolbox: Toolbox, timeout: float = limits.TIMEOUT_SECONDS
    ) -> None:
        """`timeout`: the seconds that a call may take."""
        super().__init__()
        self._tool = tool
        self._toolbox = toolbox
        self._timeout = timeout
        self._call: asyncio.Task[Outcome] | None = None
        self._busy = False  # from the key press on
        self._stopped = False
        self._began = 0.0

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = f"Try out {one_line(self._tool.name, 64)}"
            box.border_subtitle = line(("tool.try_out", "calls it"), ("tool.leave", "leaves"))
            yield Static(_asked(self._tool), id="arguments", markup=False)
            yield JsonArea(as_json(tool_words.skeleton(self._tool.parameters)))
            yield Static("", id="state", markup=False)
            with VerticalScroll() as pane:
                pane.border_title = "Result"
                yield Static("", id="result", markup=False)

    def on_mount(self) -> None:
        self.set_interval(_TICK_SECONDS, self._tick)
        self._check()

    def on_unmount(self) -> None:
        self._cancel()

    @property
    def _text(self) -> str:
        return self.query_one(JsonArea).text

    def _say(self, sentence: str, wrong: bool = False) -> None:
        state = self.query_one("#state", Static)
        state.set_class(wrong, "-wrong")
        state.update(one_line(sentence, 400))

    # ── the arguments ───────────────────────────────────────────────────────────────

    @on(TextArea.Changed)
    def _typed(self, event: TextArea.Changed) -> None:
        event.stop()  # the app keeps drafts of the prompt by these
        if not self._busy:
            self._check(_CHECK_SECONDS)

    @work(exclusive=True, group="check")
    async def _check(self, after: float = 0.0) -> None:
        await asyncio.sleep(after)
        if await self._arguments() is not None and not self._busy:
            self._say("✓ These arguments fit.")

    async def _arguments(self) -> dict[str, Any] | None:
        """What stands there, if the tool takes it; else what is wrong is said."""
        try:
            return await asyncio.to_thread(self._toolbox.check, self._tool, self._text)
        except ToolError as error:
            self._say(str(error), wrong=True)
            return None

    # ── the call ────────────────────────────────────────────────────────────────────

    def action_try_out(self) -> None:
        """Call it with what stands there."""
        if not self._busy:
            self._busy = True
            self.workers.cancel_group(self, "check")
            self._run()

    @work(group="call")
    async def _run(self) -> None:
        try:
            arguments = await self._arguments()
            if arguments is not None:
                await self._called(arguments)
        finally:
            self._busy = False

    async def _called(self, arguments: dict[str, Any]) -> None:
        if self._tool.kind == "manual":
            self._say("✓ These arguments fit.")
            self._show(
                "You answer this tool by hand: when the model calls it, you are shown its "
                "arguments and type the result."
            )
            return
        self._began, self._stopped = time.monotonic(), False
        self._show("")
        self._call = asyncio.ensure_future(
            self._toolbox.run(self._tool, arguments, timeout=self._timeout)
        )
        self._tick()
        try:
            outcome = await self._call
        except asyncio.CancelledError:
            if not self._stopped:
                raise
            self._say(f"Stopped after {time.monotonic() - self._began:.1f} s.")
            return
        finally:
            self._call = None
        self._came(outcome)

    def _came(self, outcome: Outcome) -> None:
        took = f"{time.monotonic() - self._began:.2f} s"
        count = f"{len(outcome.text):,} characters"
        cut = f", cut after {count}" if outcome.cut else f", {count}"
        self._say(f"{'The tool failed' if outcome.error else 'Done'}: {took}{cut}.", outcome.error)
        text = sanitize(outcome.text[: limits.MOST_RESULT])
        self._show(text if text.strip() else "(nothing)")

    def _show(self, text: str) -> None:
        self.query_one("#result", Static).update(text)
        self.query_one(VerticalScroll).scroll_home(animate=False)

    def _tick(self) -> None:
        if self._call is not None and not self._stopped:
            seconds = int(time.monotonic() - self._began)
            self._say(f"Running … {seconds} s · {key_of('tool.leave')} stops it")

    def _cancel(self) -> None:
        if self._call is not None:
            self._call.cancel()

    def action_leave(self) -> None:
        """Stop the call that runs; else leave."""
        if self._call is not None and not self._stopped:
            self._stopped = True
            self._say("Stopping …")
            self._cancel()
        else:
            self.dismiss(None)


def _asked(tool: Definition) -> str:
    """What it takes, in a line."""
    words = [
        f"{one.name}: {one.kind}" + ("" if one.required else " (optional)")
        for one in tool_words.parameters(tool.parameters)
        if "." not in one.name
    ]
    return one_line(" · ".join(words), 200) or "It takes no arguments: {} is all."
