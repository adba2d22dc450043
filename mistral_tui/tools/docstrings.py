"""What a docstring says of a function and of its parameters, in the three usual styles."""

from __future__ import annotations

import inspect
import re

_SECTION = re.compile(r"(Args|Arguments|Parameters|Params|Keyword Args|Keyword Arguments):\s*")
_GOOGLE = re.compile(r"(\*{0,2}\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)")
_NUMPY = re.compile(r"(\*{0,2}\w+(?:\s*,\s*\w+)*)\s*(?::.*)?")
_SPHINX = re.compile(r":(?:param|parameter|arg|argument)\s+(?:[^:]*\s)?(\*{0,2}\w+)\s*:\s*(.*)")
_FIELD = re.compile(r":\w+.*?:")
_LONGEST = 20_000


def read(docstring: str | None) -> tuple[str, dict[str, str]]:
    """The first paragraph on one line, and the descriptions by the names of the parameters."""
    lines = inspect.cleandoc((docstring or "")[:_LONGEST]).splitlines()
    found: dict[str, list[str]] = {}
    for start, line in enumerate(lines):
        below = lines[start + 1] if start + 1 < len(lines) else ""
        if _SECTION.fullmatch(line):
            found |= _google(lines[start + 1 :])
        elif line.strip() in ("Parameters", "Other Parameters") and re.fullmatch(r"-{3,}", below):
            found |= _numpy(lines[start + 2 :])
        elif match := _SPHINX.match(line):
            found[match[1]] = [match[2], *_continued(lines[start + 1 :])]
    described = {name.lstrip("*"): " ".join(" ".join(text).split()) for name, text in found.items()}
    return _first(lines), {name: text for name, text in described.items() if text}


def _first(lines: list[str]) -> str:
    kept: list[str] = []
    for line in lines:
        if not line.strip() or _SECTION.fullmatch(line) or _FIELD.match(line):
            break
        kept.append(line.strip())
    return " ".join(kept)


def _google(lines: list[str]) -> dict[str, list[str]]:
    """`name (type): text`, indented, the text going on further indented."""
    found: dict[str, list[str]] = {}
    depth = name = None
    for line in lines:
        if not line.strip():
            continue
        indent = _indent(line)
        if not indent:
            break
        depth = depth or indent
        match = _GOOGLE.fullmatch(line.strip())
        if indent <= depth and match:
            name = match[1]
            found[name] = [match[2]]
        elif name and indent > depth:
            found[name].append(line)
    return found


def _numpy(lines: list[str]) -> dict[str, list[str]]:
    """`name : type`, the text indented below it; ends with the next underlined title."""
    found: dict[str, list[str]] = {}
    names: list[str] = []
    for number, line in enumerate(lines):
        below = lines[number + 1] if number + 1 < len(lines) else ""
        if not line.strip():
            continue
        if _indent(line):
            for name in names:
                found[name].append(line)
            continue
        match = _NUMPY.fullmatch(line.strip())
        if re.fullmatch(r"-{3,}", below) or not match:
            break
        names = [name.strip() for name in match[1].split(",")]
        found |= {name: [] for name in names}
    return found


def _continued(lines: list[str]) -> list[str]:
    kept: list[str] = []
    for line in lines:
        if not line.strip() or not _indent(line):
            break
        kept.append(line)
    return kept


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
