"""ChatML, the starter model's chat layout, behind mistral-common's interface.

    <|im_start|>system⏎…<|im_end|>⏎<|im_start|>user⏎…<|im_end|>⏎<|im_start|>assistant⏎

The ids are those of the model's own chat template, its default system prompt included, with
one exception: a reply is encoded apart from the newline before it, as it was generated. That
makes a difference only for a reply that starts with whitespace.
"""

from __future__ import annotations

import re
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import numpy as np
from mistral_common.exceptions import TokenizerException, UnsupportedTokenizerFeatureException
from mistral_common.protocol.fim.request import FIMRequest
from mistral_common.protocol.instruct.chunk import ContentChunk, ThinkChunk
from mistral_common.protocol.instruct.messages import (
    AssistantMessage,
    SystemMessage,
    ToolMessage,
    UserMessage,
)
from mistral_common.protocol.instruct.normalize import get_normalizer
from mistral_common.protocol.instruct.request import InstructRequest, ModelSettings
from mistral_common.protocol.instruct.tool_calls import Tool
from mistral_common.protocol.instruct.validator import ValidationMode, get_validator
from mistral_common.protocol.speech.request import SpeechRequest
from mistral_common.protocol.transcription.request import TranscriptionRequest
from mistral_common.tokens.tokenizers.audio import Audio
from mistral_common.tokens.tokenizers.base import Tokenized, TokenizerVersion
from mistral_common.tokens.tokenizers.instruct import InstructTokenizerBase
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from mistral_common.tokens.tokenizers.tekken import Tekkenizer

from inference.errors import TokenizerError

Request: TypeAlias = InstructRequest[Any, Any]
Encoded: TypeAlias = tuple[list[int], list[np.ndarray[Any, Any]], list[Audio]]

END_OF_TEXT, IM_START, IM_END = 0, 1, 2
CONTROLS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
STOP_IDS = (END_OF_TEXT, IM_END)
BANNED_IDS = tuple(range(3, 17))  # special tokens of pretraining, no part of an answer
DEFAULT_SYSTEM_PROMPT = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"

_LONGEST_RUN = 100_000  # of whitespace; the regex engine gives up at several times as many
_WHITESPACE = re.compile(r"\s+")


class ChatMLTekkenizer(Tekkenizer):
    """Tekken with this model's control tokens, safe for any length of input."""

    @cached_property
    def bos_id(self) -> int:
        return IM_START

    @cached_property
    def eos_id(self) -> int:
        return IM_END

    @cached_property
    def pad_id(self) -> int:
        return IM_END

    @cached_property
    def unk_id(self) -> int:
        return END_OF_TEXT

    def encode(self, s: str, bos: bool, eos: bool) -> list[int]:
        """Text to ids; runs of more than 100,000 whitespace characters are cut in pieces."""
        if len(s) <= _LONGEST_RUN:
            return super().encode(s, bos, eos)
        cuts = [0]
        for run in _WHITESPACE.finditer(s):
            cuts += range(run.start() + _LONGEST_RUN, run.end(), _LONGEST_RUN)
        ids: list[int] = []
        for start, end in pairwise([*cuts, len(s)]):
            ids += super().encode(s[start:end], bos=False, eos=False)
        return [self.bos_id] * bos + ids + [self.eos_id] * eos


class ChatMLInstructTokenizer(InstructTokenizerBase[Request, FIMRequest, Tokenized]):
    """Messages to ids. Text only: all else raises `UnsupportedTokenizerFeatureException`."""

    def start(self) -> list[int]:
        return []

    def encode_instruct(self, request: Request) -> Tokenized:
        if request.available_tools:
            _unsupported("tools")
        ids = self.start()
        if not request.messages or not isinstance(request.messages[0], SystemMessage):
            ids += self._turn("system", DEFAULT_SYSTEM_PROMPT)
        prefix_ids: list[int] | None = None
        first, last = self.find_first_last_user(request)
        for index, message in enumerate(request.messages):
            if isinstance(message, SystemMessage):
                ids += self.encode_system_message(message)[0]
            elif isinstance(message, UserMessage):
                ids += self.encode_user_message(message, None, index == last, index == first)[0]
            elif isinstance(message, AssistantMessage):
                reply = self.encode_assistant_message(message, index < last)
                ids += self._assistant_header + reply
                if message.prefix:
                    prefix_ids = reply
                else:
                    ids += self._newline
            else:
                _unsupported("tools")
        if prefix_ids is None:
            ids += self._assistant_header
        limit = request.truncate_at_max_tokens
        if limit is not None and len(ids) > limit:
            raise TokenizerException(f"The input has {len(ids)} tokens, more than {limit}.")
        return Tokenized(tokens=ids, prefix_ids=prefix_ids)

    def encode_system_message(self, message: SystemMessage) -> tuple[list[int], list[Audio]]:
        return self._turn("system", _text(message.content)), []

    def encode_user_message(
        self,
        message: UserMessage,
        available_tools: list[Tool] | None,
        is_last: bool,
        is_first: bool,
        system_prompt: str | None = None,
        force_img_first: bool = False,
        settings: ModelSettings | None = None,
    ) -> Encoded:
        if available_tools:
            _unsupported("tools")
        return self._turn("user", _text(message.content)), [], []

    def encode_user_content(
        self,
        content: str | list[ContentChunk],
        is_last: bool,
        system_prompt: str | None = None,
        force_img_first: bool = False,
    ) -> Encoded:
        return self._encode(_text(content)), [], []

    def encode_assistant_message(
        self, message: AssistantMessage, is_before_last_user_message: bool
    ) -> list[int]:
        """The reply and `<|im_end|>`, as the model generates them: without the header before
        and the newline after, and open-ended if the message is a prefix to be continued."""
        if message.tool_calls:
            _unsupported("tools")
        return self._encode(_text(message.content)) + ([] if message.prefix else [IM_END])

    def encode_tool_message(
        self, message: ToolMessage, is_before_last_user_message: bool
    ) -> Encoded:
        _unsupported("tools")

    def encode_think(self, chunk: ThinkChunk) -> list[int]:
        _unsupported("thinking")

    def encode_fim(self, request: FIMRequest) -> Tokenized:
        _unsupported("filling in the middle")

    def encode_transcription(self, request: TranscriptionRequest) -> Tokenized:
        _unsupported("audio")

    def encode_speech_request(self, request: SpeechRequest) -> Tokenized:
        _unsupported("audio")

    def _turn(self, role: str, content: str) -> list[int]:
        # In one call: the newline and whitespace after it can be one token.
        return [IM_START, *self._encode(f"{role}\n{content}"), IM_END, *self._newline]

    @cached_property
    def _assistant_header(self) -> list[int]:
        return [IM_START, *self._encode("assistant\n")]

    @cached_property
    def _newline(self) -> list[int]:
        return self._encode("\n")

    def _encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, bos=False, eos=False)


def load_chatml(folder: Path) -> MistralTokenizer[Any, Any, Any, Any, Any]:
    """The starter's tokenizer from its folder. Raises `TokenizerError`."""
    path = folder / "tekken.json"
    try:
        tekken = ChatMLTekkenizer.from_file(path)
        controls = [tekken.get_special_token(token) for token in CONTROLS]
        if controls != [END_OF_TEXT, IM_START, IM_END]:
            raise ValueError(controls)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:
        raise TokenizerError(
            f"{path} is missing, damaged or of another model; remove the folder and fetch the "
            "starter model again.",
            detail=repr(error),
        ) from error
    return MistralTokenizer(
        ChatMLInstructTokenizer(tekken),
        validator=get_validator(TokenizerVersion.v7, ValidationMode.test),
        request_normalizer=get_normalizer(TokenizerVersion.v7, None),
    )


def _text(content: str | list[Any] | None) -> str:
    """The text of a message: the normalizer has joined its text chunks, so a list is more."""
    if content is None or isinstance(content, str):
        return content or ""
    if all(getattr(chunk, "type", None) == "text" for chunk in content):
        return "".join(chunk.text for chunk in content)
    _unsupported("images, audio and thinking")


def _unsupported(what: str) -> NoReturn:
    raise UnsupportedTokenizerFeatureException(f"The starter model has no tokens for {what}")
