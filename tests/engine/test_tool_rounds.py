"""Conversations with tools in every layout: our prompts are mistral-common's own, ours read back
what was called. The oracle is a tokenizer of its own that we have not touched."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from mistral_common.experimental.tools import _decode_tool_calls, _split_content_and_tool_calls
from mistral_common.protocol.instruct.messages import (
    AssistantMessage,
    SystemMessage,
    ToolMessage,
    UserMessage,
)
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.protocol.instruct.tool_calls import Function, FunctionCall
from mistral_common.protocol.instruct.tool_calls import Tool as TheirTool
from mistral_common.protocol.instruct.tool_calls import ToolCall as TheirCall
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

import tekken
import tiny
from inference.api import Message, Tool
from inference.calls import ToolCall
from inference.errors import RequestError
from inference.tokenizer import Tokenizer

VERSIONS = ["v2", "v3", "tekken-v3", "v7", "tiny-v11", "tiny-v13"]
COUNT = 170  # conversations of each version: 1,020 in all
WORDS = [
    "the",
    "sea",
    "is",
    "Zürich",
    "東京",
    "🙂",
    "{}",
    "[INST]",
    "[TOOL_CALLS]",
    '"quoted"',
    "a\\b",
    "3.14",
    "why?",
    "line\nbreak",
]
NAMES = ["get_weather", "get_weather_2", "f", "Look-Up", "send_mail"]


class Layout:
    """Our tokenizer and one that is untouched, of the same file."""

    def __init__(self, folder: Path, version: str) -> None:
        self.version = version
        if version.startswith("tiny-"):
            path = tekken.write(folder, version.removeprefix("tiny-"))
            self.ours = Tokenizer.from_file(path)
        else:
            name = "tekken.json" if version.startswith("tekken") else f"tokenizer.model.{version}"
            path = folder / name
            shutil.copy(tiny.data_file(version), path)
            self.ours = Tokenizer.from_folder(folder)
        self.theirs = MistralTokenizer.from_file(str(path))


@pytest.fixture(scope="module", params=VERSIONS)
def layout(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Layout:
    return Layout(tmp_path_factory.mktemp(request.param), request.param)


class Talk:
    """A conversation at random, as ours and as theirs."""

    def __init__(self, random_: random.Random, version: str) -> None:
        self._random = random_
        self._both = version not in ("v2", "v3", "tekken-v3")  # text and calls in one turn
        self._most = 1 if version == "v2" else 3
        self.tools = [self._tool(name) for name in random_.sample(NAMES, random_.randint(1, 4))]
        self.ours: list[Message] = []
        self.theirs: list[Any] = []
        if random_.random() < 0.4:
            self._say("system", self._words())
        for _ in range(random_.randint(1, 3)):
            self._turn()
        if random_.random() < 0.5:
            self._say("user", self._words())
        elif self.ours[-1].role == "assistant":
            self.ours.pop()
            self.theirs.pop()

    def _turn(self) -> None:
        self._say("user", self._words())
        for _ in range(self._random.randint(0, 2)):
            self._call()
        self._say("assistant", self._words())

    def _say(self, role: Any, text: str) -> None:
        kinds = {"system": SystemMessage, "user": UserMessage, "assistant": AssistantMessage}
        self.ours.append(Message(role, text))
        self.theirs.append(kinds[role](content=text))

    def _call(self) -> None:
        calls = tuple(
            ToolCall(
                self._random.choice(self.tools).name,
                json.dumps(self._value(3), ensure_ascii=False),
                "".join(self._random.choices("abcXYZ0189", k=9)),
            )
            for _ in range(self._random.randint(1, self._most))
        )
        text = self._words() if self._both and self._random.random() < 0.3 else ""
        made = [TheirCall(id=c.id, function=_called(c)) for c in calls]
        self.ours.append(Message("assistant", text, calls=calls))
        self.theirs.append(AssistantMessage(content=text or None, tool_calls=made))
        for call in calls:
            result = self._result()
            told = {"call_id": call.id, "tool_name": call.name}
            self.ours.append(Message("tool", result, **told))
            theirs = ToolMessage(content=result, tool_call_id=call.id, name=call.name)
            self.theirs.append(theirs)

    def _words(self) -> str:
        return " ".join(self._random.choices(WORDS, k=self._random.randint(1, 8))).strip() or "x"

    def _result(self) -> str:
        if self._random.random() < 0.5:
            return self._words()
        return json.dumps(self._value(2), ensure_ascii=False)

    def _value(self, depth: int) -> dict[str, Any]:
        return {self._words(): self._leaf(depth) for _ in range(self._random.randint(0, 3))}

    def _leaf(self, depth: int) -> Any:
        if depth and self._random.random() < 0.3:
            return self._value(depth - 1)
        leaves = [self._words(), 7, -2.5, True, None, ["a", 1], []]
        return self._random.choice(leaves)

    def _tool(self, name: str) -> Tool:
        parameters = {
            "type": "object",
            "properties": {"city": {"type": "string", "description": self._words()}},
            "required": ["city"],
        }
        return Tool(name, self._words(), json.dumps(parameters))


def _called(call: ToolCall) -> FunctionCall:
    return FunctionCall(name=call.name, arguments=call.arguments)


def _their_tools(tools: list[Tool]) -> list[TheirTool]:
    return [
        TheirTool(
            function=Function(
                name=tool.name,
                description=tool.description,
                parameters=json.loads(tool.parameters),
            )
        )
        for tool in tools
    ]


def test_prompts_and_calls_are_mistral_common_s_own(layout: Layout) -> None:
    parallel = 0
    for seed in range(COUNT):
        talk = Talk(random.Random(seed), layout.version)
        request = ChatCompletionRequest(messages=talk.theirs, tools=_their_tools(talk.tools))
        expected = layout.theirs.encode_chat_completion(request).tokens
        prompt, _ = layout.ours.encode_reply(talk.ours, tools=talk.tools)
        assert prompt == expected, talk.ours
        for message in talk.theirs:
            if isinstance(message, AssistantMessage) and message.tool_calls:
                parallel += len(message.tool_calls) > 1
                _same_calls(layout, message)
    assert parallel > 20 or layout.version == "v2"


def _same_calls(layout: Layout, message: AssistantMessage) -> None:
    """Our parser and theirs on the ids of one turn."""
    tokenizer: Any = layout.theirs.instruct_tokenizer
    base = tokenizer.tokenizer
    ids = tokenizer.encode_assistant_message(message, False)
    reply = layout.ours.parse(ids)
    assert not reply.broken
    content, calls = _split_content_and_tool_calls(ids[:-1], base.get_special_token("[TOOL_CALLS]"))
    theirs = _decode_tool_calls(calls, base)
    assert [(c.name, c.parsed_arguments, c.id or "null") for c in reply.tool_calls] == [
        (c.function.name, json.loads(c.function.arguments), c.id) for c in theirs
    ]
    assert reply.text == base.decode(content)


def test_live_ids_stand_for_the_calls_that_they_are(layout: Layout) -> None:
    """A turn that was really written is spliced as it was, not encoded again."""
    for seed in range(60):
        talk = Talk(random.Random(1000 + seed), layout.version)
        tokenizer: Any = layout.theirs.instruct_tokenizer
        told: list[Message] = []
        for ours, theirs in zip(talk.ours, talk.theirs, strict=True):
            ids: tuple[int, ...] = ()
            if ours.role == "assistant":
                ids = tuple(tokenizer.encode_assistant_message(theirs, False))
            told.append(
                Message(
                    *(ours.role, ours.text, ids, layout.ours.fingerprint, ours.calls),
                    call_id=ours.call_id,
                    tool_name=ours.tool_name,
                )
            )
        plain, _ = layout.ours.encode_reply(talk.ours, tools=talk.tools)
        spliced, _ = layout.ours.encode_reply(told, tools=talk.tools)
        assert spliced == plain


def test_odd_ids_lost_results_and_doubled_ones_are_put_right(layout: Layout) -> None:
    """As conversations with other models, or damaged ones, have them."""
    call = ToolCall("f", '{"a": 1}', "call_of-another/kind 123")
    most = [call] if layout.version == "v2" else [call, ToolCall("f", "{}", "")]
    told = [
        Message("user", "Go"),
        Message("assistant", "", calls=tuple(most)),
        Message("tool", "one", call_id=call.id, tool_name="f"),
        Message("tool", "twice", call_id=call.id, tool_name="f"),
        Message("tool", "of no call", call_id="zzzzzzzzz"),
        Message("user", "And now?"),
    ]
    prompt, _ = layout.ours.encode_reply(told)
    text = layout.ours.decode(prompt)
    assert "twice" not in text
    assert "of no call" not in text
    if layout.version != "v2":  # which leaves out what lies before the last message
        assert "one" in text
        assert "was not run" in text


def test_a_conversation_that_begins_with_a_call_has_its_words_only(layout: Layout) -> None:
    """Its beginning was left out of the context."""
    call = ToolCall("f", "{}", "aaaaaaaaa")
    rest = [Message("user", "a"), Message("assistant", "Done."), Message("user", "b")]
    for text in ("", "Let me see."):
        told = [Message("assistant", text, calls=(call,)), Message("tool", "x", call_id=call.id)]
        words = [Message("assistant", text)] if text else []
        assert layout.ours.encode_reply(told + rest) == layout.ours.encode_reply(words + rest)


def test_v2_joins_the_results_of_one_turn(tmp_path: Path) -> None:
    tokenizer = Layout(tmp_path, "v2").ours
    calls = (ToolCall("f", "{}", "aaaaaaaaa"), ToolCall("g", "{}", "bbbbbbbbb"))
    told = [
        Message("user", "Go"),
        Message("assistant", "", calls=calls),
        Message("tool", "one", call_id="aaaaaaaaa"),
        Message("tool", "two", call_id="bbbbbbbbb"),
    ]
    text = tokenizer.decode(tokenizer.encode_reply(told)[0])
    assert '["one", "two"]' in text


def test_a_model_without_tool_tokens_takes_the_words_only(tmp_path: Path) -> None:
    shutil.copy(tiny.data_file("v1"), tmp_path / "tokenizer.model.v1")
    tokenizer = Tokenizer.from_folder(tmp_path)
    call = ToolCall("f", "{}", "aaaaaaaaa")
    told = [
        Message("user", "Go"),
        Message("assistant", "", calls=(call,)),
        Message("tool", "secret", call_id=call.id),
        Message("assistant", "Done"),
        Message("user", "More"),
    ]
    expected = [told[0], told[3], told[4]]
    assert tokenizer.encode_reply(told) == tokenizer.encode_reply(expected)
    with pytest.raises(RequestError, match="cannot call tools"):
        tokenizer.encode_reply(expected, tools=[Tool("f", "")])


def test_tools_that_are_none_are_one_sentence(layout: Layout) -> None:
    asked = [Message("user", "Go")]
    for tool in (
        Tool("f", "", "[]"),
        Tool("f", "", "{"),
        Tool("f", "", "[" * 100_000),
        Tool("bad name!", ""),
        Tool("new\nline", ""),
        Tool("f", "", '{"type": 3}'),
    ):
        with pytest.raises(RequestError, match=repr(tool.name)[1:-1].replace("\\", ".")):
            layout.ours.encode_reply(asked, tools=[Tool("good", ""), tool])
    with pytest.raises(RequestError, match="two tools"):
        layout.ours.encode_reply(asked, tools=[Tool("f", ""), Tool("f", "other")])
    half = Tool("f", "", '{"type": "object", "properties": {"\\ud800": {"type": "string"}}}')
    assert layout.ours.encode_reply(asked, tools=[half])
