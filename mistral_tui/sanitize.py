"""Makes foreign text (models, files, checkpoints) safe and honest to show in a terminal."""

from __future__ import annotations

import re

# A CSI sequence goes as a whole. Of strings such as OSC 52 only the control bytes go: the payload
# stays in sight, so that nothing can hide in one. Invisible format characters go too, except the
# joiners that emoji and many scripts need; bidi controls can reorder what is read, so they show.
_CSI = r"(?:\x1b\[|\x9b)[0-?]{0,32}[ -/]{0,8}[@-~]?"
_BIDI = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_INVISIBLE = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b"
    "\u2060-\u2065\u206a-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff"
)
_FOREIGN = re.compile(
    rf"(?P<gone>{_CSI}|[{_INVISIBLE}])|(?P<line>[\u2028\u2029])|(?P<bidi>[{_BIDI}])"
    r"|(?P<surrogate>[\ud800-\udfff])"
)
_UNFINISHED = re.compile(r"(?:\x1b(?:\[[0-?]{0,32}[ -/]{0,8})?|\x9b[0-?]{0,32}[ -/]{0,8})\Z")
_SPACES = re.compile(r"\s+")


def _replace(match: re.Match[str]) -> str:
    kind = match.lastgroup
    if kind == "gone":
        return ""
    if kind == "bidi":
        return f"‹U+{ord(match[0]):04X}›"
    return "\n" if kind == "line" else "\ufffd"


def sanitize(text: str) -> str:
    """`text` without control bytes and deceptive characters; newlines and tabs stay."""
    if text.isascii() and text.isprintable():
        return text
    return _FOREIGN.sub(_replace, text)


def one_line(text: str, limit: int = 80) -> str:
    """`text` sanitized, on one line, at most `limit` characters with an ellipsis."""
    # Cut first: a title can come from a huge file.
    line = _SPACES.sub(" ", sanitize(text[: 8 * limit + 64])).strip()
    return line if len(line) <= limit else line[: max(0, limit - 1)].rstrip() + "…"


class StreamSanitizer:
    """`sanitize` for text in pieces: an escape sequence cut in two is still recognized."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> str:
        """The safe text so far; an unfinished sequence at the end is held back."""
        text = self._held + text
        match = _UNFINISHED.search(text, max(0, len(text) - 44))
        self._held = match[0] if match else ""
        return sanitize(text[: len(text) - len(self._held)])

    def flush(self) -> str:
        """What was held back, safe to show; call it once the text is complete."""
        held, self._held = self._held, ""
        return sanitize(held)
