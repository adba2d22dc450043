"""Large pastes: in the prompt they stand as one word each, for a text area draws and breaks
every line of its text at each key; the message has them whole."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mistral_tui.sanitize import StreamSanitizer, sanitize

LARGE = 20_000
"""Characters from which a text stands as one word; a key press takes some 10 ms more there."""
_PIECE = 65_536
_CHIP = re.compile(r"\[(?:pasted text #\d+, [\d,]+ (?:lines|characters)|code #\d+, [^\[\]\n]+)\]")


def clean(text: str) -> str:
    """`text` with plain line breaks, made safe. Takes a second for ten million characters, in
    pieces: in a thread it holds nothing up."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if text.isascii() and text.replace("\n", "").replace("\t", "").isprintable():
        return text
    if len(text) <= _PIECE:
        return sanitize(text)
    stream = StreamSanitizer()
    pieces = [stream.feed(text[at : at + _PIECE]) for at in range(0, len(text), _PIECE)]
    return "".join((*pieces, stream.flush()))


class Pastes:
    """Remembers what each of the words stands for, as long as the app runs."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(self._texts)

    def fold(self, text: str, *, always: bool = False) -> str:
        """`text` with what is large in it as words; `always`: whatever its size."""
        if len(text) < LARGE and not always:
            return text
        short = text
        for chip, known in self._texts.items():
            if known == text:
                return chip
            short = short.replace(known, chip)
        if len(short) < LARGE and not always:
            return short
        lines = text.count("\n") + (not text.endswith("\n"))
        size = f"{lines:,} lines" if lines > 1 else f"{len(text):,} characters"
        chip = f"[pasted text #{len(self._texts) + 1}, {size}]"
        self._texts[chip] = self.unfold(text)
        return chip

    def name(self, text: str, what: str) -> str:
        """The word that stands for a piece of code; `what` says which."""
        said = re.sub(r"[\[\]\n@]", "·", what)
        chip = f"[code #{len(self._texts) + 1}, {said}]"
        self._texts[chip] = text
        return chip

    def unfold(self, text: str) -> str:
        """`text` with all that its words stand for."""
        if not self._texts:
            return text
        return _CHIP.sub(lambda match: self._texts.get(match[0], match[0]), text)

    def spans(self, line: str) -> Iterator[tuple[int, int]]:
        """Where in `line` such words are."""
        for match in _CHIP.finditer(line):
            if match[0] in self._texts:
                yield match.span()
