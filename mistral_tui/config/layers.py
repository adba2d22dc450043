"""Which of several settings of one thing applies, and where it came from.

The command line goes before the conversation, the conversation's single values before its
preset, that before config.toml, and that before what the model recommends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from mistral_tui.choices import SamplingChoice
from mistral_tui.config.setting import Invalid, Setting, Value
from mistral_tui.config.settings import BY_KEY, SETTINGS
from mistral_tui.config.user_files import is_name
from mistral_tui.sanitize import one_line

if TYPE_CHECKING:
    from inference.api import SamplingParams
    from mistral_tui.config.file import Config
    from mistral_tui.config.presets import Preset

COMMAND_LINE = "command line"
CONVERSATION = "this conversation"
CONFIG = "config.toml"
MODEL = "model"
DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class ConversationSettings:
    """A conversation's own settings; None or empty: not set here."""

    preset: str = ""
    sampling: SamplingChoice = SamplingChoice()  # noqa: RUF009 (frozen)
    stop: tuple[str, ...] | None = None
    system_prompt: str | None = None
    safe_prompt: bool | None = None
    tools: tuple[str, ...] | None = None
    tool_choice: str | None = None

    @property
    def values(self) -> dict[str, Value]:
        """The single values that are set, by key."""
        own = {key: getattr(self, key) for key in _OWN}
        return said_in(self.sampling) | {k: v for k, v in own.items() if v is not None}

    @classmethod
    def of(cls, preset: str, values: Mapping[str, Value]) -> ConversationSettings:
        """From values by key."""
        own: dict[str, Any] = {key: values[key] for key in _OWN if key in values}
        return cls(preset, sampling_choice(values), **own)

    def with_value(self, key: str, value: Value | None) -> ConversationSettings:
        """With another value; None leaves it to the preset, the config and the model."""
        values = {k: v for k, v in self.values.items() if k != key}
        return self.of(self.preset, values if value is None else {**values, key: value})

    def to_json(self) -> dict[str, Any]:
        """What is set, as JSON can hold it."""
        values: dict[str, Any] = {
            k: list(v) if isinstance(v, tuple) else v for k, v in self.values.items()
        }
        return {"preset": self.preset, **values} if self.preset else values

    @classmethod
    def from_json(cls, data: object) -> ConversationSettings:
        """What is good of it: from a newer version, or damaged, it may hold anything."""
        values: dict[str, Value] = {}
        if not isinstance(data, Mapping):
            return cls()
        for key in _OF_CONVERSATION:
            try:
                values[key] = BY_KEY[key].read(data[key])
            except (KeyError, Invalid):
                continue
        preset = data.get("preset", "")
        return cls.of(preset if isinstance(preset, str) and is_name(preset) else "", values)


@dataclass(frozen=True, slots=True)
class Effective:
    """The value that applies; None: the model or the engine has its own. `origin` is for people."""

    setting: Setting
    value: Value | None
    origin: str = DEFAULT

    @property
    def shown(self) -> str:
        """The value on one line, safe for a terminal."""
        return self.setting.shown(self.value)


def said_in(choice: SamplingChoice | SamplingParams) -> dict[str, Value]:
    """The settings that are not left open, by key."""
    values = {f.name: getattr(choice, f.name) for f in fields(choice)}
    return {key: value for key, value in values.items() if value is not None}


def sampling_choice(values: Mapping[str, Value]) -> SamplingChoice:
    """Those of `values` that a `SamplingChoice` has; stop strings go to the engine beside it."""
    chosen: dict[str, Any] = {k: values[k] for k in _SAMPLING if k in values}
    return SamplingChoice(**chosen)


def layered(*layers: tuple[str, Mapping[str, Value]]) -> dict[str, Effective]:
    """Every setting from the first of the layers (name, values by key) that sets it."""
    result: dict[str, Effective] = {}
    for setting in SETTINGS:
        result[setting.key] = next(
            (
                Effective(setting, values[setting.key], name)
                for name, values in layers
                if setting.key in values
            ),
            Effective(setting, setting.default, MODEL if setting.by_model else DEFAULT),
        )
    return result


def effective(
    config: Config,
    *,
    command_line: Mapping[str, Value] | None = None,
    conversation: ConversationSettings = ConversationSettings(),
    model: SamplingParams | None = None,
) -> dict[str, Effective]:
    """Every setting as it applies now. A preset that there is no longer sets nothing."""
    preset: Preset | None = config.presets.get(conversation.preset)
    return layered(
        (COMMAND_LINE, command_line or {}),
        (CONVERSATION, conversation.values),
        (f"preset {conversation.preset}", preset.values if preset else {}),
        (CONFIG, config.values),
        (MODEL, said_in(model) if model else {}),
    )


def chosen(now: Mapping[str, Effective]) -> SamplingChoice:
    """The sampling of `effective` for the session: what the model recommends is left to it."""
    return sampling_choice(
        {k: e.value for k, e in now.items() if e.value is not None and e.origin != MODEL}
    )


def changes(old: ConversationSettings, new: ConversationSettings) -> list[str]:
    """What differs, for people: `temperature 0.2 → 0.7`, `top p 0.9 → default`."""
    result = []
    if old.preset != new.preset:
        result.append(f"preset {_name(old.preset)} → {_name(new.preset)}")
    before, after = old.values, new.values
    for key in _OF_CONVERSATION:
        if before.get(key) != after.get(key):
            words = [
                BY_KEY[key].shown(values[key], 40) if key in values else "default"
                for values in (before, after)
            ]
            result.append(f"{BY_KEY[key].title} {words[0]} → {words[1]}")
    return result


def differences(old: Mapping[str, Effective], new: Mapping[str, Effective]) -> list[str]:
    """What differs in effect, in the same words; a preset shows as the values that it changed."""
    return [
        f"{e.setting.title} {e.setting.shown(old[key].value, 40)} → {e.setting.shown(e.value, 40)}"
        for key, e in new.items()
        if old[key].value != e.value
    ]


def _name(preset: str) -> str:
    return one_line(preset, 40) or "none"


_SAMPLING = tuple(f.name for f in fields(SamplingChoice))
_OWN = ("stop", "system_prompt", "safe_prompt", "tools", "tool_choice")
_OF_CONVERSATION = (*_SAMPLING, *_OWN)
