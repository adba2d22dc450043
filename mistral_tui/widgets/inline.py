"""The text inside a Markdown block: emphasis, code, links, as styled spans."""

from __future__ import annotations

import re
from functools import lru_cache

from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich.style import Style

from mistral_tui.sanitize import sanitize
from mistral_tui.widgets.palette import Palette
from mistral_tui.widgets.wrap import Span

MAX_NESTING = 60
# Link definitions are off: one that comes late would change what is long on the screen. HTML is
# off: it shows as it was written. Inline text is parsed here, and only where it is laid out.
PARSER = (
    MarkdownIt("commonmark", {"html": False, "maxNesting": MAX_NESTING})
    .enable(["table", "strikethrough"])
    .disable(["normalize", "reference", "inline", "text_join"])
)
# Inline parsing is quadratic in brackets; past these the text shows as it was written.
MAX_INLINE = 60_000
MAX_BRACKETS = 1_500

BOLD, ITALIC, STRIKE, LINK = 1, 2, 4, 8
_MARKS = {"strong": BOLD, "em": ITALIC, "s": STRIKE, "link": LINK}
_BREAK = re.compile(r"<br ?/?>", re.IGNORECASE)


@lru_cache(maxsize=256)
def _style(base: Style, link: Style, flags: int) -> Style:
    style = base + link + Style(underline=True) if flags & LINK else base
    return style + Style(
        bold=True if flags & BOLD else None,
        italic=True if flags & ITALIC else None,
        strike=True if flags & STRIKE else None,
    )


def parse_inline(content: str) -> list[Token]:
    """The inline tokens of `content`; plain text where parsing would take too long."""
    if len(content) > MAX_INLINE or content.count("[") > MAX_BRACKETS:
        return [Token("text", "", 0, content=content)]
    tokens: list[Token] = []
    PARSER.inline.parse(content, PARSER, {}, tokens)
    return tokens


def inline(content: str, palette: Palette, base: Style, *, cell: bool = False) -> list[Span]:
    """Styled spans of `content`, every newline kept; in a table `cell` `<br>` is one too."""
    spans: list[Span] = []
    flags = 0
    link_from, target = 0, ""
    for token in parse_inline(content):
        kind = token.type
        name, _, edge = kind.rpartition("_")
        if edge == "open" and name in _MARKS:
            flags |= _MARKS[name]
            if name == "link":
                link_from, target = len(spans), str(token.attrs.get("href", ""))
        elif edge == "close" and name in _MARKS:
            flags &= ~_MARKS[name]
            if name == "link":
                label = "".join(text for text, _ in spans[link_from:])
                if target and label not in (target, target.removeprefix("mailto:")):
                    spans.append((f" ({sanitize(target)})", base + palette.chat["muted"]))
        elif kind in ("softbreak", "hardbreak"):
            spans.append(("\n", base))
        elif kind == "code_inline":
            style = _style(base, palette.chat["link"], flags) + palette.chat["inline-code"]
            spans.append((sanitize(token.content), style))
        elif kind == "image":
            source = str(token.attrs.get("src", ""))
            spans.append((f"[image: {sanitize(token.content)}]", base + palette.chat["link"]))
            spans.append((f" ({sanitize(source)})", base + palette.chat["muted"]))
        elif token.content:
            # Again, since an entity such as &#13; becomes a character only here.
            text = sanitize(token.content).replace("\t", "    ")
            text = _BREAK.sub("\n", text) if cell else text
            spans.append((text, _style(base, palette.chat["link"], flags)))
    return spans
