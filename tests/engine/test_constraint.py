"""What a reply may hold: when calls begin, how they are written, and that they end in time."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Sequence
from typing import Any

import pytest
import torch

import tekken
import tiny
from inference.api import SamplingParams, Tool
from inference.constrained.call_layouts import ListLayout
from inference.constrained.constraint import CallConstraint, make_constraint
from inference.constrained.grammar import Alt, Grammar, Ref, Repeat, Seq, Text
from inference.constrained.masks import Language, MaskSource
from inference.constrained.vocabulary import vocabulary
from inference.errors import RequestError
from inference.parse import Reply
from inference.sampling import make_sampler
from inference.tokenizer import Tokenizer
from tool_schemas import SCHEMAS

VERSIONS = ("v2", "v3", "tiny-v7", "tiny-v11", "tiny-v13")
ENGINES: tuple[MaskSource, ...] = ("llguidance", "own")
PLAIN = SamplingParams(temperature=1.0, top_k=64)  # without top_k all logits are sorted


def _tool(name: str, properties: dict[str, Any], required: Sequence[str] = ()) -> Tool:
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }
    return Tool(name, "", json.dumps(schema))


CITY = {"type": "string", "maxLength": 12}
WHERE = _tool("get", {"city": CITY, "n": {"type": "integer"}}, ["city"])
LONG = _tool("get_all", {"unit": {"enum": ["celsius", "fahrenheit"]}}, ["unit"])
NOTHING = _tool("get_all_2", {})
_MANY = "bcdfghijklmn"
TOOLS = (WHERE, LONG, NOTHING)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tokenizer]:
    def make(version: str) -> Tokenizer:
        folder = tmp_path_factory.mktemp(version)
        if version.startswith("tiny-"):
            return Tokenizer.from_file(tekken.write(folder, version.removeprefix("tiny-")))
        shutil.copy(tiny.data_file(version), folder / f"tokenizer.model.{version}")
        return Tokenizer.from_folder(folder)

    return {version: make(version) for version in ("v1", *VERSIONS)}


@pytest.fixture(params=VERSIONS)
def tokenizer(request: pytest.FixtureRequest, made: dict[str, Tokenizer]) -> Tokenizer:
    return made[request.param]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> MaskSource:
    return request.param  # type: ignore[no-any-return]


def _constraint(
    tokenizer: Tokenizer,
    choice: str = "any",
    limit: int = 300,
    tools: Sequence[Tool] = TOOLS,
    engine: MaskSource = "auto",
) -> CallConstraint:
    made = make_constraint(tokenizer, tools, choice, limit, tokenizer.n_words, engine)
    assert made is not None
    return made


def _begin(tokenizer: Tokenizer) -> int:
    begin = tokenizer.control_id("[TOOL_CALLS]")
    assert begin is not None
    return begin


def _drawn(
    tokenizer: Tokenizer,
    constraint: CallConstraint,
    limit: int,
    seed: int = 0,
    params: SamplingParams = PLAIN,
    likes: Sequence[int] = (),
) -> list[int]:
    """A reply of a model that knows nothing but that it likes some tokens."""
    noise = torch.randn(32, tokenizer.n_words, generator=torch.Generator().manual_seed(seed)) * 2
    noise[:, list(likes)] += 12
    sampler = make_sampler(params, seed=seed, constraint=constraint)
    ids: list[int] = []
    while len(ids) < limit and not (ids and ids[-1] in tokenizer.stop_ids):
        ids.append(sampler(noise[len(ids) % 32])[0])
    return ids


def _whole(tokenizer: Tokenizer, ids: list[int], tools: Sequence[Tool] = TOOLS) -> Reply:
    """The reply, which ends and has nothing but whole calls."""
    reply = tokenizer.parse(ids)
    assert ids[-1] in tokenizer.stop_ids, tokenizer.decode(ids)
    assert not reply.broken, reply.broken
    assert reply.tool_calls
    for call in reply.tool_calls:
        assert call.name in [tool.name for tool in tools]
        assert isinstance(call.parsed_arguments, dict)
    return reply


# ── beginning ─────────────────────────────────────────────────────────────────────────


def test_without_tools_nothing_is_held(made: dict[str, Tokenizer]) -> None:
    for choice in ("auto", "none"):
        assert make_constraint(made["v3"], (), choice, 10, 32768) is None
        assert make_constraint(made["v1"], TOOLS, choice, 10, 32000) is None


@pytest.mark.parametrize(
    ("version", "tools", "choice", "words"),
    [
        ("v3", (), "any", "there are no tools"),
        ("v1", TOOLS, "any", "cannot call tools"),
        ("v1", TOOLS, "get", "cannot call tools"),
        ("v3", TOOLS, "nobody", "no tool has that name"),
        ("tiny-v13", (Tool("", "", "{}"),), "auto", "has no name"),
        ("v3", (Tool("f", "", "{"),), "auto", "'f' are no JSON"),
        ("v3", (Tool("f", "", '{"type": "string"}'),), "auto", "tool 'f'"),
        ("tiny-v13", (Tool("f", "", "[1]"),), "auto", "tool 'f'"),
        (
            "tiny-v13",
            (_tool("f", {"a": {"type": "integer", "minimum": 2, "maximum": 1}}, ["a"]),),
            "auto",
            "tool 'f' cannot be called",
        ),
    ],
)
def test_what_cannot_be_is_one_sentence(
    made: dict[str, Tokenizer], version: str, tools: tuple[Tool, ...], choice: str, words: str
) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        make_constraint(made[version], tools, choice, 100, made[version].n_words)
    assert str(caught.value).count("\n") == 0


def test_a_reply_of_text_is_free(tokenizer: Tokenizer) -> None:
    constraint = _constraint(tokenizer, "auto")
    assert constraint.mask() is None
    assert not constraint.inside
    assert constraint.fits(_begin(tokenizer))
    ids = tokenizer._base.encode('Hello [{"name": "x', False, False)
    sampler = make_sampler(PLAIN, seed=1, constraint=constraint)
    free = make_sampler(PLAIN, seed=1)
    for token in ids:
        logits = torch.zeros(tokenizer.n_words)
        logits[token] = 50
        assert sampler(logits) == free(logits)


def test_auto_holds_a_call_once_it_is_begun(tokenizer: Tokenizer, engine: MaskSource) -> None:
    constraint = _constraint(tokenizer, "auto", engine=engine)
    begin = _begin(tokenizer)
    sampler = make_sampler(PLAIN, seed=1, constraint=constraint)
    logits = torch.zeros(tokenizer.n_words)
    logits[begin] = 50
    assert sampler(logits)[0] == begin
    assert constraint.inside
    ids = [begin, *_drawn(tokenizer, constraint, 299)]
    _whole(tokenizer, ids)


def test_any_begins_at_once(tokenizer: Tokenizer) -> None:
    constraint = _constraint(tokenizer, "any")
    token, logprob = make_sampler(PLAIN, seed=1, constraint=constraint)(
        torch.zeros(tokenizer.n_words)
    )
    assert token == _begin(tokenizer)
    assert logprob == pytest.approx(-torch.tensor(float(tokenizer.n_words)).log().item())


def test_none_never_begins(tokenizer: Tokenizer) -> None:
    constraint = _constraint(tokenizer, "none")
    logits = torch.zeros(tokenizer.n_words)
    logits[_begin(tokenizer)] = 50
    for params in (PLAIN, SamplingParams(temperature=0), SamplingParams(top_k=1)):
        sampler = make_sampler(params, seed=1, constraint=constraint)
        assert all(sampler(logits)[0] != _begin(tokenizer) for _ in range(5))


def test_a_name_allows_that_tool_only(tokenizer: Tokenizer, engine: MaskSource) -> None:
    for tool in TOOLS:
        constraint = _constraint(tokenizer, tool.name, engine=engine)
        reply = _whole(tokenizer, _drawn(tokenizer, constraint, 300))
        assert {call.name for call in reply.tool_calls} == {tool.name}


# ── calls ─────────────────────────────────────────────────────────────────────────────


def test_every_tool_can_be_called(tokenizer: Tokenizer, engine: MaskSource) -> None:
    """Though one's name is the beginning of another's."""
    seen = set()
    for seed in range(24):
        constraint = _constraint(tokenizer, limit=120, engine=engine)
        ids = _drawn(tokenizer, constraint, 120, seed)
        seen |= {call.name for call in _whole(tokenizer, ids).tool_calls}
        if len(seen) == len(TOOLS):
            break
    assert seen == {tool.name for tool in TOOLS}


def test_what_mistral_common_writes_is_let_through(
    tokenizer: Tokenizer, engine: MaskSource
) -> None:
    from mistral_common.protocol.instruct.messages import AssistantMessage
    from mistral_common.protocol.instruct.tool_calls import FunctionCall, ToolCall

    calls = [
        ToolCall(id="abcDEF123", function=FunctionCall(name=name, arguments=arguments))
        for name, arguments in (("get", '{"city": "Zürich 🙂", "n": 3}'), ("get_all_2", "{}"))
    ]
    message = AssistantMessage(content=None, tool_calls=calls)
    ids = tokenizer.instruct_tokenizer.encode_assistant_message(message, False)
    constraint = _constraint(tokenizer, "auto", engine=engine)
    for token in ids:
        if (mask := constraint.mask()) is not None:
            assert mask[token]
        assert constraint.fits(token)
        constraint.accept(token)
    assert ids[-1] in tokenizer.stop_ids


def test_both_engines_have_the_same_masks_with_many_tools(tokenizer: Tokenizer) -> None:
    tools = [Tool(name, "", json.dumps(schema)) for name, schema in SCHEMAS.items()]
    for seed in range(2):
        one, other = (_constraint(tokenizer, "any", 9999, tools, engine) for engine in ENGINES)
        rng = random.Random(seed)
        token = _begin(tokenizer)
        for _ in range(80):
            for constraint in (one, other):
                assert constraint.fits(token) or constraint.only == token
                constraint.accept(token)
            if token in tokenizer.stop_ids:
                break
            mask, exact = one.mask(), other.exact_mask()
            assert mask is not None
            assert exact is not None
            assert torch.equal(mask, exact)
            allowed = mask.nonzero()[:, 0].tolist()
            ends = [i for i in allowed if tokenizer.bytes_of(i)[-1:] in b'"}],']
            token = rng.choice(ends if ends and rng.random() < 0.5 else allowed)
        assert one._follower is None or one._follower.guided


def test_ids_are_there_where_the_layout_has_them(tokenizer: Tokenizer) -> None:
    reply = _whole(tokenizer, _drawn(tokenizer, _constraint(tokenizer), 300))
    for call in reply.tool_calls:
        has_id = tokenizer.version_number in (3, 7, 11)
        assert len(call.id) == (9 if has_id else 0)
        assert not call.id or (call.id.isascii() and call.id.isalnum())


def test_no_more_calls_than_sixteen(made: dict[str, Tokenizer], engine: MaskSource) -> None:
    for version in ("v2", "tiny-v11"):
        tokenizer = made[version]
        liked = [i for i in range(tokenizer.n_words) if tokenizer.bytes_of(i) in (b"},", b",")]
        liked.append(_begin(tokenizer))
        constraint = _constraint(tokenizer, tools=[NOTHING], limit=3000, engine=engine)
        greedy = SamplingParams(temperature=0.0)  # by chance it might end before
        ids = _drawn(tokenizer, constraint, 3000, params=greedy, likes=liked)
        assert len(_whole(tokenizer, ids).tool_calls) == 16


def test_the_end_cannot_come_inside(tokenizer: Tokenizer, engine: MaskSource) -> None:
    """Nor can any other control token, however much the model likes it."""
    likes = [i for i in range(tokenizer.n_words) if not tokenizer.bytes_of(i)]
    for seed in range(2):
        constraint = _constraint(tokenizer, limit=120, engine=engine, tools=[WHERE, NOTHING])
        _whole(tokenizer, _drawn(tokenizer, constraint, 120, seed, likes=likes))


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(temperature=0),
        SamplingParams(temperature=1.5, top_k=3),
        SamplingParams(temperature=1, top_p=0.1),
        SamplingParams(temperature=1, min_p=0.9),
        SamplingParams(temperature=1, repetition_penalty=1.8),
    ],
    ids=str,
)
def test_every_way_of_sampling_obeys(
    tokenizer: Tokenizer, engine: MaskSource, params: SamplingParams
) -> None:
    constraint = _constraint(tokenizer, limit=120, engine=engine)
    _whole(tokenizer, _drawn(tokenizer, constraint, 120, params=params))


def test_the_same_seed_gives_the_same_reply(tokenizer: Tokenizer, engine: MaskSource) -> None:
    replies = [
        _drawn(tokenizer, _constraint(tokenizer, engine=engine), 300, seed) for seed in (5, 5, 6)
    ]
    assert replies[0] == replies[1]
    assert replies[0] != replies[2]


def test_greedy_takes_the_likeliest_that_is_allowed(tokenizer: Tokenizer) -> None:
    """So both engines write the same."""
    greedy = SamplingParams(temperature=0)
    one, other = (
        _drawn(tokenizer, _constraint(tokenizer, engine=engine), 300, params=greedy)
        for engine in ENGINES
    )
    assert one[:60] == other[:60]


def test_no_penalty_inside_a_call(made: dict[str, Tokenizer]) -> None:
    tokenizer = made["tiny-v13"]
    params = SamplingParams(temperature=0, repetition_penalty=100.0)
    tool = _tool("f", {"s": {"type": "string", "minLength": 5, "maxLength": 5}}, ["s"])
    constraint = _constraint(tokenizer, tools=[tool])
    liked = tekken.N_SPECIAL + ord("x")
    ids = _drawn(tokenizer, constraint, 100, params=params, likes=[liked])
    assert _whole(tokenizer, ids, [tool]).tool_calls[0].parsed_arguments == {"s": "xxxxx"}


def test_banned_tokens_stay_banned(made: dict[str, Tokenizer], engine: MaskSource) -> None:
    tokenizer = made["tiny-v13"]
    liked = tekken.N_SPECIAL + ord("x")
    sampler = make_sampler(
        PLAIN, seed=1, banned=[liked], constraint=_constraint(tokenizer, "get", engine=engine)
    )
    logits = torch.zeros(tokenizer.n_words)
    logits[liked] = 30
    assert liked not in [sampler(logits)[0] for _ in range(60)]


def test_damaged_logits_end_in_one_sentence(tokenizer: Tokenizer, engine: MaskSource) -> None:
    for value in (float("nan"), float("inf")):
        for params in (PLAIN, SamplingParams(temperature=0)):
            for steps in (1, 2, 3):
                constraint = _constraint(tokenizer, engine=engine)
                sampler = make_sampler(params, seed=1, constraint=constraint)
                for _ in range(steps - 1):
                    sampler(torch.zeros(tokenizer.n_words))
                with pytest.raises(RequestError, match="NaN"):
                    sampler(torch.full((tokenizer.n_words,), value))


def test_a_model_that_allows_nothing_right_is_forced(
    tokenizer: Tokenizer, engine: MaskSource
) -> None:
    """Its only token with any probability is one that no call has."""
    constraint = _constraint(tokenizer, engine=engine)
    sampler = make_sampler(PLAIN, seed=1, constraint=constraint)
    logits = torch.full((tokenizer.n_words,), -torch.inf)
    logits[tokenizer.bos_id] = 0.0
    ids: list[int] = []
    while len(ids) < 300 and not (ids and ids[-1] in tokenizer.stop_ids):
        ids.append(sampler(logits)[0])
    _whole(tokenizer, ids)


# ── the tokens that are left ──────────────────────────────────────────────────────────


def _least(tokenizer: Tokenizer, tools: Sequence[Tool] = TOOLS) -> int:
    """Tokens of the shortest reply that is a call, found by trying."""
    for limit in range(1, 200):
        constraint = _constraint(tokenizer, "auto", limit, tools)
        if constraint.fits(_begin(tokenizer)):
            return limit
    raise AssertionError("no call fits")


def test_a_call_ends_within_any_budget_that_it_fits_in(
    tokenizer: Tokenizer, engine: MaskSource
) -> None:
    least = _least(tokenizer)
    for limit in range(least, least + 31):
        ids = _drawn(tokenizer, _constraint(tokenizer, "any", limit, engine=engine), limit, limit)
        assert len(ids) <= limit
        _whole(tokenizer, ids)


def test_a_call_that_cannot_end_is_not_begun(tokenizer: Tokenizer, engine: MaskSource) -> None:
    least = _least(tokenizer)
    begin = _begin(tokenizer)
    for limit in range(1, least):
        constraint = _constraint(tokenizer, "auto", limit, engine=engine)
        ids = _drawn(tokenizer, constraint, limit, likes=[begin])
        assert begin not in ids


def test_a_forced_call_without_room_is_begun_and_cut(
    tokenizer: Tokenizer, engine: MaskSource
) -> None:
    least = _least(tokenizer)
    for limit in range(1, least, 3):
        ids = _drawn(tokenizer, _constraint(tokenizer, "any", limit, engine=engine), limit)
        assert ids[0] == _begin(tokenizer)
        assert len(ids) == limit
        assert len(tokenizer.parse(ids).tool_calls) == 0 or tokenizer.version_number > 2


def test_the_most_compact_spelling_is_what_has_to_fit(made: dict[str, Tokenizer]) -> None:
    tokenizer = made["tiny-v13"]
    # [TOOL_CALLS] f [ARGS] {" s ": "" } </s>, where {" and ": are a token each
    tool = _tool("f", {"s": {"type": "string"}}, ["s"])
    assert _least(tokenizer, [tool]) == 9


def test_an_end_that_fits_is_not_lost_on_the_way(made: dict[str, Tokenizer]) -> None:
    """Behind q all ends have three bytes; only the one that was counted on is one token."""
    tokenizer = made["tiny-v13"]
    words = vocabulary(tokenizer, tokenizer.n_words)
    ends = {end: Seq((Text(end), Repeat(Text("!")))) for end in ("the", *(f"{c}bc" for c in _MANY))}
    grammar = Grammar(Seq((Text("q"), Alt(tuple(map(Ref, ends))))), ends)
    layout = ListLayout(Language(grammar, words, "own"), (tokenizer.eos_id,))
    begin = _begin(tokenizer)
    constraint = CallConstraint(words, layout, begin, 4, must=True)
    ids = _drawn(tokenizer, constraint, 4, likes=[tekken.N_SPECIAL + ord(c) for c in _MANY])
    assert b"".join(map(tokenizer.bytes_of, ids)) == b"qthe"
    assert ids[-1] == tokenizer.eos_id


# ── going on ──────────────────────────────────────────────────────────────────────────


def test_a_continued_reply_goes_on_where_it_stood(tokenizer: Tokenizer, engine: MaskSource) -> None:
    whole = _drawn(tokenizer, _constraint(tokenizer, limit=99, engine=engine), 99)
    for cut in range(0, len(whole), 11):
        constraint = _constraint(tokenizer, "auto" if cut else "any", 99, engine=engine)
        constraint.feed(whole[:cut])
        rest = _drawn(tokenizer, constraint, 99, seed=cut)
        _whole(tokenizer, [*whole[:cut], *rest])


def test_a_continued_reply_that_is_no_call_is_left_alone(tokenizer: Tokenizer) -> None:
    constraint = _constraint(tokenizer, "auto")
    words = tokenizer._base.encode("what is this", False, False)
    constraint.feed([_begin(tokenizer), *words])
    assert constraint.mask() is None
    assert all(constraint.fits(token) for token in words)
