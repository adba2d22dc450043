"""The tokens of an answer: where each is drawn, and what is said of it."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest
from rich.cells import cell_len

from inference.api import Candidate
from mistral_tui.screens.tokens import legend, table
from mistral_tui.tokens import Record, Token, probability, record, so_far, summary, uncertain
from mistral_tui.widgets.palette import Palette, confidence_level
from mistral_tui.widgets.token_lines import NOTHING, Layout, shown
from mistral_tui.widgets.token_panel import bar, others, percent, rank, visible

HOSTILE = [
    "\x1b[31mred",
    "\x1b]52;c;aGk=\x07",
    "[bold]",
    "[/]",
    "[@click=app.quit]x[/]",
    "\u202eabc",
]
HOSTILE += ["\x9b2J", "\x00", "\r", "\u200b", "\ud83d", "a\u2028b", "\x1b", "[2J"]
PIECES = [
    "The",
    " sea",
    " ",
    "  ",
    "\n",
    "\n\n",
    ".\n",
    "\t",
    "海",
    "の",
    "、",
    "☺",
    "\ufe0f",
    "👩",
]
PIECES += [
    "\u200d",
    "💻",
    "👩\u200d💻",
    "🇫",
    "🇷",
    "🇫🇷",
    "👍",
    "🏽",
    "e",
    "\u0301",
    "ते",
    "ि",
    "",
    *HOSTILE,
]
PIECES += ["x" * 70, " " * 50, "\u3000", "'s", "‹", "¼"]


def token(text: str, p: float = 0.95, **rest: object) -> Token:
    facts: dict[str, object] = {"id": 1, "name": "", "thinking": False, "candidates": ()} | rest
    return Token(logprob=math.log(p), text=text, **facts)  # type: ignore[arg-type]


def told(pieces: Sequence[str | Candidate], sure: Sequence[float] = (0.95,)) -> Record:
    """A record of these pieces; a candidate stands for a control token."""
    ids, logprobs, places = [], [], []
    for n, piece in enumerate(pieces):
        p = sure[n % len(sure)]
        own = piece if isinstance(piece, Candidate) else Candidate(n, math.log(p), piece)
        other = Candidate(100_000, math.log((1 - p) * 0.6 + 1e-9), " other")
        ids.append(own.id)
        logprobs.append(own.logprob)
        places.append(tuple(sorted((own, other), key=lambda one: -one.logprob)))
    return record("fake-1", ids, logprobs, places)


# ── where each token is ─────────────────────────────────────────────────────────────


def check(layout: Layout, tokens: Sequence[Token]) -> None:
    """Rows fit, hold every character once, and each token is where it is said to be."""
    assert layout.text == "".join(map(shown, tokens))
    flat = [at for start, end in layout.rows for at in range(start, end)]
    assert flat == list(range(len(layout.text)))
    for number, (start, end) in enumerate(layout.rows):
        row = layout.text[start:end]
        assert start < end
        assert cell_len(row.replace("\n", "⏎")) <= layout.width
        assert "\n" not in row[:-1]
        assert "".join(text for _, text in layout.pieces(number)) == row
    for index, one in enumerate(tokens):
        assert layout.text[layout.starts[index] : layout.end_of(index)] == shown(one)
        first, last = layout.rows_of(index)
        parts = [
            text for row in range(first, last + 1) for n, text in layout.pieces(row) if n == index
        ]
        assert "".join(parts) == shown(one)
        column = layout.column_of(index)
        assert layout.at(first, column) == index
        before = layout.text[layout.rows[first][0] : layout.starts[index]]
        # A row is as wide as its tokens are: none melts with the one before it.
        assert (
            cell_len(before)
            == column
            == sum(cell_len(t) for n, t in layout.pieces(first) if n < index)
        )


@pytest.mark.parametrize("width", [8, 9, 20, 57, 100])
@pytest.mark.parametrize("seed", range(6))
def test_each_token_is_where_it_is_said_to_be(width: int, seed: int) -> None:
    chance = random.Random(seed)
    tokens = [token(chance.choice(PIECES)) for _ in range(chance.choice([1, 3, 120]))]
    whole = Layout(width, tokens)
    check(whole, tokens)
    grown = Layout(width)
    at = 0
    while at < len(tokens):
        step = chance.randint(1, 5)
        before = list(grown.rows)
        changed = grown.extend(tokens[at : at + step])
        assert grown.rows[:changed] == before[:changed]
        at += step
    assert (grown.text, grown.starts, grown.rows) == (whole.text, whole.starts, whole.rows)


def test_words_stay_whole_and_no_space_is_lost() -> None:
    tokens = [token(word) for word in ["one", " two", " three", "  four", "\n", "    five", " six"]]
    layout = Layout(13, tokens)
    rows = [layout.text[start:end] for start, end in layout.rows]
    assert rows == ["one two ", "three  four\n", "    five ", "six"]


def test_nothing_foreign_reaches_the_terminal() -> None:
    for piece in HOSTILE:
        for text in (shown(token(piece)), visible(piece), visible(piece, control=True)):
            assert text
            assert not [c for c in text if (ord(c) < 32 and c != "\n") or 0x7F <= ord(c) < 0xA0]
            assert not set(text) & set("\u202e\u200b\u2028\ud83d")


def test_what_has_no_text_can_be_seen() -> None:
    assert shown(token("")) == NOTHING
    assert shown(token("\x00")) == NOTHING
    assert shown(token("\u200d")) == NOTHING
    assert shown(token("", name="</s>")) == "‹</s>›"
    assert shown(token("\t")) == "    "
    assert shown(token("\u0301")) == "◌\u0301"
    assert shown(token("❤\ufe0f")) == "❤\ufe0f"
    assert shown(token("🇫🇷")) == "🇫🇷"


def test_the_text_after_thinking_begins_a_row() -> None:
    begin, end = (
        Candidate(n, -0.1, name, True) for n, name in ((9001, "[THINK]"), (9002, "[/THINK]"))
    )
    made = told([begin, "hm", end, "Yes"])
    layout = Layout(40, made.tokens)
    assert [layout.text[a:b] for a, b in layout.rows] == ["‹[THINK]›hm‹[/THINK]›\n", "Yes"]


def test_a_cell_is_a_token_or_the_nearest_one() -> None:
    layout = Layout(20, [token("ab"), token("海"), token("c\n"), token("d")])
    assert [layout.at(0, cell) for cell in range(7)] == [0, 0, 1, 1, 2, 2, 2]
    assert layout.at(1, 15) == 3


# ── what is said of them ────────────────────────────────────────────────────────────


def test_pieces_show_all_that_is_in_them() -> None:
    assert visible(" sea ") == "·sea·"
    assert visible("\n\t") == "⏎⇥"
    assert visible(b"\xe2\x98".decode("utf-8", "surrogateescape")) == "‹bytes E2 98›"
    assert visible("a" + b"\xe2".decode("utf-8", "surrogateescape")) == "a‹bytes E2›"
    assert visible("</s>", control=True) == "‹</s>›"
    assert visible("\x1b[31m") == "‹U+001B›[31m"
    assert visible("") == "‹nothing›"
    assert len(visible("x" * 5000)) <= 200


def test_probabilities_are_honest() -> None:
    assert [percent(p) for p in (1.0, 0.9999, 0.421, 0.0004, 0.0)] == [
        "100 %", ">99.9 %", "42.1 %", "<0.1 %", "<0.1 %"
    ]  # fmt: skip
    assert probability(5.0) == 1.0
    assert probability(math.nan) == probability(-math.inf) == 0.0
    assert bar(1.0, 4) == "████"
    assert bar(0.5, 4) == "██  "
    assert bar(0.0, 4) == "▏   "


def test_ranks_are_told_where_they_are_known() -> None:
    shares = [0.4, 0.3, 0.1, 0.05, 0.04]
    top = tuple(Candidate(n, math.log(p), str(n)) for n, p in enumerate(shares))
    own = [token("x", shares[n], id=n, candidates=top) for n in range(5)]
    assert [rank(one) for one in own] == [
        "likeliest", "2nd likeliest", "3rd likeliest", "4th likeliest", "5th likeliest"
    ]  # fmt: skip
    assert others(own[0]) == pytest.approx(0.11)
    extra = Candidate(9, math.log(0.01), "x")
    assert rank(token("x", 0.01, id=9, candidates=(*top, extra))) == "not among the 5 likeliest"
    # Of a sure place only two are told.
    two = (Candidate(0, math.log(0.9999), "a"), Candidate(1, -9.4, "b"))
    extra = Candidate(9, -12.0, "x")
    assert (
        rank(token("x", math.exp(-12), id=9, candidates=(*two, extra)))
        == "not among the 2 likeliest"
    )


def test_the_summary_is_of_all_tokens() -> None:
    made = summary([token("a", 0.5), token("b", 0.125), token("c", 1.0)])
    assert made.count == 3
    assert made.mean == pytest.approx(1.625 / 3)
    assert made.perplexity == pytest.approx(16 ** (1 / 3))
    assert made.below == pytest.approx(1 / 3)


def test_uncertain_places_are_few_and_in_order() -> None:
    assert uncertain([token("a", 0.9)] * 50) == []
    few = [token("a", 0.9), token("b", 0.3), token("c", 0.1)]
    assert uncertain(few) == [1, 2]
    many = [token("a", 0.001 + 0.0001 * n) for n in range(4000)]
    assert uncertain(many) == list(range(50))
    assert uncertain(many[::-1]) == list(range(3950, 4000))
    assert len(uncertain(many[:200])) == 20


def test_the_table_has_a_line_for_each_place() -> None:
    made = told([" sea", "\t", "[bold]\n"], sure=(0.95, 0.2))
    assert table(made.tokens, [1]) == (
        "position\ttoken\tprobability\talternatives\n2\t⇥\t0.2000\t·other 0.4800\n"
    )


def test_the_levels_differ_without_colour() -> None:
    palette = Palette.from_variables({})
    marks = {
        (style.bold, style.italic, style.underline, style.reverse) for style in palette.confidence
    }
    assert len(marks) == 5
    assert (True, None, True, True) not in marks  # the cursor
    for width, words in ((100, "doubtful ≥ 10 %"), (50, "≥10%")):
        text = legend(palette, width)
        assert words in text.plain
        assert text.cell_len <= width


def test_a_reply_that_is_gone_on_with_is_one_record() -> None:
    from mistral_tui.history.places import pack
    from mistral_tui.history.schema import Realization

    whole = told(["a", " b", " c", "."])
    parts = [(t.id, t.logprob, t.candidates) for t in whole.tokens]
    ids, logprobs, places = zip(*parts, strict=True)
    begun = Realization("fake-1", ids[:2], logprobs[:2], places=pack(places[:2]))
    made = so_far(begun, "fake-1", ids[2:], logprobs[2:], places[2:])
    assert [(t.id, t.text) for t in made.tokens] == [(t.id, t.text) for t in whole.tokens]
    assert so_far(None, "fake-1", ids, logprobs, places) == whole


def test_the_levels_are_those_of_the_palette() -> None:
    assert [confidence_level(p) for p in (1, 0.9, 0.6, 0.3, 0.1, 0)] == [0, 0, 1, 2, 3, 4]
