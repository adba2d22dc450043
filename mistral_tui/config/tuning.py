"""The settings of a session: what applies now, from the command line down to the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inference.api import ModelCard, SamplingParams
from mistral_tui.choices import SamplingChoice, ToolsChoice
from mistral_tui.config import file as config_file
from mistral_tui.config import layers, system_prompts
from mistral_tui.config.file import Config
from mistral_tui.config.layers import ConversationSettings, Effective
from mistral_tui.config.setting import Value


class Tuning:
    """Layers of settings. What the user changes in a conversation goes, there, before what the
    command line said of the same thing."""

    def __init__(
        self,
        said: SamplingChoice,
        system_prompt: str = "",
        config: Config | None = None,
        tools: ToolsChoice = ToolsChoice(),  # noqa: B008 (frozen)
        preset: str = "",
    ) -> None:
        """`preset`: that new conversations begin with."""
        self.config = config or Config(config_file.config_path())
        self._new = ConversationSettings(preset)
        self.own = self._new
        self._said: dict[str, Value] = layers.said_in(said)
        self._touched: set[str] = set()  # settings that were changed since the start
        if system_prompt:
            self._said["system_prompt"] = system_prompt
        if tools.names is not None:
            self._said["tools"] = tools.names
        if tools.choice is not None:
            self._said["tool_choice"] = tools.choice

    def now(self, card: ModelCard | None) -> dict[str, Effective]:
        """Every setting as it applies, and where it came from."""
        return layers.effective(
            self.config,
            command_line=self._command_line,
            conversation=self.own,
            model=card.sampling if card else None,
        )

    @property
    def _command_line(self) -> dict[str, Value]:
        preset = self.config.presets.get(self.own.preset)
        here = {*self.own.values, *(preset.values if preset else ())}
        return {k: v for k, v in self._said.items() if k not in self._touched & here}

    def sampling(self, card: ModelCard) -> SamplingParams:
        """How the next answer is drawn."""
        return layers.chosen(self.now(card)).over(card.sampling)

    @property
    def stop(self) -> tuple[str, ...]:
        """The stop strings."""
        value = self.now(None)["stop"].value
        return value if isinstance(value, tuple) else ()

    @property
    def tools(self) -> tuple[str, ...]:
        """The names of the tools that may be called."""
        value = self.now(None)["tools"].value
        return value if isinstance(value, tuple) else ()

    @property
    def tool_choice(self) -> str:
        """Whether they are: auto, none, any, or a name."""
        return str(self.now(None)["tool_choice"].value)

    @property
    def tool_rounds(self) -> int:
        """Most rounds of calls to one message."""
        return int(float(str(self.now(None)["tool_rounds"].value)))

    @property
    def tool_timeout(self) -> float:
        """Seconds that a call may take."""
        return float(str(self.now(None)["tool_timeout"].value))

    @property
    def safe_prompt(self) -> bool:
        return bool(self.now(None)["safe_prompt"].value)

    def system_prompt(self) -> str:
        """The text for a conversation that begins now.

        Raises:
            system_prompts.PromptError: it names a file that cannot be read; a sentence.
        """
        return system_prompts.resolve(str(self.now(None)["system_prompt"].value or ""))

    def begin(self) -> None:
        """The settings of a new conversation."""
        self.own = self._new

    def open(self, settings: Mapping[str, Any]) -> None:
        """Take over a conversation's own settings."""
        self.own = ConversationSettings.from_json(settings)

    def change(self, new: ConversationSettings, card: ModelCard | None) -> list[str]:
        """Other settings for this conversation; what changes by it, for people."""
        before = self.now(card)
        changed = {
            key
            for key in {**self.own.values, **new.values}
            if self.own.values.get(key) != new.values.get(key)
        }
        if new.preset != self.own.preset:
            preset = self.config.presets.get(new.preset)
            changed |= set(preset.values) if preset else set()
        self._touched |= changed
        self.own = new
        return layers.differences(before, self.now(card))
