"""Stop strings in streamed text: what may be shown, and when to stop."""

from __future__ import annotations

from collections.abc import Sequence


class StopStrings:
    """Holds back text that may be the beginning of a stop string.

    `feed` returns what may be shown; `hit` is true once a stop string came (it and
    whatever follows are swallowed); `flush` returns what was held back at the end. Of several
    the one that begins first counts, whatever the pieces in which the text comes.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""
        self.hit = False
        self.found = ""
        """Which one came."""

    def feed(self, text: str) -> str:
        """More text."""
        if self.hit or not self._stops:
            return "" if self.hit else text
        self._held += text
        begun, found = self._begun(), self._found()
        if found is not None and found <= begun:
            return self._stop(found)
        shown, self._held = self._held[:begun], self._held[begun:]
        return shown

    def flush(self) -> str:
        """No more text comes."""
        found = None if self.hit else self._found()
        if found is not None:
            return self._stop(found)
        text, self._held = self._held, ""
        return text

    def _stop(self, at: int) -> str:
        self.hit = True
        self.found = next(stop for stop in self._stops if self._held.startswith(stop, at))
        shown, self._held = self._held[:at], ""
        return shown

    def _found(self) -> int | None:
        found = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        return min(found, default=None)

    def _begun(self) -> int:
        """Where a stop string may have begun that has not ended."""
        keep = 0
        for stop in self._stops:
            for n in range(min(len(stop) - 1, len(self._held)), keep, -1):
                if self._held.endswith(stop[:n]):
                    keep = n
                    break
        return len(self._held) - keep
