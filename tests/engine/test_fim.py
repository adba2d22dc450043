"""Filling in: what of a file is asked, middles alone and as a batch, and where they end."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mistral_common.protocol.fim.request import FIMRequest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

import filling
import tiny
from inference.api import Ends, Event, FillInMiddle, Finished, SamplingParams, Tokens
from inference.engine import Engine
from inference.errors import RequestError, SettingError
from inference.fim import Fitted, Fitter, budget
from inference.loading import load_engine
from inference.tokenizer import Tokenizer

CODE = (Path(__file__).parents[2] / "inference" / "api.py").read_text()
GREEDY = SamplingParams(temperature=0, max_tokens=48)
Fit = Callable[[str, str, int], Fitted]


@pytest.fixture(scope="module", params=["v3", "tekken-v3"])
def fit(request: pytest.FixtureRequest) -> Fit:
    """Fits, and compares the ids with mistral-common's own of what was kept."""
    file = tiny.data_file(request.param)
    fitter = Fitter(Tokenizer.from_file(file).fim_ids)
    theirs = MistralTokenizer.from_file(str(file))

    def checked(prefix: str, suffix: str, most: int) -> Fitted:
        fitted = fitter.fit(prefix, suffix, most)
        assert len(fitted.ids) <= most
        before, behind = fitted.left_out
        assert fitted.prefix == prefix[before:]
        assert fitted.suffix == suffix[: len(suffix) - behind]
        asked = FIMRequest(prompt=fitted.prefix, suffix=fitted.suffix)
        assert fitted.ids == theirs.encode_fim(asked).tokens
        return fitted

    return checked


# ── what is asked ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("prefix", "suffix"),
    [
        ("", ""),
        ("def f(", ""),
        ("", "return x\n"),
        ("\tif a:\r\n\t\t", "\r\n\treturn b\r\n"),
        ("naïve = '😀 日本'\n", "# ünïcode ☺\n"),
        ("a\rb\r", "\rc"),
        (CODE[:3000], CODE[3000:5000]),
    ],
    ids=["nothing", "prefix", "suffix", "crlf", "unicode", "cr", "code"],
)
def test_what_fits_is_asked_whole(fit: Fit, prefix: str, suffix: str) -> None:
    assert fit(prefix, suffix, 4096).left_out == (0, 0)


@pytest.mark.parametrize(
    "text",
    [
        CODE * 300,  # more than 100,000 lines
        CODE.replace("\n", "\r\n") * 2,
        CODE.replace("\n", "\r") * 2,
        CODE.replace("    ", "\t") * 2,
        "x" * 1_000_000,
        " " * 1_000_000,
        "😀日" * 20_000,
        "\n" * 50_000,
    ],
    ids=["long", "crlf", "cr", "tabs", "one line", "spaces", "unicode", "empty lines"],
)
def test_a_long_file_is_cut_far_from_the_hole(fit: Fit, text: str) -> None:
    fitted = fit(text, text, 1000)
    assert len(fitted.ids) > 400
    assert min(len(fitted.prefix), len(fitted.suffix)) > 60
    if any(end in text for end in ("\n", "\r")):  # at line borders
        kept = text[len(text) - len(fitted.prefix) - 1 :]
        assert kept[0] in "\r\n"
        assert kept[:2] != "\r\n"
        assert fitted.suffix[-1] in "\r\n"
        assert (fitted.suffix + text[len(fitted.suffix)])[-2:] != "\r\n"


def test_a_side_that_needs_little_leaves_its_room_to_the_other(fit: Fit) -> None:
    for prefix, suffix in ((CODE, "\n"), ("x = ", CODE)):
        assert len(fit(prefix, suffix, 1000).ids) > 700
    both = fit(CODE, CODE, 1000)
    assert 2 * len(both.suffix) < len(both.prefix)


@pytest.mark.parametrize(
    ("most", "before", "behind"),
    [(1000, 8000, 9000), (600, 4800, 0), (600, 2848, 4800)],
)
def test_typing_and_erasing_moves_the_cuts_seldom_and_never_to_and_fro(
    fit: Fit, most: int, before: int, behind: int
) -> None:
    """Each move makes the cache useless."""
    dice = random.Random(most + before)
    typed = CODE[:2000]
    cuts, at = [], 0
    for key in range(1500):
        step = 1 if dice.random() < 0.7 else -1
        at = max(at + (step if key % 500 < 400 else -1), 0)
        prefix, suffix = CODE[-before:] + typed[:at], CODE[:behind]
        cuts.append(fit(prefix, suffix, most).left_out)
    moves = [key for key in range(1, 1500) if cuts[key] != cuts[key - 1]]
    assert len(moves) <= 4
    for key in moves:
        assert cuts[key] not in cuts[max(key - 50, 0) : key - 1]


@pytest.mark.parametrize("most", [64, 2048])
def test_a_border_is_no_place_to_flap_at(fit: Fit, most: int) -> None:
    """One key more and one less, wherever what is asked just fits."""
    for at in range(most // 2, 3 * most, most // 8):
        cuts = [fit(CODE[:at][: at - n % 2], CODE[:9000], most).left_out for n in range(20)]
        assert sum(one != other for one, other in pairwise(cuts)) <= 1


def test_where_it_was_cut_before_is_no_matter_for_another_place(fit: Fit) -> None:
    fresh = fit(CODE[:6000], CODE[6000:], 600)
    fit(CODE[:3000], CODE[3000:], 600)
    assert fit(CODE[:6000], CODE[6000:], 600) == fresh
    assert fit(CODE[:6000], CODE[6000:], 1200).left_out < fresh.left_out
    # What was erased far back makes room for what was cut off.
    for end in range(6000, 3000, -100):
        little = fit(CODE[:end], CODE[6000:], 600)
    assert len(little.ids) > 350


def test_a_file_that_grows_from_nothing_is_cut_anew_seldom(fit: Fit) -> None:
    cuts = [fit(CODE[:n], CODE, 600).left_out for n in range(0, 6000, 11)]
    assert sum(one != other for one, other in pairwise(cuts)) <= 25


@settings(max_examples=60, deadline=None)
@given(
    parts=st.lists(
        st.text(max_size=8)
        | st.sampled_from(["\r\n", "\n", "\r", "    ", "\t", "return x", "😀", "\ud83d\ude00"]),
        max_size=80,
    ),
    cut=st.integers(0, 700),
    most=st.integers(3, 200),
)
def test_anything_fits(parts: list[str], cut: int, most: int) -> None:
    tokenizer = _tokenizer()
    text = "".join(parts)
    fitted = Fitter(tokenizer.fim_ids).fit(text[:cut], text[cut:], most)
    assert len(fitted.ids) <= most
    assert fitted.ids == tokenizer.fim_ids(fitted.prefix, fitted.suffix)
    before, behind = fitted.left_out
    for at in ({before} if before else set()) | ({len(text) - behind} if behind else set()):
        if at not in (cut, len(text)):
            assert text[at - 1 : at + 1] not in ("\r\n", "\ud83d\ude00")


@functools.cache
def _tokenizer() -> Tokenizer:
    return Tokenizer.from_file(tiny.data_file("v3"))


def test_the_answer_has_room() -> None:
    assert budget(1000, max_tokens=100) == 900
    assert budget(1000, max_tokens=5000) == 500
    assert budget(1000) == 750
    assert budget(1000, window=300, max_tokens=100) == 300
    assert budget(1000, window=5000, max_tokens=100) == 900
    with pytest.raises(SettingError, match="window is 3"):
        budget(1000, window=3)


# ── the engine ──────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return filling.make(tmp_path_factory.mktemp("models") / "filling")


@pytest.fixture
def engine(folder: Path) -> Engine:
    return load_engine(str(folder), device="cpu", threads=1)


@pytest.fixture(scope="module")
def runs_on(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """A model that goes on into the suffix."""
    folder = filling.make(tmp_path_factory.mktemp("models") / "runs on", ends=False)
    return load_engine(str(folder), device="cpu", threads=1)


def run(engine: Engine, request: FillInMiddle) -> tuple[list[str], list[list[int]], Finished]:
    """The texts and ids of the middles."""
    texts, ids = [""] * request.middles, [[] for _ in range(request.middles)]  # type: ignore[var-annotated]
    last: Event | None = None
    for last in engine.run(request):
        if isinstance(last, Tokens):
            texts[last.middle] += last.text
            ids[last.middle] += last.ids
    assert isinstance(last, Finished)
    assert last.usage.completion_tokens == sum(map(len, ids))
    return texts, ids, last


@pytest.mark.parametrize(("prefix", "middle", "suffix"), filling.EXAMPLES)
def test_the_middle_is_exactly_what_was_meant(
    engine: Engine, prefix: str, middle: str, suffix: str
) -> None:
    texts, ids, done = run(engine, FillInMiddle(1, prefix, suffix, GREEDY))
    assert texts == [middle]
    assert ids[0][-1] == engine.tokenizer.eos_id
    assert list(done.prompt_ids) == engine.tokenizer.fim_ids(prefix, suffix)
    assert (done.reason, done.reasons, done.left_out) == ("stop", ("stop",), (0, 0))
    # In the middle of a file, and its ends change nothing.
    ends = Ends(suffix=True, block=True, blank_lines=1, lines=10)
    head, tail = "import os\n\n\n", "\n\nprint(read_all())\n"
    assert run(engine, FillInMiddle(1, head + prefix, suffix + tail, GREEDY, ends=ends))[0] == texts


def test_a_file_longer_than_the_window_is_filled_in(engine: Engine) -> None:
    prefix, middle, suffix = filling.EXAMPLES[2]
    rest = "x = 1\n\n" * 3000
    # The tiny model has not seen much around it: a small window is enough.
    request = FillInMiddle(1, rest + prefix, suffix + rest, GREEDY, window=96)
    texts, _, done = run(engine, request)
    assert texts == [middle]
    assert done.usage.prompt_tokens <= 96
    before, behind = done.left_out
    assert before > 20_000 < behind
    # Also where the context itself is the limit.
    done = run(engine, replace(request, window=None))[2]
    assert done.usage.prompt_tokens <= engine.context - 48


def test_a_model_that_runs_on_is_ended(runs_on: Engine) -> None:
    for prefix, middle, suffix in filling.EXAMPLES[:3]:
        request = FillInMiddle(1, prefix, suffix, GREEDY)
        assert run(runs_on, request)[0] == [middle + suffix]
        for ended in (replace(request, ends=Ends(suffix=True)), replace(request, stop=(suffix,))):
            texts, ids, done = run(runs_on, ended)
            assert texts == [middle]
            assert done.reasons == ("stop",)
            assert ids[0][-1] != runs_on.tokenizer.eos_id
        first = middle.split("\n")[0]
        assert run(runs_on, replace(request, ends=Ends(lines=0)))[0] == [first]


def test_middles_are_drawn_from_one_prefill_and_end_by_themselves(engine: Engine) -> None:
    prefix, middle, suffix = filling.EXAMPLES[0]
    several = FillInMiddle(1, prefix, suffix, GREEDY, middles=3)
    texts, ids, done = run(engine, several)
    assert texts == [middle] * 3
    assert all(row[-1] == engine.tokenizer.eos_id for row in ids)
    assert done.reasons == ("stop",) * 3
    # Their prompt stays in the cache.
    assert run(engine, several)[2].usage.reused_tokens == done.usage.prompt_tokens - 1


def test_the_first_of_several_is_drawn_as_one_alone(tmp_path: Path) -> None:
    engine = load_engine(str(tiny.make(tmp_path / "random")), device="cpu", threads=1)
    # Among few, lest a rounding decide.
    warm = SamplingParams(temperature=1.0, top_k=4, max_tokens=20, seed=11)
    alone = run(engine, FillInMiddle(1, "def f(", "return x", warm, slot="a"))
    texts, ids, done = run(engine, FillInMiddle(2, "def f(", "return x", warm, middles=4, slot="b"))
    assert ids[0] == alone[1][0]
    assert texts[0] == alone[0][0]
    assert len(set(map(tuple, ids))) == 4
    assert (done.reason, done.reasons, done.seed) == ("length", ("length",) * 4, 11)
    for n, row in enumerate(ids):  # each is what its own seed draws
        request = FillInMiddle(3, "def f(", "return x", replace(warm, seed=11 + n), slot="c")
        assert run(engine, request)[1][0] == row


def test_one_middle_may_be_stopped_while_others_go_on(tmp_path: Path) -> None:
    engine = load_engine(str(tiny.make(tmp_path / "random")), device="cpu", threads=1)
    warm = SamplingParams(temperature=1.0, max_tokens=20, seed=3)
    request = FillInMiddle(1, "def f(", "return x", warm, middles=3)
    texts, ids, _ = run(engine, request)
    word = texts[1][5:10]
    assert not any(word in texts[other] for other in (0, 2))
    ended = run(engine, replace(request, stop=(word,)))
    assert ended[0] == [texts[0], texts[1].split(word)[0], texts[2]]
    assert ended[2].reasons == ("length", "stop", "length")
    assert [ended[1][other] for other in (0, 2)] == [ids[other] for other in (0, 2)]
    assert len(ended[1][1]) < 20


def test_a_cancel_ends_all_middles(engine: Engine) -> None:
    prefix, _, suffix = filling.EXAMPLES[0]
    seen: list[Tokens] = []
    for event in engine.run(
        FillInMiddle(1, prefix, suffix, GREEDY, middles=2), lambda: len(seen) >= 6
    ):
        if isinstance(event, Tokens) and event.ids:
            seen.append(event)
    assert isinstance(event, Finished)
    assert (event.reason, event.reasons) == ("cancelled", ("cancelled", "cancelled"))
    assert event.usage.completion_tokens == 6


@pytest.mark.parametrize("middles", [1, 3])
def test_taking_what_was_suggested_and_typing_on_computes_little(
    engine: Engine, middles: int
) -> None:
    """Whatever is common to both prompts is not computed again."""
    dice = random.Random(0)
    prefix, _, suffix = filling.EXAMPLES[4]
    held: list[int] = []
    for typed in ("", "\n    x", " = 1", "\n", "    y = [", "1, 2"):
        prefix += typed
        request = FillInMiddle(1, prefix, suffix, GREEDY, middles=middles)
        texts, ids, done = run(engine, request)
        prompt = list(done.prompt_ids)
        common = next(
            (n for n, (a, b) in enumerate(zip(held, prompt, strict=False)) if a != b),
            min(len(held), len(prompt)),
        )
        assert done.usage.reused_tokens == min(common, len(prompt) - 1)
        held = prompt + (ids[0][:-1] if middles == 1 else [])
        prefix += texts[0][: dice.randrange(len(texts[0]) + 1)]


def test_what_cannot_be_filled_in_is_one_sentence(tmp_path: Path, engine: Engine) -> None:
    for wrong, words in (
        ({"middles": 0}, "middles is 0"),
        ({"middles": 999}, "middles is 999"),
        ({"window": 2}, "window is 2"),
    ):
        with pytest.raises(SettingError, match=words):
            run(engine, FillInMiddle(1, "a", "b", GREEDY, **wrong))  # type: ignore[arg-type]
    old = load_engine(str(tiny.make(tmp_path / "old", tokenizer="v1")), device="cpu", threads=1)
    with pytest.raises(RequestError, match="cannot fill in the middle"):
        run(old, FillInMiddle(1, "a", "b", GREEDY))
    assert run(engine, FillInMiddle(1, "", "", GREEDY))[2].reason in ("stop", "length")
