from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from mistral_tui.sanitize import StreamSanitizer, one_line, sanitize


def test_ordinary_text_is_unchanged() -> None:
    text = "Grüße,\tWelt\n漢字 👩‍👩‍👧‍👦 ❤️ e\u0301 नमस्ते"
    assert sanitize(text) == text


def test_escape_sequences_lose_their_control_bytes() -> None:
    assert sanitize("a\x1b[31mred\x1b[0m b") == "ared b"
    assert sanitize("\x9b2Jx") == "x"
    assert sanitize("\x1b]52;c;aGk=\x07") == "]52;c;aGk="
    assert sanitize("\x1bPq\x1b\\") == "Pq\\"


def test_carriage_returns_cannot_overwrite_a_line() -> None:
    assert sanitize("good\r\nevil\rline") == "good\nevilline"


def test_bidi_controls_are_shown() -> None:
    assert sanitize("a\u202eb\u2066c") == "a‹U+202E›b‹U+2066›c"


def test_invisible_characters_are_dropped() -> None:
    assert sanitize("pass\u200bword\u2060\ufeff\u00ad\U000e0041") == "password"


def test_lone_surrogates_become_the_replacement_character() -> None:
    assert sanitize("a\ud83db") == "a\ufffdb"


@given(st.text(st.characters(), max_size=200))
def test_nothing_dangerous_ever_remains(text: str) -> None:
    safe = sanitize(text)
    assert all(c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs") for c in safe)
    assert not set(safe) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    assert sanitize(safe) == safe


@given(st.lists(st.text("\x1b[]0;3mA\r\n\u009b ", max_size=6), max_size=12))
def test_pieces_come_out_as_the_whole(pieces: list[str]) -> None:
    stream = StreamSanitizer()
    assert "".join(map(stream.feed, pieces)) + stream.flush() == sanitize("".join(pieces))


def test_one_line_joins_and_cuts() -> None:
    assert one_line("a\n\n b\tc\x1b[0m") == "a b c"
    assert one_line("x" * 50, 10) == "x" * 9 + "…"
    assert len(one_line("word " * 10_000, 30)) <= 30
