"""The right one of a folder's tokenizer files, its version, and files that nobody should trust."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mistral_common.integrations.chat_templates.chat_templates import generate_chat_template
from mistral_common.protocol.instruct.messages import SystemMessage, UserMessage
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.tokens.tokenizers.base import TokenizerVersion
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

import tekken
import tiny
from inference import tokenizer_files
from inference.api import Message
from inference.errors import TokenizerError
from inference.tokenizer import Tokenizer

SHIPPED = MistralTokenizer._data_path()
V7M1 = SHIPPED / "mistral_instruct_tokenizer_241114.model.v7m1"


def _folder(path: Path, **files: str) -> Path:
    """A folder of shipped tokenizers: file name (with _ for .) = version."""
    for name, version in files.items():
        if version.startswith("tiny-"):
            tekken.write(path, version.removeprefix("tiny-"))
        else:
            shutil.copy(tiny.data_file(version), path / name.replace("_", "."))
    return path


# ── which file ────────────────────────────────────────────────────────────────────────


def test_the_file_whose_size_is_the_models_is_taken(tmp_path: Path) -> None:
    _folder(tmp_path, tokenizer_model_v3="v3", tokenizer_model_v1="v1", tekken_json="tiny-v7")
    for size, label, name, count in (
        (32768, "spm v3", "tokenizer.model.v3", "32,768"),
        (32000, "spm v1", "tokenizer.model.v1", "32,000"),
        (352, "tekken v7", "tekken.json", "352"),
    ):
        tokenizer = Tokenizer.from_folder(tmp_path, size)
        assert tokenizer.n_words == size
        assert tokenizer.label == label
        assert tokenizer.note == (
            f"{name} was taken of 3 tokenizer files, as its {count} tokens fit the model."
        )


def test_else_the_first_that_fits(tmp_path: Path) -> None:
    _folder(tmp_path, tokenizer_model_v3="v3", tokenizer_model_v1="v1")
    tokenizer = Tokenizer.from_folder(tmp_path, 32064)
    assert tokenizer.label == "spm v1"
    assert tokenizer.note == (
        "tokenizer.model.v1 was taken of 2 tokenizer files, as its 32,000 tokens fit the model's "
        "32,064."
    )
    assert Tokenizer.from_folder(tmp_path, 40000).label == "spm v3"


def test_else_the_first(tmp_path: Path) -> None:
    _folder(tmp_path, tokenizer_model_v3="v3", tokenizer_model_v7="v7", tokenizer_model="v1")
    assert Tokenizer.from_folder(tmp_path).label == "spm v7"
    assert Tokenizer.from_folder(tmp_path).note == (
        "tokenizer.model.v7 was taken of 3 tokenizer files: tekken is preferred, then the newest "
        "version."
    )
    tokenizer = Tokenizer.from_folder(tmp_path, 512)
    assert tokenizer.label == "spm v7"
    assert tokenizer.note == (
        "tokenizer.model.v7 was taken of 3 tokenizer files; none of them fits the model's 512 "
        "tokens."
    )


def test_a_single_file_needs_no_words(tmp_path: Path) -> None:
    _folder(tmp_path, tokenizer_model_v3="v3")
    assert Tokenizer.from_folder(tmp_path, 512).note == ""


def test_damaged_files_are_passed_over(tmp_path: Path) -> None:
    _folder(tmp_path, tokenizer_model_v3="v3")
    (tmp_path / "tekken.json").write_bytes(b"{}")
    (tmp_path / "tokenizer.model.v7").write_bytes(b"\x00" * 99)
    (tmp_path / "tokenizer.model.v11").mkdir()
    os.mkfifo(tmp_path / "tokenizer.model.v13")
    assert Tokenizer.from_folder(tmp_path).label == "spm v3"
    assert Tokenizer.from_folder(tmp_path, 32768).label == "spm v3"
    assert Tokenizer.from_folder(tmp_path, 100).label == "spm v3"


@pytest.mark.parametrize("version", ["v1", "v3", "v7", "tekken-v3"])
def test_a_size_is_read_without_the_tokenizer(tmp_path: Path, version: str) -> None:
    name = "tekken_json" if "tekken" in version else f"tokenizer_model_{version}"
    path = next(_folder(tmp_path, **{name: version}).iterdir())
    started = time.perf_counter()
    size = tokenizer_files._words(path)
    assert time.perf_counter() - started < 1
    assert size == Tokenizer.from_file(path).n_words


# ── the version ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("version", "label", "note"),
    [
        ("v1", "spm v1 (by its tokens)", ""),
        # 7B v0.3 has v2's very file as its v3.
        ("v2", "spm v3 (by its tokens)", "v3 was taken, as all published models with these"),
        ("v3", "spm v3 (by its tokens)", "v3 was taken, as it has a [PREFIX] token."),
        ("v7", "spm v7 (by its tokens)", "v7 was taken, as it has a [SYSTEM_PROMPT] token."),
    ],
)
def test_a_bare_tokenizer_model_is_known_by_its_tokens(
    tmp_path: Path, version: str, label: str, note: str
) -> None:
    tokenizer = Tokenizer.from_folder(_folder(tmp_path, tokenizer_model=version))
    assert tokenizer.label == label
    assert note in tokenizer.note
    assert bool(note) == ("tokenizer.model does not say its version" in tokenizer.note)
    named = "v3" if version == "v2" else version
    shutil.copy(tmp_path / "tokenizer.model", tmp_path / f"some.model.{named}")
    theirs = MistralTokenizer.from_file(tmp_path / f"some.model.{named}")
    turns: Any = [SystemMessage(content="Be brief."), UserMessage(content="Hi")]
    assert tokenizer.encode_chat([Message("system", "Be brief."), Message("user", "Hi")]) == (
        theirs.encode_chat_completion(ChatCompletionRequest(messages=turns)).tokens
    )


def _template(version: str) -> str:
    return generate_chat_template(
        spm=True,
        tokenizer_version=TokenizerVersion(version),
        image_support=False,
        audio_support=False,
        thinking_support=False,
        default_system_prompt=None,
        plain_thinking_support=False,
        use_special_token_variables=True,
        model_settings_fields=None,
        reasoning_effort_values=None,
        reasoning_effort_default=None,
    )


@pytest.mark.parametrize(
    ("template", "label"),
    [
        (_template("v2"), "spm v2"), (_template("v3"), "spm v3"), (_template("v1"), "spm v3"),
        ([{"name": "default", "template": "x"}], "spm v3"), (None, "spm v3"), (5, "spm v3"),
    ],
)  # fmt: skip
def test_a_chat_template_tells_v2_from_v3(tmp_path: Path, template: Any, label: str) -> None:
    _folder(tmp_path, tokenizer_model="v2")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    assert Tokenizer.from_folder(tmp_path).label.startswith(label)
    # Where the tokens tell the version, the template does not matter.
    _folder(tmp_path, tokenizer_model="v7")
    assert Tokenizer.from_folder(tmp_path).label.startswith("spm v7")


@pytest.mark.parametrize("content", [b"", b"[", b"[" * 100_000, b"3", b"\xff", b" " * (2 << 20)])
def test_a_bad_tokenizer_config_does_no_harm(tmp_path: Path, content: bytes) -> None:
    _folder(tmp_path, tokenizer_model="v2")
    (tmp_path / "tokenizer_config.json").write_bytes(content)
    assert Tokenizer.from_folder(tmp_path).label.startswith("spm v3")


@pytest.mark.parametrize(
    ("has", "named"), [("v1", "v2"), ("v1", "v3"), ("v3", "v7"), ("v7", "v11")]
)
def test_a_file_that_is_not_of_its_version_is_refused(tmp_path: Path, has: str, named: str) -> None:
    _folder(tmp_path, **{f"tokenizer_model_{named}": has})
    with pytest.raises(TokenizerError, match=rf"token, so it is not of version {named}"):
        Tokenizer.from_folder(tmp_path)


def test_v7m1_loads_without_images(tmp_path: Path) -> None:
    shutil.copy(V7M1, tmp_path / "tokenizer.model.v7m1")
    assert Tokenizer.from_folder(tmp_path).label == "spm v7"


@pytest.mark.parametrize("version", tekken.VERSIONS)
@pytest.mark.parametrize("thinks", [True, False])
def test_any_tekken_says_its_version(tmp_path: Path, version: str, thinks: bool) -> None:
    path = tekken.write(tmp_path, version, thinks=thinks)
    assert path.stat().st_size < 25_000
    tokenizer = Tokenizer.from_folder(tmp_path)
    assert tokenizer.label == f"tekken {version}"
    assert (tokenizer.control_id("[THINK]") is not None) == thinks


def test_a_file_by_its_path(tmp_path: Path) -> None:
    _folder(tmp_path, tokenizer_model="v3", mine_model_v3="v3", tekken_json="tiny-v11")
    assert Tokenizer.from_file(tmp_path / "tokenizer.model").label == "spm v3 (by its tokens)"
    assert Tokenizer.from_file(str(tmp_path / "mine.model.v3")).label == "spm v3"
    assert Tokenizer.from_file(tmp_path / "tekken.json").label == "tekken v11"
    for name in ("tokenizer.json", "vocab.txt", "tokenizer.model.v3.bak", "x.model.vx"):
        (tmp_path / name).write_bytes(b"{}")
        with pytest.raises(TokenizerError, match=r"give the model's tekken\.json"):
            Tokenizer.from_file(tmp_path / name)
    (tmp_path / "x.model.v99").write_bytes(b"{}")
    with pytest.raises(TokenizerError, match="cannot be read"):
        Tokenizer.from_file(tmp_path / "x.model.v99")
    with pytest.raises(TokenizerError, match="does not exist"):
        Tokenizer.from_file(tmp_path / "gone" / "tekken.json")


# ── files that nobody should trust ────────────────────────────────────────────────────


def test_a_folder_without_one(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match="has no tokenizer"):
        Tokenizer.from_folder(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes(b"{}")
    with pytest.raises(TokenizerError, match=r"only Hugging Face's tokenizer\.json; copy"):
        Tokenizer.from_folder(tmp_path)
    for path in (tmp_path / "gone", tmp_path / "tokenizer.json"):
        with pytest.raises(TokenizerError, match="is no folder"):
            Tokenizer.from_folder(path)


def _broken_link(path: Path) -> None:
    path.symlink_to("gone")


def _link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def _huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(65 << 20)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (os.mkfifo, "is no regular file"),
        (Path.mkdir, "is a folder"),
        (_broken_link, "is a link to gone, which is not there"),
        (_link_to_itself, "cannot be read: Too many levels of symbolic links"),
        (lambda path: path.symlink_to("/dev/zero"), "is no regular file"),
        (_huge, "is too large to be a tokenizer"),
    ],
)
@pytest.mark.parametrize("name", ["tekken.json", "tokenizer.model", "tokenizer.model.v3"])
def test_what_is_no_file_is_not_opened(
    tmp_path: Path, name: str, make: Callable[[Path], object], sentence: str
) -> None:
    path = tmp_path / name
    make(path)
    for ask in (
        lambda: Tokenizer.from_folder(tmp_path),
        lambda: Tokenizer.from_file(tmp_path / name),
    ):
        with pytest.raises(TokenizerError, match=sentence) as raised:
            ask()
        assert str(raised.value).startswith(str(path))


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"\x00\xff" * 50, b'{"config": 3}', b"[" * 100_000, b"null"],
)
@pytest.mark.parametrize("name", ["tekken.json", "tokenizer.model", "tokenizer.model.v3"])
def test_damaged_files_are_one_sentence(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TokenizerError, match="cannot be read") as raised:
        Tokenizer.from_folder(tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("version", ["v1", "v7", "tiny-v13"])
def test_truncated_files_are_one_sentence(tmp_path: Path, version: str) -> None:
    name = "tekken_json" if "tiny" in version else "tokenizer_model"
    path = next(_folder(tmp_path, **{name: version}).iterdir())
    whole = path.read_bytes()
    for share in (0.1, 0.5, 0.9, 0.999):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(TokenizerError, match="cannot be read"):
            Tokenizer.from_folder(tmp_path)


def test_changed_bytes_raise_nothing_else(tmp_path: Path) -> None:
    numbers = random.Random(5)
    for version, name in (("v3", "tokenizer_model"), ("tiny-v15", "tekken_json")):
        (folder := tmp_path / version).mkdir()
        path = next(_folder(folder, **{name: version}).iterdir())
        whole = path.read_bytes()
        for _ in range(25):
            content = bytearray(whole)
            for _ in range(numbers.randrange(1, 9)):
                content[numbers.randrange(len(content))] = numbers.randrange(256)
            path.write_bytes(content)
            try:
                tokenizer = Tokenizer.from_folder(folder)
            except TokenizerError:
                continue
            tokenizer.decode(tokenizer.encode_text("Hello"))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("config.default_num_special_tokens", 10**9), ("config.default_num_special_tokens", -1),
        ("config.default_num_special_tokens", "64"), ("config.default_num_special_tokens", True),
        ("config.default_vocab_size", 10**12), ("config.default_vocab_size", 100),
        ("config.default_vocab_size", 353), ("config.default_vocab_size", 1.5),
        ("config.version", "v99"), ("config.version", []), ("config.pattern", "(" * 50),
        ("config.pattern", "(a{1000}){1000}{1000}"), ("config.pattern", 3),
        ("config.pattern", ""), ("config.pattern", "a*"), ("config.pattern", "[a-z]+"),
        ("special_tokens.2.token_str", "</t>"), ("special_tokens.1.token_str", "<t>"),
        ("special_tokens.1.rank", 10**9), ("special_tokens.1.rank", 0),
        ("special_tokens.1.token_str", 5), ("special_tokens.1.token_str", "<unk>"),
        ("special_tokens.1", None), ("special_tokens", 5), ("special_tokens", []),
        ("vocab", {}), ("vocab.0", 5), ("vocab.3.rank", 4), ("vocab.3.token_bytes", "AA=="),
        ("vocab.280.token_bytes", 7), ("image", {"image_patch_size": 16}), ("image", 5),
        ("audio", {"x": 1}), ("model_settings_builder", {"x": 1}), ("config", None),
    ],
)  # fmt: skip
def test_a_tekken_that_would_lead_astray(tmp_path: Path, key: str, value: Any) -> None:
    content = tekken.content("v13")
    *path, last = [int(part) if part.isdigit() else part for part in key.split(".")]
    inner: Any = content
    for part in path:
        inner = inner[part]
    inner[last] = value
    (tmp_path / "tekken.json").write_text(json.dumps(content))
    with pytest.raises(TokenizerError, match="cannot be read") as raised:
        Tokenizer.from_folder(tmp_path)
    assert len(str(raised.value)) < len(str(tmp_path)) + 260


@pytest.mark.parametrize("bomb", [b"[[],", b"[{},", b'["ab",', b"[1e9,", b'[{"a":0},'])
def test_a_json_bomb_takes_no_memory_beyond_its_own(tmp_path: Path, bomb: bytes) -> None:
    item = bomb[1:]
    (tmp_path / "tekken.json").write_bytes(b"[" + item * ((40 << 20) // len(item)) + b"0]")
    tracemalloc.start()
    try:
        with pytest.raises(TokenizerError, match="far more than a tokenizer"):
            Tokenizer.from_folder(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()


def test_a_strange_starter_record_does_no_harm(tmp_path: Path) -> None:
    tekken.write(tmp_path, "v7")
    for content in (b"", b"[", b"3", b'{"layout": 3}', b"[" * 100_000, b" " * (2 << 20)):
        (tmp_path / "starter.json").write_bytes(content)
        assert Tokenizer.from_folder(tmp_path).label == "tekken v7"
    (tmp_path / "starter.json").unlink()
    os.mkfifo(tmp_path / "starter.json")
    assert Tokenizer.from_folder(tmp_path).label == "tekken v7"
