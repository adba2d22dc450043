"""The links of a message: which there are, and opening one in the browser of the desktop."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from mistral_tui.sanitize import one_line

_SCHEMES = ("http", "https")
_BARE = r"https?://[^\s<>\"'`\])]+[^\s<>\"'`\]).,;:!?]"
_MOST = 200


@dataclass(frozen=True, slots=True)
class Link:
    """What it is called, and where it goes: both safe to show, the target in full."""

    label: str
    target: str

    @property
    def can_open(self) -> bool:
        """Only web pages are opened; anything can be copied."""
        return openable(self.target)


def openable(target: str) -> bool:
    """Whether it is the address of a web page, without anything hidden in it."""
    try:
        parts = urlsplit(target)
        return parts.scheme in _SCHEMES and bool(parts.hostname) and target.isprintable()
    except ValueError:
        return False


def find(text: str) -> list[Link]:
    """The links in a Markdown text, each target once, in order."""
    import re

    from mistral_tui.widgets.blocks import parse
    from mistral_tui.widgets.inline import parse_inline

    found: dict[str, Link] = {}

    def add(label: str, target: str) -> None:
        target = one_line(target, 2000)
        if target and target not in found and len(found) < _MOST:
            found[target] = Link(one_line(label, 200) or target, target)

    for tokens in parse(text):
        for token in tokens:
            if token.type != "inline":
                for bare in re.findall(_BARE, token.content):
                    add(bare, bare)
                continue
            label, target = "", ""
            for part in parse_inline(token.content):
                if part.type == "link_open":
                    label, target = "", str(part.attrs.get("href", ""))
                elif part.type == "link_close":
                    add(label, target)
                    target = ""
                elif part.type == "image":
                    add(part.content, str(part.attrs.get("src", "")))
                elif target:
                    label += part.content
                else:
                    for bare in re.findall(_BARE, part.content):
                        add(bare, bare)
    return list(found.values())


def open_in_browser(target: str, env: Mapping[str, str] = os.environ) -> str:
    """Opens a web page; what came of it, as a sentence.

    Call it in a thread. A browser within the terminal is never started: it would draw over us.
    """
    if not openable(target):
        return "Only web pages (http and https) are opened, but the address can be copied."
    desktop = sys.platform == "darwin" or env.get("DISPLAY") or env.get("WAYLAND_DISPLAY")
    if not desktop or "SSH_CONNECTION" in env:
        return "There is no desktop here to open it on, but the address can be copied."
    try:
        opened = webbrowser.open(target)
    except (OSError, webbrowser.Error):
        opened = False
    if opened:
        return "Opened in the browser."
    return "No browser could be started, but the address can be copied."
