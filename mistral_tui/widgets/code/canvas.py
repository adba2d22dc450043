"""Draws a file of code with its colours, and the rows of a suggestion between its lines.

Only what is in view is drawn and coloured, and only lines that changed are measured: a file of
many lines is as quick as a small one. Of a long line the parts that changed are measured, so that
a key in a line of 1 MB takes milliseconds; its colours are left out.
"""

from __future__ import annotations

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.color import Color
from textual.document._document import Location
from textual.geometry import Offset, Region, Size
from textual.strip import Strip
from textual.widgets import TextArea

from mistral_tui.widgets.code import edits
from mistral_tui.widgets.code.cells import Cells, cells_of
from mistral_tui.widgets.code.document import CodeDocument, CodeNavigator, CodeView
from mistral_tui.widgets.code.rows import Colours, GhostRows, Layer, in_view, paint
from mistral_tui.widgets.code.syntax import LONGEST_COLOURED, Syntax
from mistral_tui.widgets.palette import Palette

TAB = 4
"""Cells to which a tab is drawn."""
# Of parsing: at first, at a key, then again and again.
_FIRST_SECONDS, _KEY_SECONDS, _SLICE_SECONDS, _PAUSE_SECONDS = 0.03, 0.004, 0.008, 0.012
_NONE = Style()


class CodeCanvas(TextArea):
    """A text area that holds any text exactly and draws it itself."""

    DEFAULT_CSS = """
    CodeCanvas {
        border: none; padding: 0; scrollbar-size-vertical: 1; scrollbar-size-horizontal: 1;
        scrollbar-background: $surface; scrollbar-background-hover: $surface;
        scrollbar-background-active: $surface; scrollbar-corner-color: $surface;
    }
    CodeCanvas:focus { border: none; }
    CodeCanvas .text-area--gutter { color: $text-muted; }
    CodeCanvas .text-area--cursor-gutter { color: $foreground; }
    CodeCanvas:ansi { scrollbar-corner-color: ansi_default; }
    CodeCanvas:ansi .text-area--gutter { color: ansi_default; text-style: dim; }
    CodeCanvas:ansi .text-area--matching-bracket { text-style: bold underline; }
    CodeCanvas:nocolor .text-area--matching-bracket { text-style: bold underline; }
    CodeCanvas:ansi .text-area--cursor { text-style: reverse underline; }
    CodeCanvas:nocolor .text-area--cursor { text-style: reverse underline; }
    CodeCanvas:nocolor .text-area--selection { text-style: reverse; }
    """

    def __init__(self, text: str, language: str) -> None:
        self._ghost_rows: GhostRows | None = None
        self._ghost_note = ""
        self._held = False  # the rows stay only until the mouse button is up
        self._colours: Colours | None = None
        self._next_slice = False  # of parsing is due
        self._seen = False  # it was on screen
        super().__init__(soft_wrap=False, tab_behavior="focus", show_line_numbers=True)
        self.set_reactive(TextArea.indent_width, TAB)
        self.set_reactive(TextArea.language, language or None)
        self._set_document(text, language)

    def on_mount(self) -> None:
        self.app.theme_changed_signal.subscribe(self, self._recolour)
        self._set_ground()
        self._parse(_FIRST_SECONDS)

    def on_unmount(self) -> None:
        self.app.theme_changed_signal.unsubscribe(self)  # it would keep it for ever

    # ── the document ────────────────────────────────────────────────────────────────

    def _set_document(self, text: str, language: str | None) -> None:
        self.code = CodeDocument(text, TAB)
        self.document = self.code
        self.view = CodeView(self.code, TAB)
        self.wrapped_document = self.view
        self.walk = CodeNavigator(self.view)
        self.navigator = self.walk
        self.syntax = Syntax(self.code, language or "")
        self._ghost_rows = None
        self._held = False
        self.move_cursor((0, 0))
        self._refresh_size()
        if self.is_mounted:
            self._parse(_FIRST_SECONDS)

    def _watch_language(self, language: str | None) -> None:
        if self.is_mounted:
            self.syntax.use(language or "")
            self._parse(_FIRST_SECONDS)
            self.refresh()

    def get_cursor_word_left_location(self) -> Location:
        return self.walk.word_left(self.selection.end)

    def get_cursor_word_right_location(self) -> Location:
        return self.walk.word_right(self.selection.end)

    def find_matching_bracket(self, bracket: str, search_from: Location) -> Location | None:
        return edits.partner(self.code.lines, bracket, search_from)

    # ── colours ─────────────────────────────────────────────────────────────────────

    def _build_highlight_map(self) -> None:
        # The text area calls this after each edit.
        if self.is_mounted:
            self._parse(_KEY_SECONDS)

    def _parse(self, seconds: float) -> None:
        if not self.syntax.parse(seconds) and not self._next_slice:
            self._next_slice = True
            self.set_timer(_PAUSE_SECONDS, self._parse_on)

    def _parse_on(self) -> None:
        self._next_slice = False
        self._parse(_SLICE_SECONDS)
        if self.syntax.done:
            self.refresh()

    def _recolour(self, _theme: object) -> None:
        self._colours = None
        self._set_ground()

    def _set_theme(self, theme: str) -> None:
        super()._set_theme(theme)  # it takes the ground away
        if self.is_mounted:
            self._set_ground()

    def _set_ground(self) -> None:
        ground = self._palette_colours().ground.bgcolor
        known = ground is not None and not ground.is_default
        self.styles.background = Color.from_rich_color(ground) if known else None

    def _palette_colours(self) -> Colours:
        if self._colours is None:
            palette = Palette.from_variables(self.app.theme_variables)
            self._colours = Colours.of(palette, plain=self.app.no_color)
        return self._colours

    # ── rows ────────────────────────────────────────────────────────────────────────

    def render_lines(self, crop: Region) -> list[Strip]:
        if self.parent is None:  # removed, with its styles, and painted before the layout knows
            return [Strip.blank(crop.width)] * crop.height
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        scroll_x, scroll_y = self.scroll_offset
        line, below = self.view.line_at(scroll_y + y)
        theme = self._theme
        ground = theme.base_style or self.rich_style
        if line >= self.code.line_count:
            return Strip.blank(self.size.width, ground)
        row, column = self.selection.end
        gutter_style = theme.gutter_style or _NONE
        if line == row and self.highlight_cursor_line and not below:
            ground += theme.cursor_line_style or _NONE
            gutter_style = theme.cursor_line_gutter_style or _NONE
        gutter = self.gutter_width
        number = "" if below else str(line + self.line_number_start)
        numbers = Strip([Segment(f"{number:>{gutter - 2}}  ", ground + gutter_style)], gutter)
        room = self.size.width - gutter
        text = self.code.get_line(line)
        cells = cells_of(text, TAB)
        rows = self._ghost_rows if line == self.view.gap_line else None
        layers = self._layers(line, cells)
        cursor = theme.cursor_style if line == row and self._draw_cursor else None
        if rows is not None:
            colours = self._palette_colours()
            segments, begin = rows.paint(
                below, scroll_x, room, ground, colours.ghost, layers, cursor
            )
            if not below:
                segments = self._with_note(segments, begin, ground + colours.note)
        else:
            if cursor is not None:
                # A mark without a cell of its own shows on the character that it is on.
                x, stop = cells.x(column), column + 1
                if x and column < len(text) and x == cells.x(stop):
                    column = cells.column(x - 1)
                layers.append((column, stop, cursor))
            first, stop = in_view(cells, scroll_x, room)
            segments, begin = paint(cells, first, stop, ground, layers), cells.x(first)
        strip = Strip(segments).crop(scroll_x - begin, scroll_x - begin + room)
        return Strip.join([numbers, strip.extend_cell_length(room, ground)])

    def _layers(self, line: int, cells: Cells) -> list[Layer]:
        """What lies over a line, the lowest first: colours, selection, brackets."""
        layers: list[Layer] = []
        if len(cells.line) <= LONGEST_COLOURED:
            roles = self._palette_colours().roles
            top = self.view.line_at(self.scroll_offset.y)[0]
            for start, end, role in self.syntax.spans(line, top, top + self.size.height):
                layers.append((start, end, roles[role]))
        theme = self._theme
        (top_row, top_column), (bottom_row, bottom_column) = sorted(self.selection)
        if not self.selection.is_empty and top_row <= line <= bottom_row:
            start = top_column if line == top_row else 0
            end = bottom_column if line == bottom_row else len(cells.line) + 1
            layers.append((start, end, theme.selection_style or _NONE))
        elif self.selection.is_empty and self.match_cursor_bracket:
            other = self._matching_bracket_location
            for row, column in (self.selection.end, other) if other is not None else ():
                if row == line:
                    layers.append((column, column + 1, theme.bracket_matching_style or _NONE))
        return layers

    def _with_note(self, segments: list[Segment], begin: int, style: Style) -> list[Segment]:
        note = Cells(self._ghost_note, TAB)
        used = begin + sum(segment.cell_length for segment in segments) - self.scroll_offset.x
        room = self.scrollable_content_region.width - self.gutter_width - used
        if not note.line or room < note.width + 2:
            return segments
        return [*segments, Segment("  ", style), *paint(note, 0, len(note.line), style, ())]

    # ── a suggestion's rows ─────────────────────────────────────────────────────────

    def _lay_rows(self, text: str, location: Location) -> None:
        """Draw this at a place from now on; `_refresh_size` is to follow."""
        row, column = location
        lines = text.split("\n")
        line = self.code.get_line(row)
        self._ghost_rows = GhostRows(lines, line, column, TAB) if text else None
        self.view.gap_line, self.view.gap = row, len(lines) - 1

    def _clear_rows(self, *, still: int | None = None) -> None:
        """Draw no suggestion any more. The line `still`, or else what is at the top of the view,
        stays where it is on the screen, if there is enough above it to scroll."""
        gap, first = self.view.gap, self.view.gap_line + 1
        top = self.scroll_offset.y
        above = min(max(0, top - first), gap)
        if still is not None and still >= first:
            above = gap
        self._ghost_rows = None
        self._ghost_note = ""
        self.view.gap = 0
        self._held = False
        self._cursor_offset = self.view.location_to_offset(self.selection.end)
        if above and top:
            self.scroll_to(y=max(0, top - above), animate=False, force=True, immediate=True)
        self._refresh_size()
        self.refresh()

    # ── size and scrolling ──────────────────────────────────────────────────────────

    def _refresh_size(self) -> None:
        width, height = self.code.get_size(TAB)
        if self._ghost_rows is not None:
            width, height = max(width, self._ghost_rows.width), height + self.view.gap
        self.virtual_size = Size(width + self.gutter_width + 1, height)
        self._refresh_scrollbars()
        # A bar that was hidden while the text was scrolled does not know.
        if self.show_horizontal_scrollbar:
            self.horizontal_scrollbar.position = self.scroll_x
        if self.show_vertical_scrollbar:
            self.vertical_scrollbar.position = self.scroll_y

    def scroll_cursor_visible(self, center: bool = False, animate: bool = False) -> Offset:
        """Bring the cursor into view, with as much of a suggestion as there is room for."""
        x, y = self._cursor_offset = self.view.location_to_offset(self.selection.end)
        width, height = self.scrollable_content_region.size
        width -= self.gutter_width
        if width <= 0 or height <= 0 or not self._has_cursor:
            return Offset(0, 0)
        left, top = self.scroll_offset
        shown = self.view.gap_line == self.selection.end[0] and not self._held
        last = y + (self.view.gap if shown else 0)
        if center:
            self._bring_into_view(self.selection.end[0])
            top = self.scroll_offset.y
        new_top = min(max(top, last - height + 1), y)
        new_left = min(max(left, x + 3 - width), x)
        if (new_left, new_top) != (left, top):
            self.scroll_to(new_left, new_top, animate=animate, force=True)
        return Offset(new_left - left, new_top - top)

    def _bring_into_view(self, line: int) -> None:
        """Scroll so that a line out of view is in the middle of it."""
        height = self.scrollable_content_region.height
        row = self.view.row_of(line)
        if not self.scroll_offset.y <= row < self.scroll_offset.y + height:
            self.scroll_to(y=max(0, row - height // 2), animate=False, force=True)

    def get_target_document_location(self, event: events.MouseEvent) -> Location:
        scroll_x, scroll_y = self.scroll_offset
        x = event.x - self.gutter_width + scroll_x - self.gutter.left
        y = max(0, event.y + scroll_y - self.gutter.top)
        line, below = self.view.line_at(y)
        if self._ghost_rows is not None and line == self.view.gap_line:
            return line, self._ghost_rows.column_at(below, max(0, x))
        return self.view.offset_to_location(Offset(x, y))

    def _on_resize(self) -> None:
        self._refresh_size()
        if not self._seen and self.size:
            self._seen = True
            self.scroll_cursor_visible(center=True)
