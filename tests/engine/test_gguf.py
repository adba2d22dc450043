"""The GGUF reader against the reference package and against damaged and hostile files; and the
starter's weights and vocabulary as they are converted from such a file."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter, quants
from mistral_common.tokens.tokenizers.tekken import Tekkenizer
from safetensors import safe_open

from inference import convert, starter
from inference.errors import CheckpointError
from inference.gguf import MAX_ELEMENTS, GGUFFile

HEADER = struct.Struct("<4sIQQ")


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


def entry(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def tensor(name: str = "t", dims: tuple[int, ...] = (32,), kind: int = 0, offset: int = 0) -> bytes:
    return (
        text(name)
        + struct.pack("<I", len(dims))
        + struct.pack(f"<{len(dims)}Q", *dims)
        + struct.pack("<IQ", kind, offset)
    )


def file(
    entries: tuple[bytes, ...] = (), tensors: tuple[bytes, ...] = (), data: bytes = b""
) -> bytes:
    head = HEADER.pack(b"GGUF", 3, len(tensors), len(entries)) + b"".join(entries + tensors)
    return head + b"\0" * (-len(head) % 32) + data


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with every tensor format and kind of metadata that is read."""
    path = tmp_path_factory.mktemp("gguf") / "small.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_uint8("a.uint8", 200)
    writer.add_int8("a.int8", -100)
    writer.add_int64("a.int64", -(2**62))
    writer.add_uint64("a.uint64", 2**63)
    writer.add_float64("a.float64", 1e300)
    writer.add_bool("a.bool", True)
    writer.add_string("a.string", "é漢🙂\n\x00")
    writer.add_array("a.strings", ["", "x", "Ġé"])
    writer.add_array("a.numbers", [1, -2, 3])
    writer.add_array("a.floats", [0.5, -1.25])
    writer.add_array("a.bools", [True, False])
    writer.add_array("a.nested", [[1, 2], [3]])
    rng = np.random.default_rng(0)
    for kind in ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1"):
        values = rng.standard_normal((3, 5, 64)).astype(np.float32) * 10
        values[0, 0] = 0
        number = GGMLQuantizationType[kind]
        writer.add_tensor(f"t.{kind}", quants.quantize(values, number), raw_dtype=number)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def compare_with_reference(path: Path, reference: GGUFReader) -> int:
    with GGUFFile(path) as ours:
        fields = {k: v.contents() for k, v in reference.fields.items() if k[:5] != "GGUF."}
        nested = [k for k in fields if k.endswith(".nested")]  # flattened there
        assert {k: v for k, v in ours.metadata.items() if k not in nested} == {
            k: v for k, v in fields.items() if k not in nested
        }
        assert list(ours.tensors) == [t.name for t in reference.tensors]
        for theirs in reference.tensors:
            expected = quants.dequantize(theirs.data, theirs.tensor_type)
            got = ours.dequantize(theirs.name)
            assert got.dtype == np.float32
            assert got.shape == tuple(int(n) for n in theirs.shape[::-1])
            np.testing.assert_array_equal(got, expected.reshape(got.shape))
    return len(reference.tensors)


def test_the_starters_file_reads_as_the_reference_reads_it(
    starter_gguf: Path, starter_reader: GGUFReader
) -> None:
    assert compare_with_reference(starter_gguf, starter_reader) == 272


def test_every_tensor_format_reads_as_the_reference_reads_it(small: Path) -> None:
    assert compare_with_reference(small, GGUFReader(small)) == 6


def test_metadata_of_every_kind_is_read(small: Path) -> None:
    with GGUFFile(small) as gguf:
        values = {k: v for k, v in gguf.metadata.items() if k.startswith("a.")}
    assert values == {
        "a.uint8": 200,
        "a.int8": -100,
        "a.int64": -(2**62),
        "a.uint64": 2**63,
        "a.float64": 1e300,
        "a.bool": True,
        "a.string": "é漢🙂\n\x00",
        "a.strings": ["", "x", "Ġé"],
        "a.numbers": [1, -2, 3],
        "a.floats": [0.5, -1.25],
        "a.bools": [True, False],
        "a.nested": [[1, 2], [3]],
    }


def test_an_unknown_tensor_is_one_sentence(small: Path) -> None:
    with GGUFFile(small) as gguf, pytest.raises(CheckpointError, match="no tensor 'x'"):
        gguf.dequantize("x")


def test_a_file_cut_short_anywhere_is_refused(small: Path, tmp_path: Path) -> None:
    whole = small.read_bytes()
    last = max(t.offset + t.nbytes for t in GGUFFile(small).tensors.values())
    path = tmp_path / "cut.gguf"
    for length in [*range(0, 2000, 7), *range(2000, last, 997), last - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"cut\.gguf") as caught:
            GGUFFile(path)
        assert str(caught.value).endswith(".")


def test_flipped_bytes_never_end_in_another_error(small: Path, tmp_path: Path) -> None:
    whole = small.read_bytes()
    rng = random.Random(3)
    path = tmp_path / "flipped.gguf"
    refused = 0
    for _ in range(1500):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(1400)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        path.write_bytes(damaged)
        try:
            with GGUFFile(path) as gguf:
                for name in gguf.tensors:
                    gguf.dequantize(name)
        except CheckpointError:
            refused += 1
    assert refused > 500


BIG = 2**64 - 1
ARRAY = 9
NESTED = struct.pack("<IQ", ARRAY, 1) * 6 + struct.pack("<IQ", 4, 0)
HOSTILE = {
    "empty": (b"", "empty"),
    "another kind of file": (b"PK\3\4" + bytes(40), "not a GGUF file"),
    "version 2": (HEADER.pack(b"GGUF", 2, 0, 0), "version 2;"),
    "big-endian": (struct.pack(">4sIQQ", b"GGUF", 3, 0, 0), r"version 3 \(big-endian\)"),
    "tensor count": (HEADER.pack(b"GGUF", 3, BIG, 0), "claims"),
    "metadata count": (HEADER.pack(b"GGUF", 3, 0, BIG), "claims"),
    "more entries than bytes": (HEADER.pack(b"GGUF", 3, 0, 60000), "ends too early"),
    "key length": (HEADER.pack(b"GGUF", 3, 0, 1) + struct.pack("<Q", BIG), "claims"),
    "text length": (file((entry("k", 8, struct.pack("<Q", 2**63)),)), "claims"),
    "text beyond the end": (file((entry("k", 8, struct.pack("<Q", 40)),)), "ends too early"),
    "not UTF-8": (file((entry("k", 8, text(b"\xff\xfe")),)), "UTF-8"),
    "value type": (file((entry("k", 13, bytes(8)),)), "unknown type 13"),
    "truth value": (file((entry("k", 7, b"\2"),)), "truth value"),
    "array type": (file((entry("k", ARRAY, struct.pack("<IQ", 99, 1)),)), "unknown type 99"),
    "array length": (file((entry("k", ARRAY, struct.pack("<IQ", 4, 2**62)),)), "elements"),
    "array of texts": (file((entry("k", ARRAY, struct.pack("<IQ", 8, 2**61)),)), "elements"),
    "nesting": (file((entry("k", ARRAY, NESTED),)), "nested too deeply"),
    "same key twice": (file((entry("k", 4, bytes(4)),) * 2), "occurs twice"),
    "alignment zero": (file((entry("general.alignment", 4, bytes(4)),)), "alignment"),
    "alignment odd": (file((entry("general.alignment", 4, b"\x21\0\0\0"),)), "alignment"),
    "alignment a text": (file((entry("general.alignment", 8, text("32")),)), "alignment"),
    "no dimensions": (file((), (tensor(dims=()),)), "0 dimensions"),
    "five dimensions": (file((), (tensor(dims=(1,) * 5),)), "5 dimensions"),
    "dimension zero": (file((), (tensor(dims=(32, 0)),)), "shape"),
    "half a block": (file((), (tensor(dims=(33,), kind=8),), bytes(128)), "shape"),
    "unknown format": (file((), (tensor(kind=12),), bytes(128)), "format number 12"),
    "size overflow": (file((), (tensor(dims=(2**32, 2**32)),), bytes(128)), "beyond the end"),
    "offset overflow": (file((), (tensor(offset=BIG - 31),), bytes(128)), "beyond the end"),
    "offset beyond": (file((), (tensor(offset=32),), bytes(128)), "beyond the end"),
    "offset unaligned": (file((), (tensor(offset=4),), bytes(256)), "not aligned"),
    "overlap": (file((), (tensor("a"), tensor("b", offset=32)), bytes(256)), "overlaps"),
    "same tensor twice": (file((), (tensor(), tensor(offset=128)), bytes(256)), "occurs twice"),
    "long name": (file((), (tensor("n" * 65),), bytes(128)), "claims 65 bytes"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_one_sentence(case: str, tmp_path: Path) -> None:
    data, expected = HOSTILE[case]
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=expected) as caught:
        GGUFFile(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert message.endswith(".")
    assert "\n" not in message


def test_the_sound_twin_of_the_hostile_files_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    entries = (entry("general.alignment", 4, struct.pack("<I", 32)), entry("k", 8, text("v")))
    values = np.arange(64, dtype="<f4")
    path.write_bytes(file(entries, (tensor("a"), tensor("b", offset=128)), values.tobytes()))
    with GGUFFile(path) as gguf:
        assert gguf.metadata["k"] == "v"
        np.testing.assert_array_equal(gguf.dequantize("b"), values[32:])


def test_metadata_cannot_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    count = MAX_ELEMENTS + 1
    path.write_bytes(file((entry("k", ARRAY, struct.pack("<IQ", 0, count) + bytes(count)),)))
    with pytest.raises(CheckpointError, match="elements"):
        GGUFFile(path)


def test_a_missing_file_or_a_folder_is_one_sentence(tmp_path: Path) -> None:
    for path in (tmp_path / "none.gguf", tmp_path):
        with pytest.raises(CheckpointError, match="cannot be read"):
            GGUFFile(path)


# ── the model that is converted from it ─────────────────────────────────────────────


def test_rounding_to_bfloat16_is_torchs() -> None:
    bits = np.random.default_rng(0).integers(0, 2**32, 200_000, dtype=np.uint64)
    values = bits.astype(np.uint32).view(np.float32)
    ties = (np.arange(65536, dtype=np.uint32) << 16 | 0x8000).view(np.float32)
    values = np.concatenate([values, ties])
    values = values[np.isfinite(values)]
    expected = torch.tensor(values).to(torch.bfloat16).view(torch.uint16).numpy()
    np.testing.assert_array_equal(convert.bf16_bits(values), expected)


def test_weights_are_the_originals_in_bfloat16(
    starter_folder: Path, starter_reader: GGUFReader
) -> None:
    tensors = {tensor.name: tensor for tensor in starter_reader.tensors}
    ours = {"attn_q": "attention.wq", "attn_k": "attention.wk", "attn_v": "attention.wv"}
    ours |= {"attn_output": "attention.wo", "attn_norm": "attention_norm", "ffn_norm": "ffn_norm"}
    ours |= {f"ffn_{a}": f"feed_forward.{b}" for a, b in (("gate", "w1"), ("down", "w2"))}
    ours |= {"ffn_up": "feed_forward.w3"}

    def original(name: str) -> torch.Tensor:
        tensor = tensors.pop(name)
        values = quants.dequantize(tensor.data, tensor.tensor_type)
        return torch.tensor(values).to(torch.bfloat16)

    with safe_open(starter_folder / "consolidated.safetensors", "pt") as file:
        assert len(file.keys()) == len(tensors) == 272
        for layer in range(30):
            for theirs, name in ours.items():
                weight = file.get_tensor(f"layers.{layer}.{name}.weight")
                assert torch.equal(weight, original(f"blk.{layer}.{theirs}.weight")), name
        assert torch.equal(file.get_tensor("norm.weight"), original("output_norm.weight"))
        new, old = file.get_tensor("tok_embeddings.weight"), original("token_embd.weight")
    assert not tensors

    # Each token keeps its row: found by its bytes, not by the rule of the conversion.
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    alphabet = {char: byte for byte, char in bytes_to_unicode().items()}
    tokens = starter_reader.fields["tokenizer.ggml.tokens"].contents()
    tekken = Tekkenizer.from_file(starter_folder / "tekken.json")
    ids = {tekken.id_to_byte_piece(i): i for i in range(17, tekken.n_words)}
    moved = list(range(17)) + [ids[bytes(alphabet[c] for c in t)] for t in tokens[17:]]
    assert len(set(moved)) == len(tokens) == 49152
    assert new.shape == (49173, 576)
    assert torch.equal(new[torch.tensor(moved)], old)
    unused = sorted(set(range(49173)) - set(moved))
    assert bytes(i - 17 for i in unused).hex(" ") == (
        "04 06 13 14 16 1d c0 c1 f1 f2 f5 f6 f7 f8 f9 fa fb fc fd fe ff"
    )
    assert torch.equal(new[torch.tensor(unused)], old[16].expand(21, -1))


def test_the_real_file_gives_the_installed_model(
    starter_folder: Path, starter_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISTRAL_TUI_DATA", str(tmp_path))
    again = starter.ensure(fetch=False, source=starter_gguf)
    assert again != starter_folder
    for name in ("params.json", "tekken.json", "consolidated.safetensors"):
        assert (again / name).read_bytes() == (starter_folder / name).read_bytes()


def test_params_are_the_models_own(starter_folder: Path) -> None:
    assert json.loads((starter_folder / "params.json").read_text()) == {
        "dim": 576,
        "n_layers": 30,
        "head_dim": 64,
        "hidden_dim": 1536,
        "n_heads": 9,
        "n_kv_heads": 3,
        "norm_eps": 1e-05,
        "vocab_size": 49173,
        "rope_theta": 100000.0,
        "tied_embeddings": True,
        "max_position_embeddings": 8192,
    }


def test_a_tiny_model_of_the_same_kind_is_converted_alike(tiny: Path, tmp_path: Path) -> None:
    convert.convert(tiny / starter.GGUF_NAME, tmp_path)
    with safe_open(tmp_path / "consolidated.safetensors", "pt") as file:
        assert file.get_tensor("tok_embeddings.weight").shape == (17 + 256 + 3, 64)
        assert "output.weight" not in file.keys()  # noqa: SIM118
    tekken = Tekkenizer.from_file(tmp_path / "tekken.json")
    assert tekken.encode(" the", bos=False, eos=False) == [17 + 256 + 2]


@pytest.mark.parametrize(
    "changes",
    [{"architecture": "gpt2"}, {"tokens": ["a", "b"]}, {"without": "blk.0.ffn_up"}],
    ids=["architecture", "vocabulary", "tensors"],
)
def test_another_model_in_the_same_format_is_refused(
    tiny_model: Callable[..., Path], tmp_path: Path, changes: dict[str, Any]
) -> None:
    with pytest.raises(CheckpointError, match="not the starter model"):
        convert.convert(tiny_model(**changes), tmp_path)
