"""The app: wires keys to the session and the session's happenings to widgets."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Coroutine, Iterable
from typing import Any, ClassVar

from textual.app import App, ComposeResult, SystemCommand
from textual.binding import BindingType
from textual.screen import Screen
from textual.timer import Timer
from textual.widgets import Static, TextArea

from inference.errors import InferenceError
from mistral_tui import clipboard, paths, themes
from mistral_tui.actions import ACTIONS, bindings
from mistral_tui.choices import ModelChoice, SamplingChoice
from mistral_tui.conversation import (
    EngineChanged,
    Happening,
    ReplyBegan,
    Session,
    Trouble,
)
from mistral_tui.engine_client import EngineClient, LocalEngine
from mistral_tui.presenter import Presenter
from mistral_tui.sanitize import one_line, sanitize
from mistral_tui.schema import StoreError
from mistral_tui.store import AsyncStore
from mistral_tui.widgets.prompt import Prompt
from mistral_tui.widgets.status import StatusLine
from mistral_tui.widgets.transcript import Transcript
from mistral_tui.widgets.welcome import Welcome

STARTER = "starter"
_DRAFT_SECONDS = 0.5


class ChatApp(App[int]):
    """The chat. Its return value is the exit code."""

    TITLE = "mistral-tui"
    CSS_PATH = "app.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings("app", leave_out=("command_palette", "focus_other"))
    ]

    def __init__(
        self,
        choice: ModelChoice,
        client: EngineClient,
        store: AsyncStore,
        *,
        sampling: SamplingChoice,
        system_prompt: str = "",
        reopen: bool = False,
        theme_name: str = "",
    ) -> None:
        super().__init__()
        self.store = store
        self.client = client
        self._reopen = reopen
        self._theme_name = theme_name
        self._draft_timer: Timer | None = None
        self._code_index = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.session = Session(
            store,
            client,
            self.happened,
            choice=choice,
            sampling=sampling,
            system_prompt=system_prompt,
        )

    def compose(self) -> ComposeResult:
        yield Welcome(id="welcome")
        yield Transcript(id="transcript")
        yield Static("↓ more below · Ctrl+End", id="below", markup=False)
        yield Prompt(id="prompt")
        yield StatusLine(id="status")

    # ── the parts ───────────────────────────────────────────────────────────────────

    @property
    def transcript(self) -> Transcript:
        return self._main.query_one(Transcript)

    @property
    def prompt(self) -> Prompt:
        return self._main.query_one(Prompt)

    @property
    def status(self) -> StatusLine:
        return self._main.query_one(StatusLine)

    @property
    def _main(self) -> Screen[Any]:
        return self.screen_stack[0]

    # ── start and end ───────────────────────────────────────────────────────────────

    def on_mount(self) -> None:
        self._presenter = Presenter(self._main)
        found, problems = themes.load_themes(paths.themes_dir())
        for theme in found:
            self.register_theme(theme)
        self._choose_theme(self._theme_name or "mistral-dark")
        self.prompt.focus()
        for problem in problems:
            self.notify(problem, severity="warning", markup=False, timeout=10)
        self.set_interval(1.0, self._check_engine)
        for number in (signal.SIGTERM, signal.SIGHUP):
            with contextlib.suppress(NotImplementedError, RuntimeError):
                asyncio.get_running_loop().add_signal_handler(number, self.exit, 128 + number)
        # After the first paint: what follows takes the processor away from it.
        self.call_after_refresh(self._start, self._begin())

    async def _begin(self) -> None:
        loading = asyncio.create_task(self._load())
        self._tasks.add(loading)
        if not self._theme_name and (kept := await self.store.get_setting("theme")):
            self._choose_theme(kept)
        self.prompt.remember(await self.store.recent_prompts())
        if self._reopen:
            if not await self.session.open_latest():
                self.notify("There is no conversation to continue yet.", markup=False)
            elif self.session.conversation and not self.prompt.text:
                self.prompt.put(self.session.conversation.draft)
        await loading

    async def _load(self, *, fetch: bool = False) -> None:
        model = self.session.choice.model
        if model == STARTER and not fetch and not await asyncio.to_thread(_starter_is_there):
            from mistral_tui.screens.first_run import FirstRun

            self.push_screen(FirstRun(), self._first_run_answered)
            return
        await self.session.load(fetch=fetch)

    def _first_run_answered(self, fetch: bool | None) -> None:
        if fetch:
            self._start(self._load(fetch=True))
        else:
            self._presenter.no_model("No model yet", "Ctrl+R offers the starter model again.")

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something beside the event loop; its foreseeable failures become notes."""

        async def guarded() -> None:
            try:
                await work
            except (StoreError, InferenceError, paths.FolderError, OSError) as error:
                self.happened(Trouble(str(error)))

        task = asyncio.create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def action_quit(self) -> None:
        """Leave; the exit code says whether the model could be loaded."""
        self.exit(1 if self.session.engine == "failed" else 0)

    async def leave(self) -> None:
        """Stop and save; called once the screen is given back."""
        with contextlib.suppress(StoreError, TimeoutError):
            await asyncio.wait_for(self.session.stop(), 2)
        with contextlib.suppress(StoreError):
            await self.session.keep_draft(self._typed)
        await self.client.close()
        with contextlib.suppress(StoreError):
            await self.store.close()

    def happened(self, event: Happening) -> None:
        """Everything the session tells."""
        self._presenter.show(event)
        if isinstance(event, EngineChanged) and event.state == "ready":
            self._start(self.store.set_setting("last_model", self.session.choice.model))
        if isinstance(event, ReplyBegan):
            self._code_index = 0

    def _check_engine(self) -> None:
        self.status.show(silent=self.client.silent_for())

    # ── what the user does ──────────────────────────────────────────────────────────

    async def on_prompt_sent(self, event: Prompt.Sent) -> None:
        if self.session.answering:
            self.notify("The model is still answering; Esc stops it.", markup=False)
            return
        self._stop_draft_timer()
        text = self.prompt.take()
        self._start(self._say(text))

    async def _say(self, text: str) -> None:
        try:
            await self.session.say(text)
        except StoreError:
            if not self.prompt.text:
                self.prompt.put(text)  # not saved, so not gone either
            raise

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        self._stop_draft_timer()
        self._draft_timer = self.set_timer(
            _DRAFT_SECONDS, lambda: self._start(self.session.keep_draft(self._typed))
        )

    def _stop_draft_timer(self) -> None:
        if self._draft_timer is not None:
            self._draft_timer.stop()
            self._draft_timer = None

    @property
    def _typed(self) -> str:
        try:
            return self.prompt.text
        except Exception:  # the screen is gone already
            return ""

    def on_transcript_follow_changed(self, event: Transcript.FollowChanged) -> None:
        self._main.set_class(not event.following, "behind")

    def action_stop(self) -> None:
        """Stop the answer; with none running, go back to the prompt."""
        if self.session.answering:
            self.session.cancel()
        self.prompt.focus()

    def action_scroll_page_up(self) -> None:
        """Scroll the conversation up by a page."""
        self.transcript.page_up()

    def action_scroll_page_down(self) -> None:
        """Scroll the conversation down by a page."""
        self.transcript.page_down()

    def action_follow(self) -> None:
        """Go to the end of the conversation."""
        self.transcript.follow()

    def action_new(self) -> None:
        """Begin a new conversation; the old one is saved already."""
        self._start(self.session.new())
        self.prompt.focus()

    def action_restart(self) -> None:
        """Start the engine again, or offer the starter model again."""
        if self.session.engine == "loading":
            self.notify("The model is being loaded already.", markup=False)
        elif self.session.engine == "ready":
            self._start(self._restart_running())
        else:
            self._start(self._load())

    async def _restart_running(self) -> None:
        await self.session.stop()
        await self.client.close()
        await self._load()

    def action_copy_answer(self) -> None:
        """Copy the last answer as it was written (Markdown)."""
        answer = self._last_answer()
        if answer is None:
            self.notify("There is no answer to copy yet.", markup=False)
        else:
            self._copy(answer, "the answer")

    def action_copy_code(self) -> None:
        """Copy the last code block of the last answer; pressed again, the one before."""
        key = self._last_key()
        found = self.transcript.code_blocks(key) if key else []
        if not found:
            self.notify("There is no code block in the last answer.", markup=False)
            return
        self._code_index = self._code_index % len(found) + 1
        _, code = found[-self._code_index]
        which = f"code block {len(found) - self._code_index + 1} of {len(found)}"
        self._copy(code, which)

    def _last_answer(self) -> str | None:
        key = self._last_key()
        return self.transcript.text(key) if key else None

    def _last_key(self) -> str | None:
        replies = [m for m in self.session.messages if m.role == "assistant"]
        running = self.session.running_message_id
        if running is not None:
            return str(running)
        return str(replies[-1].id) if replies else None

    def _copy(self, text: str, what: str) -> None:
        async def copy() -> None:
            result = await asyncio.to_thread(
                clipboard.copy, text, write_osc52=self._write_to_terminal
            )
            severity = "error" if result.ok is False else "information"
            self.notify(
                f"{what.capitalize()}: {sanitize(result.sentence)}",
                severity=severity,  # type: ignore[arg-type]
                markup=False,
            )

        self._start(copy())

    def copy_to_clipboard(self, text: str) -> None:
        """Textual's own copies (selected text) take the honest way, too."""
        self._clipboard = text
        self._copy(text, "the selection")

    def _write_to_terminal(self, sequence: str) -> None:
        if self._driver is not None:
            self.call_from_thread(self._driver.write, sequence)

    def action_toggle_theme(self) -> None:
        """The light or the dark look; kept for the next time."""
        other = "mistral-light" if self.current_theme.dark else "mistral-dark"
        self._choose_theme(other)
        self._start(self.store.set_setting("theme", other))

    def _choose_theme(self, name: str) -> None:
        if name in self.available_themes:
            self.theme = name
        else:
            known = ", ".join(sorted(n for n in self.available_themes if "mistral" in n))
            self.notify(
                f"There is no theme {one_line(name, 40)!r}; there are {known}.",
                severity="warning",
                markup=False,
            )

    def action_help(self) -> None:
        """Keys, and what is running."""
        from mistral_tui.screens.help import HelpScreen

        facts = [("Log", str(paths.log_dir() / "engine.log"))]
        facts.append(("Saved in", str(paths.database_path())))
        if card := self.session.card:
            facts = [
                ("Model", card.path),
                ("Tokenizer", card.tokenizer),
                ("Runs on", f"{card.device}, {card.dtype}, {card.threads} CPU threads"),
                *facts,
            ]
        self.push_screen(HelpScreen(facts))

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        for action in ACTIONS:
            if action.palette:
                run = getattr(self, f"action_{action.id}")
                yield SystemCommand(action.title, f"{action.help} ({action.shown_keys})", run)
        yield SystemCommand("Theme", "Choose among all looks.", self.action_change_theme)


def _starter_is_there() -> bool:
    from inference import starter

    return starter.is_installed()


def run(
    choice: ModelChoice,
    *,
    sampling: SamplingChoice,
    system_prompt: str = "",
    reopen: bool = False,
    theme: str = "",
) -> int:
    """Open the chat and stay in it; returns the exit code."""
    return asyncio.run(_run(choice, sampling, system_prompt, reopen, theme))


async def _run(
    choice: ModelChoice, sampling: SamplingChoice, system_prompt: str, reopen: bool, theme: str
) -> int:
    import sys
    from dataclasses import replace

    try:
        client = LocalEngine(paths.log_dir() / "engine.log")
        store = await AsyncStore.open(paths.database_path())
        if not choice.model:
            model = await store.get_setting("last_model", STARTER)
            choice = replace(choice, model=model)
    except (StoreError, paths.FolderError) as error:
        print(f"mistral-tui: {sanitize(str(error))}", file=sys.stderr)  # noqa: T201
        return 1
    app = ChatApp(
        choice,
        client,
        store,
        sampling=sampling,
        system_prompt=system_prompt,
        reopen=reopen,
        theme_name=theme,
    )
    try:
        code = await app.run_async()
    finally:
        await app.leave()
    return app.return_code or code or 0
