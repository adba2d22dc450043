"""Reading: the cursor on messages and code blocks, folded thinking, finding, saving, links."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from fake_engine import (
    FakeEngine,
    Reply,
    ask,
    chat,
    each_size,
    reading,
    screen_text,
    toasts,
    wait_until,
)
from mistral_tui import links
from mistral_tui.app import ChatApp
from mistral_tui.widgets.finding import pattern

CODE = (
    "Two ways:\n\n```python\nprint('one')\n```\n\nand\n\n"
    "- so:\n\n  ```sh\n  echo two\n  ```\n\nDone."
)


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("DATA", "STATE", "CONFIG", "CACHE"):
        monkeypatch.setenv(f"MISTRAL_TUI_{name}", str(tmp_path / name.lower()))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return None


def chosen(app: ChatApp) -> str:
    found = app.transcript.chosen
    assert found is not None
    return found.text


def marked_rows(app: ChatApp) -> list[str]:
    return [row.replace("┃", "").strip() for row in reading(app) if "┃" in row]


def words(text: str) -> list[str]:
    return [word + " " for word in text.split(" ")]


# ── the cursor ──────────────────────────────────────────────────────────────────────


async def test_the_cursor_walks_messages_and_code_blocks() -> None:
    engine = FakeEngine([Reply([CODE]), Reply(["Bye."])])
    async with chat(engine, size=(80, 40)) as (app, pilot):
        await ask(pilot, "How?")
        await ask(pilot, "Thanks")
        await pilot.press("tab")
        visited = []
        for _ in range(7):
            await pilot.press("left_curly_bracket")
            visited.append(chosen(app))
        assert visited == ["Bye.", "Thanks", "echo two", "print('one')", CODE, "How?", "How?"]
        await pilot.press("right_curly_bracket", "right_curly_bracket")
        assert chosen(app) == "print('one')"
        await pilot.pause()
        assert marked_rows(app) == ["python", "print('one')"]
        await pilot.press("K")  # of the block, its message
        assert chosen(app) == CODE
        await pilot.press("J")
        assert chosen(app) == "Thanks"


async def test_a_block_is_copied_with_y(monkeypatch: pytest.MonkeyPatch) -> None:
    from mistral_tui import clipboard

    copied: list[str] = []

    def copy(text: str, **_: object) -> clipboard.CopyResult:
        copied.append(text)
        return clipboard.CopyResult(True, "test", "Copied.")

    monkeypatch.setattr(clipboard, "copy", copy)
    async with chat(FakeEngine([Reply([CODE])])) as (app, pilot):
        await ask(pilot, "How?")
        await pilot.press("tab", "left_curly_bracket", "left_curly_bracket", "y")
        await wait_until(pilot, lambda: copied)
        await pilot.press("K", "y")
        await wait_until(pilot, lambda: len(copied) == 2)
        assert copied == ["print('one')", CODE]
        assert any("code block" in toast.lower() for toast in toasts(app))


async def test_a_block_is_saved_to_a_file_and_never_over_one_unasked(tmp_path: Path) -> None:
    work = tmp_path / "work"
    async with chat(FakeEngine([Reply([CODE])]), size=(100, 30)) as (app, pilot):
        await ask(pilot, "How?")
        await pilot.press("tab", "left_curly_bracket", "left_curly_bracket", "w")
        await wait_until(pilot, lambda: "Save to" in screen_text(app))
        await pilot.press("enter")
        await wait_until(pilot, lambda: (work / "code.py").exists())
        assert (work / "code.py").read_text() == "print('one')\n"
        assert stat.S_IMODE((work / "code.py").stat().st_mode) & 0o077 == 0
        await wait_until(pilot, lambda: app.focused is app.transcript)
        await pilot.press("right_curly_bracket", "w")
        await wait_until(pilot, lambda: "code.sh" in screen_text(app))
        await pilot.press("ctrl+u", *"code.py", "enter")
        await wait_until(pilot, lambda: "there already" in screen_text(app))
        assert (work / "code.py").read_text() == "print('one')\n"
        await pilot.press("enter")
        await wait_until(pilot, lambda: (work / "code.py").read_text() == "echo two\n")
        await pilot.press("w")
        await wait_until(pilot, lambda: "Save to" in screen_text(app))
        await pilot.press("ctrl+u", *"nowhere/x", "enter")
        await wait_until(pilot, lambda: "There is no folder" in screen_text(app))
        await pilot.press("escape")
        await wait_until(pilot, lambda: "Save to" not in screen_text(app))
        assert app.focused is app.transcript


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
async def test_a_folder_that_takes_no_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "work").chmod(0o500)
    async with chat(FakeEngine([Reply([CODE])]), size=(100, 30)) as (app, pilot):
        await ask(pilot, "How?")
        await pilot.press("tab", "w")
        await wait_until(pilot, lambda: "Save to" in screen_text(app))
        await pilot.press("enter")
        await wait_until(pilot, lambda: "cannot be written" in screen_text(app))


async def test_a_name_with_a_hostile_language_is_harmless() -> None:
    text = "```../../etc/x\nhello\n```"
    async with chat(FakeEngine([Reply([text])])) as (app, pilot):
        await ask(pilot, "How?")
        await pilot.press("tab", "left_curly_bracket", "w")
        await wait_until(pilot, lambda: "code.txt" in screen_text(app))


async def test_a_message_is_read_in_the_pager(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import contextlib

    seen = tmp_path / "seen"
    monkeypatch.setenv("PAGER", f"cp -t {tmp_path}")
    async with chat(FakeEngine([Reply(["A \x1b[31mred\x1b[0m word.\n"])])) as (app, pilot):
        monkeypatch.setattr(type(app), "suspend", lambda self: contextlib.nullcontext())
        await ask(pilot, "How?")
        await pilot.press("tab", "v")
        await wait_until(pilot, lambda: (tmp_path / "message.md").exists())
        assert (tmp_path / "message.md").read_text().strip() == "A red word."
        monkeypatch.setenv("PAGER", "no-such-pager --x")
        await pilot.press("v")
        await wait_until(pilot, lambda: any("$PAGER" in toast for toast in toasts(app)))
    assert not seen.exists()


# ── thinking ────────────────────────────────────────────────────────────────────────


async def test_thinking_is_folded_with_a_live_count_and_unfolds() -> None:
    reply = Reply(["The answer."], thinking=words("one two three\nfour"), holds_at=3)
    async with chat(FakeEngine([reply])) as (app, pilot):
        app.prompt.put("Think")
        await pilot.press("enter")
        await wait_until(pilot, lambda: "▸ Thinking, 4 words" in screen_text(app))
        assert "three" not in screen_text(app)
        reply.release.set()
        await wait_until(pilot, lambda: "▸ Thought, 4 words" in screen_text(app))
        await wait_until(pilot, lambda: "The answer." in screen_text(app))
        await wait_until(pilot, lambda: not app.session.answering)
        (answer,) = (m for m in app.session.messages if m.role == "assistant")
        assert (answer.thinking, answer.text) == ("one two three\nfour ", "The answer.")
        await pilot.press("tab", "z")
        await wait_until(pilot, lambda: "┊ four" in screen_text(app))
        assert "▾ Thought, 4 words" in screen_text(app)
        await pilot.press("z")
        await wait_until(pilot, lambda: "┊ four" not in screen_text(app))


async def test_thinking_comes_back_with_the_conversation(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    reply = Reply(["Yes."], thinking=words("hm hm"))
    async with chat(FakeEngine([reply]), path=path) as (app, pilot):
        await ask(pilot, "Think")
    async with chat(FakeEngine(), path=path, reopen=True) as (app, pilot):
        await wait_until(pilot, lambda: "▸ Thought, 2 words" in screen_text(app))
        assert app.session.messages[-1].thinking == "hm hm "
        await ask(pilot, "And?")
        sent = app.session.messages[1]
        assert sent.realizations[0].ids == (100, 101, 102)


async def test_thinking_that_was_stopped_is_kept() -> None:
    reply = Reply(["Never."], thinking=words("a b c d"), holds_at=2)
    async with chat(FakeEngine([reply])) as (app, pilot):
        app.prompt.put("Think")
        await pilot.press("enter")
        await wait_until(pilot, lambda: "▸ Thinking, 2 words" in screen_text(app))
        await pilot.press("escape")
        await wait_until(pilot, lambda: not app.session.answering)
        assert [m.thinking for m in app.session.messages] == ["", "a b "]
        await wait_until(pilot, lambda: "▸ Thought, 2 words" in screen_text(app))


async def test_long_thinking_unfolds_the_same_streamed_and_whole() -> None:
    text = "\n\n".join(f"Paragraph {n}: " + "some words here " * 12 for n in range(8))
    reply = Reply(["End."], thinking=[text[at : at + 7] for at in range(0, len(text), 7)])
    async with chat(FakeEngine([reply]), size=(60, 60)) as (app, pilot):
        await ask(pilot, "Think")
        await pilot.press("tab", "z")
        await pilot.pause()
        streamed = reading(app)
        await app.session.open(app.session.conversation.id)  # type: ignore[union-attr]
        await pilot.pause()
        await pilot.press("z")
        await pilot.pause()
        assert reading(app)[2:] == streamed[2:]


# ── finding ─────────────────────────────────────────────────────────────────────────


def test_what_is_looked_for() -> None:
    assert pattern("  ") is None

    def found(query: str, text: str) -> list[str]:
        wanted = pattern(query)
        assert wanted is not None
        return wanted.findall(text)

    assert found("sea", "Sea, SEA, sea") == ["Sea", "SEA", "sea"]
    assert found("Sea", "Sea, SEA, sea") == ["Sea"]
    assert found("a  b", "a b, a\nb, ab") == ["a b", "a\nb"]
    assert found("(.*", "a (.* b") == ["(.*"]


async def test_finding_marks_the_hits_and_walks_them() -> None:
    long = " ".join(f"word{n}" for n in range(300))
    engine = FakeEngine([Reply([f"The lighthouse. {long} Lighthouse again."]), Reply(["No."])])
    async with chat(engine) as (app, pilot):
        await ask(pilot, "A lighthouse?")
        await ask(pilot, "Another")
        await pilot.press("tab", "g", "slash")
        await wait_until(pilot, lambda: "Find" in screen_text(app))
        await pilot.press(*"lighthouse")
        await wait_until(pilot, lambda: "1 of 3" in screen_text(app))
        await pilot.press("enter")
        await wait_until(pilot, lambda: app.focused is app.transcript)
        await pilot.press("n")
        await wait_until(pilot, lambda: "2 of 3" in screen_text(app))
        await pilot.press("n")
        await wait_until(pilot, lambda: "3 of 3" in screen_text(app))
        assert "Lighthouse again." in screen_text(app)
        assert app.transcript.scroll_y > 0
        await pilot.press("n")
        await wait_until(pilot, lambda: "1 of 3" in screen_text(app))
        assert app.transcript.scroll_y == 0
        await pilot.press("N")
        await wait_until(pilot, lambda: "3 of 3" in screen_text(app))
        await pilot.press("slash", "escape")
        await wait_until(pilot, lambda: "Find" not in screen_text(app))
        assert app.transcript.finding == ""


async def test_a_hit_over_a_line_break_is_marked_on_both_lines() -> None:
    text = "x" * 60 + " broken phrase " + "y" * 60
    async with chat(FakeEngine([Reply([text])]), size=(80, 30)) as (app, pilot):
        await ask(pilot, "Go")
        app.transcript.find("phrase yyy")
        await pilot.pause()
        entry = app.transcript._stack.entries[1]
        search = app.transcript._search
        assert search is not None
        view = app.transcript
        ((first, second),) = search.drawn(entry, view._margin, view._palette)
        assert second[0] == first[0] + 1


async def test_hits_are_told_apart_from_the_current_one() -> None:
    async with chat(FakeEngine([Reply(["sea and sea"])]), size=(80, 30)) as (app, pilot):
        await ask(pilot, "Go")
        app.transcript.find("sea")
        await pilot.pause()
        styles = [
            segment.style
            for strip in app.screen._compositor.render_strips()
            for segment in strip
            if segment.text == "sea" and segment.style
        ]
        current, other = styles
        assert current.bgcolor != other.bgcolor
        # Without colours, too.
        assert current.without_color != other.without_color
        assert other.without_color.underline


async def test_nothing_found_is_said_and_hostile_queries_are_text() -> None:
    async with chat(FakeEngine([Reply(["[bold]x[/] (.*"])]), size=(80, 30)) as (app, pilot):
        await ask(pilot, "Go")
        await pilot.press("tab", "slash", *"zebra")
        await wait_until(pilot, lambda: "nothing found" in screen_text(app))
        await pilot.press("ctrl+u", *"[/] (.*")
        await wait_until(pilot, lambda: "1 of 1" in screen_text(app))


async def test_n_without_a_search_begins_one() -> None:
    async with chat(FakeEngine()) as (app, pilot):
        await ask(pilot, "Go")
        await pilot.press("tab", "n")
        await wait_until(pilot, lambda: "Find" in screen_text(app))


async def test_escape_in_the_conversation_ends_the_search() -> None:
    async with chat(FakeEngine()) as (app, pilot):
        await ask(pilot, "Go")
        await pilot.press("tab", "slash", *"hello", "enter")
        await wait_until(pilot, lambda: app.focused is app.transcript)
        await pilot.press("escape")
        await wait_until(pilot, lambda: "Find" not in screen_text(app))
        assert app.focused is app.transcript
        await pilot.press("escape")
        await wait_until(pilot, lambda: app.focused is app.prompt)


async def test_text_that_comes_during_a_search_is_found_with_n() -> None:
    reply = Reply([*words("sea here"), *words("and sea there")], holds_at=2)
    async with chat(FakeEngine([reply])) as (app, pilot):
        app.prompt.put("Go")
        await pilot.press("enter")
        await wait_until(pilot, lambda: "sea here" in screen_text(app))
        await pilot.press("tab", "slash", *"sea", "enter")
        await wait_until(pilot, lambda: "1 of 1" in screen_text(app))
        reply.release.set()
        await wait_until(pilot, lambda: not app.session.answering)
        await pilot.press("n")
        await wait_until(pilot, lambda: "2 of 2" in screen_text(app))


# ── links ───────────────────────────────────────────────────────────────────────────


def test_links_are_found_wherever_they_are() -> None:
    text = (
        "See [the docs](https://docs.example/a b) and [these](https://x.example/y?z=1#q), "
        "<https://auto.example>, https://bare.example/path. "
        "![pic](https://img.example/p.png) [mail](mailto:a@b.example) [bad](javascript:alert)\n\n"
        "| a |\n|---|\n| [cell](https://cell.example) |\n\n"
        "```sh\ncurl https://code.example/x\n```\n[again](https://x.example/y?z=1#q)"
    )
    found = links.find(text)
    targets = [link.target for link in found]
    assert "https://x.example/y?z=1#q" in targets
    assert targets.count("https://x.example/y?z=1#q") == 1
    for host in ("auto", "bare", "img", "cell", "code"):
        assert any(f"//{host}.example" in target for target in targets), host
    assert next(link.label for link in found if "x.example" in link.target) == "these"
    assert not any(link.can_open for link in found if link.target.startswith(("mailto", "java")))


def test_only_plain_web_addresses_are_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(links.webbrowser, "open", lambda target: opened.append(target) or True)
    desktop = {"DISPLAY": ":0"}
    for bad in ("file:///etc/passwd", "javascript:x", "https://", "https://a\u202eb.example", ""):
        assert "Only web pages" in links.open_in_browser(bad, desktop)
    assert "no desktop" in links.open_in_browser("https://a.example", {})
    remote = desktop | {"SSH_CONNECTION": "1"}
    assert "no desktop" in links.open_in_browser("https://a.example", remote)
    assert opened == []
    assert links.open_in_browser("https://a.example", desktop) == "Opened in the browser."
    assert opened == ["https://a.example"]


async def test_the_links_of_a_message_are_shown_in_full_and_copied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = "[one](https://one.example) and [two](https://two.example/\x1b]52;c;x\x07)"
    async with chat(FakeEngine([Reply([text])]), size=(100, 30)) as (app, pilot):
        await ask(pilot, "Go")
        copied: list[str] = []
        monkeypatch.setattr(type(app), "copy_to_clipboard", lambda self, t: copied.append(t))
        await pilot.press("tab", "f")
        await wait_until(pilot, lambda: "https://one.example" in screen_text(app))
        await pilot.press("j", "y")
        await wait_until(pilot, lambda: copied)
        assert copied[0].startswith("https://two.example/")
        assert "\x1b" not in copied[0]


async def test_a_message_without_links_says_so() -> None:
    async with chat(FakeEngine()) as (app, pilot):
        await ask(pilot, "Go")
        await pilot.press("tab", "f")
        await wait_until(pilot, lambda: any("no link" in toast for toast in toasts(app)))


# ── moving, at every size ───────────────────────────────────────────────────────────


async def test_vim_keys_move_the_view() -> None:
    text = "\n\n".join(f"Line {n}." for n in range(100))
    async with chat(FakeEngine([Reply([text])])) as (app, pilot):
        await ask(pilot, "Go")
        view = app.transcript
        await pilot.press("tab", "g", "g")
        assert view.scroll_y == 0
        await pilot.press("j", "j", "k")
        assert view.scroll_y == 1
        await pilot.press("ctrl+d")
        half = view.scroll_y
        assert half == 1 + view.size.height // 2
        await pilot.press("ctrl+u", "ctrl+f", "ctrl+b")
        assert view.scroll_y in (0, 1)
        await pilot.press("G")
        assert view.following
        assert view.scroll_y == view.max_scroll_y


async def test_the_bar_and_the_cursor_fit_at_every_size() -> None:
    async with chat(FakeEngine([Reply([CODE])])) as (app, pilot):
        await ask(pilot, "How?")
        await pilot.press("tab", "left_curly_bracket", "right_curly_bracket", "slash", *"one")
        async for width, _ in each_size(pilot):
            text = screen_text(app)
            assert "Find" in text
            assert "1 of 2" in text
            assert max(map(len, text.splitlines())) <= width
