"""All looks, each shown at once on the app behind and on a piece of conversation beside."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from rich.style import Style
from rich.text import Text
from textual import events, on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.color import Color
from textual.containers import Container, Vertical
from textual.screen import ModalScreen
from textual.strip import Strip
from textual.theme import Theme
from textual.widget import Widget
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from mistral_tui.actions import bindings, line
from mistral_tui.sanitize import one_line
from mistral_tui.themes import DEFAULT_DARK
from mistral_tui.widgets.entry import Entry, TranscriptItem
from mistral_tui.widgets.finding import Search
from mistral_tui.widgets.palette import Palette, contrast
from mistral_tui.widgets.selecting import paint_selection
from mistral_tui.widgets.wrap import to_strip, wrap

if TYPE_CHECKING:
    from mistral_tui.looks import Looks

_WIDE = 76  # cells: from here on the preview is beside the list
_STRONG = 20.0  # contrast: black and white, about
_ANSWER = """\
# A heading
Some **bold** text, `code` and [a link](https://example.org):

1. a list
   - with a part

```python
def twice(x: int) -> int:  # note
    return 2 * x + len("text")
```

| name | value |
| --- | ---: |
| one | 1 |

> A quote."""
_SURE = ("sure", "likely", "unsure", "doubtful", "unlikely")


class Preview(Widget):
    """A piece of conversation in the look that is on."""

    DEFAULT_CSS = """
    Preview { background: $background; color: $foreground; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[Strip] = []

    def on_mount(self) -> None:
        self.app.theme_changed_signal.subscribe(self, self._recolor)

    def on_unmount(self) -> None:
        self.app.theme_changed_signal.unsubscribe(self)  # else it is kept for ever

    def _recolor(self, _: Theme) -> None:
        self._rows = []
        self.refresh()

    def on_resize(self) -> None:
        self._rows = []

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._rows = []

    def render_line(self, y: int) -> Strip:
        if not self._rows:
            self._rows = self._draw(self.size.width)
        blank = Strip.blank(self.size.width, self.rich_style)
        return self._rows[y] if y < len(self._rows) else blank

    def _draw(self, width: int) -> list[Strip]:
        palette = Palette.from_variables(self.app.theme_variables)
        base = self.rich_style
        rows: list[Strip] = []
        found = Search("text")
        entries = [
            Entry(TranscriptItem("0", "user", "How does this look?", "you")),
            Entry(TranscriptItem("1", "assistant", _ANSWER, "model", thinking="Let me see.")),
            Entry(TranscriptItem("2", "error", "Something went wrong.")),
        ]
        for entry in entries:
            entry.lay_out(width - 1, palette)
        found.look(entries)
        found.at = 0
        for entry in entries:
            for number in range(entry.height):
                strip = entry.paint(number, 1, width, base)
                for span, current in found.on_line(entry, number, 1, palette):
                    style = palette.chat["hit-current" if current else "hit"]
                    content = entry.content(number, 1, palette)
                    strip = paint_selection(strip, content, span, style)
                rows.append(strip)
            if entry is entries[0]:  # near the top, where small windows show it too
                rows += [*_shades(palette, width, base), Strip.blank(width, base)]
        return rows


def _shades(palette: Palette, width: int, base: Style) -> list[Strip]:
    """A word for each of the shades that say how sure a model was."""
    words = [(f"{word} ", style) for word, style in zip(_SURE, palette.confidence, strict=True)]
    strips = [to_strip([("   ", base), *row]) for row in wrap(words, max(8, width - 4))]
    return [strip.apply_style(base).crop_extend(0, width, base) for strip in strips]


class ThemeScreen(ModalScreen[None]):
    """The list of looks; the one that is marked is on."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("themes")]
    DEFAULT_CSS = """
    ThemeScreen { align: center middle; }
    ThemeScreen > Vertical {
        width: 100; max-width: 98%; height: 36; max-height: 96%;
        background: $panel; border: round $primary; padding: 0 1;
        border-title-color: $primary; border-subtitle-color: $text-muted;
    }
    ThemeScreen Container { layout: vertical; }
    ThemeScreen.-wide Container { layout: horizontal; }
    ThemeScreen OptionList {
        width: 100%; height: 45%; border: none; background: $panel; padding: 0;
        scrollbar-size-vertical: 1;
    }
    ThemeScreen OptionList:focus { border: none; }
    ThemeScreen Preview { width: 1fr; height: 1fr; }
    ThemeScreen.-wide OptionList { width: 36; height: 100%; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._names: list[str] = []

    @property
    def _looks(self) -> Looks:
        return cast("Looks", self.app)

    @property
    def _list(self) -> OptionList:
        return self.query_one(OptionList)

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = "Theme"
            box.border_subtitle = line(("themes.keep", "keeps"), ("themes.leave", "leaves"))
            with Container():
                yield OptionList(markup=False)
                yield Preview()

    def on_mount(self) -> None:
        self._before = self.app.theme
        looks = self._looks.looks
        known = [theme for name, theme in self.app.available_themes.items() if name not in looks]
        ours = sorted((look for look in looks.values()), key=lambda look: (look.own, look.name))
        for theme in (*ours, *known):
            own = "yours, " if getattr(theme, "own", False) else ""
            self._names.append(theme.name)
            row = Text(one_line(theme.name, 24))
            row.append(f"  {own}{_kind(theme)}", "dim")
            self._list.add_option(Option(row))
        self._looks.previewing = True
        self._list.highlighted = self._names.index(self._before)
        self._list.focus()

    def on_resize(self, event: events.Resize) -> None:
        self.set_class(event.size.width >= _WIDE, "-wide")

    def on_unmount(self) -> None:
        self._looks.previewing = False

    @on(OptionList.OptionHighlighted)
    def _shown(self, event: OptionList.OptionHighlighted) -> None:
        name = self._names[event.option_index]
        if name in self.app.available_themes:  # its file may be gone by now
            self.app.theme = name

    @on(OptionList.OptionSelected)
    def _selected(self) -> None:
        self.action_keep()

    def action_up(self) -> None:
        self._list.action_cursor_up()

    def action_down(self) -> None:
        self._list.action_cursor_down()

    def action_keep(self) -> None:
        """The one that is marked stays."""
        self._looks.previewing = False
        self._looks.watch_theme(self.app.theme)
        self.dismiss(None)

    def action_leave(self) -> None:
        """The one from before is on again, if its file is there still."""
        there = self._before in self.app.available_themes
        self.app.theme = self._before if there else DEFAULT_DARK
        self._looks.previewing = False
        self.dismiss(None)


def _kind(theme: Theme) -> str:
    if theme.ansi:
        return "16 colours"
    ink, ground = (Color.parse(c) if c else None for c in (theme.foreground, theme.background))
    if ink and ground and contrast(ink, ground) >= _STRONG:
        return "high contrast"
    return "dark" if theme.dark else "light"
