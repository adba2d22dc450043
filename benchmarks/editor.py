"""What a large file costs in the editor: ours beside Textual's own TextArea.

Both run in a headless app of 120x40 in this process, one after the other, on the same Python code
(`--megabytes` of it, 1) in the same language, with line numbers:

1. load: the widget is made and mounted, until its first frame is drawn; ours is coloured in the
   background after that.
2. key: a letter in the middle of the file, from the key to the frame. Bracket: an opening one,
   after which the parser has to look at all that follows; ours goes on with it after the frame.
3. page: Page Down, from the key to the frame.
4. ghost: a suggestion of 20 lines comes at the cursor; ours only.
5. long: a letter in the middle of one line of 1 MB, with tabs and wide characters; ours only.

    python benchmarks/editor.py [--rounds 3] [--megabytes 1] [--no-peer] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from textual.app import App
from textual.events import Key
from textual.widgets import TextArea

from mistral_tui.code.ghost import Ghost
from mistral_tui.widgets.code.area import CodeArea

SIZE = (120, 40)
LONG = "abc é中\t" * (2**20 // 7)


def code(megabytes: float) -> str:
    """Functions and classes of the usual kind."""
    part = '''
class Reader{n}(Base):
    """Reads what comes."""

    def __init__(self, name: str, size: int = {n}) -> None:
        self.name = name
        self.parts = [name[at : at + size] for at in range(0, len(name), size)]

    async def read(self, limit: float | None = None) -> dict[str, list[int]]:
        # What is too large is left out.
        found = {{part: [ord(char) for char in part] for part in self.parts if len(part) < 99}}
        if limit is not None and len(found) > limit:
            raise ValueError(f"{{self.name}} has more than {{limit:.1f}} parts")
        return found
'''
    count = int(megabytes * 2**20 / len(part))
    return "".join(part.format(n=number) for number in range(count))


class Editor(App[None]):
    """Tells when a frame is drawn."""

    def __init__(self) -> None:
        super().__init__()
        self._frame = asyncio.Event()

    def _display(self, screen: Any, renderable: Any) -> None:
        super()._display(screen, renderable)
        self._frame.set()

    async def drawn(self, act: Callable[[], object]) -> float:
        """Seconds from `act` to the next frame."""
        await asyncio.sleep(0.05)  # what was under way is drawn
        self._frame.clear()
        begin = time.perf_counter()
        act()
        await asyncio.wait_for(self._frame.wait(), 60)
        return time.perf_counter() - begin

    async def press(self, keys: Sequence[tuple[str, str | None]]) -> float:
        """The median of milliseconds from a key to its frame."""
        times = [await self.drawn(lambda key=key: self.post_message(Key(*key))) for key in keys]
        return statistics.median(times) * 1e3


def ours(text: str) -> TextArea:
    return CodeArea(text, language="python")


def peer(text: str) -> TextArea:
    return TextArea.code_editor(text, language="python")


async def run(make: Callable[[str], TextArea], text: str) -> dict[str, float]:
    app = Editor()
    async with app.run_test(size=SIZE) as pilot:
        begin = time.perf_counter()
        area = make(text)
        await app.drawn(lambda: app.mount(area))
        figures = {"load_ms": (time.perf_counter() - begin - 0.05) * 1e3}
        area.cursor_blink = False
        area.focus()
        await pilot.pause(0.5)
        row = area.document.line_count // 2
        area.move_cursor((row, len(area.document.get_line(row))))
        await pilot.pause(0.2)
        figures["key_ms"] = await app.press([(char, char) for char in "abcdefgh"])
        figures["bracket_ms"] = await app.press([("left_parenthesis", "(")] * 3)
        await pilot.pause(0.5)
        figures["page_ms"] = await app.press([("pagedown", None)] * 8)
        if isinstance(area, CodeArea):
            ghost = Ghost()
            ghost.add(0, "\n".join(f"    value = {number}" for number in range(20)))
            figures["ghost_ms"] = await app.drawn(lambda: area.show_ghost(ghost)) * 1e3
            area.load_text(LONG)
            area.move_cursor((0, len(LONG) // 2))
            await pilot.pause(0.2)
            figures["long_ms"] = await app.press([(char, char) for char in "abcdefgh"])
    return figures


def summary(pairs: list[tuple[dict[str, float], dict[str, float]]]) -> dict[str, Any]:
    """Medians over the rounds; the spread is that of the ratios."""
    result: dict[str, Any] = {}
    for name in pairs[0][0]:
        result[name] = {"ours": statistics.median(mine[name] for mine, _ in pairs)}
        if name in pairs[0][1]:
            ratios = [mine[name] / theirs[name] for mine, theirs in pairs]
            result[name] |= {
                "peer": statistics.median(theirs[name] for _, theirs in pairs),
                "ratio": statistics.median(ratios),
                "spread": [min(ratios), max(ratios)],
            }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=float, default=1)
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--json", action="store_true", help="only the last line, one object")
    options = parser.parse_args()
    text = code(options.megabytes)
    if not options.json:
        print(f"{len(text):,} characters in {text.count(chr(10)):,} lines of Python")
    pairs = []
    for _ in range(options.rounds):
        mine = asyncio.run(run(ours, text))
        pairs.append((mine, {} if options.no_peer else asyncio.run(run(peer, text))))
    result = summary(pairs)
    if not options.json:
        for name, row in result.items():
            line = f"{name:12} {row['ours']:9.2f}"
            if "peer" in row:
                line += f"   TextArea {row['peer']:9.2f}   ratio {row['ratio']:.4f}"
            print(line)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
