"""Reading files that nobody vouches for: regular, bounded, and one sentence if not."""

from __future__ import annotations

import json
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from inference.errors import CheckpointError, InferenceError

_MOST_SENTENCE = 600


@contextmanager
def sentences() -> Iterator[None]:
    """What leaves in the way of an error is one printable line, whatever paths and names are in
    it; the system's errors become such lines."""
    try:
        yield
    except InferenceError as error:
        error.args = (one_line(str(error), _MOST_SENTENCE),)
        raise
    except OSError as error:
        text = f"{error.filename or 'A file'} cannot be read: {error.strerror or error}."
        raise CheckpointError(one_line(text, _MOST_SENTENCE)) from None


def one_line(text: str, most: int = 200) -> str:
    """Foreign text for a sentence: nothing that is not printable; cut in its middle."""
    if len(text) > most:
        text = f"{text[: most // 2 - 1]}…{text[-(most // 2) :]}"
    return "".join(c if c.isprintable() else "·" for c in text)


def some(words: Sequence[str], joint: str = ", ", most: int = 4) -> str:
    """The first few of many foreign words for a sentence, and how many more."""
    more = f"{joint}and {len(words) - most:,} more" if len(words) > most else ""
    return joint.join(one_line(word, 150) for word in words[:most]) + more


def expanded(path: str | Path) -> Path:
    """A path with `~` in place; `~nobody` stays as it is, and is then not found."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


class DuplicateKey(ValueError):
    """A JSON object that names something twice; readers disagree which one counts."""


def regular_size(path: Path) -> int:
    """Bytes of a regular file. A pipe or a device is refused: reading it may never end.

    Raises:
        FileNotFoundError: there is nothing.
        CheckpointError: it is something else, or cannot be reached; a sentence.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        if path.is_symlink():
            raise CheckpointError(
                f"{path} is a link to {path.readlink()}, which is not there."
            ) from None
        raise
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from None
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "no regular file"
        raise CheckpointError(f"{path} cannot be read: it is {kind}.")
    return found.st_size


def read_bytes(path: Path, *, most_bytes: int) -> bytes:
    """The content of a small file.

    Raises:
        FileNotFoundError, CheckpointError: as `regular_size`; too large; unreadable.
    """
    if regular_size(path) > most_bytes:
        raise CheckpointError(f"{path} is too large to be a {path.name}.")
    try:
        with path.open("rb") as file:
            return file.read(most_bytes)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from None


def parse_json(text: bytes) -> Any:
    """JSON whose objects name nothing twice.

    Raises:
        ValueError, RecursionError: it is not.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) != len(pairs):
            (twice, _), *_ = Counter(key for key, _ in pairs).most_common(1)
            raise DuplicateKey(f"it names {one_line(twice, 100)} twice")
        return values

    return json.loads(text, object_pairs_hook=unique)


def read_json(path: Path, holds: str, *, most_bytes: int) -> dict[str, Any]:
    """The JSON object in a small file; `holds` says what it is for.

    Raises:
        CheckpointError: missing, too large, no JSON, no object.
    """
    try:
        values = parse_json(read_bytes(path, most_bytes=most_bytes))
    except FileNotFoundError:
        raise CheckpointError(f"{path.parent} has no {path.name} with {holds}.") from None
    except (ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0] if str(error) else "it nests too deep"
        raise CheckpointError(f"{path} is not valid JSON: {reason}.") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} should hold a JSON object with {holds}.")
    return values
