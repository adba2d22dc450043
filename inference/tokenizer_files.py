"""Which of a folder's files is the model's tokenizer, and what version it is of.

Every file is looked at before a library opens it: regular, at most 64 MiB, and for tekken of a
shape that neither fills the memory nor sends its ids astray.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mistral_common.protocol.instruct.normalize import get_normalizer
from mistral_common.protocol.instruct.validator import ValidationMode, get_validator
from mistral_common.tokens.tokenizers.base import TokenizerVersion
from mistral_common.tokens.tokenizers.instruct import (
    InstructTokenizerV1,
    InstructTokenizerV2,
    InstructTokenizerV3,
    InstructTokenizerV7,
)
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from mistral_common.tokens.tokenizers.sentencepiece import SentencePieceTokenizer
from pydantic import ValidationError

from inference.errors import CheckpointError, TokenizerError
from inference.files import one_line, read_bytes, regular_size
from inference.folder import find_tokenizer

VERSIONS = ("v15", "v13", "v11", "v7m1", "v7", "v3", "v2", "v1")
NAMES = ("tekken.json", *(f"tokenizer.model.{v}" for v in VERSIONS), "tokenizer.model")

_MOST_BYTES = 64 << 20  # the largest published one has 19 MB
_MOST_ITEMS = 2_000_000  # JSON objects and lists; the published ones have 150,000
_MOST_COMMAS = 4_000_000
_MOST_SPECIALS = 100_000  # the published ones have 1,000
_TRIAL = "Hi, it's 12 🙂\n\n  x"
_SIZE = re.compile(rb'"default_vocab_size"\s*:\s*(\d{1,9})\b')
_SPM_NAME = re.compile(r".*\.model(\.v\d{1,3}(m\d)?)?")

# The control tokens that a version writes. sentencepiece has <unk> for one that is missing.
_SINCE_V2 = (
    "[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]", "[/TOOL_RESULTS]",
)  # fmt: skip
_SINCE_V7 = (*_SINCE_V2, "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]")
_NEEDED = {
    "v1": (),
    "v2": _SINCE_V2,
    "v3": _SINCE_V2,
    "v7": _SINCE_V7,
    "v11": (*_SINCE_V7, "[ARGS]", "[CALL_ID]"),
}
_UNVERSIONED: dict[TokenizerVersion, Any] = {
    TokenizerVersion.v1: InstructTokenizerV1,
    TokenizerVersion.v2: InstructTokenizerV2,
    TokenizerVersion.v3: InstructTokenizerV3,
    TokenizerVersion.v7: InstructTokenizerV7,
}


@dataclass(frozen=True, slots=True)
class TokenizerFile:
    """A tokenizer as mistral-common has loaded it."""

    path: Path
    mistral: Any
    """A MistralTokenizer; its five type parameters say nothing here."""
    label: str
    """For people, for instance `tekken v3`."""
    note: str = ""
    """A sentence on what had to be chosen."""
    stop_ids: tuple[int, ...] | None = None
    """Ids that end a reply, where that is not just the end-of-sequence token."""
    banned_ids: tuple[int, ...] = ()


def load_folder(folder: Path, vocab_size: int | None = None) -> TokenizerFile:
    """The tokenizer of a model folder; of several files the one that fits `vocab_size`.

    Raises:
        TokenizerError: none there, or not readable; one sentence.
    """
    try:
        if not folder.is_dir():
            raise TokenizerError(f"{folder} is no folder; give the folder of a model.")
        path, note = _choose(folder, vocab_size)
    except OSError as error:
        raise TokenizerError(f"{folder} cannot be read: {error.strerror}.") from None
    found = load_file(path)
    return replace(found, note=f"{note} {found.note}".strip())


def load_file(path: Path) -> TokenizerFile:
    """One tokenizer file, by its name: `tekken*.json`, `*.model.v3` or `*.model`.

    Raises:
        TokenizerError: missing, of another kind, or not readable; one sentence.
    """
    try:
        if regular_size(path) > _MOST_BYTES:
            raise TokenizerError(f"{path} is too large to be a tokenizer.")
    except FileNotFoundError:
        raise TokenizerError(f"{path} does not exist.") from None
    except CheckpointError as error:
        raise TokenizerError(str(error)) from None
    tekken = "tekken" in path.name and path.suffix == ".json"
    if not tekken and not _SPM_NAME.fullmatch(path.name):
        theirs = path.name == "tokenizer.json"
        what = "is Hugging Face's tokenizer" if theirs else "has no tokenizer file's name"
        raise TokenizerError(
            f"{path} {what}; give the model's tekken.json, tokenizer.model.v3 or tokenizer.model."
        )
    try:
        found = _tekken(path) if tekken else _sentencepiece(path)
        base = found.mistral.instruct_tokenizer.tokenizer
        if not all(0 <= number < base.n_words for number in (base.bos_id, base.eos_id)):
            raise ValueError("it has no <s> or no </s> token")
        return found
    except (TokenizerError, MemoryError):
        raise
    except BaseException as error:  # many kinds escape from the parsers of foreign files
        if not is_failure(error):
            raise
        raise TokenizerError(
            f"{path} cannot be read ({brief(error)}); fetch it again.", detail=repr(error)
        ) from error


def is_failure(error: BaseException) -> bool:
    """Whether a library failed, rather than someone has interrupted it. A panic of tiktoken is
    no `Exception`."""
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def brief(error: BaseException) -> str:
    """An error of a library as part of a sentence: one line, no full stop."""
    text = str(error)
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        text = ".".join(map(str, first["loc"])) + f": {first['msg']}"
    elif isinstance(error, KeyError):
        text = f"{error} is missing"
    elif text.startswith("Regex error"):
        text = "it has a run of whitespace that is too long"
    lines = text.strip().splitlines()
    text = lines[0] if lines else type(error).__name__
    return one_line(text, 160).rstrip(".:")


# ── which file ────────────────────────────────────────────────────────────────────────


def _choose(folder: Path, vocab_size: int | None) -> tuple[Path, str]:
    """The file, and a sentence on the choice where there was one."""
    # A link whose target is missing counts: to say so beats "there is no tokenizer".
    named = [folder / name for name in NAMES if os.path.lexists(folder / name)]
    files = [path for path in named if path.is_file()] or named
    if not files:
        return find_tokenizer(folder), ""
    if len(files) == 1:
        return files[0], ""
    sizes = {path: size for path in files if (size := _words(path))}
    several = f"was taken of {len(files)} tokenizer files"
    if vocab_size is None:
        path = next(iter(sizes), files[0])
        return path, f"{path.name} {several}: tekken is preferred, then the newest version."
    for path, size in sizes.items():
        if size == vocab_size:
            return path, f"{path.name} {several}, as its {size:,} tokens fit the model."
    for path, size in sizes.items():
        if size < vocab_size:
            return path, (
                f"{path.name} {several}, as its {size:,} tokens fit the model's {vocab_size:,}."
            )
    path = next(iter(sizes), files[0])
    return path, f"{path.name} {several}; none of them fits the model's {vocab_size:,} tokens."


def _words(path: Path) -> int | None:
    """How many tokens a file has, without building the tokenizer (a tenth of a second at most);
    None: it cannot be read."""
    try:
        data = read_bytes(path, most_bytes=_MOST_BYTES)
        if path.suffix == ".json":
            found = _SIZE.search(data)
            return int(found[1]) if found else None
        # Of any version: it makes no difference to the size.
        return SentencePieceTokenizer(path, TokenizerVersion.v1).n_words
    except (OSError, CheckpointError, RuntimeError, ValueError, AssertionError):
        return None


# ── tekken ────────────────────────────────────────────────────────────────────────────


def _tekken(path: Path) -> TokenizerFile:
    if _layout(path.parent) == "chatml":
        from inference import chatml

        return TokenizerFile(
            path,
            chatml.load_chatml(path.parent),
            "tekken, ChatML",
            stop_ids=chatml.STOP_IDS,
            banned_ids=chatml.BANNED_IDS,
        )
    _check_tekken(read_bytes(path, most_bytes=_MOST_BYTES))
    tokenizer: Any = MistralTokenizer.from_file(path)
    base = tokenizer.instruct_tokenizer.tokenizer
    # A pattern can lose text; one that matches nothing at all makes tiktoken panic.
    if base.decode(base.encode(_TRIAL, bos=False, eos=False)) != _TRIAL:
        raise ValueError("it does not give back the text that it encodes")
    return TokenizerFile(path, tokenizer, f"tekken {tokenizer.version.value}")


def _layout(folder: Path) -> str:
    """`chatml` for the starter's folder, which says so beside its weights."""
    try:
        record = json.loads(read_bytes(folder / "starter.json", most_bytes=1 << 20))
    except (OSError, CheckpointError, ValueError, RecursionError):
        return "mistral"
    return str(record.get("layout", "mistral")) if isinstance(record, dict) else "mistral"


def _check_tekken(data: bytes) -> None:
    """What `Tekkenizer` trusts its file in: that it is no bomb (a file of 64 MB can ask for many
    GB, and 10⁹ special tokens are made on demand), and that each id is its place in the list.

    Raises:
        ValueError, RecursionError, LookupError, TypeError: it is not so.
    """
    if data.count(b"{") + data.count(b"[") > _MOST_ITEMS or data.count(b",") > _MOST_COMMAS:
        raise ValueError("it holds far more than a tokenizer")
    content = json.loads(data)
    if not isinstance(content, dict) or not isinstance(content.get("config"), dict):
        raise ValueError("it has no tokenizer's config")
    specials = _count(content["config"], "default_num_special_tokens", _MOST_SPECIALS)
    size = _count(content["config"], "default_vocab_size", _MOST_BYTES)
    if not isinstance(content.get("vocab"), list):
        raise ValueError("it has no vocabulary")
    if not 256 <= size - specials <= len(content["vocab"]):
        raise ValueError(
            f"it declares {size:,} tokens, {specials:,} of them special, and has "
            f"{len(content['vocab']):,} others"
        )
    for rank, token in enumerate(content.get("special_tokens") or []):
        if token["rank"] != rank or not isinstance(token["token_str"], str):
            raise ValueError(f"its special token {rank} is out of place")


def _count(config: dict[str, Any], key: str, most: int) -> int:
    value = config.get(key)
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f'its "{key}" is {value!r:.40}')
    return value


# ── sentencepiece ─────────────────────────────────────────────────────────────────────


def _sentencepiece(path: Path) -> TokenizerFile:
    if path.suffix == ".model":
        return _unversioned(path)
    tokenizer: Any = MistralTokenizer.from_file(path)
    base = tokenizer.instruct_tokenizer.tokenizer
    version: str = base.version.value
    missing = [token for token in _NEEDED.get(version, ()) if not base.is_special(token)]
    if missing:
        raise TokenizerError(
            f"{path} has no {missing[0]} token, so it is not of version {version}; fetch it "
            "again, or name it tokenizer.model."
        )
    return TokenizerFile(path, tokenizer, f"spm {version}")


def _unversioned(path: Path) -> TokenizerFile:
    """A `tokenizer.model`, whose control tokens tell most of its version."""
    version, reason = _guess(SentencePieceTokenizer(path, TokenizerVersion.v1), path.parent)
    tokenizer: Any = MistralTokenizer(
        _UNVERSIONED[version](SentencePieceTokenizer(path, version)),
        validator=get_validator(version, mode=ValidationMode.test),
        request_normalizer=get_normalizer(version, None),
    )
    note = f"{path.name} does not say its version; {version.value} was taken, as {reason}."
    # v1 needs no words: this is what its file is called.
    plain = version == TokenizerVersion.v1
    return TokenizerFile(
        path, tokenizer, f"spm {version.value} (by its tokens)", "" if plain else note
    )


def _guess(base: SentencePieceTokenizer, folder: Path) -> tuple[TokenizerVersion, str]:
    """The version of a file that does not say it, and why."""
    has = base.is_special
    if not all(map(has, _SINCE_V2)):
        return TokenizerVersion.v1, "it has no [INST] token"
    if all(map(has, _SINCE_V7)):
        return TokenizerVersion.v7, "it has a [SYSTEM_PROMPT] token"
    if has("[PREFIX]"):
        return TokenizerVersion.v3, "it has a [PREFIX] token"
    # v2 and the v3 of 7B v0.3 are one file; every published model that has it is of v3.
    if _template_is_v2(folder):
        return TokenizerVersion.v2, "the chat template beside it is v2's"
    return TokenizerVersion.v3, "all published models with these tokens are of it"


def _template_is_v2(folder: Path) -> bool:
    """Whether Hugging Face's chat template has v2's tool results: v3's name the call's id."""
    try:
        config = json.loads(read_bytes(folder / "tokenizer_config.json", most_bytes=1 << 20))
    except (OSError, CheckpointError, ValueError, RecursionError):
        return False
    template = config.get("chat_template") if isinstance(config, dict) else None
    return isinstance(template, str) and "[TOOL_RESULTS]" in template and "call_id" not in template
