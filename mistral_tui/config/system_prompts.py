"""Named system prompts: `prompts/NAME.md` in the user's config folder.

The text goes to the model as it is in the file, its front matter left out:

    ---
    description: Explains with a picture.
    ---
    # A patient teacher
    You explain …
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from mistral_tui.config.setting import MOST_TEXT
from mistral_tui.config.user_files import (
    NAME_RULE,
    FileProblem,
    files,
    is_name,
    name_of,
    read_text,
    same_but_for_case,
    write_text,
)
from mistral_tui.sanitize import one_line

MOST_PROMPTS = 200
_MOST_BYTES = MOST_TEXT + (4 << 10)  # front matter is not of the text
_FRONT_LINE = re.compile(r"([A-Za-z][\w-]*):(.*)|[ \t]*(?:#.*)?")
_MOST_FRONT_LINES = 50


class PromptError(FileProblem):
    """A system prompt that cannot be read or saved; the message is a sentence for the user."""


@dataclass(frozen=True, slots=True)
class SystemPrompt:
    """`title` and `description` are safe to show; `text` is for the model."""

    name: str
    title: str
    description: str
    text: str
    path: Path


def prompts_dir() -> Path:
    """Where they lie (not made here)."""
    from mistral_tui import paths

    return paths.config_dir() / "prompts"


def available(folder: Path | None = None) -> tuple[list[SystemPrompt], list[str]]:
    """All usable prompts as they are on the disk now, by name, and the problems found."""
    found: list[SystemPrompt] = []
    problems: list[str] = []
    paths, more = files(folder or prompts_dir(), ".md", MOST_PROMPTS)
    for path in paths:
        try:
            found.append(_read(path))
        except FileNotFoundError:  # deleted meanwhile, or a link to nothing
            continue
        except FileProblem as error:
            problems.append(str(error))
    if more:
        problems.append(f"Only the first {MOST_PROMPTS} files of prompts/ are listed.")
    return sorted(found, key=lambda prompt: prompt.name.casefold()), problems


def load(name: str, folder: Path | None = None) -> SystemPrompt:
    """The prompt of a name.

    Raises:
        PromptError: there is none, or its file cannot be used.
    """
    paths, _ = files(folder or prompts_dir(), ".md", MOST_PROMPTS)
    try:
        for path in paths:
            if name_of(path) == name:
                return _read(path)
    except FileNotFoundError:
        pass
    there = ", ".join(one_line(name_of(path), 40) for path in paths if is_name(name_of(path)))
    raise PromptError(
        f"There is no system prompt {one_line(name, 40)}; "
        + (f"there are {one_line(there, 200)}." if there else "the folder prompts/ has none.")
    )


def save(name: str, text: str, description: str = "", folder: Path | None = None) -> Path:
    """Save a prompt under a name, over the one that had it.

    Raises:
        PromptError: the name or the text cannot be one, or the disk refuses.
    """
    if not is_name(name):
        raise PromptError(
            f"{one_line(name, 40) or 'Nothing'} is no name for a prompt: {NAME_RULE}."
        )
    folder = folder or prompts_dir()
    paths, _ = files(folder, ".md", MOST_PROMPTS)
    there = {name_of(path): path for path in paths}
    if other := same_but_for_case(name, there):
        raise PromptError(f"There is a system prompt {other} already: choose another name.")
    text = text.replace("\r\n", "\n").strip()
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise PromptError("The text has half characters in it that no file can hold.") from None
    if not text:
        raise PromptError("The system prompt is empty.")
    if size > MOST_TEXT:
        raise PromptError(f"The system prompt is too long: at most {MOST_TEXT >> 10} KB.")
    description = one_line(description, 200)
    if description or text.startswith("---"):  # else it would be read as front matter
        lines = f"description: {description}\n" if description else ""
        text = f"---\n{lines}---\n{text}"
    path = there.get(name, folder / f"{name}.md")
    try:
        write_text(path, f"prompts/{name}.md", text + "\n")
    except FileProblem as error:
        raise PromptError(str(error)) from None
    return path


def named_in(value: str) -> str:
    """The prompt that a `system_prompt` setting names (`@NAME`); empty: it is a text itself."""
    return value[1:] if value[:1] == "@" and is_name(value[1:]) else ""


def resolve(value: str, folder: Path | None = None) -> str:
    """What a `system_prompt` setting says to the model: itself, or the text of the file it names.

    Raises:
        PromptError: it names a prompt that there is not or that cannot be used.
    """
    name = named_in(value)
    return load(name, folder).text if name else value


def _read(path: Path) -> SystemPrompt:
    name, shown = name_of(path), f"prompts/{one_line(path.name, 60)}"
    if not is_name(name):
        raise PromptError(f"{shown} is left out: {NAME_RULE}.")
    try:
        description, text = _front_matter(read_text(path, shown, _MOST_BYTES))
    except FileNotFoundError:
        raise
    except FileProblem as error:
        raise PromptError(str(error)) from None
    if not text:
        raise PromptError(f"{shown} is empty.")
    if len(text.encode()) > MOST_TEXT:
        raise PromptError(f"{shown} is too large; at most {MOST_TEXT >> 10} KB are read.")
    return SystemPrompt(name, _title(text) or name, one_line(description, 200), text, path)


def _front_matter(text: str) -> tuple[str, str]:
    """The description and the text without the front matter. Lines between two `---` that are
    no `key: value` are text between two rules."""
    if text.startswith("---\n"):
        description = ""
        at = 4
        for _ in range(_MOST_FRONT_LINES):
            line, newline, _rest = text[at : at + 4096].partition("\n")
            at += len(line) + len(newline)
            if line.rstrip() == "---":
                return description, text[at:].strip()
            match = _FRONT_LINE.fullmatch(line)
            if match is None or not newline:
                break
            if match[1] and match[1].lower() == "description":
                description = match[2].strip().strip("\"'")
    return "", text.strip()


def _title(text: str) -> str:
    """The first heading, else the first line."""
    lines = text[: 16 << 10].splitlines()
    heading = next((line for line in lines if re.match(r" {0,3}#{1,6}[ \t]", line)), lines[0])
    return one_line(heading.strip().strip("#"))
