from __future__ import annotations

from collections.abc import Callable

from textual.app import App, ComposeResult
from textual.geometry import Offset
from textual.pilot import Pilot
from textual.selection import Selection

from mistral_tui.themes import load_themes
from mistral_tui.widgets.entry import TranscriptItem
from mistral_tui.widgets.transcript import Transcript


class Chat(App[None]):
    def __init__(self) -> None:
        super().__init__()
        self.changes: list[bool] = []

    def compose(self) -> ComposeResult:
        yield Transcript()

    def on_mount(self) -> None:
        for theme in load_themes()[0]:
            self.register_theme(theme)
        self.query_one(Transcript).focus()

    def on_transcript_follow_changed(self, event: Transcript.FollowChanged) -> None:
        self.changes.append(event.following)


def rows(view: Transcript) -> list[str]:
    return [view.render_line(y).text.rstrip() for y in range(view.size.height)]


def shown(view: Transcript) -> str:
    return "\n".join(rows(view))


async def until(pilot: Pilot[None], true: Callable[[], bool]) -> None:
    for _ in range(200):
        if true():
            return
        await pilot.pause(0.01)
    raise AssertionError("The awaited state did not come.")


def talk(count: int) -> list[TranscriptItem]:
    return [
        TranscriptItem(
            f"m{n}",
            "assistant" if n % 2 else "user",
            f"message {n} says\n\n" + "- *some* words that take some room\n" * (n % 7 + 1),
            title=f"title {n}",
        )
        for n in range(count)
    ]


async def test_messages_look_by_their_role() -> None:
    app = Chat()
    async with app.run_test(size=(60, 20)):
        view = app.query_one(Transcript)
        view.add("u", "user", "*plain* [/INST]\n  indented", title="you")
        view.add("a", "assistant", "**bold**", title="model")
        view.finish("a", "cancelled · 34.1 tok/s")
        view.add("e", "error", "It [b]failed[/b].")
        assert [row.strip() for row in rows(view) if row] == [
            "▎ you",
            "▎ *plain* [/INST]",
            "▎   indented",
            "◆ model",
            "bold",
            "cancelled · 34.1 tok/s",
            "▎ It [b]failed[/b].",
        ]


async def test_streamed_text_appears_and_finish_shows_all_at_once() -> None:
    app = Chat()
    async with app.run_test(size=(60, 20)) as pilot:
        view = app.query_one(Transcript)
        view.add("a", "assistant", title="model")
        view.set_status("a", "prefill 512/1,024")
        assert "prefill 512/1,024" in shown(view)
        view.append("a", "Hello **wor")
        await until(pilot, lambda: "Hello" in shown(view))
        assert "prefill" not in shown(view)
        view.append("a", "ld**")
        view.finish("a")
        assert "Hello world" in shown(view)
        assert view.text("a") == "Hello **world**"


async def test_escape_sequences_cut_between_chunks_never_show() -> None:
    app = Chat()
    async with app.run_test(size=(60, 20)):
        view = app.query_one(Transcript)
        view.add("a", "assistant", "x\x1b[2J", title="mo\x1b[1mdel")
        for piece in ("safe \x1b", "[31", "mred\r", "\n\u202e end\x1b"):
            view.append("a", piece)
            view.text("a")
        view.finish("a", "foot\x07note")
        assert view.text("a") == "xsafe red\n‹U+202E› end"
        assert not any(c < " " or "\x7f" <= c <= "\x9f" for row in rows(view) for c in row)
        assert "footnote" in shown(view)


async def test_reading_up_stops_following_and_text_never_moves() -> None:
    app = Chat()
    async with app.run_test(size=(60, 20)) as pilot:
        view = app.query_one(Transcript)
        view.load(talk(40))
        view.add("a", "assistant", title="model")
        await pilot.press("pageup", "up", "k")
        assert app.changes == [False]
        before = rows(view)
        assert "more below" in before[-1]
        view.append("a", "many words in a new paragraph\n\n" * 30)
        view.finish("a")
        await pilot.pause(0.1)
        assert rows(view) == before
        await pilot.press("G")
        assert view.following
        assert app.changes == [False, True]
        assert "many words" in shown(view)


async def test_at_the_end_it_follows() -> None:
    app = Chat()
    async with app.run_test(size=(60, 20)) as pilot:
        view = app.query_one(Transcript)
        view.load(talk(20))
        view.add("a", "assistant")
        for n in range(40):
            view.append("a", f"line {n}\n")
            await pilot.pause(0.005)
        await until(pilot, lambda: "line 39" in shown(view))
        assert view.following
        await pilot.resize_terminal(80, 12)
        await until(pilot, lambda: view.size.height == 12 and "line 39" in shown(view))


async def test_a_long_conversation_is_laid_out_only_near_the_view() -> None:
    app = Chat()
    async with app.run_test(size=(80, 24)):
        view = app.query_one(Transcript)
        view.load(talk(1000))
        assert "message 999 says" in shown(view)
        assert sum(entry.laid_out for entry in view._stack) < 40


async def test_scrolling_through_estimated_heights_shows_every_line_once() -> None:
    app = Chat()
    async with app.run_test(size=(50, 15)) as pilot:
        view = app.query_one(Transcript)
        items = [
            TranscriptItem(f"m{n}", "assistant", "\n\n".join(f"p{n}.{i}" for i in range(n % 9 + 1)))
            for n in range(60)
        ]
        view.load(items)
        seen: list[str] = []
        top = rows(view)
        for _ in range(2000):
            seen[:0] = [row.strip() for row in top[:1]]
            if view.scroll_y == 0:
                break
            view.action_line_up()
            previous, top = top, rows(view)
            # The marker covers the last line once the end is left.
            assert top[1:-1] == previous[:-2]
        await pilot.pause()
        wanted = [f"p{n}.{i}" for n in range(60) for i in range(n % 9 + 1)]
        marks = [mark for mark in seen if mark]
        assert marks == wanted[: len(marks)]
        assert len(marks) > len(wanted) - 15


async def test_home_and_end_keys() -> None:
    app = Chat()
    async with app.run_test(size=(60, 20)) as pilot:
        view = app.query_one(Transcript)
        view.load(talk(300))
        await pilot.press("home")
        assert rows(view)[0].strip() == "▎ title 0"
        await pilot.press("end")
        assert "message 299 says" in shown(view)


async def test_a_resize_keeps_the_message_at_the_top_of_the_view() -> None:
    app = Chat()
    async with app.run_test(size=(60, 20)) as pilot:
        view = app.query_one(Transcript)
        view.load(talk(100))
        view.scroll_to(y=view.max_scroll_y // 2, animate=False)
        first = view._stack.anchor(round(view.scroll_y))
        await pilot.resize_terminal(90, 20)
        await until(pilot, lambda: view.size.width > 80)
        await pilot.pause()
        again = view._stack.anchor(round(view.scroll_y))
        assert first is not None
        assert again is not None
        assert again[0] is first[0]
        assert not view.following


async def test_selection_gives_the_text_without_bars() -> None:
    app = Chat()
    async with app.run_test(size=(60, 20)):
        view = app.query_one(Transcript)
        view.add("u", "user", "first line\nsecond line", title="you")
        view.add("a", "assistant", "> quoted\n\n```py\nx = 1\n```")
        view.finish("a")
        everything = view.get_selection(Selection(None, None))
        assert everything is not None
        lines = [line for line in everything[0].split("\n") if line]
        assert lines == ["you", "first line", "second line", "quoted", "x = 1"]
        column = view.render_line(1).text.index("first")
        part = view.get_selection(Selection(Offset(column + 6, 1), Offset(column + 6, 2)))
        assert part == ("line\nsecond", "\n")


async def test_the_mouse_selects_what_it_is_dragged_over() -> None:
    app = Chat()
    async with app.run_test(size=(60, 20)) as pilot:
        view = app.query_one(Transcript)
        view.add("u", "user", "alpha beta gamma", title="you")
        await pilot.pause()
        column = view.render_line(1).text.index("beta")
        await pilot.mouse_down(view, offset=(column, 1))
        await pilot.hover(view, offset=(column + 3, 1))
        await pilot.mouse_up(view, offset=(column + 3, 1))
        assert app.screen.get_selected_text() == "beta"
        style = app.screen.get_component_rich_style("screen--selection")
        marked = [
            s.text for s in view.render_line(1) if s.style and s.style.bgcolor == style.bgcolor
        ]
        assert "".join(marked) == "beta"


async def test_two_clicks_select_one_message() -> None:
    app = Chat()
    async with app.run_test(size=(60, 20)) as pilot:
        view = app.query_one(Transcript)
        view.load(talk(2))
        await pilot.click(view, offset=(10, 1), times=2)
        assert app.screen.get_selected_text() == (
            "title 0\nmessage 0 says\n\n- *some* words that take some room"
        )


async def test_another_theme_recolours_what_is_shown() -> None:
    app = Chat()
    async with app.run_test(size=(60, 20)) as pilot:
        view = app.query_one(Transcript)
        app.theme = "mistral-dark"
        view.add("a", "assistant", "# Heading")
        view.finish("a")
        await pilot.pause()

        def colours() -> set[str]:
            return {
                s.style.color.get_truecolor().hex
                for s in view.render_line(0)
                if "Heading" in s.text and s.style and s.style.color
            }

        assert colours() == {"#ff9a3d"}
        app.theme = "mistral-light"
        await until(pilot, lambda: colours() == {"#a83c00"})


async def test_removing_clearing_and_replacing() -> None:
    app = Chat()
    async with app.run_test(size=(60, 20)):
        view = app.query_one(Transcript)
        view.load(talk(3))
        view.discard("m1")
        assert view.keys == ["m0", "m2"]
        assert "message 1" not in shown(view)
        view.set_text("m2", "replaced")
        assert "replaced" in shown(view)
        assert view.code_blocks("m0") == []
        view.clear()
        assert view.keys == []
        assert shown(view).strip() == ""


async def test_text_that_comes_before_the_first_paint_is_shown() -> None:
    class Early(App[None]):
        def compose(self) -> ComposeResult:
            view = Transcript()
            view.add("a", "assistant", "early ")
            view.append("a", "bird")
            yield view

    app = Early()
    async with app.run_test(size=(60, 20)) as pilot:
        view = app.query_one(Transcript)
        await until(pilot, lambda: "early bird" in shown(view))


async def test_messages_that_come_or_go_at_the_end_do_not_move_who_reads_above() -> None:
    app = Chat()
    async with app.run_test(size=(60, 20)) as pilot:
        view = app.query_one(Transcript)
        view.load(talk(30))
        await pilot.pause()
        for _ in range(3):
            view.page_up()
            await pilot.pause()
        before = rows(view)
        view.add("new", "error", "Something went wrong.")
        view.add("reply", "assistant", title="model")
        view.append("reply", "text " * 100)
        await pilot.pause(0.2)
        assert rows(view)[:-1] == before[:-1]
        view.discard("new")
        await pilot.pause()
        assert rows(view)[:-1] == before[:-1]
        assert not view.following
