"""A suggestion at the cursor: its texts as they come, and how much of it was typed or taken."""

from __future__ import annotations

import re

_WORD = re.compile(r"\s*(?:\w+|[^\w\s]+)|\s+")


class Ghost:
    """Several middles for one place, one of which is shown.

    What the user types or takes of the one in view moves on in it: `text` is what is left.
    """

    def __init__(self) -> None:
        self._texts: list[str] = [""]
        self._shown = 0
        self._used = ""  # typed or taken of it
        self.complete = False
        """Whether no more text comes."""

    @property
    def text(self) -> str:
        """What is suggested from the cursor on."""
        return self._texts[self._shown][len(self._used) :]

    @property
    def used(self) -> str:
        """What was typed or taken."""
        return self._used

    @property
    def count(self) -> int:
        """How many middles there are, shown or not; an empty one that is all there is counts as
        none."""
        return 0 if self._texts == [""] else len(self._texts)

    @property
    def choices(self) -> list[int]:
        """The middles that can be shown: each differs, and goes on from what was used."""
        seen: dict[str, int] = {}
        for number, text in enumerate(self._texts):
            if text.startswith(self._used) and len(text) > len(self._used):
                seen.setdefault(text, number)
        return list(seen.values())

    @property
    def place(self) -> tuple[int, int]:
        """(which, of how many) is shown, from 1; (0, n) if there is nothing of it yet."""
        choices = self.choices
        known = self._shown in choices
        return (choices.index(self._shown) + 1 if known else 0), len(choices)

    def add(self, middle: int, text: str) -> None:
        """More of a middle came."""
        while len(self._texts) <= middle:
            self._texts.append("")
        self._texts[middle] += text

    def typed(self, text: str) -> bool:
        """The user typed `text`; whether that is how the suggestion goes on. If more of it may
        come, nothing may be left of it."""
        left = self.text
        if not text or not left.startswith(text) or (left == text and self.complete):
            return False
        self._used += text
        return True

    def erased(self, text: str) -> bool:
        """The user erased `text` before the cursor; whether it was of the suggestion."""
        if not text or not self._used.endswith(text):
            return False
        self._used = self._used[: -len(text)]
        return True

    def next_word(self) -> str:
        """The next word with the space before it."""
        match = _WORD.match(self.text)
        return match[0] if match else ""

    def next_line(self) -> str:
        """The rest of the line; at its end the next line, with its line break."""
        text = self.text
        end = text.find("\n", 1 if text.startswith("\n") else 0)
        return text if end < 0 else text[:end]

    def step(self, by: int) -> bool:
        """Show another one; False if there is none on this side."""
        choices = self.choices
        if self._shown not in choices:
            return False
        place = choices.index(self._shown) + by
        if not 0 <= place < len(choices):
            return False
        self._shown = choices[place]
        return True
