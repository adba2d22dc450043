"""Messages ⇄ token ids: mistral-common's layouts, live-id splicing, exact streaming text."""

from __future__ import annotations

import codecs
import hashlib
import json
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mistral_common.exceptions import MistralCommonException
from mistral_common.protocol.fim.request import FIMRequest
from mistral_common.protocol.instruct.messages import (
    AssistantMessage,
    SystemMessage,
    UserMessage,
)
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.tokens.tokenizers.base import SpecialTokens, TokenizerVersion
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from mistral_common.tokens.tokenizers.sentencepiece import SentencePieceTokenizer
from mistral_common.tokens.tokenizers.tekken import Tekkenizer

from inference.api import Message
from inference.errors import RequestError, TokenizerError
from inference.folder import find_tokenizer

# What escapes from mistral-common and the libraries under it.
_LIBRARY_ERRORS = (ValueError, AssertionError, ImportError, RuntimeError)


class Tokenizer:
    """A model's tokenizer: chat, raw text and FIM prompts to ids, ids to bytes.

    Assistant turns that carry the ids the model really produced are spliced into the
    prompt as they were, so that what is in the KV cache stays a prefix of it.
    """

    def __init__(
        self,
        tokenizer: Any,  # a MistralTokenizer; its five type parameters say nothing here
        *,
        label: str,
        fingerprint: str,
        stop_ids: Sequence[int] | None = None,
        banned_ids: Sequence[int] = (),
    ) -> None:
        self.mistral = tokenizer
        self.label = label
        self.fingerprint = fingerprint
        self._instruct: Any = tokenizer.instruct_tokenizer
        self._base = self._instruct.tokenizer
        self.stop_ids = frozenset(stop_ids if stop_ids is not None else (self._base.eos_id,))
        self.banned_ids = tuple(banned_ids)
        self.n_words: int = self._base.n_words
        self._live: deque[tuple[str, tuple[int, ...]]] = deque()
        self._encode_assistant = self._instruct.encode_assistant_message
        # The one place where mistral-common asks for an assistant turn's ids.
        setattr(self._instruct, "encode_assistant_message", self._splice)  # noqa: B010

    @classmethod
    def from_folder(cls, folder: str | Path) -> Tokenizer:
        """The tokenizer of a model folder.

        Raises:
            TokenizerError: none there, or not readable; one sentence.
        """
        folder = Path(folder).expanduser()
        try:
            return cls._from_folder(folder)
        except (TokenizerError, MemoryError):
            raise
        except Exception as error:  # many kinds escape from the parsers of foreign files
            raise TokenizerError(
                f"The tokenizer in {folder} cannot be read ({_brief(error)}); fetch it again."
            ) from error

    @classmethod
    def _from_folder(cls, folder: Path) -> Tokenizer:
        layout = _layout(folder)
        if layout == "chatml":
            from inference import chatml

            return cls(
                chatml.load_chatml(folder),
                label="tekken, ChatML",
                fingerprint=_digest(folder / "tekken.json"),
                stop_ids=chatml.STOP_IDS,
                banned_ids=chatml.BANNED_IDS,
            )
        path = find_tokenizer(folder)
        if path.name == "tokenizer.model":
            return cls._from_unversioned(path)
        tokenizer = MistralTokenizer.from_file(path)
        base = tokenizer.instruct_tokenizer.tokenizer
        family = "tekken" if isinstance(base, Tekkenizer) else "spm"
        return cls(tokenizer, label=f"{family} {base.version.value}", fingerprint=_digest(path))

    @classmethod
    def _from_unversioned(cls, path: Path) -> Tokenizer:
        """A bare `tokenizer.model`: 32000 pieces are v1; 32768 fit v2, v3 and v7: v3."""
        from mistral_common.protocol.instruct.normalize import get_normalizer
        from mistral_common.protocol.instruct.validator import ValidationMode, get_validator
        from mistral_common.tokens.tokenizers.instruct import (
            InstructTokenizerV1,
            InstructTokenizerV3,
        )

        words = SentencePieceTokenizer(path).n_words
        guess = TokenizerVersion.v1 if words == 32000 else TokenizerVersion.v3
        base = SentencePieceTokenizer(path, tokenizer_version=guess)
        kind = InstructTokenizerV1 if words == 32000 else InstructTokenizerV3
        tokenizer = MistralTokenizer(
            kind(base),
            validator=get_validator(guess, mode=ValidationMode.test),
            request_normalizer=get_normalizer(guess, None),
        )
        return cls(tokenizer, label=f"spm {guess.value} (by its size)", fingerprint=_digest(path))

    # ── encoding ──────────────────────────────────────────────────────────────────

    def encode_chat(self, messages: Sequence[Message]) -> list[int]:
        """The prompt ids of a conversation that ends with a user turn.

        Raises:
            RequestError: an empty conversation, or one that the layout has no place for.
        """
        if not messages:
            raise RequestError("The conversation is empty; write a message first.")
        messages = [replace(message, text=_encodable(message.text)) for message in messages]
        converted = [_convert(message) for message in messages if message.text]
        self._live = deque(
            (m.text, self._closed(m.ids) if m.fingerprint == self.fingerprint else ())
            for m in messages
            if m.role == "assistant" and m.text
        )
        try:
            request = ChatCompletionRequest(messages=converted)
            return list(self.mistral.encode_chat_completion(request).tokens)
        except (MistralCommonException, *_LIBRARY_ERRORS) as error:
            raise RequestError(
                f"The model's chat layout does not take this conversation: {_brief(error)}.",
                detail=repr(error),
            ) from error
        finally:
            self._live.clear()

    def encode_text(self, text: str) -> list[int]:
        """Raw text to ids, behind the begin-of-sequence token where the model has one."""
        bos = SpecialTokens.bos.value
        return list(self._base.encode(_encodable(text), bos=self._has(bos), eos=False))

    def encode_fim(self, prefix: str, suffix: str) -> list[int]:
        """Fill-in-the-middle prompt ids.

        Raises:
            RequestError: this tokenizer has no FIM tokens.
        """
        if not self.has_fim:
            raise RequestError(
                "This model cannot fill in the middle: its tokenizer has no [PREFIX] and "
                "[SUFFIX] tokens (Codestral has)."
            )
        request = FIMRequest(prompt=_encodable(prefix), suffix=_encodable(suffix))
        return list(self.mistral.encode_fim(request).tokens)

    @property
    def has_fim(self) -> bool:
        """Whether the FIM control tokens exist (v2's would silently become <unk>)."""
        return all(self._has(t.value) for t in (SpecialTokens.prefix, SpecialTokens.suffix))

    @property
    def has_tools(self) -> bool:
        """Whether the tool-call control token exists."""
        return self._has(SpecialTokens.tool_calls.value)

    def _has(self, token: str) -> bool:
        try:
            number = self._base.get_special_token(token)
            return bool(self._base.id_to_piece(number) == token)
        except (ValueError, KeyError, IndexError, AssertionError, MistralCommonException):
            return False

    def _closed(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        """A reply's ids with the end token that a cancelled one lacks."""
        if not ids or ids[-1] in self.stop_ids:
            return ids
        return (*ids, self._base.eos_id)

    def _splice(self, message: Any, is_before_last_user_message: bool) -> list[int]:
        encoded: list[int] = self._encode_assistant(message, is_before_last_user_message)
        if encoded and self._live and message.content == self._live[0][0]:
            _, live = self._live.popleft()
            if live:
                return list(live)
        return encoded

    # ── decoding ──────────────────────────────────────────────────────────────────

    def bytes_of(self, token: int) -> bytes:
        """The bytes one id adds to the text; none for control tokens and foreign ids."""
        base = self._base
        if not 0 <= token < self.n_words or base.is_special(token):
            return b""
        if isinstance(base, Tekkenizer):
            return base.id_to_byte_piece(token)
        piece: str = base.id_to_piece(token)
        if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
            return bytes([int(piece[3:5], 16)])
        return piece.replace("▁", " ").encode()

    def detokenizer(self) -> Detokenizer:
        """A fresh incremental detokenizer for one reply."""
        strip = isinstance(self._base, SentencePieceTokenizer)
        return Detokenizer(self, strip_space=strip)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of a whole reply."""
        detokenizer = self.detokenizer()
        return "".join(map(detokenizer.add, ids)) + detokenizer.flush()


class Detokenizer:
    """Ids to text, one at a time: bytes go through an incremental UTF-8 decoder, so that
    the pieces joined are exactly the text of the whole. A sentencepiece reply starts
    with a space that is no part of it."""

    def __init__(self, tokenizer: Tokenizer, *, strip_space: bool) -> None:
        self._bytes_of = tokenizer.bytes_of
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._strip = strip_space

    def add(self, token: int) -> str:
        """The text that `token` completes; empty in the middle of a character."""
        piece = self._bytes_of(token)
        if self._strip and piece:
            self._strip = False
            piece = piece.removeprefix(b" ")
        return self._decoder.decode(piece)

    def flush(self) -> str:
        """What is left at the end: U+FFFD for an unfinished character."""
        return self._decoder.decode(b"", final=True)


def _encodable(text: str) -> str:
    """`text` with U+FFFD for lone surrogates, which have no bytes and crash sentencepiece."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _convert(message: Message) -> SystemMessage | UserMessage | AssistantMessage:
    if message.role == "system":
        return SystemMessage(content=message.text)
    if message.role == "user":
        return UserMessage(content=message.text)
    return AssistantMessage(content=message.text)


def _layout(folder: Path) -> str:
    """`chatml` for the starter's folder, which says so beside its weights."""
    try:
        record = json.loads((folder / "starter.json").read_bytes())
    except (OSError, ValueError):
        return "mistral"
    return str(record.get("layout", "mistral")) if isinstance(record, dict) else "mistral"


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _brief(error: BaseException) -> str:
    """The first line of an error of a library, as part of a sentence."""
    lines = str(error).strip().splitlines()
    text = lines[0] if lines else type(error).__name__
    return (text if len(text) <= 160 else text[:157] + "…").rstrip(".")
