"""The app's keys: those of the registry or the user's own, the palette, the line of hints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from textual.app import SystemCommand
from textual.binding import BindingsMap
from textual.dom import DOMNode
from textual.screen import Screen

from mistral_tui import keys
from mistral_tui.actions import ACTIONS, BY_ID, key_of
from mistral_tui.looks import Looks
from mistral_tui.widgets.hints import Hints
from mistral_tui.widgets.welcome import Welcome

if TYPE_CHECKING:
    from mistral_tui.widgets.prompt import Prompt
    from mistral_tui.widgets.status import StatusLine
    from mistral_tui.widgets.transcript import Transcript


class Keyboard(Looks):
    """What the app does with keys, and by name."""

    prompt: Prompt
    status: StatusLine
    transcript: Transcript

    def use_keys(self, changed: Mapping[str, tuple[str, ...]]) -> None:
        """The user's own keys, by the actions' ids; all others have ours."""
        keys.use(changed)
        self.set_keymap(keys.keymap(changed))
        main = self.screen_stack[0]
        taken = {key for action in ACTIONS if action.where == "app" for key in action.now}
        for node in (main, self.prompt, *main.query("#transcript")):
            _give_way(node, taken)
        self.prompt.show_keys()
        main.query_one(Welcome).show_keys()
        self.status.refresh()

    def focus_moved(self, hints: Hints, focused: DOMNode | None) -> None:
        if focused is not None:  # else the terminal is not in front
            hints.show(focused is self.transcript)

    def action_focus_other(self) -> None:
        """From the prompt to the conversation, or back."""
        self.screen.focus_next()

    def action_help_quit(self) -> None:
        """On Ctrl+C with nothing to copy: say how to leave."""
        self.notify(f"{key_of('quit')} leaves; everything is saved.", markup=False)

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

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        for action in ACTIONS:
            if action.palette:
                said = f"{action.help} ({action.shown_keys})" if action.now else action.help
                yield SystemCommand(action.title, said, partial(self.run_action, action.id))


def _give_way(node: DOMNode, taken: set[str]) -> None:
    """Of Textual's own bindings of a widget, leave those keys to the app that it wants."""
    node._bindings = BindingsMap.from_keys(
        {
            key: found
            for key, found in (type(node)._merged_bindings or BindingsMap()).key_to_bindings.items()
            if key not in taken or any(binding.id for binding in found)
        }
    )
