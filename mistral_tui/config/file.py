"""config.toml: the user's settings. We read it; only `write_default` ever writes it.

A bad setting never stops anything: the rest applies, and `problems` says in sentences what was
left out and why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mistral_tui.config import presets, rebinding
from mistral_tui.config.presets import Preset
from mistral_tui.config.setting import Value, literal
from mistral_tui.config.settings import SECTIONS, of_section
from mistral_tui.config.toml_file import TomlFile
from mistral_tui.config.user_files import FileProblem, write_new

NAME = "config.toml"


@dataclass(frozen=True, slots=True)
class Config:
    """`values` has what is set, by key; `presets` are all that there are; `keys` are the user's
    own, by the ids of the actions."""

    path: Path
    there: bool = False
    values: Mapping[str, Value] = field(default_factory=dict)
    presets: Mapping[str, Preset] = field(default_factory=lambda: presets.merged(presets.BUILT_IN))
    problems: tuple[str, ...] = ()
    keys: rebinding.Keys = field(default_factory=dict)


def config_path() -> Path:
    """The file (not made here)."""
    from mistral_tui import paths

    return paths.config_dir() / NAME


def load(path: Path | None = None) -> Config:
    """The settings in the file and the presets beside it, as far as they are good.

    Raises:
        FolderError: there can be no config folder at all.
    """
    path = path or config_path()
    values: dict[str, Value] = {}
    own: list[Preset] = []
    keys: rebinding.Keys = {}
    problems: list[str] = []
    there = True
    try:
        file = TomlFile.read(path, NAME)
    except FileNotFoundError:
        there = False
    except FileProblem as error:
        problems.append(str(error))
    else:
        values, own = _read(file, path.parent / "prompts")
        keys = rebinding.read(file, file.data.get(rebinding.SECTION, {}))
        problems += file.problems()
    kept, found = presets.saved(path.parent / "presets")
    merged = presets.merged(presets.BUILT_IN, own, kept)
    return Config(path, there, values, merged, (*problems, *found), keys)


def _read(file: TomlFile, prompts: Path) -> tuple[dict[str, Value], list[Preset]]:
    values: dict[str, Value] = {}
    own: list[Preset] = []
    for section, table in file.data.items():
        if section == "presets":
            if not isinstance(table, dict):
                file.wrong((section,), "must be tables, one [presets.NAME] for each")
                continue
            found = [
                presets.from_table(file, (section, name), inner, prompts)
                for name, inner in table.items()
            ]
            own += [preset for preset in found if preset]
        elif section in SECTIONS:
            values |= file.table((section,), table, of_section(section))
        elif section != rebinding.SECTION:
            file.unknown((section,), (*SECTIONS, rebinding.SECTION, "presets"))
    presets.without_lost_prompt(file, ("chat",), values, prompts)
    return values, own


def default_text() -> str:
    """A config file that changes nothing: every setting is there, commented out."""
    import textwrap

    lines = [
        "# The settings of mistral-tui. Remove the # before a setting to use it.",
        "# The command line goes before a conversation's own settings, these before this file,",
        "# and this file before what the model recommends.",
    ]
    for section, about in SECTIONS.items():
        lines += ["", f"[{section}]  # {about}"]
        for key, setting in of_section(section).items():
            lines += [
                "",
                *textwrap.wrap(setting.help, 98, initial_indent="# ", subsequent_indent="# "),
                f"# Allowed: {setting.allowed}. Unless set: {setting.unset}.",
                f"# {key} = {literal(setting.example)}",
            ]
    lines += [
        "",
        "# A preset of your own, with any settings of [sampling], and system_prompt and help.",
        "# [presets.terse]",
        '# help = "Short answers."',
        "# temperature = 0.2",
        "# max_tokens = 200",
        '# system_prompt = "Answer in one sentence."',
        "",
        "# Your own keys, by action; `mistral-tui config keys` prints all actions and their keys.",
        "# [keys]",
        '# new = "ctrl+k"',
        '# copy_code = ["ctrl+g", "f10"]',
        "# delete_turn = []",
    ]
    return "\n".join(lines) + "\n"


def write_default(path: Path | None = None) -> Path:
    """Write the commented file, where there is none.

    Raises:
        FileProblem: there is one already, or it cannot be written.
    """
    path = path or config_path()
    write_new(path, str(path), default_text())
    return path
