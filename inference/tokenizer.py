"""Messages ⇄ token ids: mistral-common's layouts, live-id splicing, exact streaming text."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from mistral_common.protocol.fim.request import FIMRequest
from mistral_common.protocol.instruct.messages import AssistantMessage
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.tokens.tokenizers.base import SpecialTokens, Tokenized
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from mistral_common.tokens.tokenizers.tekken import Tekkenizer

from inference.api import Message, Tool
from inference.calls import clean
from inference.detokenizer import Detokenizer
from inference.errors import RequestError, TokenizerError
from inference.files import expanded
from inference.parse import Parser, Reply, collect
from inference.prompts import (
    SAFE_PROMPT,
    converted,
    key_of,
    one_sentence,
    prepared,
    request_of,
    text_only,
    tools_of,
)
from inference.tokenizer_files import TokenizerFile, load_file, load_folder

__all__ = ["SAFE_PROMPT", "Detokenizer", "Tokenizer"]

_EMPTY = "The conversation is empty; write a message first."
# A character that no sentencepiece merge takes in: what is encoded behind it stands alone.
_APART = "\x01"


class Tokenizer:
    """A model's tokenizer: chat, raw text and FIM prompts to ids, ids to bytes, text and calls.

    Assistant turns that carry the ids the model really produced are spliced into the
    prompt as they were, so that what is in the KV cache stays a prefix of it.
    """

    def __init__(self, file: TokenizerFile) -> None:
        self.mistral = file.mistral
        self.label = file.label
        self.note = file.note  # on what had to be chosen, if anything
        self.fingerprint = _digest(file.path)
        self.instruct_tokenizer: Any = self.mistral.instruct_tokenizer
        self._base = self.instruct_tokenizer.tokenizer
        self.bos_id: int = self._base.bos_id
        self.eos_id: int = self._base.eos_id
        self.stop_ids = frozenset((self.eos_id,) if file.stop_ids is None else file.stop_ids)
        self.banned_ids = file.banned_ids
        self.n_words: int = self._base.n_words
        self.version_number: int = self._base.version.version_num
        self._tekken = isinstance(self._base, Tekkenizer)
        self._live: deque[tuple[object, tuple[int, ...]]] = deque()
        self._encode_assistant = self.instruct_tokenizer.encode_assistant_message
        # The one place where mistral-common asks for an assistant turn's ids.
        setattr(self.instruct_tokenizer, "encode_assistant_message", self._splice)  # noqa: B010

    @classmethod
    def from_folder(cls, folder: str | Path, vocab_size: int | None = None) -> Tokenizer:
        """The tokenizer of a model folder; of several files the one that fits the model's
        `vocab_size`, which `note` then says.

        Raises:
            TokenizerError: none there, or not readable; one sentence.
        """
        return cls(load_folder(expanded(folder), vocab_size))

    @classmethod
    def from_file(cls, path: str | Path) -> Tokenizer:
        """A tokenizer from its file: `tekken.json`, `tokenizer.model.v3` or `tokenizer.model`.

        Raises:
            TokenizerError: missing, of another kind, or not readable; one sentence.
        """
        return cls(load_file(expanded(path)))

    @classmethod
    def v3(cls) -> Tokenizer:
        """The v3 tokenizer of Codestral 22B, Mixtral 8x22B and Large 2, as mistral-common
        ships it."""
        return cls.from_file(MistralTokenizer.v3().instruct_tokenizer.tokenizer.file_path)

    # ── chat ──────────────────────────────────────────────────────────────────────

    def encode_chat(self, messages: Sequence[Message]) -> list[int]:
        """The prompt ids of a conversation; a last turn of the assistant is left open, to be
        continued.

        Raises:
            RequestError: an empty conversation, or one that the layout has no place for.
        """
        return self.encode_reply(messages)[0]

    def encode_reply(
        self, messages: Sequence[Message], *, safe_prompt: bool = False, tools: Sequence[Tool] = ()
    ) -> tuple[list[int], list[int]]:
        """As `encode_chat`, with the ids of the turn that is to be continued (none: a new one).
        `safe_prompt` puts Mistral's guardrail before the system prompt.

        Raises:
            RequestError: as `encode_chat`; or there are tools, and no tokens for them.
        """
        if not messages:
            raise RequestError(_EMPTY)
        if tools and not self.has_tools:
            raise RequestError("This model cannot call tools: its tokenizer has no [TOOL_CALLS].")
        known = [replace(message, ids=self._live_ids(message)) for message in messages]
        if not self.has_tools:  # what was called, and with another model, it cannot read
            known = [replace(message, calls=()) for message in known if message.role != "tool"]
        known = prepared(known, safe_prompt=safe_prompt, version=self.version_number)
        if not known:
            raise RequestError(_EMPTY)
        turns = [converted(message, both=self.version_number >= 7) for message in known]
        self._live = deque(
            (key_of(turn), self._closed(message.ids))
            for message, turn in zip(known, turns, strict=True)
            if message.role == "assistant"
        )
        if turns and isinstance(last := turns[-1], AssistantMessage):
            last.prefix = True
        try:
            with one_sentence("The model's chat layout does not take this conversation"):
                request = ChatCompletionRequest(messages=turns, tools=tools_of(tools))
                encoded = self.mistral.encode_chat_completion(request)
                return list(encoded.tokens), list(encoded.prefix_ids or ())
        finally:
            self._live.clear()

    def encode_chat_completion(
        self,
        request: ChatCompletionRequest[Any] | Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        *,
        max_model_input_len: int | None = None,
    ) -> Tokenized:
        """What mistral-common makes of its own request, or of messages (and tools) as plain
        dicts in OpenAI's style: `role`, `content`, `tool_calls`, `tool_call_id`; a last
        assistant message with `prefix: True` is continued.

        Raises:
            RequestError: the model's chat layout does not take it.
        """
        with one_sentence("The model's chat layout does not take this request"):
            if not isinstance(request, ChatCompletionRequest):
                request = request_of(request, tools)
            elif tools is not None:
                raise RequestError("A request holds its own tools; give them there.")
            text_only(request)
            encoded: Tokenized = self.mistral.encode_chat_completion(request, max_model_input_len)
            return encoded

    def _live_ids(self, message: Message) -> tuple[int, ...]:
        """The ids of a reply that hold for this tokenizer."""
        known = message.role == "assistant" and message.fingerprint == self.fingerprint
        if known and all(0 <= i < self.n_words for i in message.ids):
            return message.ids
        return ()

    def _closed(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        """A reply's ids with the end token that a cancelled one lacks."""
        if not ids or ids[-1] in self.stop_ids:
            return ids
        return (*ids, self.eos_id)

    def _splice(self, message: Any, is_before_last_user_message: bool) -> list[int]:
        encoded: list[int] = self._encode_assistant(message, is_before_last_user_message)
        # Replies that mistral-common has joined to one match nothing; those after them do.
        key = key_of(message)
        for place, (other, live) in enumerate(self._live if encoded else ()):
            if other == key:
                for _ in range(place + 1):
                    self._live.popleft()
                if message.prefix:  # open: without its end
                    live = live[:-1]
                return list(live) or encoded
        return encoded

    # ── text without a layout ─────────────────────────────────────────────────────

    def encode_text(self, text: str) -> list[int]:
        """Raw text to ids, behind the begin-of-sequence token where the model has one.

        Raises:
            RequestError: a run of whitespace is too long for the tokenizer.
        """
        return [*self._start, *self._ids(text)]

    def encode_raw(self, messages: Sequence[Message]) -> list[int]:
        """The prompt of a base model: the messages' texts directly one after another, behind
        the begin-of-sequence token. Replies with live ids are spliced, their end dropped.

        Raises:
            RequestError: there is no text, or `encode_text`'s reason.
        """
        ids: list[int] = []
        for message in messages:
            live = self._live_ids(message)
            if live:
                ids += live[:-1] if live[-1] in self.stop_ids else live
            elif message.text:
                ids += self._continued(message.text) if ids else self._ids(message.text)
        if not ids:
            raise RequestError(_EMPTY)
        return [*self._start, *ids]

    def fim_ids(self, prefix: str, suffix: str) -> list[int]:
        """Fill-in-the-middle prompt ids. Raises as `encode_fim`."""
        return list(self.encode_fim(prefix, suffix).tokens)

    def encode_fim(self, request: FIMRequest | str, suffix: str | None = None) -> Tokenized:
        """What mistral-common makes of its own `FIMRequest`, or of a prefix and a suffix.

        Raises:
            RequestError: this tokenizer has no FIM tokens.
        """
        # Without this check v2, and v3 of 7B v0.3, would silently write <unk>.
        if not self.has_fim:
            raise RequestError(
                "This model cannot fill in the middle: its tokenizer has no [PREFIX] and "
                "[SUFFIX] tokens (Codestral has)."
            )
        with one_sentence("The model's tokenizer does not take this request"):
            if isinstance(request, str):
                suffix = clean(suffix) if suffix is not None else None
                request = FIMRequest(prompt=clean(request), suffix=suffix)
            encoded: Tokenized = self.mistral.encode_fim(request)
            return encoded

    @cached_property
    def _start(self) -> tuple[int, ...]:
        bos = self.control_id(SpecialTokens.bos.value)
        return () if bos is None else (bos,)

    def _ids(self, text: str) -> list[int]:
        with one_sentence("The model's tokenizer does not take this text"):
            return list(self._base.encode(clean(text), bos=False, eos=False))

    def _continued(self, text: str) -> list[int]:
        """The ids of text that stands behind other text: sentencepiece puts a space before
        everything that it encodes."""
        if self._tekken:
            return self._ids(text)
        mark = self._ids(_APART)
        ids = self._ids(_APART + text)
        return ids[len(mark) :] if ids[: len(mark)] == mark else self._ids(text)

    # ── what the tokenizer has ────────────────────────────────────────────────────

    @property
    def has_fim(self) -> bool:
        """Whether the FIM control tokens exist."""
        tokens = (SpecialTokens.prefix, SpecialTokens.suffix)
        return all(self.control_id(token.value) is not None for token in tokens)

    @property
    def has_thinking(self) -> bool:
        """Whether the control tokens around thinking exist."""
        return None not in self.thinking_ids

    @property
    def thinking_ids(self) -> tuple[int | None, int | None]:
        """The control tokens that begin and end thinking."""
        begin, end = SpecialTokens.begin_think, SpecialTokens.end_think
        return self.control_id(begin.value), self.control_id(end.value)

    @property
    def has_tools(self) -> bool:
        """Whether the tool-call control token exists."""
        return self.control_id(SpecialTokens.tool_calls.value) is not None

    def control_id(self, token: str) -> int | None:
        """The id of a control token as it is spelled, or None."""
        if not self._base.is_special(token):
            return None
        return int(self._base.get_special_token(token))

    # ── decoding ──────────────────────────────────────────────────────────────────

    def bytes_of(self, token: int) -> bytes:
        """The bytes one id adds to the text; none for control tokens and foreign ids."""
        base = self._base
        if not 0 <= token < self.n_words or base.is_special(token):
            return b""
        if self._tekken:
            return bytes(base.id_to_byte_piece(token))
        piece: str = base.id_to_piece(token)
        if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
            return bytes([int(piece[3:5], 16)])
        return piece.replace("▁", " ").encode()

    @property
    def unknown_ids(self) -> tuple[int, ...]:
        """The token for what a sentencepiece vocabulary lacks; its spelling is no text."""
        return () if self._tekken else (int(self._base.unk_id),)

    def name_of(self, token: int) -> str:
        """How a control token is spelled; empty for one that adds text."""
        if not 0 <= token < self.n_words or not self._base.is_special(token):
            return ""
        return str(self._base.id_to_piece(token))

    def detokenizer(self, *, continues: bool = False) -> Detokenizer:
        """A fresh incremental detokenizer for one reply. `continues`: the reply goes on with
        raw text, so a space that it starts with is part of it."""
        return Detokenizer(self.bytes_of, strip_space=not self._tekken and not continues)

    def decode(self, ids: Sequence[int], *, continues: bool = False) -> str:
        """The text of a whole reply, control tokens left out."""
        detokenizer = self.detokenizer(continues=continues)
        return "".join(map(detokenizer.add, ids)) + detokenizer.flush()

    def parse(self, ids: Sequence[int]) -> Reply:
        """A whole reply taken apart: text, thinking, tool calls. `Parser` does it id by id."""
        parser = Parser(self)
        events = [event for token in ids for event in parser.feed(token)]
        return collect([*events, *parser.finish()])


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise TokenizerError(f"{path} cannot be read: {error.strerror}.") from None
