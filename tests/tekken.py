"""A genuine tekken.json in 20 KB, of any version: 256 bytes, a few merges, all control tokens."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from mistral_common.tokens.tokenizers.base import SpecialTokens

VERSIONS = ("v3", "v7", "v11", "v13", "v15")
N_SPECIAL = 64
PATTERN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Each is two earlier ones joined. Some begin or end in the middle of a character or of JSON, and
# with the last ☺ is two tokens, as mistral-common's way to encode a FIM suffix wants it.
MERGES = (
    b" t", b"he", b" the", b"in", b"an", b" a", b"er", b"on", b" w", b"or", b"re", b"the", b"oo",
    b"ood", b" g", b" good", b"  ", b"    ", b"\n\n", b'{"', b'":', b'": ', b'": "', b'"}', b"}}",
    b"}]", b"\xc3\xa9", b"\xf0\x9f", b"\xf0\x9f\x99", b'\xf0\x9f"', b"\x99\x82", b"\xe2\x98",
)  # fmt: skip


def content(version: str, *, thinks: bool = True) -> dict[str, Any]:
    """What stands in the file."""
    named = [token.value for token in SpecialTokens if thinks or "THINK" not in token.value]
    specials = named + [f"<SPECIAL_{rank}>" for rank in range(len(named), N_SPECIAL)]
    words = [bytes([byte]) for byte in range(256)] + list(MERGES)
    values: dict[str, Any] = {
        "config": {
            "pattern": PATTERN,
            "num_vocab_tokens": len(words),
            "default_vocab_size": N_SPECIAL + len(words),
            "default_num_special_tokens": N_SPECIAL,
            "version": version,
        },
        "vocab": [
            {"rank": rank, "token_bytes": base64.b64encode(word).decode(), "token_str": None}
            for rank, word in enumerate(words)
        ],
        "special_tokens": [
            {"rank": rank, "token_str": token, "is_control": True}
            for rank, token in enumerate(specials)
        ],
    }
    if version == "v15":
        efforts = {"type": "enum", "accepts_none": True, "values": ["none", "high"]}
        values["model_settings_builder"] = {"reasoning_effort": {**efforts, "default": "none"}}
    return values


def write(folder: Path, version: str, *, thinks: bool = True) -> Path:
    """The file, written into that folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tekken.json"
    path.write_text(json.dumps(content(version, thinks=thinks)))
    return path
