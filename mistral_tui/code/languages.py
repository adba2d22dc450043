"""Which language a file is in, and how it is indented."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

DEFAULT_INDENT = "    "
_READ = 64 << 10  # characters that indentation is told from

_SUFFIXES = {
    "python": "py pyi pyw pyx", "rust": "rs", "go": "go", "java": "java", "sql": "sql",
    "javascript": "js mjs cjs jsx", "typescript": "ts mts cts", "tsx": "tsx",
    "json": "json jsonc jsonl ipynb webmanifest", "toml": "toml", "yaml": "yml yaml",
    "bash": "sh bash zsh ksh ebuild", "css": "css", "html": "html htm xhtml",
    "xml": "xml svg xsd xsl xslt plist rss", "markdown": "md markdown mdx",
    "c": "c h", "cpp": "cc cpp cxx c++ hh hpp hxx h++ cu cuh ino", "c-sharp": "cs csx",
    "lua": "lua", "php": "php phtml", "ruby": "rb rake gemspec",
}  # fmt: skip
_BY_SUFFIX = {suffix: name for name, all_ in _SUFFIXES.items() for suffix in all_.split()}
_BY_NAME = {
    "rakefile": "ruby", "gemfile": "ruby", "vagrantfile": "ruby", "podfile": "ruby",
    "pipfile": "toml", "cargo.lock": "toml", "poetry.lock": "toml", "uv.lock": "toml",
    "sconstruct": "python", "sconscript": "python", "pkgbuild": "bash", ".envrc": "bash",
    ".bashrc": "bash", ".bash_profile": "bash", ".profile": "bash", ".zshrc": "bash",
    ".clang-format": "yaml", ".clang-tidy": "yaml", ".babelrc": "json", ".prettierrc": "json",
}  # fmt: skip
_BY_PROGRAM = {
    "python": "python", "pypy": "python", "sh": "bash", "bash": "bash", "zsh": "bash",
    "ksh": "bash", "dash": "bash", "node": "javascript", "nodejs": "javascript",
    "bun": "javascript", "deno": "typescript", "ruby": "ruby", "lua": "lua", "luajit": "lua",
    "php": "php",
}  # fmt: skip
_PROGRAM = re.compile(
    r"#!\s*(?:\S*/)?(?:env\s+(?:-\S+\s+|\w+=\S*\s+)*(?:\S*/)?)?([A-Za-z]+)[\d.]*(?:\s|\Z)"
)
_INDENTED = re.compile(r"^([ \t]*)[^\s]", re.MULTILINE)


def language_of(path: Path, first_line: str) -> str:
    """The name of the language, told by the file's name or its `#!` line; "" for none that we
    know."""
    name = path.name.lower()
    known = _BY_NAME.get(name) or _BY_SUFFIX.get(name.rpartition(".")[2] if "." in name else "")
    if known:
        return known
    if match := _PROGRAM.match(first_line[:256]):
        return _BY_PROGRAM.get(match[1].lower(), "")
    if first_line.startswith("<?xml"):
        return "xml"
    return "php" if first_line.startswith("<?php") else ""


def indent_of(text: str) -> str:
    """One level of indentation as `text` has it: a tab, or 2 to 8 spaces; four where it does not
    tell."""
    tabs = 0
    steps: Counter[int] = Counter()
    before = 0
    for match in _INDENTED.finditer(text[:_READ]):
        lead = match[1]
        if "\t" in lead:
            tabs += lead.startswith("\t")
            continue
        if len(lead) > before:
            steps[len(lead) - before] += 1
        before = len(lead)
    if tabs > sum(steps.values()):
        return "\t"
    likely = [step for step in steps if 2 <= step <= 8]
    if not likely:
        return "\t" if tabs else DEFAULT_INDENT
    return " " * max(likely, key=lambda step: (steps[step], -step))
