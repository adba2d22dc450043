"""How comments and strings look in a language, as far as finding definitions needs it."""

from __future__ import annotations

import re
from typing import Literal

Style = Literal["hash", "rust", "c"]
"""How comments and strings look: as in Python, Rust, or C, Go and JavaScript."""

_STYLES: dict[str, Style] = {
    **dict.fromkeys(("python", "py", "python3", "pyi", "ruby", "rb", "sh", "bash", "zsh", "shell",
                     "yaml", "yml", "toml", "r", "perl", "elixir", "makefile", "gdscript",
                     "nim", "julia", "cmake", "dockerfile"), "hash"),
    **dict.fromkeys(("rust", "rs"), "rust"),
    **dict.fromkeys(("c", "h", "cpp", "c++", "cc", "hpp", "cs", "csharp", "go", "golang", "java",
                     "javascript", "js", "jsx", "typescript", "ts", "tsx", "kotlin", "kt",
                     "swift", "scala", "php", "css", "json", "dart", "zig"), "c"),
}  # fmt: skip
_HASH = re.compile(r"^[ \t]*(?:async[ \t]+)?(?:def|class)[ \t]+\w.*:[ \t]*(?:#.*)?$", re.M)
_RUST = re.compile(r"^[ \t]*(?:pub(?:\([\w: ]+\))?[ \t]+)?(?:fn[ \t]+\w|impl\b)", re.M)

STRING = "\1"
"""Stands for each character of a string."""
_BLOCK = r"/\*[^*]*(?:\*(?!/)[^*]*)*(?:\*/|\Z)"  # unrolled, as all of these: long lines are many
_DOUBLE, _SINGLE = r'"[^"\\\n]*(?:\\.[^"\\\n]*)*"?', r"'[^'\\\n]*(?:\\.[^'\\\n]*)*'?"
TOKENS: dict[Style, re.Pattern[str]] = {
    "hash": re.compile(
        r"(?P<comment>\#[^\n]*)"
        r'|"""[^"\\]*(?:(?:\\.|"(?!""))[^"\\]*)*(?:"""|\Z)'
        r"|'''[^'\\]*(?:(?:\\.|'(?!''))[^'\\]*)*(?:'''|\Z)"
        rf"|{_DOUBLE}|{_SINGLE}", re.S),
    "rust": re.compile(
        rf"(?P<comment>//[^\n]*|{_BLOCK})"
        r'|r(?P<hashes>\#*)"[^"]*(?:"(?!(?P=hashes))[^"]*)*(?:"(?P=hashes)|\Z)'
        r'|"[^"\\]*(?:\\.[^"\\]*)*(?:"|\Z)' r"|'(?:[^'\\\n]|\\[^\n]{1,10}?)'", re.S),
    "c": re.compile(
        rf"(?P<comment>//[^\n]*|{_BLOCK})|`[^`\\]*(?:\\.[^`\\]*)*(?:`|\Z)|{_DOUBLE}|{_SINGLE}"
        r"|(?<=[=(,:!&|?])[ ]?/(?![*/ ])(?:[^/\\\n\[]|\\.|\[(?:[^\]\\\n]|\\.)*\])+/",
        re.S),
}  # fmt: skip


def style_of(language: str, *texts: str) -> Style:
    """How to read these texts; where the language is not known, by how they look."""
    known = _STYLES.get(language.lower())
    if known is not None:
        return known
    if any(_HASH.search(text) for text in texts):
        return "hash"
    return "rust" if any(_RUST.search(text) for text in texts) else "c"


def known_language(language: str) -> bool:
    """Whether it is known how a language looks."""
    return language.lower() in _STYLES
