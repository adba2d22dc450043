"""The settings of this conversation: what applies, where it came from, and a field for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from mistral_tui.actions import bindings, line
from mistral_tui.config import presets
from mistral_tui.config.layers import ConversationSettings, Effective
from mistral_tui.config.setting import Invalid
from mistral_tui.config.settings import BY_KEY, of_section
from mistral_tui.config.user_files import FileProblem
from mistral_tui.sanitize import one_line

if TYPE_CHECKING:
    from mistral_tui.config.presets import Preset

KEYS = (*of_section("sampling"), "system_prompt", "safe_prompt")


class SettingsScreen(ModalScreen[ConversationSettings | None]):
    """Dismissed with the conversation's new settings, or None."""

    AUTO_FOCUS = "#preset"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("settings")]
    DEFAULT_CSS = """
    SettingsScreen { align: center middle; }
    SettingsScreen VerticalScroll {
        width: 96; max-width: 98%; height: auto; max-height: 94%;
        background: $panel; border: round $primary; padding: 0 1;
        border-title-color: $primary; border-subtitle-color: $text-muted;
        scrollbar-size-vertical: 1; scrollbar-background: $panel;
    }
    SettingsScreen Horizontal { height: 1; }
    SettingsScreen .name { width: 20; }
    SettingsScreen .origin { width: 1fr; color: $text-muted; padding-left: 1; }
    SettingsScreen Input { width: 20; border: none; height: 1; padding: 0; background: $surface; }
    SettingsScreen .long { width: 1fr; }
    SettingsScreen #wrong { color: $text-error; height: auto; }
    SettingsScreen #help { color: $text-muted; height: auto; margin-top: 1; }
    """

    def __init__(
        self,
        own: ConversationSettings,
        now: Mapping[str, Effective],
        found: Mapping[str, Preset],
    ) -> None:
        super().__init__()
        self._own = own
        self._now = now
        self._presets = found

    def compose(self) -> ComposeResult:
        with VerticalScroll(can_focus=False) as box:
            box.border_title = "Settings of this conversation"
            names = ", ".join(self._presets)
            yield from self._row("preset", "preset", self._own.preset, f"one of {names}")
            for key in KEYS:
                setting, now = BY_KEY[key], self._now[key]
                own = self._own.values.get(key)
                text = "" if own is None else setting.shown(own)
                origin = f"{now.shown} ({now.origin})" if now.value is not None else setting.unset
                yield from self._row(key, setting.title, text, origin)
            yield Static("", id="wrong", markup=False)
            yield Static(_help(), id="help", markup=False)

    def _row(self, key: str, title: str, text: str, origin: str) -> ComposeResult:
        with Horizontal():
            yield Static(title, classes="name", markup=False)
            yield Input(
                text, id=key, compact=True, classes="long" if key == "system_prompt" else ""
            )
            yield Static(one_line(origin, 200), classes="origin", markup=False)

    @on(Input.Changed)
    def _typed(self) -> None:
        self._read()

    def _read(self) -> ConversationSettings | None:
        """What stands in the fields; None, and a sentence below them, if that cannot be."""
        # The tools have a screen of their own.
        values = {k: v for k, v in self._own.values.items() if k not in KEYS}
        wrong = ""
        for key in KEYS:
            typed = self.query_one(f"#{key}", Input).value
            if not typed.strip():
                continue
            try:
                values[key] = BY_KEY[key].parse(typed)
            except Invalid as error:
                wrong = wrong or f"{BY_KEY[key].title} {error}."
        preset = self.query_one("#preset", Input).value.strip()
        if preset and preset not in self._presets:
            wrong = wrong or f"There is no preset {one_line(preset, 40)!r}."
        self.query_one("#wrong", Static).update(one_line(wrong, 300))
        return None if wrong else ConversationSettings.of(preset, values)

    def action_keep(self) -> None:
        """Keep what stands in the fields."""
        if (read := self._read()) is not None:
            self.dismiss(read)

    def action_save_preset(self) -> None:
        """What stands in the fields as a preset under the name in the first one."""
        name = self.query_one("#preset", Input).value.strip()
        values = {}
        for key in KEYS:
            typed = self.query_one(f"#{key}", Input).value
            try:
                if typed.strip() and key != "safe_prompt":
                    values[key] = BY_KEY[key].parse(typed)
            except Invalid:
                return
        try:
            presets.save(name, values)
        except FileProblem as error:
            self.notify(one_line(str(error), 300), severity="error", markup=False)
            return
        self.notify(f"The preset {one_line(name, 40)} is saved.", markup=False)
        self._presets = {**self._presets, name: presets.Preset(name, values, origin="saved")}
        self._read()


def _help() -> str:
    says = line(
        ("settings.keep", "keeps"),
        ("settings.leave", "leaves"),
        ("settings.save_preset", "saves them as a preset"),
    )
    return f"Empty: as the origin says · {says}"
