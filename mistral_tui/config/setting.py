"""What a setting is: its type, what it takes, and how it is read, typed and shown."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from mistral_tui.sanitize import one_line, sanitize

Value: TypeAlias = float | int | bool | str | tuple[str, ...]
Kind = Literal["number", "whole", "switch", "word", "text", "texts"]

MOST_TEXT = 256 << 10  # bytes; of a system prompt, in the config as in a file of its own
MOST_STOPS = 16
LONGEST_STOP = 256
LARGEST = 2**63 - 1  # TOML's whole numbers; more than any limit that is meant
_ON = {"on": True, "true": True, "yes": True, "off": False, "false": False, "no": False}
_ESCAPES = {"\n": "\\n", "\t": "\\t", "\r": "\\r", '"': '\\"', "\\": "\\\\"}


class Invalid(Exception):
    """A value that a setting does not take. The message goes on after the setting's name:
    `is 300; it must be a number from 0 to 100`."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. `unset` says what is used as long as nobody sets it, `example` is a good
    value to begin with, `step` is one press of a key in the panel."""

    key: str
    section: str
    kind: Kind
    help: str
    unset: str
    example: Value
    default: Value | None = None  # None: left to the model or the engine
    low: float = 0
    high: float = math.inf
    above: bool = False  # `low` itself is not allowed
    step: float = 1
    words: tuple[str, ...] = ()  # for a text too: those to be offered
    pattern: str = ""  # of what is taken beside `words`
    form: str = ""  # `allowed`, where the rest does not say it
    longest: int = MOST_TEXT
    most: int = MOST_STOPS  # of a list
    by_model: bool = False  # the model may recommend a value

    @property
    def title(self) -> str:
        """The name for people: `top p`."""
        return self.key.replace("_", " ")

    @property
    def allowed(self) -> str:
        """What it takes, in words that follow `it must be`."""
        if self.form:
            return self.form
        if self.kind == "switch":
            return "true or false"
        if self.kind == "word":
            return _or(self.words)
        if self.kind == "texts":
            return f"a list of up to {self.most} texts of 1 to {LONGEST_STOP} characters"
        if self.kind == "text":
            return f"a text of up to {_size(self.longest)}"
        noun = "a whole number" if self.kind == "whole" else "a number"
        if self.high in (math.inf, LARGEST):
            return f"{noun}, {self.low:g} or more"
        if self.above:
            return f"{noun} above {self.low:g}, up to {self.high:g}"
        return f"{noun} from {self.low:g} to {self.high:g}"

    def read(self, value: object) -> Value:
        """A value from TOML or JSON, checked.

        Raises:
            Invalid: another type, or out of range.
        """
        match self.kind, value:
            case ("switch", bool()):
                return value
            case (("number" | "whole"), bool()):
                pass
            case ("number", (int() | float())) if self._within(value):
                return float(value)
            case ("whole", int()) if self._within(value):
                return value
            case (("word" | "text"), str()) if self._fits(value):
                return value
            case ("texts", (list() | tuple())) if len(value) <= self.most:
                texts = tuple(text for text in value if isinstance(text, str))
                if len(texts) == len(value) and all(
                    0 < len(text) <= LONGEST_STOP and _is_unicode(text) for text in texts
                ):
                    return texts
        raise Invalid(f"is {said(value)}; it must be {self.allowed}")

    def parse(self, typed: str) -> Value:
        """What a person typed into a field, checked. It takes what `shown` gives, except for the
        `none` of an empty text.

        Raises:
            Invalid: it is not understood, or out of range.
        """
        text = typed.strip()
        value: object = text
        try:
            if self.kind == "number":
                value = float(text)
            elif self.kind == "whole":
                value = int(text)
            elif self.kind == "switch":
                value = _ON.get(text.lower(), text)
            elif self.kind == "texts":
                value = _parse_texts(typed)
            elif self.key == "system_prompt":
                value = typed
        except (ValueError, RecursionError):
            pass  # `read` says what it must be
        return self.read(value)

    def shown(self, value: Value | None, limit: int = 60) -> str:
        """A value for people, on one line and safe for a terminal."""
        if value is None:
            return self.unset
        if isinstance(value, bool):
            return "on" if value else "off"
        if isinstance(value, tuple):
            return one_line(", ".join(map(literal, value)) or "none", limit)
        if isinstance(value, str):
            return one_line(value, limit) or "none"
        return number(value)

    def _within(self, value: float) -> bool:
        # Python compares a huge whole number exactly, and NaN with nothing.
        return self.low <= value <= self.high and not (self.above and value == self.low)

    def _fits(self, value: str) -> bool:
        if not _is_unicode(value) or len(value.encode()) > self.longest:
            return False
        if value in self.words:
            return True
        if self.pattern:
            return re.fullmatch(self.pattern, value, re.S) is not None
        return self.kind == "text"


def _parse_texts(typed: str) -> object:
    """`"a", "\\n\\n"` in TOML's spelling, or one text as it is."""
    import tomllib

    text = typed.strip()
    if text[:1] == "[" and text[-1:] == "]":
        text = text[1:-1]
    if text in ("", "none"):
        return ()
    if text[:1] in "\"'":
        return tomllib.loads(f"x = [{text}]")["x"]
    return (typed,)


def _size(bytes_: int) -> str:
    return f"{bytes_ >> 10} KB" if bytes_ >= 1 << 10 else f"{bytes_} characters"


def _or(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can spell
        return False
    return True


def said(value: object) -> str:
    """Any value of a foreign file, short and safe for a terminal."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() if abs(value) > LARGEST:
            return "a number beyond 64 bits"  # Python refuses to spell a really long one
        case int() | float():
            return number(value)
        case str():
            return f'"{one_line(value, 40)}"'
        case list() | tuple():
            return f"a list of {len(value)}"
        case dict():
            return "a table"
        case None:
            return "nothing"
        case _:
            return f"a {type(value).__name__}"  # TOML's dates and times


def number(value: float) -> str:
    """`0.7`, `1`: no digit lost, none added."""
    return repr(value).removesuffix(".0")


def literal(value: Value) -> str:
    """A value as TOML spells it; what a terminal must not see raw is escaped."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, str):
        return f'"{"".join(map(_escaped, value))}"'
    return repr(value)


def _escaped(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    if char.isprintable() and sanitize(char) == char:
        return char
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"


def sentence(text: str) -> str:
    """With its full stop; a question has its own mark."""
    return text if text.endswith("?") else f"{text}."
