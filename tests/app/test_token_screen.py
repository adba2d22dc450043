"""The token view: the cursor, uncertain places, branching, measuring, while it is written."""

from __future__ import annotations

import gc
import weakref
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from rich.cells import cell_len
from textual.pilot import Pilot
from textual.strip import Strip

from fake_engine import (
    SIZES,
    FakeEngine,
    Load,
    Reply,
    ask,
    card,
    chat,
    each_size,
    screen_rows,
    screen_text,
    toasts,
    wait_until,
    words_on_screen,
)
from inference.api import Measure
from mistral_tui.app import ChatApp
from mistral_tui.screens.tokens import TokensScreen
from mistral_tui.widgets.token_lines import TokenLines


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("DATA", "STATE", "CONFIG", "CACHE"):
        monkeypatch.setenv(f"MISTRAL_TUI_{name}", str(tmp_path / name.lower()))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return None


# ── the screen ──────────────────────────────────────────────────────────────────────

WORDS = ["The ", "light", "house ", "keeper\n", "waits ", "for ", "the ", "ship."]


@asynccontextmanager
async def view(
    reply: Reply | None = None, *, size: tuple[int, int] = (120, 40), replies: Sequence[Reply] = ()
) -> AsyncIterator[tuple[ChatApp, Pilot[int], TokensScreen, FakeEngine]]:
    """The token view of an answer."""
    engine = FakeEngine([reply or Reply(WORDS), *replies])
    async with chat(engine, size=size) as (app, pilot):
        await ask(pilot, "Tell me")
        yield app, pilot, await opened(app, pilot), engine


async def opened(app: ChatApp, pilot: Pilot[int]) -> TokensScreen:
    await pilot.press("f2")
    await wait_until(pilot, lambda: isinstance(app.screen, TokensScreen))
    await pilot.pause()
    assert isinstance(app.screen, TokensScreen)
    return app.screen


async def begun(app: ChatApp, pilot: Pilot[int]) -> TokensScreen:
    """The view of an answer that is being written."""
    app.prompt.put("Go")
    await pilot.press("enter")
    await wait_until(pilot, lambda: app.session.running_message_id is not None)
    return await opened(app, pilot)


def lines(screen: TokensScreen) -> TokenLines:
    return screen.query_one(TokenLines)


def cursor(screen: TokensScreen) -> str:
    """The text that is drawn as the cursor, by its attributes alone."""
    found = []
    for strip in screen._compositor.render_strips():
        for text, style, _ in strip:
            if style and style.reverse and style.bold and style.underline:
                found.append(text)
    return "".join(found)


async def test_the_cursor_walks_over_the_tokens() -> None:
    async with view() as (_, pilot, screen, _):
        assert cursor(screen) == "The "
        assert "token 1 of 8" in screen_text(pilot.app)
        await pilot.press("right", "l")
        assert cursor(screen) == "house "
        await pilot.press("left")
        assert cursor(screen) == "light"
        await pilot.press("down")
        assert cursor(screen) == "waits "
        await pilot.press("right", "right", "up")
        assert lines(screen).index in (2, 3)
        await pilot.press("G")
        assert cursor(screen) == "ship."
        await pilot.press("right", "down")
        assert cursor(screen) == "ship."
        await pilot.press("home")
        assert cursor(screen) == "The "
        await pilot.press("up", "left")
        assert cursor(screen) == "The "
        assert any(row.startswith("│") and "▸" in row for row in screen_rows(pilot.app))


async def test_up_and_down_keep_the_column() -> None:
    words = ["a long first line\n", "x\n", "another ", "long ", "line ", "here "]
    async with view(Reply(words)) as (_, pilot, screen, _):
        await pilot.press("G")
        assert cursor(screen) == "here "
        await pilot.press("up")
        assert cursor(screen) == "x⏎"
        await pilot.press("down")
        assert cursor(screen) == "here "


async def test_white_space_shows_under_the_cursor() -> None:
    async with view(Reply(["a", "\n", "  ", "b", "\n\n", "c"])) as (_, pilot, screen, _):
        seen = []
        for _ in range(6):
            seen.append(cursor(screen))
            await pilot.press("right")
        assert seen == ["a", "⏎", "··", "b", "⏎⏎", "c"]


async def test_uncertain_places_are_walked_and_counted() -> None:
    async with view() as (app, pilot, screen, _):
        assert "4 uncertain places" in screen_text(app)
        await pilot.press("n")
        assert lines(screen).index == 2
        assert "1 of 4 uncertain places" in screen_text(app)
        await pilot.press("n", "n", "n")
        assert lines(screen).index == 7
        await pilot.press("n")
        assert lines(screen).index == 2
        await pilot.press("N")
        assert "4 of 4 uncertain places" in screen_text(app)
        await pilot.press("left", "N")
        assert lines(screen).index == 4


async def test_the_head_says_how_sure_it_was_of_all() -> None:
    async with view(Reply(["a ", "b "], sure=(0.75, 0.125))) as (app, _, _, _):
        text = screen_text(app)
        for fact in ("Fake-7B", "2 tokens", "perplexity 3.27", "mean 43.7 %", "50.0 % below 50 %"):
            assert fact in text


async def test_the_panel_shows_what_else_might_have_been_said() -> None:
    async with view() as (app, pilot, _, _):
        await pilot.press("n", "right")  # 0.2: " other" has 0.48
        text = screen_text(app)
        assert "“keeper⏎”" in text
        assert "20.0 % · 3rd likeliest" in text
        assert "48.0 %  ·other" in text
        assert "24.0 %  …" in text
        assert "8.0 %  all others" in text
        assert "entropy" not in text


# ── branching ───────────────────────────────────────────────────────────────────────


async def test_another_candidate_is_gone_on_from() -> None:
    async with view(replies=[Reply(["dog ", "sleeps."])]) as (app, pilot, screen, engine):
        await pilot.press("n", "enter")
        assert app.screen is screen
        assert "choose another one first: K J" in words_on_screen(app)
        await pilot.press("J", "enter")
        await wait_until(pilot, lambda: not isinstance(app.screen, TokensScreen))
        await wait_until(pilot, lambda: len(engine.asked) == 2 and not app.session.answering)
        asked = engine.asked[-1].messages[-1]
        assert (asked.role, asked.ids) == ("assistant", (100, 101, 700))
        assert asked.text == "The light other"
        assert app.session.messages[-1].text == "The light otherdog sleeps."
        assert app.session.siblings[app.session.messages[-1].id].count == 2


async def test_the_mouse_chooses_tokens_and_candidates() -> None:
    async with view() as (app, pilot, screen, engine):
        column = screen_rows(app)[1].index("house")
        await pilot.click(offset=(column + 1, 1))
        await pilot.pause()
        assert cursor(screen) == "house "
        row, text = next((y, r) for y, r in enumerate(screen_rows(app)) if "·other" in r)
        at = (text.index("·other") + 1, row)
        await pilot.click(offset=at)
        await pilot.pause()
        assert app.screen is screen
        assert "▸ " in screen_rows(app)[row]
        await pilot.click(offset=at)
        await wait_until(pilot, lambda: len(engine.asked) == 2)
        assert engine.asked[-1].messages[-1].ids == (100, 101, 700)


async def test_another_models_answer_is_looked_at_only() -> None:
    engine = FakeEngine([Reply(WORDS)], [Load(), Load(card=card(name="Other-9B", fingerprint="o"))])
    async with chat(engine, size=(120, 40)) as (app, pilot):
        await ask(pilot, "Tell me")
        await app.session.switch("other/folder")
        screen = await opened(app, pilot)
        await wait_until(pilot, lambda: bool(toasts(app)))
        app.clear_notifications()
        await pilot.pause()
        assert "another model · 8 tokens" in screen_text(app)
        await pilot.press("n", "J", "enter")
        assert app.screen is screen
        assert "another model's: no branching" in screen_text(app)
        await pilot.press("m")
        await wait_until(pilot, lambda: "as Other-9B reads it" in screen_text(app))
        await pilot.press("g", "n", "J")
        assert "Enter goes on from here" in screen_text(app)
        await pilot.press("enter")
        await wait_until(pilot, lambda: len(engine.asked) == 2)
        assert engine.asked[-1].messages[-1].fingerprint == "o"


# ── while it is written ─────────────────────────────────────────────────────────────


async def test_the_view_follows_an_answer_until_the_cursor_is_moved() -> None:
    reply = Reply([f"word{n} " for n in range(300)], holds_at=100, pause=0)
    engine = FakeEngine([reply, Reply(["end."])])
    async with chat(engine, size=(80, 24)) as (app, pilot):
        screen = await begun(app, pilot)
        await wait_until(pilot, lambda: cursor(screen) == "word99 ")
        assert "being written" in screen_text(app)
        await pilot.press("m")
        assert "it is still being written" in screen_text(app)
        await pilot.press("left")
        assert cursor(screen) == "word98 "
        reply.holds_at = 200
        reply.release.set()
        await wait_until(pilot, lambda: "of 300" in screen_text(app))
        assert cursor(screen) == "word98 "
        await wait_until(pilot, lambda: "being written" not in screen_text(app))
        await pilot.press("G")
        assert cursor(screen) == "word299 "


async def test_a_running_answer_is_branched() -> None:
    reply = Reply(WORDS, holds_at=5)
    engine = FakeEngine([reply, Reply(["end."])])
    async with chat(engine, size=(80, 24)) as (app, pilot):
        await begun(app, pilot)
        await wait_until(pilot, lambda: "token 5 of 5" in screen_text(app))
        await pilot.press("left", "K", "K", "enter")
        await wait_until(pilot, lambda: len(engine.asked) == 2 and not app.session.answering)
        assert engine.asked[-1].messages[-1].ids == (100, 101, 102, 700)
        assert app.session.messages[-1].text == "The lighthouse  otherend."


async def test_the_first_token_is_waited_for() -> None:
    reply = Reply(WORDS, holds_at=0)
    async with chat(FakeEngine([reply]), size=(80, 24)) as (app, pilot):
        await begun(app, pilot)
        assert "Waiting for the first token" in screen_text(app)
        await pilot.press("right", "n", "K", "enter", "y", "G", "up")
        reply.release.set()
        await wait_until(pilot, lambda: "token 8 of 8" in screen_text(app))


async def test_an_answer_that_goes_away_stays_in_the_view() -> None:
    reply = Reply(WORDS, holds_at=5)
    async with chat(FakeEngine([reply]), size=(80, 24)) as (app, pilot):
        await begun(app, pilot)
        await wait_until(pilot, lambda: "token 5 of 5" in screen_text(app))
        await app.session.new()
        await wait_until(pilot, lambda: "being written" not in screen_text(app))
        assert "5 tokens" in screen_text(app)
        await pilot.press("m")
        await wait_until(pilot, lambda: "not in view any more" in screen_text(app))


# ── measuring ───────────────────────────────────────────────────────────────────────


async def edited(app: ChatApp, pilot: Pilot[int], text: str) -> TokensScreen:
    """The view of an answer that no model wrote."""
    await app.session.edit(app.session.messages[-1].id, text)
    await pilot.pause()
    return await opened(app, pilot)


async def test_an_answer_without_a_record_is_measured() -> None:
    engine = FakeEngine([Reply(WORDS)])
    async with chat(engine, size=(80, 24)) as (app, pilot):
        await ask(pilot, "Tell me")
        screen = await edited(app, pilot, "Nobody said this here.")
        words = words_on_screen(app)
        assert "is not known: it was imported, edited, or written before" in words.replace("│ ", "")
        assert "m: have Fake-7B read about 6 tokens" in words
        await pilot.press("n", "right", "K", "enter", "y")  # nothing to do yet
        assert app.screen is screen
        await pilot.press("m")
        await wait_until(pilot, lambda: "as Fake-7B reads it" in screen_text(app))
        assert cursor(screen) == "Nobody"
        assert any(isinstance(request, Measure) for request in engine.requests)
        await pilot.press("right", "right", "J", "enter")
        await wait_until(pilot, lambda: len(engine.asked) == 2)
        assert engine.asked[-1].messages[-1].ids == (500, 501, 700)


async def test_without_a_model_nothing_is_measured() -> None:
    async with chat(FakeEngine([Reply(WORDS)]), size=(80, 24)) as (app, pilot):
        await ask(pilot, "Tell me")
        await app.session.edit(app.session.messages[-1].id, "Nobody said this.")
        await app.session.unload()
        await opened(app, pilot)
        assert "With a model loaded" in screen_text(app)
        await pilot.press("m")
        assert "no model is loaded" in screen_text(app)


async def test_reading_can_be_left(monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    hold = asyncio.Event()
    engine = FakeEngine([Reply(WORDS)])
    measured = engine._measure

    async def slow(request: Measure) -> AsyncIterator[object]:
        while not hold.is_set() and request.id not in engine.cancelled:
            await asyncio.sleep(0.002)
        async for event in measured(request):
            yield event

    monkeypatch.setattr(engine, "_measure", slow)
    async with chat(engine, size=(80, 24)) as (app, pilot):
        await ask(pilot, "Tell me")
        await opened(app, pilot)
        await pilot.press("m")
        await wait_until(pilot, lambda: "reading …" in screen_text(app))
        await pilot.press("m", "n")  # it is looked at meanwhile
        await pilot.press("escape")
        await wait_until(pilot, lambda: bool(engine.cancelled))
        await wait_until(pilot, lambda: not app.session.answering)
        await ask(pilot, "And then?")


# ── the rest ────────────────────────────────────────────────────────────────────────


async def test_the_uncertain_places_are_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[str] = []
    async with view() as (app, pilot, _, _):
        monkeypatch.setattr(app, "copy_to_clipboard", copied.append)
        await pilot.press("y")
    (text,) = copied
    assert text.startswith("position\ttoken\tprobability\talternatives\n3\thouse·\t0.4500\t")
    assert len(text.splitlines()) == 5


async def test_a_sure_answer_has_nothing_to_copy() -> None:
    async with view(Reply(WORDS, sure=(0.99,))) as (app, pilot, _, _):
        assert "no uncertain places" in screen_text(app)
        await pilot.press("n", "N", "y")
        await wait_until(pilot, lambda: "There are no uncertain places to copy." in toasts(app))


async def test_it_is_opened_for_the_chosen_answer_and_left() -> None:
    engine = FakeEngine([Reply(["first."]), Reply(["second."])])
    async with chat(engine, size=(80, 24)) as (app, pilot):
        await pilot.press("f2")
        await wait_until(pilot, lambda: "There is no answer to look into yet." in toasts(app))
        await ask(pilot, "One")
        await ask(pilot, "Two")
        screen = await opened(app, pilot)
        assert cursor(screen) == "second."
        await pilot.press("escape")
        await wait_until(pilot, lambda: not isinstance(app.screen, TokensScreen))
        app.transcript.choose(str(app.session.messages[1].id))
        screen = await opened(app, pilot)
        assert cursor(screen) == "first."
        await pilot.press("q")
        await wait_until(pilot, lambda: not isinstance(app.screen, TokensScreen))
        app.transcript.choose(str(app.session.messages[2].id))  # the user's
        assert cursor(await opened(app, pilot)) == "second."


async def test_it_fits_into_every_size() -> None:
    words = [f"word{n}{' ' if n % 9 else chr(10)}" for n in range(400)]
    async with view(Reply([*words, "海" * 40, "\x1b[31m[bold]"])) as (app, pilot, screen, _):
        await pilot.press("n", "n", "n")
        index = lines(screen).index
        async for size in each_size(pilot):
            rows = screen_rows(app)
            assert all(cell_len(row) == size[0] for row in rows)
            text = "\n".join(rows)
            assert lines(screen).index == index
            assert cursor(screen).strip() == f"word{index}"
            needed = ["Fake-7B", "402 tokens", f"token {index + 1} of 402", "·other", "◂", "3 of "]
            for words_there in (*needed, "uncertain", "Esc", "sure ≥", "Enter"):
                assert words_there in text, (size, words_there)
            side_by_side = "token " in rows[0].partition("╮")[2]
            assert side_by_side == (size[0] >= 100)


@pytest.mark.parametrize("size", SIZES)
async def test_moving_keeps_the_cursor_in_sight(size: tuple[int, int]) -> None:
    words = [f"word{n}{' ' if n % 9 else chr(10)}" for n in range(900)]
    async with view(Reply(words), size=size) as (_, pilot, screen, _):
        for keys in (["G"], ["up"] * 5, ["N"], ["g"], ["n"] * 7, ["down"] * 30, ["left"]):
            await pilot.press(*keys)
            assert cursor(screen).strip(" ⏎") == f"word{lines(screen).index}"


async def test_another_look_is_taken_on() -> None:
    async with view() as (app, pilot, screen, _):
        before = screen._lines._palette
        app.theme = "mistral-light"
        await pilot.pause()
        assert screen._lines._palette is not before
        assert cursor(screen) == "The "


async def test_a_branch_that_is_being_written_shows_all_of_it() -> None:
    second = Reply(["dog ", "sleeps ", "now."], holds_at=2)
    engine = FakeEngine([Reply(WORDS), second, Reply(["end."])])
    async with chat(engine, size=(120, 40)) as (app, pilot):
        await ask(pilot, "Tell me")
        await opened(app, pilot)
        await pilot.press("n", "J", "enter")
        await wait_until(pilot, lambda: app.session.running_message_id is not None)
        screen = await opened(app, pilot)
        await wait_until(pilot, lambda: "token 5 of 5" in screen_text(app))
        assert screen._record is not None
        assert [token.id for token in screen._record.tokens] == [100, 101, 700, 100, 101]
        await pilot.press("J", "enter")
        await wait_until(pilot, lambda: len(engine.asked) == 3 and not app.session.answering)
        assert engine.asked[-1].messages[-1].ids == (100, 101, 700, 100, 700)


async def test_five_thousand_tokens_are_laid_out_once_and_drawn_where_they_are_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[int] = []
    laid_out: list[int] = []
    draw, lay_out = TokenLines._draw, TokenLines._lay_out

    def counted(self: TokenLines, row: int) -> Strip:
        drawn.append(row)
        return draw(self, row)

    def once(self: TokenLines) -> None:
        laid_out.append(len(self.tokens))
        lay_out(self)

    monkeypatch.setattr(TokenLines, "_draw", counted)
    monkeypatch.setattr(TokenLines, "_lay_out", once)
    words = [f"word{n}{' ' if n % 9 else chr(10)}" for n in range(5_000)]
    async with view(Reply(words)) as (app, pilot, screen, _):
        assert "token 1 of 5,000" in screen_text(app)
        assert laid_out == [5_000]
        assert len(drawn) <= 3 * app.size.height
        for key in ("right", "left", "right"):
            drawn.clear()
            await pilot.press(key)
            await pilot.pause()
            assert 0 < len(set(drawn)) <= 2, key
        await pilot.press("G")
        await pilot.pause()
        assert cursor(screen) == "word4999 "
        assert "50 uncertain places" in screen_text(app)
        assert laid_out == [5_000]


async def test_a_view_that_is_left_is_forgotten() -> None:
    async with chat(FakeEngine([Reply(WORDS)]), size=(80, 24)) as (app, pilot):
        await ask(pilot, "Tell me")
        left = weakref.ref(await opened(app, pilot))
        await pilot.press("escape")
        await wait_until(pilot, lambda: not isinstance(app.screen, TokensScreen))
        await pilot.pause()
        await wait_until(pilot, lambda: gc.collect() >= 0 and left() is None)


async def test_keys_that_come_faster_than_the_screen_mean_what_is_under_the_cursor() -> None:
    from textual import events

    engine = FakeEngine([Reply(WORDS), Reply(["end."])])
    async with chat(engine, size=(120, 40)) as (app, pilot):
        await ask(pilot, "Tell me")
        screen = await opened(app, pilot)
        first = screen._places[0]
        for key in ("n", "J", "enter"):  # all at once, as from a slow line
            app.post_message(events.Key(key, key if len(key) == 1 else None))
        await wait_until(pilot, lambda: len(engine.asked) == 2)
        ids = engine.asked[-1].messages[-1].ids
        assert len(ids) == first + 1
        assert ids[-1] in (700, 701)
