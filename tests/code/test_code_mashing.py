"""Keys, the mouse, resizes and suggestions in any order, none of which waits for the one before:
the text is that of a plain string, and the screen that of an editor that was just opened."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import pytest
from textual import events
from textual.document._document import EditResult, Selection
from textual.document._edit import Edit
from textual.geometry import Size
from textual.pilot import Pilot

from editing import EditorApp, editor, rows
from mistral_tui.code.ghost import Ghost
from mistral_tui.widgets.code.area import CodeArea
from mistral_tui.widgets.pastes import clean

CHARS = "ab(){}é中👍\t\x1b\u202e\ud800\u0301 \n\n"
SIZES = [(30, 6), (60, 12), (45, 20), (8, 3)]
TYPED = [*"ab(:é中", "enter", "backspace", "delete", "left", "right", "ctrl+home", "ctrl+end"]
KEYS = [
    *TYPED, "tab", "tab", "shift+tab", "up", "down", "home", "end", "pageup", "pagedown", "escape",
    "ctrl+right", "ctrl+down", "ctrl+left", "ctrl+z", "ctrl+z", "ctrl+y", "shift+up", "shift+down",
    "ctrl+k", "ctrl+u", "ctrl+w", "ctrl+f", "ctrl+x", "ctrl+v", "ctrl+shift+k", "alt+delete",
]  # fmt: skip


class Mirrored(CodeArea):
    """Does each edit on a plain string, too."""

    def __init__(self, text: str, **more: Any) -> None:
        self.plain = text
        self.undone: list[str] = []
        super().__init__(text, **more)
        self.history._undo_stack = deque()  # as many steps as there are

    def _at(self, place: tuple[int, int]) -> int:
        lines = self.plain.split("\n")
        row = min(place[0], len(lines) - 1)
        column = min(place[1], len(lines[row])) if row == place[0] else len(lines[row])
        return sum(len(line) + 1 for line in lines[:row]) + column

    def edit(self, edit: Edit) -> EditResult:
        start, end = self._at(edit.top), self._at(edit.bottom)
        if edit.text or start != end:
            self.undone = []
        self.plain = self.plain[:start] + edit.text + self.plain[end:]
        result = super().edit(edit)
        assert self.text == self.plain
        return result

    def undo(self) -> None:
        any_left, before = bool(self.history.undo_stack), self.text
        super().undo()
        self.plain = self.text
        if any_left:
            self.undone.append(before)

    def redo(self) -> None:
        super().redo()
        self.plain = self.undone.pop() if self.undone else self.plain
        assert self.text == self.plain


def key(name: str) -> events.Key:
    names = {"(": "left_parenthesis", ":": "colon"}
    return events.Key(names.get(name, name), name if len(name) == 1 else None)


def pointer(kind: type[events.MouseEvent], x: int, y: int, button: int) -> events.MouseEvent:
    return kind(None, x, y, 0, 0, button, False, False, False, screen_x=x, screen_y=y)


class MashedApp(EditorApp):
    """What was copied can be pasted into its other field, which draws it as it is."""

    def copy_to_clipboard(self, text: str) -> None:
        super().copy_to_clipboard(clean(text))


class Masher:
    """Does what comes to its mind."""

    def __init__(
        self, app: EditorApp, area: CodeArea, chance: random.Random, chars: str = CHARS
    ) -> None:
        self.app, self.area, self.chance, self.chars = app, area, chance, chars

    def text(self, most: int) -> str:
        return "".join(self.chance.choice(self.chars) for _ in range(self.chance.randrange(most)))

    def suggestion(self) -> None:
        """A new one, or more of it."""
        area, chance = self.area, self.chance
        if area.ghost is None:
            ghost = Ghost()
            ghost.add(0, self.text(40))
            area.show_ghost(ghost)
            area.ghost_note = chance.choice(["", "1/2"])
        else:
            area.ghost.add(0, self.text(12))
            area.ghost.complete = chance.random() < 0.2
            area.refresh_ghost()

    def resize(self) -> None:
        size = Size(*self.chance.choice(SIZES))
        self.app.post_message(events.Resize(size, size))

    def mouse(self) -> None:
        """The button goes down; the pointer moves; the button goes up; or some of that."""
        kinds = [events.MouseDown, events.MouseMove, events.MouseMove, events.MouseUp]
        for kind in kinds:
            if self.chance.random() < 0.8:
                x, y = self.chance.randrange(30), self.chance.randrange(5)
                self.app.post_message(pointer(kind, x, y, 1))

    def key(self, keys: list[str]) -> str:
        pressed = self.chance.choice(keys)
        self.app.post_message(key(pressed))
        return pressed


class Line:
    """What typing keys do to a plain string."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def press(self, pressed: str) -> None:
        text, at = self.text, self.at
        if pressed in ("enter", *TYPED[:7]):
            self.text = text[:at] + ("\n" if pressed == "enter" else pressed) + text[at:]
            self.at += 1
        elif pressed == "delete":
            self.text = text[:at] + text[at + 1 :]
        elif pressed == "backspace":
            self.text, self.at = text[: max(0, at - 1)] + text[at:], max(0, at - 1)
        else:
            self.at = {"left": max(0, at - 1), "right": min(len(text), at + 1)}.get(
                pressed, 0 if pressed == "ctrl+home" else len(text)
            )


async def type_on(seed: int, count: int) -> None:
    """What is suggested, and when, changes nothing of what is typed."""
    chance = random.Random(seed)
    async with editor(indent="\t", size=(40, 10)) as (app, area, pilot):
        masher = Masher(app, area, chance, "ab(中é\n")
        line = Line("")
        for _ in range(count):
            what = chance.random()
            if what < 0.2 and (area.ghost is not None or chance.random() < 0.4):
                masher.suggestion()
            elif what < 0.23:
                masher.resize()
            elif what < 0.26:
                await pilot.pause()
            else:
                # Indentation is for another test.
                opened = line.text[: line.at].endswith("(")
                line.press(masher.key([k for k in TYPED if k != "enter"] if opened else TYPED))
                if chance.random() < 0.3:
                    await pilot.pause()
        await pilot.pause()
        assert area.text == line.text
        assert area.code.offset(area.cursor_location) == line.at


async def mash(seed: int, count: int) -> None:
    """Anything at all."""
    chance = random.Random(seed)
    words = ["def f(x):\n", "    return é\n", "\n", "\t中文 = [1]\n", "\x1b[2J\u202e\n", "(" * 90]
    text = "".join(chance.choice(words) for _ in range(chance.randrange(30)))
    more = {"language": chance.choice(["", "python"]), "indent": chance.choice(["\t", "  "])}
    app = MashedApp(Mirrored(text, **more))
    async with app.run_test(size=(60, 12)) as pilot:
        area = app.area
        assert isinstance(area, Mirrored)
        masher = Masher(app, area, chance)
        for _ in range(count):
            what = chance.random()
            if what < 0.15:
                masher.suggestion()
            elif what < 0.19:
                masher.mouse()
            elif what < 0.21:
                masher.resize()
            elif what < 0.23:
                area.scroll_to(chance.randrange(40), chance.randrange(40), animate=False)
            elif what < 0.4:
                await pilot.pause()
            else:
                masher.key(KEYS)
        app.post_message(pointer(events.MouseUp, 1, 1, 1))
        await pilot.pause()
        await looks_as_if_new(app, area, pilot, more)
        while area.history.redo_stack:
            area.redo()
        last = area.text
        while area.history.undo_stack:
            area.undo()
        assert area.text == text
        while area.history.redo_stack:
            area.redo()
        assert area.text == last


async def looks_as_if_new(
    app: EditorApp, area: CodeArea, pilot: Pilot[None], more: dict[str, str]
) -> None:
    area.drop_ghost()
    selection, (x, y) = area.selection, area.scroll_offset
    await pilot.pause()
    seen = rows(app), area.virtual_size
    async with editor(area.text, size=tuple(app.size), **more) as (other, fresh, waits):
        fresh.selection = Selection(*selection)
        await waits.pause()
        fresh.scroll_to(x, y, animate=False, force=True)
        await waits.pause()
        assert seen == (rows(other), fresh.virtual_size)


@pytest.mark.parametrize("seed", range(4))
async def test_what_is_typed_is_the_text_whatever_is_suggested_meanwhile(seed: int) -> None:
    await type_on(seed, 150)


@pytest.mark.parametrize("seed", range(6))
async def test_edits_undo_takes_and_the_mouse_without_a_pause_keep_the_text(seed: int) -> None:
    await mash(seed, 150)
