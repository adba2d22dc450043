"""Files named in a message as `@path`: completing the name, and putting the content in.

Everything here reads the disk: call it in a thread.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mistral_tui.sanitize import one_line, sanitize
from mistral_tui.widgets.completions import Asked, Choice, rank

FILE_LIMIT = 256 * 1024
ALL_LIMIT = 1024 * 1024
MAX_NAMES = 10_000
"""Files of a folder that are known to completion."""
_LIST_SECONDS = 1.5  # for finding them
_FRESH_SECONDS = 5.0  # they are found anew after that
_OFFERED = 50
_MOST_MENTIONS = 500  # a pasted log may be full of @

# At the start of a word, so that an e-mail address is none.
_MENTION = re.compile(r'(?<![^\s(])@(?:"((?:[^"\\\n]|\\.)*)"|([^\s"]+))')
_TYPED = re.compile(r'(?<![^\s(])@(?:"((?:[^"\\\n]|\\.)*)|([^\s"]*))\Z')
_ATTACHED = re.compile(r"\n\n(``?)([^\n]+?)\1:\n\n```")  # where `_block` begins
# Lines of code that were put into the message (see code/quoting.py): no name in them is meant.
_QUOTED = re.compile(
    r"^(``?)[^\n]+?\1, lines? \d+(?:–\d+)?:\n\n(`{3,})[^\n]*\n.*?^\2$", re.MULTILINE | re.DOTALL
)
_TRAILING = ".,;:!?)]}>'*_`"
_ESCAPED = re.compile(r"\\(.)")
_LANGUAGES = {
    "bash": "bash", "c": "c", "cc": "cpp", "cpp": "cpp", "cs": "csharp", "css": "css",
    "csv": "csv", "diff": "diff", "go": "go", "h": "c", "hpp": "cpp", "htm": "html",
    "html": "html", "ini": "ini", "java": "java", "js": "javascript", "json": "json",
    "jsx": "jsx", "kt": "kotlin", "lua": "lua", "md": "markdown", "patch": "diff",
    "php": "php", "pl": "perl", "py": "python", "pyi": "python", "r": "r", "rb": "ruby",
    "rs": "rust", "scala": "scala", "sh": "bash", "sql": "sql", "swift": "swift",
    "tex": "latex", "toml": "toml", "ts": "typescript", "tsx": "tsx", "xml": "xml",
    "yaml": "yaml", "yml": "yaml", "zsh": "zsh",
}  # fmt: skip


class FileTrouble(Exception):
    """A file cannot be put in; what follows its name in a sentence."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that was put in: its name as shown, and its size in bytes."""

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Expanded:
    """`text` with the files at its end. With `problems` (sentences) it is not to be sent."""

    text: str
    attachments: tuple[Attachment, ...] = ()
    problems: tuple[str, ...] = ()


def mentions(text: str) -> bool:
    """Whether `expand` could find something; cheap."""
    return _MENTION.search(text) is not None


def expand(text: str, cwd: Path, unfold: Callable[[str], str] = str) -> Expanded:
    """The message with the content of each file that it names.

    `unfold` is applied to what was written only: what was pasted attaches nothing. Nor does what
    is attached already, in a message that was recalled or taken back.
    """
    said = _QUOTED.sub(lambda match: " " * len(match[0]), text)
    there = {match[2] for match in _ATTACHED.finditer(said)}
    end = match.start() if (match := _ATTACHED.search(said)) else len(said)
    blocks: list[str] = []
    attached: list[Attachment] = []
    problems: list[str] = []
    seen: set[tuple[int, int]] = set()
    total = 0
    for name, path, plain in _named(said[:end], cwd):
        shown = one_line(name, 200)
        if shown in there:
            continue
        try:
            data, key = _read(path, FILE_LIMIT)
        except FileTrouble as trouble:
            # A bare word may name a folder by chance (`@app`, a decorator); a path does not.
            if not (plain and path.is_dir()):
                problems.append(f"{shown} {trouble}")
            continue
        if key in seen:
            continue
        seen.add(key)
        total += len(data)
        if total > ALL_LIMIT:
            problems.append(f"Together the files are larger than {_size(ALL_LIMIT)}.")
            break
        try:
            content = _decode(data)
        except FileTrouble as trouble:
            problems.append(f"{shown} {trouble}")
            continue
        blocks.append(_block(shown, content))
        attached.append(Attachment(shown, len(data)))
    if problems:
        return Expanded(text, (), tuple(problems))
    return Expanded("\n\n".join((unfold(text), *blocks)), tuple(attached))


def read_text(path: Path, limit: int) -> str:
    """The text of a regular file, made safe.

    Raises:
        FileTrouble: there is none, it is too large, or it is no text.
    """
    return _decode(_read(path, limit)[0])


def _named(text: str, cwd: Path) -> Iterator[tuple[str, Path, bool]]:
    """(as written, path, whether it is a mere word) of what exists of the names in `text`."""
    for count, match in enumerate(_MENTION.finditer(text)):
        if count == _MOST_MENTIONS:
            return
        if match[1] is not None:
            names = [_ESCAPED.sub(r"\1", match[1])]
        else:  # the sentence's own marks may follow the name
            bare = match[2].rstrip(_TRAILING)
            names = [match[2], *([bare] if bare != match[2] else [])]
        for name in names:
            path = _path(name, cwd)
            if name and path is not None and os.path.lexists(path):
                yield name, path, match[1] is None and "/" not in name
                break


def _path(name: str, cwd: Path) -> Path | None:
    try:
        return cwd / Path(name).expanduser()
    except (RuntimeError, ValueError):  # no such user; a NUL
        return None


def _read(path: Path, limit: int) -> tuple[bytes, tuple[int, int]]:
    """The content, and what tells the file from others; opens nothing that could wait."""
    try:
        _check(path.stat())
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            _check(status)  # it may be another one now
            with open(descriptor, "rb", closefd=False) as file:
                data = file.read(limit + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        why = one_line(error.strerror or str(error))
        raise FileTrouble(f"cannot be read ({why}).") from error
    if len(data) > limit:
        raise FileTrouble(f"is larger than {_size(limit)}.")
    return data, (status.st_dev, status.st_ino)


def _check(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise FileTrouble("is a folder; name a file in it.")
    if not stat.S_ISREG(status.st_mode):
        raise FileTrouble("is no regular file.")


def _decode(data: bytes) -> str:
    if b"\0" in data:
        raise FileTrouble("is no text (it holds zero bytes).")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileTrouble("is not UTF-8 text.") from error
    return sanitize(text.replace("\r\n", "\n").replace("\r", "\n"))


def _block(name: str, content: str) -> str:
    """The path, and the content."""
    tick = "``" if "`" in name else "`"
    return f"{tick}{name}{tick}:\n\n{fenced(name, content)}"


def fenced(name: str, content: str) -> str:
    """The content of a file in a fence longer than any in it."""
    longest = max(map(len, re.findall("`{3,}", content)), default=2)
    fence = "`" * (longest + 1)
    language = _LANGUAGES.get(Path(name).suffix.removeprefix(".").lower(), "")
    end = "" if content.endswith("\n") or not content else "\n"
    return f"{fence}{language}\n{content}{end}{fence}"


def _size(count: int) -> str:
    return f"{count // 1024**2} MB" if count >= 1024**2 else f"{count // 1024} KB"


# ── completing names ────────────────────────────────────────────────────────────────


def asked(before: str) -> Asked | None:
    """The name of a file that is being written at the end of `before`."""
    start = max(0, len(before) - 2000)
    match = _TYPED.search(before, start)
    if match is None:
        return None
    typed = match[2] if match[1] is None else _ESCAPED.sub(r"\1", match[1])
    return Asked("file", match.start(), typed)


def quoted(name: str, *, open_: bool = False) -> str:
    """`name` as it is mentioned; `open_`: more of it follows."""
    if not re.search(r'[\s"\\]', name) and not (name[-1:] in _TRAILING and not open_):
        return f"@{name}" + ("" if open_ else " ")
    escaped = re.sub(r'(["\\])', r"\\\1", name)
    return f'@"{escaped}' + ("" if open_ else '" ')


class FileFinder:
    """Finds files by what was typed of their names; keeps the list of a folder for a while."""

    def __init__(self, cwd: Path) -> None:
        self._cwd = cwd
        self._names: list[str] = []
        self._found_at = 0.0

    def find(self, typed: str) -> list[Choice]:
        """The best choices; of one folder if a path is being written, else of all below."""
        if typed.startswith(("/", "~", "./", "../")):
            return self._in_folder(typed)
        if time.monotonic() - self._found_at > _FRESH_SECONDS or not self._found_at:
            self._names = list_files(self._cwd)
            self._found_at = time.monotonic()
        if typed:
            found = rank(typed, self._names)
        else:
            found = [(0, name) for name in sorted(self._names, key=lambda n: (n.count("/"), n))]
        there = ((how, n) for how, n in found if os.path.lexists(self._cwd / n))
        return [_choice(n, how == 0) for (how, n), _ in zip(there, range(_OFFERED), strict=False)]

    def _in_folder(self, typed: str) -> list[Choice]:
        if typed in ("~", "~/"):
            typed = "~/"
        cut = typed.rfind("/") + 1
        if cut == 0:
            return []
        folder, stem = typed[:cut], typed[cut:]
        path = _path(folder, self._cwd)
        names = []
        with contextlib.suppress(OSError, ValueError), os.scandir(path) as entries:
            for entry, _ in zip(entries, range(MAX_NAMES), strict=False):
                if _showable(entry.name) and entry.name.startswith(".") == stem.startswith("."):
                    names.append(entry.name + ("/" if entry.is_dir() else ""))
        found = rank(stem, names) if stem else [(0, name) for name in sorted(names)]
        return [_choice(folder + name, how == 0) for how, name in found[:_OFFERED]]


def _choice(name: str, sure: bool) -> Choice:
    folder = name.endswith("/")
    return Choice(name, quoted(name, open_=folder), more=folder, sure=sure)


def _showable(name: str) -> bool:
    return name == sanitize(name) and "\n" not in name and "\t" not in name


def list_files(cwd: Path) -> list[str]:
    """Names of the files below `cwd`, relative to it; those git would not ignore, where there is
    a repository. Some thousands at most, within a second or two."""
    names = _by_git(cwd)
    return [name for name in (_by_walking(cwd) if names is None else names) if _showable(name)]


def _by_git(cwd: Path) -> list[str] | None:
    # A repository that was brought here could name programs in its settings: none of them runs.
    command: Sequence[str] = (
        "git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null",
        "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate",
    )  # fmt: skip
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_LIST_SECONDS,
            check=False,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
            start_new_session=True,
        )
        found = done.stdout if done.returncode == 0 else b""
    except subprocess.TimeoutExpired as error:
        found = error.stdout or b""  # some are better than none
    except (OSError, ValueError):
        found = b""
    names = found.split(b"\0", MAX_NAMES)[:-1]  # the last one may be cut
    return [os.fsdecode(name) for name in names] or None


def _by_walking(cwd: Path) -> list[str]:
    deadline = time.monotonic() + _LIST_SECONDS
    names: list[str] = []
    folders = [""]  # breadth first: what is near comes first, whatever lies deep
    for folder in folders:
        if len(names) >= MAX_NAMES or time.monotonic() > deadline:
            break
        with contextlib.suppress(OSError), os.scandir(cwd / folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or len(names) + len(folders) >= 2 * MAX_NAMES:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(f"{folder}{entry.name}/")
                elif entry.is_file():
                    names.append(folder + entry.name)
    return names[:MAX_NAMES]
