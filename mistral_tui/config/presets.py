"""Presets: sampling settings under a name; ours, those in config.toml, and saved ones.

Ours set temperature, top-p and min-p together, so that the change from one to another leaves
nothing of the first behind. They move the temperature and leave top-p at 1, as Mistral advises
(alter one of the two, not both). What a model needs otherwise, such as the starter's repetition
penalty, stays the model's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mistral_tui.config import system_prompts
from mistral_tui.config.setting import Invalid, Setting, Value, literal, sentence
from mistral_tui.config.settings import BY_KEY, of_section, unknown
from mistral_tui.config.toml_file import TomlFile
from mistral_tui.config.user_files import (
    NAME_RULE,
    FileProblem,
    files,
    is_name,
    name_of,
    same_but_for_case,
    write_text,
)
from mistral_tui.sanitize import one_line

MOST_PRESETS = 200
HELP = Setting("help", "presets", "text", "What it is for.", "", example="Short.", longest=200)
KEYS: Mapping[str, Setting] = {
    **of_section("sampling"),
    "system_prompt": BY_KEY["system_prompt"],
    "help": HELP,
}


class PresetError(FileProblem):
    """A preset that cannot be saved or deleted; the message is a sentence for the user."""


@dataclass(frozen=True, slots=True)
class Preset:
    """`values` by key: of the sampling settings, and `system_prompt`."""

    name: str
    values: Mapping[str, Value]
    help: str = ""
    origin: Literal["built in", "config.toml", "saved"] = "built in"
    path: Path | None = field(default=None, compare=False)

    @property
    def summary(self) -> str:
        """Its settings on one line, safe for a terminal: `temperature 0.8, min p 0.05`."""
        return ", ".join(
            f"{BY_KEY[key].title} {BY_KEY[key].shown(self.values[key], 40)}"
            for key in KEYS
            if key in self.values
        )


_CODE_PROMPT = (
    "You are a code assistant. Answer with code that works, in fenced blocks that name their "
    "language. To change code you were shown, give each changed function whole. Explain only what "
    "the code does not say, in a sentence or two."
)
BUILT_IN: tuple[Preset, ...] = (
    # Mistral recommends 0.15 for Small 3 and its kin; above 0, so that a second try differs.
    Preset(
        "precise",
        {"temperature": 0.15, "top_p": 1.0, "min_p": 0.0},
        "Facts, summaries, extraction: close to the likeliest answer.",
    ),
    # Between the 0.3 that Mistral recommends for Nemo and the 0.7 of its API: good for all.
    Preset(
        "balanced",
        {"temperature": 0.35, "top_p": 1.0, "min_p": 0.0},
        "Everyday conversation.",
    ),
    # Min-p takes away the tail, which derails a small model at such a temperature.
    Preset(
        "creative",
        {"temperature": 0.8, "top_p": 1.0, "min_p": 0.05},
        "Stories, names, brainstorming: each try differs.",
    ),
    # No penalty: code repeats itself. 256 tokens at most, as in Mistral's own example of a code
    # assistant: enough for a function; of an answer that was cut, `c` has the model go on.
    Preset(
        "code",
        {
            "temperature": 0.1,
            "top_p": 1.0,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "max_tokens": 256,
            "system_prompt": _CODE_PROMPT,
        },
        "Code: short answers close to the likeliest, and repetition costs nothing.",
    ),
)


def presets_dir() -> Path:
    """Where saved ones lie (not made here)."""
    from mistral_tui import paths

    return paths.config_dir() / "presets"


def from_table(
    file: TomlFile, path: tuple[str, ...], table: object, prompts: Path
) -> Preset | None:
    """A preset of the config, named by the last of `path`; what is wrong with it is noted in
    `file`."""
    if not is_name(path[-1]):
        file.wrong(path, f"cannot be the name of a preset: {NAME_RULE}")
        return None
    values, help_ = _read(file, path, table, prompts)
    return Preset(path[-1], values, help_, "config.toml")


def _read(
    file: TomlFile, path: tuple[str, ...], table: object, prompts: Path
) -> tuple[dict[str, Value], str]:
    values = file.table(path, table, KEYS)
    help_ = one_line(str(values.pop("help", "")), 200)
    without_lost_prompt(file, path, values, prompts)
    return values, help_


def without_lost_prompt(
    file: TomlFile, path: tuple[str, ...], values: dict[str, Value], prompts: Path
) -> None:
    """A prompt that is named and not there is said now, not with the first message."""
    try:
        system_prompts.resolve(str(values.get("system_prompt", "")), prompts)
    except system_prompts.PromptError as error:
        file.wrong((*path, "system_prompt"), f"cannot be used: {str(error).rstrip('.')}")
        del values["system_prompt"]


def saved(folder: Path | None = None) -> tuple[list[Preset], list[str]]:
    """All presets in files of their own, by name, and the problems found."""
    found: list[Preset] = []
    problems: list[str] = []
    folder = folder or presets_dir()
    paths, more = files(folder, ".toml", MOST_PRESETS)
    for path in paths:
        name, shown = name_of(path), f"presets/{one_line(path.name, 60)}"
        if not is_name(name):
            problems.append(f"{shown} is left out: {NAME_RULE}.")
            continue
        try:
            file = TomlFile.read(path, shown)
        except FileNotFoundError:  # deleted meanwhile, or a link to nothing
            continue
        except FileProblem as error:
            problems.append(str(error))
            continue
        values, help_ = _read(file, (), file.data, folder.parent / "prompts")
        found.append(Preset(name, values, help_, "saved", path))
        problems += file.problems()
    if more:
        problems.append(f"Only the first {MOST_PRESETS} files of presets/ are read.")
    return found, problems


def merged(*groups: Iterable[Preset]) -> dict[str, Preset]:
    """By name; one of a later group takes the place of an earlier one's."""
    return {preset.name: preset for group in groups for preset in group}


def save(
    name: str, values: Mapping[str, Value], *, help: str = "", folder: Path | None = None
) -> Preset:
    """Save a preset under a name, over the saved one that had it. One that is built in or in
    config.toml is hidden by it, not changed.

    Raises:
        PresetError: the name or a value cannot be one, or the disk refuses.
    """
    if not is_name(name):
        raise PresetError(
            f"{one_line(name, 40) or 'Nothing'} is no name for a preset: {NAME_RULE}."
        )
    if not values:
        raise PresetError("A preset needs at least one setting.")
    folder = folder or presets_dir()
    there = {name_of(path): path for path in files(folder, ".toml", MOST_PRESETS)[0]}
    if other := same_but_for_case(name, there):
        raise PresetError(f"There is a preset {other} already: choose another name.")
    good: dict[str, Value] = {}
    for key in sorted(values, key=lambda key: list(KEYS).index(key) if key in KEYS else -1):
        if key not in KEYS or key == "help":
            raise PresetError(sentence(f"{one_line(key, 40)} {unknown(key, KEYS)}"))
        try:
            good[key] = KEYS[key].read(values[key])
        except Invalid as error:
            raise PresetError(f"{key} {error}.") from None
    help = one_line(help, 120)
    lines = [f"help = {literal(help)}"] if help else []
    lines += [f"{key} = {literal(value)}" for key, value in good.items()]
    path = there.get(name, folder / f"{name}.toml")
    try:
        write_text(path, f"presets/{name}.toml", "\n".join(lines) + "\n")
    except FileProblem as error:
        raise PresetError(str(error)) from None
    return Preset(name, good, help, "saved", path)


def delete(name: str, folder: Path | None = None) -> None:
    """Delete a saved preset; what it hid is there again.

    Raises:
        PresetError: there is no saved one of that name, or the disk refuses.
    """
    for path in files(folder or presets_dir(), ".toml", MOST_PRESETS)[0]:
        if name_of(path) == name:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise PresetError(
                    f"presets/{one_line(path.name, 60)} cannot be deleted: {error.strerror}."
                ) from None
            return
    why = "it is built in" if any(name == p.name for p in BUILT_IN) else "there is none"
    raise PresetError(f"The preset {one_line(name, 40)} was not saved here: {why}.")


def markdown_table() -> str:
    """The table in docs/configuration.md."""
    rows = ["| Preset | For | Settings |", "| --- | --- | --- |"]
    rows += [f"| `{preset.name}` | {preset.help} | {preset.summary} |" for preset in BUILT_IN]
    return "\n".join(rows)
