"""Named system prompts: files that the user writes, read anew each time."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_tui.config import system_prompts
from mistral_tui.config.system_prompts import PromptError, available, load, resolve, save


def write(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / f"{name}.md"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    ("file", "title", "description", "text"),
    [
        ("Be brief.\n", "Be brief.", "", "Be brief."),
        ("\ufeffHello\r\n\r\n# A head #\r\nx\r\n", "A head", "", "Hello\n\n# A head #\nx"),
        ("---\ndescription: 'Short'\n# note\ntitle: x\n---\n\n## T\n", "T", "Short", "## T"),
        ("---\n---\nx", "x", "", "x"),
        ("---\nText between rules.\n---\nx", "---", "", "---\nText between rules.\n---\nx"),
        ("---\ndescription: x\nno end", "---", "", "---\ndescription: x\nno end"),
        ("#hashtag\n", "hashtag", "", "#hashtag"),
        ("#\n", "x", "", "#"),
        ("\x1b[31mred\x07\n", "red", "", "\x1b[31mred\x07"),
        ("---\nDescription: \x1b]0;a\x07\n---\n# \u202eb", "‹U+202E›b", "]0;a", "# \u202eb"),
    ],
)
def test_a_file_is_a_prompt(
    tmp_path: Path, file: str, title: str, description: str, text: str
) -> None:
    path = write(tmp_path, "x", file)
    prompt = load("x", tmp_path)
    assert prompt == system_prompts.SystemPrompt("x", title, description, text, path)


def test_the_list_is_what_is_there_now(tmp_path: Path) -> None:
    folder = tmp_path / "prompts"
    assert available(folder) == ([], [])
    save("zoo", "Be a zoo.", folder=folder)
    save("Ape", "Be an ape.", "Hairy.", folder=folder)
    assert [(p.name, p.description) for p in available(folder)[0]] == [
        ("Ape", "Hairy."),
        ("zoo", ""),
    ]
    (folder / "zoo.md").write_text("# Other")
    (folder / "Ape.md").unlink()
    assert [(p.name, p.title) for p in available(folder)[0]] == [("zoo", "Other")]


def test_bad_files_are_said_and_the_others_listed(tmp_path: Path) -> None:
    write(tmp_path, "good", "x")
    write(tmp_path, "a b", "x")
    write(tmp_path, "bytes", b"ok\n\xff")
    write(tmp_path, "empty", " \n")
    write(tmp_path, "large", "é" * (128 << 10) + "x")
    write(tmp_path, "most", "é" * (128 << 10))
    write(tmp_path, "\x1b[31mred", "x")
    write(tmp_path, ".hidden", "x")
    os.mkfifo(tmp_path / "fifo.md")
    (tmp_path / "folder.md").mkdir()
    (tmp_path / "gone.md").symlink_to("nowhere")
    odd = [os.fsdecode(b"\xff.md")] if sys.platform == "linux" else []  # elsewhere: no name
    for name in odd:
        (tmp_path / name).touch()
    found, problems = available(tmp_path)
    assert [prompt.name for prompt in found] == ["good", "most"]
    rule = "a name has up to 40 letters, digits, - and _, and begins with a letter or digit."
    assert problems == [
        f"prompts/red.md is left out: {rule}",
        f"prompts/a b.md is left out: {rule}",
        "prompts/bytes.md, line 2: the text is not UTF-8.",
        "prompts/empty.md is empty.",
        "prompts/fifo.md cannot be read: it is no ordinary file.",
        "prompts/folder.md cannot be read: it is a folder.",
        "prompts/large.md is too large; at most 256 KB are read.",
        *(f"prompts/\ufffd.md is left out: {rule}" for _ in odd),
    ]
    with pytest.raises(PromptError, match=r"bytes\.md, line 2"):
        load("bytes", tmp_path)


def test_a_prompt_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match="no system prompt x; the folder prompts/ has none"):
        load("x", tmp_path)
    save("a", "A", folder=tmp_path)
    save("b", "B", folder=tmp_path)
    with pytest.raises(PromptError, match=r"no system prompt x; there are a, b\.$"):
        load("x", tmp_path)
    (tmp_path / "x.md").symlink_to("nowhere")
    with pytest.raises(PromptError, match="no system prompt x"):
        load("x", tmp_path)


def test_too_many_files_are_not_all_listed(tmp_path: Path) -> None:
    for n in range(system_prompts.MOST_PROMPTS + 1):
        write(tmp_path, f"p{n:04}", "x")
    found, problems = available(tmp_path)
    assert len(found) == system_prompts.MOST_PROMPTS
    assert problems == ["Only the first 200 files of prompts/ are listed."]


def test_a_composed_name_is_found_however_the_disk_spells_it(tmp_path: Path) -> None:
    path = write(tmp_path, "re\u0301sume\u0301", "x")
    assert load("résumé", tmp_path).path == path
    save("résumé", "y", folder=tmp_path)
    assert [(p.name, p.text) for p in available(tmp_path)[0]] == [("résumé", "y")]


@given(st.text(), st.text())
def test_what_is_saved_is_read(
    tmp_path_factory: pytest.TempPathFactory, text: str, description: str
) -> None:
    folder = tmp_path_factory.getbasetemp() / "saved"
    text = text.replace("\r\n", "\n").strip()
    if not text:
        return
    save("x", text, description, folder=folder)
    assert load("x", folder).text == text


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a b", "x", "is no name for a prompt: a name has up to 40"),
        ("", "x", "Nothing is no name"),
        ("../x", "x", "is no name"),
        ("x", " \n", "is empty"),
        ("x", "x" * (256 << 10) + "x", "at most 256 KB"),
        ("x", "\ud800", "half characters"),
        ("Other", "x", "a system prompt other already"),
    ],
)
def test_what_cannot_be_saved_is_said(tmp_path: Path, name: str, text: str, words: str) -> None:
    save("other", "x", folder=tmp_path)
    with pytest.raises(PromptError, match=words):
        save(name, text, folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["other.md"]


def test_a_failed_write_leaves_the_old_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save("x", "old", folder=tmp_path)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PromptError, match=r"prompts/x.md cannot be written: No space left"):
        save("x", "new", folder=tmp_path)
    assert [(p.name, p.text) for p in available(tmp_path)[0]] == [("x", "old")]
    assert len(list(tmp_path.iterdir())) == 1


def test_a_setting_is_a_text_or_names_one(tmp_path: Path) -> None:
    save("ape", "Be an ape.", folder=tmp_path)
    assert resolve("@ape", tmp_path) == "Be an ape."
    assert resolve("ape", tmp_path) == "ape"
    assert resolve("@all of you", tmp_path) == "@all of you"
    assert resolve("", tmp_path) == ""
    with pytest.raises(PromptError, match="no system prompt bee; there are ape"):
        resolve("@bee", tmp_path)
