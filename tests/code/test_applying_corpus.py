"""Applying code blocks made of real files: copies change nothing, a changed line changes that
line, twice is once, and no definition is lost that is not named."""

from __future__ import annotations

import random
import re
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from mistral_tui.code.applying import Applied, apply
from mistral_tui.code.definitions import Definition, Outline, indent
from mistral_tui.code.errors import CodeError
from mistral_tui.code.removal import keys
from mistral_tui.code.styles import Style, style_of

STANDARD = Path(sysconfig.get_path("stdlib"))
PACKAGES = Path(sysconfig.get_path("purelib"))
ENDINGS = ("py", "js", "ts", "c", "h", "cpp", "hpp", "rs", "go", "java", "rb", "php", "css", "md",
           "toml", "yml", "yaml", "sh", "json", "html")  # fmt: skip
ROOTS = [STANDARD, PACKAGES, Path("/usr/include"), Path("/usr/lib/node_modules")]
CHANGED = "changed_line_xyz();"


def texts(paths: list[Path], most: int) -> Iterator[tuple[str, str]]:
    """(language, text) of files that are no data."""
    count = 0
    for path in paths:
        with suppress(OSError, UnicodeDecodeError):
            text = path.read_bytes().decode().replace("\r\n", "\n")
            lines = text.split("\n")
            if 300 < len(text) < 60_000 and max(map(len, lines)) < 400 and text.endswith("\n"):
                yield path.suffix[1:], text
                count += 1
                if count == most:
                    return


def with_a_change(lines: list[str], chance: random.Random) -> list[str] | None:
    """One simple statement replaced by another."""
    found = [
        at
        for at, line in enumerate(lines[:-1])
        if at and re.fullmatch(r"\s+[\w.]+( = |\()[\w.+* ]+\)?;?", line)
    ]
    if not found:
        return None
    at = chance.choice(found)
    return [*lines[:at], indent(lines[at]) + CHANGED, *lines[at + 1 :]]


class Checked:
    """Blocks applied to one file, and what came of them."""

    def __init__(self, language: str, text: str, seed: int) -> None:
        self.language, self.text = language, text
        self.style: Style = style_of(language, text)
        self.lines = text.removesuffix("\n").split("\n")
        self.outline = Outline(self.lines, self.style)
        self.chance = random.Random(seed)
        self.count: Counter[str] = Counter()

    def apply(self, kind: str, lines: list[str], expected: str | None = None) -> None:
        block = "\n".join(lines)
        try:
            applied = apply(self.text, block, self.language)
        except CodeError:
            self.count[f"{kind} refused"] += 1
            return
        self.count[kind] += 1
        if expected is not None:
            assert applied.text == expected, f"{applied.how}:\n{block}"
        self._keeps(applied, block)
        if kind == "piece":  # it may end in the middle of something
            return
        with suppress(CodeError):
            again = apply(applied.text, block, self.language)
            assert again.text == applied.text, f"{applied.how}; {again.how}:\n{block}"

    def _keeps(self, applied: Applied, block: str) -> None:
        after = Outline(applied.text.removesuffix("\n").split("\n"), self.style)
        if keys(self.outline) - keys(after):
            assert "removes" in applied.how, block

    def replaced(self, start: int, end: int, lines: list[str]) -> str:
        return "\n".join([*self.lines[:start], *lines, *self.lines[end:]]) + "\n"

    def all(self) -> Counter[str]:
        places = [at for found in self.outline.places.values() for at in found]
        defined = [one for at in places if (one := self.outline.definition(at)) is not None]
        self.chance.shuffle(defined)
        self.apply("copy", self.lines, self.text)
        for one in defined[:4]:
            self.one(one)
        for one in [one for one in defined if one.key.group in ("type", "impl")][:2]:
            self.part_of(one)
        size = min(len(self.lines) // 2, 12)
        start = self.chance.randrange(len(self.lines) - size)
        self.apply("copy", self.lines[start : start + size], self.text)
        for begin, end in ((start, start + size), (0, len(self.lines) // 2)):
            if (new := with_a_change(self.lines[begin:end], self.chance)) and new[0].strip():
                self.apply("piece", new)
        return self.count

    def one(self, one: Definition) -> None:
        self.apply("copy", self.lines[one.first : one.end], self.text)
        new = with_a_change(self.lines[one.start : one.end], self.chance)
        if new and one.key.group == "function" and self.closed(new):
            self.apply("function", new, self.replaced(one.start, one.end, new))

    def closed(self, lines: list[str]) -> bool:
        """Whether a changed function is one still: not half of something on several lines."""
        outline = Outline(lines, self.style)
        at = next(n for n, line in enumerate(lines) if CHANGED in line)
        within = not outline.inside[at] and outline.depth[at] == (self.style != "hash")
        return outline.end(0) == len(lines) and within

    def part_of(self, one: Definition) -> None:
        """A class with one of its functions only, and with marks for the others."""
        head = self.lines[one.start]
        if self.style != "hash" and not head.rstrip().endswith("{"):
            return
        tail = [self.lines[one.end - 1]] if self.style != "hash" or self.language == "rb" else []
        inner = [child for child in self.outline.children(one.start + 1, one.end)
                 if child.key.group == "function" and child.end - child.start > 3
                 and child.start == child.first
                 and len(self.outline.places[child.key]) == 1]  # fmt: skip
        for child in inner[:1]:
            new = with_a_change(self.lines[child.start : child.end], self.chance)
            if new is None or not self.closed(new):
                continue
            expected = self.replaced(child.start, child.end, new)
            mark = "#" if self.style == "hash" else "//"
            gap = f"{indent(new[0])}{mark} ... existing code ..."
            self.apply("member", [head, *new, *tail], expected)
            self.apply("member", [head, gap, "", *new, "", gap, *tail], expected)
            self.apply("member", [head, gap, "", *new, *tail], expected)


def run(files: Iterator[tuple[str, str]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for number, (language, text) in enumerate(files):
        total += Checked(language, text, number).all()
    return total


def test_blocks_of_the_standard_library() -> None:
    names = sorted(path for path in STANDARD.glob("[a-o]*.py"))
    total = run(texts(names, 45))
    assert total["copy"] > 200
    assert total["copy refused"] == 0
    assert total["function"] > 5 * total["function refused"]
    assert total["member"] > 5 * total["member refused"]


def test_blocks_of_files_in_other_languages() -> None:
    found = sorted(path for path in PACKAGES.rglob("*.*") if path.suffix[1:] in ENDINGS[1:])
    files = random.Random(3).sample(found, min(len(found), 120))
    total = run(texts(files, 60))
    assert total["copy"] > 60
    assert total["copy refused"] == 0


@pytest.mark.soak
def test_blocks_of_all_files() -> None:
    """Thousands of files: the standard library, packages, headers, JavaScript."""
    files = sorted({path for root in ROOTS if root.is_dir() for ending in ENDINGS
                    for path in root.rglob(f"*.{ending}")})  # fmt: skip
    random.Random(1).shuffle(files)
    total = run(texts(files, 4000))
    sys.stderr.write(f"{dict(sorted(total.items()))}\n")
    assert total["copy refused"] == 0
    assert total["function"] > 10 * total["function refused"]
