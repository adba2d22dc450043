"""What a tokenizer file tells without its library: how many tokens, which control tokens."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from inference.files import read_bytes
from inference.folder import SPM_VERSIONS, find_tokenizer

_MOST_BYTES = 64 << 20
_CONTROLS = ("[PREFIX]", "[SUFFIX]", "[TOOL_CALLS]")
_VERSION = re.compile(rb'"version"\s*:\s*"(v\d+)"')
_SIZE = re.compile(rb'"default_vocab_size"\s*:\s*(\d+)')


@dataclass(frozen=True, slots=True)
class TokenizerFacts:
    """`label` as the engine gives it, for instance `tekken v3`; `capabilities` of: fim, tools."""

    label: str
    n_words: int
    capabilities: tuple[str, ...]


def tokenizer_facts(folder: Path, vocab_size: int) -> TokenizerFacts:
    """Of the file that the engine takes: the first whose size is the model's, else the first
    that fits, else the first.

    Raises:
        TokenizerError, CheckpointError: there is none, or it cannot be read.
    """
    find_tokenizer(folder)
    names = ["tekken.json", *(f"tokenizer.model.{v}" for v in SPM_VERSIONS), "tokenizer.model"]
    found = [_facts(folder / name) for name in names if (folder / name).is_file()]
    same = [facts for facts in found if facts.n_words == vocab_size]
    fitting = [facts for facts in found if facts.n_words < vocab_size]
    return (same or fitting or found)[0]


def _facts(path: Path) -> TokenizerFacts:
    data = read_bytes(path, most_bytes=_MOST_BYTES)
    has = {token: token.encode() in data for token in _CONTROLS}
    if path.name == "tekken.json":
        version, size = _VERSION.search(data), _SIZE.search(data)
        if b'"special_tokens"' not in data:  # of before they were listed: all are there
            has = dict.fromkeys(has, True)
        label = f"tekken {version[1].decode()}" if version else "tekken"
        n_words = int(size[1][:12]) if size else 0
    else:
        n_words = _pieces(data)
        label = f"spm {path.suffix[1:]}" if path.suffix != ".model" else f"spm {_guess(data)}"
    capabilities = []
    if has["[PREFIX]"] and has["[SUFFIX]"]:
        capabilities.append("fim")
    if has["[TOOL_CALLS]"]:
        capabilities.append("tools")
    return TokenizerFacts(label, n_words, tuple(capabilities))


def _guess(data: bytes) -> str:
    return "v1" if b"[INST]" not in data else "v7" if b"[SYSTEM_PROMPT]" in data else "v3"


def _pieces(data: bytes) -> int:
    """The vocabulary of a sentencepiece file: how often its protobuf has field 1."""
    count = place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        kind = tag & 7
        if kind == 2:
            length, place = _varint(data, place)
            count += tag >> 3 == 1
            place += length
        elif kind == 0:
            _, place = _varint(data, place)
        elif kind in (1, 5):
            place += 8 if kind == 1 else 4
        else:
            return 0  # no protobuf
    return count


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(data) and shift < 64:
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            break
        shift += 7
    return value, place
