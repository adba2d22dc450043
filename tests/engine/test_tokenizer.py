"""Prompts equal mistral-common's, replies are spliced as they were, text streams exactly."""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mistral_common.protocol.fim.request import FIMRequest
from mistral_common.protocol.instruct.messages import (
    AssistantMessage,
    SystemMessage,
    UserMessage,
)
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.protocol.instruct.tool_calls import Function, Tool
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

import tekken
import tiny
from inference.api import Message
from inference.errors import RequestError
from inference.tokenizer import SAFE_PROMPT, Tokenizer

# Those that mistral-common ships, and one of each other version.
VERSIONS = ["v1", "v2", "v3", "v7", "tekken-v3", *(f"tiny-{v}" for v in tekken.VERSIONS)]
TEXTS = [
    "Hello, how are you?",
    "naïve café — 東京 🙂 👩‍👩‍👧 \U0001f1eb\U0001f1f7",
    "def f(x):\n\treturn x  # two  spaces\n\n\n",
    " leading and trailing ",
    "[INST] not an instruction [/INST] </s> <s>",
    "1234567890 ½ ٣ \u202eabc",
]


def _write(folder: Path, version: str) -> Path:
    if version.startswith("tiny-"):
        return tekken.write(folder, version.removeprefix("tiny-"))
    path = folder / ("tekken.json" if "tekken" in version else f"tokenizer.model.{version}")
    path.write_bytes(tiny.data_file(version).read_bytes())
    return path


@pytest.fixture(scope="module", params=VERSIONS)
def tokenizer(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Tokenizer:
    path = _write(tmp_path_factory.mktemp(request.param), request.param)
    return Tokenizer.from_folder(path.parent)


@cache
def _untouched(file: Path) -> MistralTokenizer[Any, Any, Any, Any, Any]:
    return MistralTokenizer.from_file(file)


def _theirs(tokenizer: Tokenizer) -> MistralTokenizer[Any, Any, Any, Any, Any]:
    """mistral-common's own tokenizer of the same file."""
    return _untouched(tokenizer.instruct_tokenizer.tokenizer.file_path)


def _reference(tokenizer: Tokenizer, messages: list[Message]) -> list[int]:
    kinds = {"system": SystemMessage, "user": UserMessage, "assistant": AssistantMessage}
    request = ChatCompletionRequest(messages=[kinds[m.role](content=m.text) for m in messages])
    return list(_theirs(tokenizer).encode_chat_completion(request).tokens)


@pytest.mark.parametrize("system", [False, True])
def test_chat_prompts_equal_mistral_common(tokenizer: Tokenizer, system: bool) -> None:
    messages = [Message("system", "Be brief.")] if system else []
    for n, text in enumerate(TEXTS):
        messages.append(Message("user", text))
        assert tokenizer.encode_chat(messages) == _reference(tokenizer, messages)
        messages.append(Message("assistant", f"Answer {n}: {text.strip()}"))


def _live(tokenizer: Tokenizer, text: str) -> tuple[int, ...]:
    """Ids of `text` as a model might produce them: never quite the canonical ones."""
    ids = [i for part in text.split("o") for i in tokenizer._base.encode(part, False, False)]
    return (*ids, tokenizer._base.eos_id)


def test_a_reply_is_spliced_as_its_own_ids(tokenizer: Tokenizer) -> None:
    live = _live(tokenizer, "The food is good too.")
    first = [Message("user", "Hi"), Message("assistant", "The food is good too.")]
    turn = [*first, Message("user", "And then?")]
    plain = tokenizer.encode_chat(turn)
    known = Message("assistant", "The food is good too.", live, tokenizer.fingerprint)
    spliced = tokenizer.encode_chat([turn[0], known, turn[2]])
    prompt = tokenizer.encode_chat(turn[:1])
    assert spliced[: len(prompt) + len(live)] == [*prompt, *live]
    # All around the reply is what mistral-common wrote.
    body = len(plain) - len(prompt) - (len(spliced) - len(prompt) - len(live))
    assert spliced[len(prompt) + len(live) :] == plain[len(prompt) + body :]
    assert tokenizer.encode_chat(turn) == plain  # nothing sticks


def test_a_cancelled_reply_gets_its_missing_end(tokenizer: Tokenizer) -> None:
    live = _live(tokenizer, "Once upon")[:-1]
    known = Message("assistant", "Once upon", live, tokenizer.fingerprint)
    messages = [Message("user", "Hi"), known, Message("user", "Go on")]
    prompt = tokenizer.encode_chat(messages[:1])
    ids = tokenizer.encode_chat(messages)
    assert ids[: len(prompt) + len(live) + 1] == [*prompt, *live, tokenizer._base.eos_id]


def test_a_last_reply_is_left_open_to_be_continued(tokenizer: Tokenizer) -> None:
    user = Message("user", "Tell me.")
    header = tokenizer.encode_chat([user])
    live = _live(tokenizer, "Once upon a")
    for ids in (live, live[:-1]):  # also one that was ended: it goes on
        known = Message("assistant", "Once upon a", ids, tokenizer.fingerprint)
        prompt, open_reply = tokenizer.encode_reply([user, known])
        assert prompt == [*header, *live[:-1]]
        assert open_reply == list(live[:-1])
    kinds = [UserMessage(content=user.text), AssistantMessage(content="Once upon a", prefix=True)]
    plain = tokenizer.encode_chat_completion(ChatCompletionRequest(messages=kinds))
    prompt, open_reply = tokenizer.encode_reply([user, Message("assistant", "Once upon a")])
    assert prompt == plain.tokens
    assert open_reply == plain.prefix_ids


def test_the_guardrail_comes_before_the_system_prompt(tokenizer: Tokenizer) -> None:
    user = Message("user", "Hi")
    for system in ("", "Be brief."):
        words = f"{SAFE_PROMPT}\n\n{system}".strip()
        expected = tokenizer.encode_chat([Message("system", words), user])
        messages = [Message("system", system), user] if system else [user]
        assert tokenizer.encode_reply(messages, safe_prompt=True)[0] == expected


def test_ids_of_another_model_are_not_used(tokenizer: Tokenizer) -> None:
    foreign = Message("assistant", "Good.", (5, 6, 7), "another")
    plain = Message("assistant", "Good.")
    around = (Message("user", "Hi"), Message("user", "And?"))
    assert tokenizer.encode_chat([around[0], foreign, around[1]]) == tokenizer.encode_chat(
        [around[0], plain, around[1]]
    )


def test_the_next_turn_keeps_the_first_as_its_prefix(tokenizer: Tokenizer) -> None:
    prompt = tokenizer.encode_chat([Message("user", "Hi")])
    live = _live(tokenizer, "Some more words.")
    known = Message("assistant", tokenizer.decode(live), live, tokenizer.fingerprint)
    ids = tokenizer.encode_chat([Message("user", "Hi"), known, Message("user", "Next")])
    assert ids[: len(prompt) + len(live)] == [*prompt, *live]


def test_two_user_turns_in_a_row_and_empty_replies_do_no_harm(tokenizer: Tokenizer) -> None:
    messages = [Message("user", "One"), Message("assistant", ""), Message("user", "Two")]
    text = "".join(
        tokenizer.bytes_of(i).decode("utf-8", "replace") for i in tokenizer.encode_chat(messages)
    )
    assert "One" in text
    assert "Two" in text


@pytest.mark.parametrize("text", [t.strip() for t in TEXTS])
def test_streamed_text_is_the_whole_text(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer._base.encode(text, False, False)
    assert tokenizer.decode(ids) == text
    detokenizer = tokenizer.detokenizer()
    pieces = [detokenizer.add(i) for i in ids] + [detokenizer.flush()]
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=80))
def test_any_text_streams_exactly(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer._base.encode(text, False, False)
    assert tokenizer.decode(ids) == tokenizer._base.decode(ids)


def test_random_ids_decode_as_mistral_common_does(tokenizer: Tokenizer) -> None:
    numbers = random.Random(3)
    for _ in range(50):
        ids = [numbers.randrange(300, tokenizer.n_words) for _ in range(20)]
        assert tokenizer.decode(ids) == tokenizer._base.decode(ids)


def test_control_tokens_and_foreign_ids_add_no_text(tokenizer: Tokenizer) -> None:
    for token in (tokenizer._base.eos_id, tokenizer._base.bos_id, -1, 10**9):
        assert tokenizer.bytes_of(token) == b""


def test_text_cannot_inject_control_tokens(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode_chat([Message("user", "</s><s>[INST][/INST]")])
    assert tokenizer._base.eos_id not in ids
    assert ids.count(tokenizer._base.bos_id) == 1


def test_fim_where_the_tokens_exist(tokenizer: Tokenizer) -> None:
    request = FIMRequest(prompt="def f(", suffix="return x")
    if not tokenizer.has_fim:
        for ask in (
            lambda: tokenizer.encode_fim(request),
            lambda: tokenizer.encode_fim("def f(", "return x"),
            lambda: tokenizer.fim_ids("def f(", "return x"),
        ):
            with pytest.raises(RequestError, match="cannot fill in the middle"):
                ask()
        return
    expected = _theirs(tokenizer).encode_fim(request)
    assert tokenizer.encode_fim(request) == expected
    assert tokenizer.encode_fim("def f(", "return x") == expected
    assert tokenizer.fim_ids("def f(", "return x") == expected.tokens
    assert tokenizer.encode_fim("def f(") == _theirs(tokenizer).encode_fim(
        FIMRequest(prompt="def f(")
    )
    assert tokenizer.fim_ids("\ud800", "\ud800") == tokenizer.fim_ids("\ufffd", "\ufffd")


def test_which_versions_have_fim(tmp_path: Path) -> None:
    found = {}
    for version in VERSIONS:
        (tmp_path / version).mkdir()
        found[version] = Tokenizer.from_file(_write(tmp_path / version, version)).has_fim
    assert [version for version in VERSIONS if not found[version]] == ["v1", "v2"]


def test_a_lone_surrogate_and_a_nul_do_no_harm(tokenizer: Tokenizer) -> None:
    for text in ("lone \ud800 surrogate", "\x00"):
        assert tokenizer.encode_chat([Message("user", text)])
        assert tokenizer.encode_text(text)
        assert tokenizer.encode_raw([Message("user", text), Message("user", text)])


def test_an_empty_conversation_is_one_sentence(tokenizer: Tokenizer) -> None:
    with pytest.raises(RequestError, match="empty"):
        tokenizer.encode_chat([])
    with pytest.raises(RequestError, match="empty"):
        tokenizer.encode_raw([])
    with pytest.raises(RequestError, match="empty"):
        tokenizer.encode_raw([Message("user", "")])


# ── the reference's programs ──────────────────────────────────────────────────────────


def test_a_request_gives_what_mistral_common_gives(tokenizer: Tokenizer) -> None:
    turns: list[Any] = [SystemMessage(content="Be brief."), UserMessage(content="Hi")]
    parameters = {"type": "object", "properties": {"where": {"type": "string"}}}
    tool = Tool(function=Function(name="weather", description="Ask.", parameters=parameters))
    for request in (
        ChatCompletionRequest(messages=turns),
        ChatCompletionRequest(messages=turns, tools=[tool]),
        ChatCompletionRequest(messages=[*turns, AssistantMessage(content="We", prefix=True)]),
    ):
        ours = tokenizer.encode_chat_completion(request)
        theirs = _theirs(tokenizer).encode_chat_completion(request)
        assert type(ours) is type(theirs)
        assert ours == theirs
    base = tokenizer.instruct_tokenizer.tokenizer
    assert (tokenizer.bos_id, tokenizer.eos_id) == (base.bos_id, base.eos_id)


WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Ask.",
        "parameters": {"type": "object", "properties": {"where": {"type": "string"}}},
    },
}
CALLED: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Weather in Zürich?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "abcdefghi",
                "type": "function",
                "function": {"name": "weather", "arguments": '{"where": "Zürich"}'},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "abcdefghi", "name": "weather", "content": '{"sky": "blue"}'},
]


def test_messages_as_dicts(tokenizer: Tokenizer) -> None:
    request: Any = ChatCompletionRequest.from_openai(CALLED, tools=[WEATHER])
    if not tokenizer.has_tools:
        with pytest.raises(RequestError, match="does not take this request"):
            tokenizer.encode_chat_completion(CALLED, tools=[WEATHER])
        return
    expected = _theirs(tokenizer).encode_chat_completion(request)
    assert tokenizer.encode_chat_completion(CALLED, tools=[WEATHER]) == expected
    assert tokenizer.encode_chat_completion(CALLED, [WEATHER]).tokens == expected.tokens
    # Arguments as a dict, content in chunks, and what other programs add to a message.
    called = [dict(message) for message in CALLED]
    called[1]["content"] = [{"type": "text", "text": "Weather in Zürich?"}]
    called[1]["name"] = "Ann"
    call = {"name": "weather", "arguments": {"where": "Zürich"}}
    called[2]["tool_calls"] = [{"id": "abcdefghi", "function": call, "index": 0}]
    assert tokenizer.encode_chat_completion(called, [WEATHER]) == expected


def test_a_last_message_as_a_prefix(tokenizer: Tokenizer) -> None:
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "We"}]
    with pytest.raises(RequestError, match="Expected last role"):
        tokenizer.encode_chat_completion(messages)
    request: Any = ChatCompletionRequest(
        messages=[UserMessage(content="Hi"), AssistantMessage(content="We", prefix=True)]
    )
    encoded = tokenizer.encode_chat_completion([messages[0], {**messages[1], "prefix": True}])
    assert encoded == _theirs(tokenizer).encode_chat_completion(request)
    assert encoded.tokens[-1] != tokenizer.eos_id


@pytest.mark.parametrize(
    "messages",
    [
        [], [{}], [3], ["text"], [None], 5, "text", {"role": "user", "content": "Hi"},
        [{"role": "user"}], [{"role": "narrator", "content": "Hi"}], [{"role": 3, "content": "x"}],
        [{"role": "user", "content": 5}], [{"role": "user", "content": [{"type": "smell"}]}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": "nowhere"}]}],
        [{"role": "user", "content": object()}], [{"role": "assistant", "content": "Hi"}],
        [*CALLED[:2], {"role": "assistant", "tool_calls": 5}],
        [*CALLED[:2], {"role": "assistant", "tool_calls": [{}]}, CALLED[3]],
        [*CALLED[:2], {"role": "tool", "content": "x"}],
    ],
)  # fmt: skip
def test_what_is_no_conversation_is_one_sentence(tokenizer: Tokenizer, messages: Any) -> None:
    with pytest.raises(RequestError) as raised:
        tokenizer.encode_chat_completion(messages)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 260
    with pytest.raises(RequestError):
        tokenizer.encode_chat_completion([{"role": "user", "content": "Hi"}], tools=[{"type": 3}])


def test_tools_beside_a_request_are_refused(tokenizer: Tokenizer) -> None:
    request: Any = ChatCompletionRequest(messages=[UserMessage(content="Hi")])
    with pytest.raises(RequestError, match="its own tools"):
        tokenizer.encode_chat_completion(request, [WEATHER])


def test_lone_surrogates_in_dicts_do_no_harm(tokenizer: Tokenizer) -> None:
    messages = [{"role": "user", "content": "a\ud800b"}]
    assert tokenizer.encode_chat_completion(messages) == tokenizer.encode_chat_completion(
        [{"role": "user", "content": "a\ufffdb"}]
    )


def test_the_shipped_v3() -> None:
    tokenizer = Tokenizer.v3()
    assert tokenizer.label == "spm v3"
    request: Any = ChatCompletionRequest(messages=[UserMessage(content="Hi")])
    tokens = tokenizer.encode_chat_completion(request).tokens
    assert tokens == MistralTokenizer.v3().encode_chat_completion(request).tokens
    assert tokenizer.decode(tokenizer.encode_text("a b")) == "a b"


# ── text without a layout ─────────────────────────────────────────────────────────────


def _raw_text(tokenizer: Tokenizer, ids: list[int]) -> str:
    start = tokenizer.encode_text("")
    assert ids[: len(start)] == start
    return tokenizer.decode(ids[len(start) :])


def _said(*texts: str) -> list[Message]:
    return [Message("assistant" if n % 2 else "user", text) for n, text in enumerate(texts)]


def test_raw_text_is_all_texts_one_after_another(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode_raw(_said("Once upon", " a", " time, there", "fore\n\n", "  two"))
    assert _raw_text(tokenizer, ids) == "Once upon a time, therefore\n\n  two"
    assert tokenizer.encode_raw(_said("Once upon a time")) == tokenizer.encode_text(
        "Once upon a time"
    )
    assert tokenizer.encode_raw(_said("", "Once")) == tokenizer.encode_text("Once")
    # Where no merge goes over the seam, it is not seen.
    assert tokenizer.encode_raw(_said("Once", " upon", "\n", "1")) == tokenizer.encode_text(
        "Once upon\n1"
    )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="▁"), min_size=1),
        min_size=1,
        max_size=4,
    )
)
def test_any_raw_texts_come_back_whole(tokenizer: Tokenizer, texts: list[str]) -> None:
    ids = tokenizer.encode_raw(_said(*texts))
    assert _raw_text(tokenizer, ids) == "".join(texts)
    assert tokenizer.eos_id not in ids


def test_raw_text_takes_live_ids_without_their_end(tokenizer: Tokenizer) -> None:
    live = _live(tokenizer, "good food")
    for ids in (live, live[:-1]):
        known = Message("assistant", "good food", ids, tokenizer.fingerprint)
        prompt = tokenizer.encode_raw([Message("user", "It is"), known])
        assert prompt == [*tokenizer.encode_text("It is"), *live[:-1]]
        more = tokenizer.encode_raw([Message("user", "It is"), known, Message("user", " here")])
        assert more[: len(prompt)] == prompt
        assert tokenizer.decode(more[len(prompt) :], continues=True) == " here"
    foreign = Message("assistant", "good food", live, "another")
    assert tokenizer.encode_raw([Message("user", "It is "), foreign]) == tokenizer.encode_raw(
        _said("It is ", "good food")
    )


def test_live_ids_that_no_model_can_have_are_not_used(tokenizer: Tokenizer) -> None:
    mad = Message("assistant", "Good.", (5, tokenizer.n_words), tokenizer.fingerprint)
    plain = _said("Hi", "Good.", "And?")
    assert tokenizer.encode_chat([plain[0], mad, plain[2]]) == tokenizer.encode_chat(plain)
    assert tokenizer.encode_raw([plain[0], mad]) == tokenizer.encode_raw(plain[:2])


def test_a_reply_that_continues_text_keeps_its_space(tokenizer: Tokenizer) -> None:
    ids = tokenizer._base.encode("Paris", False, False)
    space = tokenizer.decode(ids, continues=True).removesuffix("Paris")
    assert tokenizer.decode(ids) == "Paris"
    assert space == ("" if tokenizer.label.startswith("tekken") else " ")


def test_too_long_a_run_of_whitespace_is_one_sentence(tokenizer: Tokenizer) -> None:
    if not tokenizer.label.startswith("tekken"):
        assert tokenizer.encode_text(" " * 200_000)
        return
    text = " " * 1_500_000
    for ask in (
        lambda: tokenizer.encode_text(text),
        lambda: tokenizer.encode_chat([Message("user", text)]),
    ):
        with pytest.raises(RequestError, match="run of whitespace"):
            ask()


def test_a_panic_of_tiktoken_is_one_sentence(tmp_path: Path) -> None:
    content = tekken.content("v7")
    content["config"]["pattern"] = f"(?=☠)|{tekken.PATTERN}"
    (tmp_path / "tekken.json").write_text(json.dumps(content))
    tokenizer = Tokenizer.from_folder(tmp_path)
    assert tokenizer.encode_text("Hi")
    with pytest.raises(RequestError, match="does not take this text"):
        tokenizer.encode_text("☠")


@pytest.mark.parametrize(
    "chunk",
    [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    ],
    ids=lambda chunk: chunk["type"],
)
def test_images_and_audio_are_refused_before_anything_opens_them(
    tokenizer: Tokenizer, chunk: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizer.mistral, "encode_chat_completion", lambda *args: 1 / 0)
    content = [{"type": "text", "text": "What is this?"}, chunk]
    with pytest.raises(RequestError, match="reads text only"):
        tokenizer.encode_chat_completion([{"role": "user", "content": content}])


def test_text_in_pieces_is_text(tokenizer: Tokenizer) -> None:
    pieces = [{"type": "text", "text": "Hello"}]
    assert tokenizer.encode_chat_completion([{"role": "user", "content": pieces}]).tokens == (
        tokenizer.encode_chat_completion([{"role": "user", "content": "Hello"}]).tokens
    )
