"""The app: wires keys to the session and the session's happenings to widgets."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult, SystemCommand
from textual.binding import BindingType
from textual.containers import Container
from textual.dom import DOMNode
from textual.screen import Screen
from textual.timer import Timer
from textual.widgets import TextArea

from mistral_tui import keys
from mistral_tui.actions import ACTIONS, BY_ID, bindings, key_of
from mistral_tui.choices import ModelChoice, SamplingChoice, ToolsChoice
from mistral_tui.code_actions import CodeActions
from mistral_tui.sanitize import sanitize
from mistral_tui.sending import Sender
from mistral_tui.torchrun import told_to_end
from mistral_tui.widgets.hints import Hints
from mistral_tui.widgets.prompt import Prompt
from mistral_tui.widgets.queue import QueueLines
from mistral_tui.widgets.status import StatusLine
from mistral_tui.widgets.welcome import Welcome

if TYPE_CHECKING:
    from mistral_tui.copying import Copier
    from mistral_tui.engine_client import EngineClient
    from mistral_tui.happenings import Happening
    from mistral_tui.history.store import AsyncStore
    from mistral_tui.presenter import Presenter
    from mistral_tui.room import Conversing
    from mistral_tui.terminal import Guard
    from mistral_tui.widgets.transcript import Transcript

    Connect = Callable[[], Awaitable[tuple[EngineClient, AsyncStore]]]

STARTER = "starter"
_DRAFT_SECONDS = 0.5
_AFTER_PAINT_SECONDS = 0.05
_PURGE_SECONDS = 60.0
# What works before the session is there.
_ALWAYS = {"quit", "help", "toggle_theme", "command_palette", "edit_prompt", "focus_other"} | {
    action.id for action in ACTIONS if action.where == "prompt"
}


class ChatApp(CodeActions):
    """The chat. Its return value is the exit code."""

    TITLE = "mistral-tui"
    CSS_PATH = "app.tcss"
    HORIZONTAL_BREAKPOINTS = [(0, "-code-above"), (100, "-code-beside")]  # noqa: RUF012 (Textual's)
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("app")]

    def __init__(
        self,
        choice: ModelChoice,
        connect: Connect | None = None,
        *,
        sampling: SamplingChoice,
        system_prompt: str = "",
        reopen: bool = False,
        resume: str = "",
        theme_name: str = "",
        tools: ToolsChoice = ToolsChoice(),  # noqa: B008 (frozen)
        code: tuple[str, ...] | None = None,
        preset: str = "",
    ) -> None:
        """`code`: the files to open in the code panel; None: no panel. `preset`: that new
        conversations begin with."""
        super().__init__()
        keys.use({})
        self._choice = choice
        self._connect = connect
        self._sampling = sampling
        self._system_prompt = system_prompt
        self._tools = tools
        self._code = code
        self._preset = preset
        self._reopen = reopen
        self._resume = resume
        self._draft_timer: Timer | None = None
        self._send_soon = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.begun = False
        """Whether there is a session: from then on the attributes below exist."""
        self.session: Conversing
        self.client: EngineClient
        self.store: AsyncStore
        self.transcript: Transcript
        self._presenter: Presenter
        self._copier: Copier
        self.prompt = Prompt(id="prompt")
        self.status = StatusLine(id="status")
        self._sender = Sender(self)
        self._problems = self.add_themes(theme_name)

    def compose(self) -> ComposeResult:
        with Container(id="work", classes="talk"), Container(id="talk"):
            with Container(id="view"):
                yield Welcome(id="welcome")
            yield QueueLines(self.prompt.queue)
            yield self.prompt.menu
            yield self.prompt
        yield self.status

    # ── start and end ───────────────────────────────────────────────────────────────

    def on_mount(self) -> None:
        self.prompt.focus()
        for number in (signal.SIGTERM, signal.SIGHUP):
            with contextlib.suppress(NotImplementedError, RuntimeError):
                asyncio.get_running_loop().add_signal_handler(number, told_to_end, self, number)
        # After the first paint: what follows takes the processor away from it.
        self.call_after_refresh(self.set_timer, _AFTER_PAINT_SECONDS, self._begin_soon)

    def _begin_soon(self) -> None:
        gc.freeze()  # what the start made stays: collecting need not look at it again
        gc.enable()
        self._warn(self._problems)
        self.start(self._begin())

    def _warn(self, problems: Iterable[str]) -> None:
        for problem in problems:
            self.notify(sanitize(problem), severity="warning", markup=False, timeout=10)

    async def _begin(self) -> None:
        """Bring in the rest: imports in a thread, store, session, transcript; then load."""
        rest = self._backstage = await asyncio.to_thread(
            importlib.import_module, "mistral_tui.backstage"
        )
        try:
            config = await asyncio.to_thread(rest.load_config)
            choice = self._choice.filled(config.values)
            connect = self._connect or partial(rest.connect, choice.ranks or 1)
            self.client, self.store = await connect()
            model = choice.model
            if not model:
                named = str(config.values.get("model", ""))
                last = named or await self.store.get_setting("last_model", STARTER)
                model = rest.model_path(last or STARTER)
        except rest.TROUBLES as error:
            self.exit(1, return_code=1, message=f"mistral-tui: {sanitize(str(error))}")
            return
        self.session = rest.Conversing(
            self.store,
            self.client,
            self.happened,
            config=config,
            choice=replace(choice, model=model),
            sampling=self._sampling,
            system_prompt=self._system_prompt,
            tools=self._tools,
            preset=self._preset,
            toolbox=rest.toolbox(config, self._tools),
        )
        await self.session.load_permissions()
        self.transcript = rest.Transcript(id="transcript")
        main, hints = self.screen_stack[0], Hints()
        await main.query_one("#view").mount(self.transcript, before=0)
        await main.mount(hints, before=self.status)
        self.watch(main, "focused", partial(self._focus_moved, hints))
        self._use_keys(config.keys)
        self._presenter = rest.Presenter(main)
        self._copier = rest.Copier(self)
        self.begun = True
        self._warn([*config.problems, *self.config_theme(config.values.get("theme"))])
        self.set_interval(1.0, self._check_engine)
        self.watch_user_themes()
        self.set_timer(_PURGE_SECONDS, lambda: self.start(self._purge()))
        self.start(self._load())
        self.prompt.remember(await self.store.recent_prompts())
        if self._code is not None:
            self.start(self.open_files(self._code))
        if self._resume:
            await self.session.open(self._resume)
        if self._reopen or self._resume:
            if not self._resume and not await self.session.open_latest():
                self.notify("There is no conversation to continue yet.", markup=False)
            elif self.session.conversation and not self.prompt.text:
                self.prompt.restore(self.session.conversation.draft)
        if self._send_soon:
            self.prompt.action_send()

    def _use_keys(self, changed: Mapping[str, tuple[str, ...]]) -> None:
        """The user's own keys, by the actions' ids; all others have ours."""
        keys.use(changed)
        self.set_keymap(keys.keymap(changed))
        main = self.screen_stack[0]
        for key in BY_ID["focus_other"].keys:  # it is Textual's own, too
            main._bindings.key_to_bindings.pop(key, None)
        self.prompt.show_keys()
        main.query_one(Welcome).show_keys()
        self.status.refresh()

    def _focus_moved(self, hints: Hints, focused: DOMNode | None) -> None:
        if focused is not None:  # else the terminal is not in front
            hints.show(focused is self.transcript)

    async def _load(self, *, fetch: bool = False) -> None:
        model = self.session.choice.model
        if model == STARTER and not fetch and not await asyncio.to_thread(_starter_is_there):
            from mistral_tui.screens.first_run import FirstRun

            if not isinstance(self.screen, FirstRun):
                self.push_screen(FirstRun(), self._first_run_answered)
            return
        await self.session.load(fetch=fetch, anew=self.session.engine == "ready")

    def _first_run_answered(self, fetch: bool | None) -> None:
        if fetch:
            self.start(self._load(fetch=True))
        else:
            offers = f"{key_of('restart')} offers the starter model again."
            self._presenter.no_model("No model yet", offers)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something beside the event loop; its foreseeable failures become notes."""

        async def guarded() -> None:
            try:
                await work
            except Exception as error:
                if not self.begun or not isinstance(error, self._backstage.TROUBLES):
                    raise
                self.happened(self._backstage.Trouble(str(error)))

        task = asyncio.create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def action_quit(self) -> None:
        """Leave; the exit code says whether the model could be loaded."""
        self.run_worker(self._quit(), exit_on_error=False, group="quit")

    async def _quit(self) -> None:
        if await self.may_leave():
            self.exit(1 if self.begun and self.session.engine == "failed" else 0)

    async def leave(self) -> None:
        """Stop and save; called once the screen is given back."""
        begun, self.begun = self.begun, False
        if not begun:
            return
        with contextlib.suppress(*self._backstage.TROUBLES):
            await self.keep_code()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.session.stop(), 2)
        await self.client.close()
        await self.session.close_tools()
        with contextlib.suppress(TimeoutError):  # what a hanging engine had said is saved now
            await asyncio.wait_for(self.session.stop(), 2)
        with contextlib.suppress(*self._backstage.TROUBLES):
            await self.session.keep_draft(self.draft)
        with contextlib.suppress(*self._backstage.TROUBLES):
            await self.store.close()

    def happened(self, event: Happening) -> None:
        """Everything the session tells."""
        if not self.begun:
            return  # there is no screen any more
        self._presenter.show(event)
        if isinstance(event, self._backstage.SETTINGS):
            self.status.show(tools=self.tools_enabled)
        if isinstance(event, self._backstage.TakenBack):
            self._sender.give_back(event.text)
        elif isinstance(event, self._backstage.ReplyEnded):
            self._sender.ended(event.status)
        elif isinstance(event, self._backstage.ContextFull):
            self.ask_for_room(event.tokens, event.context)
        elif isinstance(event, self._backstage.CallsWait):
            self.show_waiting(event.calls)
        elif isinstance(event, self._backstage.Settled):
            self._sender.settled(event.stopped)

    async def _purge(self) -> None:
        """Conversations that were deleted a month ago go for good."""
        await self.store.beside(lambda store: store.purge())

    def _check_engine(self) -> None:
        self.session.check_engine()
        silent = self.client.silent_for()
        self.status.show(silent=silent, silent_who=self.client.silent_who)

    # ── what the user does ──────────────────────────────────────────────────────────

    def on_prompt_sent(self, event: Prompt.Sent) -> None:
        if not self.prompt.text.startswith(event.text):
            return  # Enter twice: the first one took it
        if self._sender.command(event.text):
            return
        if self.begun:
            self._stop_draft_timer()
            self._sender.message(event.text)
        else:
            self._send_soon = True

    def on_prompt_resumed(self) -> None:
        self._sender.next()

    def on_queue_lines_changed(self) -> None:
        self._keep_draft_soon()

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        self._keep_draft_soon()

    def _keep_draft_soon(self) -> None:
        self._stop_draft_timer()
        if not self.begun or self.editing is not None:
            return
        self._draft_timer = self.set_timer(
            _DRAFT_SECONDS, lambda: self.start(self.session.keep_draft(self.prompt.draft))
        )

    def _stop_draft_timer(self) -> None:
        if self._draft_timer is not None:
            self._draft_timer.stop()
            self._draft_timer = None

    def on_transcript_follow_changed(self, event: Transcript.FollowChanged) -> None:
        end = f"{key_of('follow')}: to the end"
        self.prompt.border_subtitle = "" if event.following else end

    def action_stop(self) -> None:
        """Stop the answer, or take back what waits; go to the prompt."""
        self._sender.stop()

    async def action_edit_prompt(self) -> None:
        """The prompt's text in the user's editor."""
        self.start(self._edit_prompt())

    async def _edit_prompt(self) -> None:
        from mistral_tui import editor

        if (text := await editor.edit(self, self.prompt.full_text)) is not None:
            self.prompt.rewrite(text)

    def action_new(self) -> None:
        """Begin a new conversation; the old one is saved already."""
        self.start(self.session.new())
        self.prompt.focus()

    def action_restart(self) -> None:
        """Start the engine again, or offer the starter model again."""
        if self.session.engine == "loading":
            self.notify("The model is being loaded already.", markup=False)
        else:
            self.start(self._load())

    def action_focus_other(self) -> None:
        """From the prompt to the conversation, or back; a call that waits goes before."""
        if not self.to_consent():
            self.screen.focus_next("#talk *")

    def action_help_quit(self) -> None:
        """On Ctrl+C with nothing to copy: say how to leave."""
        self.notify(f"{key_of('quit')} leaves; everything is saved.", markup=False)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return self.begun or action in _ALWAYS or action not in BY_ID

    async def run_action(
        self,
        action: str | tuple[str, str, tuple[object, ...]],
        default_namespace: DOMNode | None = None,
        namespaces: Mapping[str, DOMNode] | None = None,
    ) -> bool:
        """What the conversation does itself is done there, for the palette and commands, too."""
        known = BY_ID.get(action) if isinstance(action, str) else None
        if known is not None and known.where == "message" and default_namespace is None:
            if not self.begun:
                return False
            default_namespace = self.transcript.focus()
        return await super().run_action(action, default_namespace, namespaces)

    def write_raw(self, sequence: str) -> None:
        """Send the terminal a sequence of ours, from another thread."""
        if self._driver is not None:
            self.call_from_thread(self._driver.write, sequence)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        for action in ACTIONS:
            if action.palette:
                said = f"{action.help} ({action.shown_keys})" if action.now else action.help
                yield SystemCommand(action.title, said, partial(self.run_action, action.id))


def _starter_is_there() -> bool:
    from inference import starter

    return starter.is_installed()


def stay(app: ChatApp, guard: Guard | None = None) -> int:
    """Open the chat and stay in it; returns the exit code.

    Raises:
        paths.FolderError: the app's folders cannot be made; a sentence.
    """

    async def staying() -> int:
        try:
            with guard.watching(app) if guard else contextlib.nullcontext():
                code = await app.run_async()
        finally:
            await app.leave()
        return app.return_code or code or 0

    return asyncio.run(staying())
