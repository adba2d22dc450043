"""The screens with the code panel, for snapshots and pictures; importing this adds them."""

from __future__ import annotations

from pathlib import Path

from textual.pilot import Pilot

from coding import ABLE, area
from fake_engine import FakeEngine, Load, Middles, Reply, ask, wait_until
from mistral_tui.app import ChatApp
from scenes import scene, shown, words

SOURCE = '''\
"""Shapes that a plotter can draw."""

from __future__ import annotations

import math
from dataclasses import dataclass

MOST_POINTS = 4_096  # of one line


@dataclass(frozen=True)
class Circle:
    """A circle; lengths in millimetres."""

    x: float
    y: float
    radius: float = 1.0

    @property
    def area(self) -> float:
        return math.pi * self.radius**2

    def points(self, count: int) -> list[tuple[float, float]]:
        """As many points on it, counter-clockwise."""
        if not 0 < count <= MOST_POINTS:
            raise ValueError(f"{count} points: at most {MOST_POINTS}")
        step = 2 * math.pi / count

    def scaled(self, by: float) -> Circle:
        return Circle(self.x, self.y, self.radius * by)
'''
ROW = 26  # of the hole
MIDDLE = (
    "\\n        return [\\n            (self.x + self.radius * math.cos(n * step), "
    "self.y + self.radius * math.sin(n * step))\\n            for n in range(count)\\n        ]"
).replace("\\n", "\n")
OTHER = "\n        return [self.at(n * step) for n in range(count)]"
ANSWER = """\
The radius may be negative, which no circle has. Refuse it where it is made:

```python
    def scaled(self, by: float) -> Circle:
        if by <= 0:
            raise ValueError(f"a circle scaled by {by}")
        return Circle(self.x, self.y, self.radius * by)
```
"""


def able() -> FakeEngine:
    engine = FakeEngine([Reply(words(ANSWER)), Reply(words(ANSWER))], [Load(card=ABLE)])
    engine.middles = [Middles(((MIDDLE,),)), Middles(((MIDDLE,), (OTHER,), (MIDDLE,)))]
    return engine


async def opened(pilot: Pilot[int], app: ChatApp) -> None:
    """Two files, the cursor in the hole of the first."""
    for name, text in (("shapes.py", SOURCE), ("plot.rs", "fn main() {}\n")):
        Path(name).write_text(text)
    await app.open_files(("shapes.py", "plot.rs"))
    await wait_until(pilot, lambda: area(app).has_focus)
    line = area(app).document.get_line(ROW)
    area(app).move_cursor((ROW, len(line)))
    await shown(pilot, "step = 2")


async def suggested(pilot: Pilot[int], app: ChatApp) -> None:
    await opened(pilot, app)
    await pilot.press("ctrl+@")
    await shown(pilot, "range(count)")


@scene(able, huge=True)
async def a_suggestion(pilot: Pilot[int], app: ChatApp) -> None:
    await suggested(pilot, app)
    await pilot.press("alt+n")
    await shown(pilot, "2/2")


async def asked_about_it(pilot: Pilot[int], app: ChatApp) -> None:
    await opened(pilot, app)
    await pilot.press("f6")
    await ask(pilot, "What is wrong with scaled?")


@scene(able, huge=True)
async def code_and_conversation(pilot: Pilot[int], app: ChatApp) -> None:
    await asked_about_it(pilot, app)
    await pilot.press("tab", "left_curly_bracket")
    await shown(pilot, "┃")


@scene(able)
async def code_assistant(pilot: Pilot[int], app: ChatApp) -> None:
    await asked_about_it(pilot, app)
    app.transcript.choose("")
    await pilot.press("f6")
    area(app).scroll_to(y=12, animate=False)
    await pilot.press("ctrl+@")
    await shown(pilot, "math.cos")


@scene(able, huge=True)
async def a_change(pilot: Pilot[int], app: ChatApp) -> None:
    await asked_about_it(pilot, app)
    await pilot.press("tab", "a")
    await shown(pilot, "+", 'raise ValueError(f"a circle')


@scene(able)
async def searching_code(pilot: Pilot[int], app: ChatApp) -> None:
    await opened(pilot, app)
    await pilot.press("ctrl+f", *"radius")
    await shown(pilot, "3 of 3")


@scene(able)
async def lines_in_a_message(pilot: Pilot[int], app: ChatApp) -> None:
    await opened(pilot, app)
    area(app).selection = type(area(app).selection)((28, 4), (29, 55))
    await pilot.press("alt+q", *"why?")
    await shown(pilot, "why?")


@scene(able, huge=True)
async def opening_a_file(pilot: Pilot[int], app: ChatApp) -> None:
    for name in ("src/shapes.py", "src/shapes_test.py", "src/plot/shaft.rs", "README.md"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("1\n")
    await opened(pilot, app)
    await pilot.press("f7", *"sha")
    await shown(pilot, "shapes_test.py")


@scene(able)
async def unsaved_changes(pilot: Pilot[int], app: ChatApp) -> None:
    await opened(pilot, app)
    await pilot.press("x", "ctrl+q")
    await shown(pilot, "Stay")


@scene(huge=True)
async def a_model_that_cannot(pilot: Pilot[int], app: ChatApp) -> None:
    await opened(pilot, app)
    await pilot.press("ctrl+@")
    await shown(pilot, "has no tokens")
