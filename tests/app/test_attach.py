"""Files named in a message."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from mistral_tui import attach
from mistral_tui.attach import ALL_LIMIT, FILE_LIMIT, FileFinder, expand
from mistral_tui.widgets.completions import Asked


def write(path: Path, content: str | bytes = "text\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def problems(text: str, cwd: Path) -> str:
    expanded = expand(text, cwd)
    assert expanded.text == text
    assert expanded.attachments == ()
    return " ".join(expanded.problems)


# ── putting content in ──────────────────────────────────────────────────────────────


def test_a_file_is_put_in_under_its_path(tmp_path: Path) -> None:
    write(tmp_path / "src/a.py", "print(1)\n")
    expanded = expand("explain @src/a.py, please", tmp_path)
    assert expanded.text == ("explain @src/a.py, please\n\n`src/a.py`:\n\n```python\nprint(1)\n```")
    assert [(a.name, a.size) for a in expanded.attachments] == [("src/a.py", 9)]
    assert expanded.problems == ()


@pytest.mark.parametrize(
    "text",
    [
        "me@example.com and a@b.py",
        "@property\ndef x(self): ...",
        '@app.route("/x")',
        "@types/node @nobody/else",
        "@ alone, @@ too, @@a.py",
        '@"" @"no end',
        "@folder",
        "@~nosuchuser/x @\ud800",
    ],
)
def test_what_names_no_file_is_left_as_it_is(text: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    write(tmp_path / "a.py")
    write(tmp_path / "b.py")
    assert expand(text, tmp_path) == attach.Expanded(text)


def test_names_are_read_as_people_write_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("a b.txt", 'q"\\.txt', "c.txt", "d.", "home/h.txt", "(x).txt"):
        write(tmp_path / name, name)
    for text, name in (
        ('see @"a b.txt".', "a b.txt"),
        (r'@"q\"\\.txt"', 'q"\\.txt'),
        ("(@c.txt)", "c.txt"),
        ("**@c.txt**"[2:], "c.txt"),
        ("what of @c.txt?", "c.txt"),
        ("@d.", "d."),
        ("@~/h.txt", "~/h.txt"),
        (f"@{tmp_path}/c.txt", f"{tmp_path}/c.txt"),
        ("@./c.txt", "./c.txt"),
        ("line\n@(x).txt", "(x).txt"),
    ):
        assert [a.name for a in expand(text, tmp_path).attachments] == [name], text


def test_a_file_named_twice_is_put_in_once(tmp_path: Path) -> None:
    write(tmp_path / "a.txt")
    (tmp_path / "link").symlink_to("a.txt")
    assert len(expand("@a.txt @./a.txt @link", tmp_path).attachments) == 1


def test_what_is_attached_already_is_not_attached_again(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "see @b.txt\n")
    write(tmp_path / "b.txt")
    once = expand("@a.txt", tmp_path)
    assert expand(once.text, tmp_path) == attach.Expanded(once.text)
    more = expand(f"@b.txt {once.text}", tmp_path)
    assert [a.name for a in more.attachments] == ["b.txt"]


def test_the_fence_is_longer_than_any_inside(tmp_path: Path) -> None:
    write(tmp_path / "a.md", "```\n````` x\n")
    text = expand("@a.md", tmp_path).text
    assert text.endswith("``````markdown\n```\n````` x\n``````")


def test_the_content_is_made_safe(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "\ufeffone\r\ntwo\rthree \x1b]52;c;aGk=\x07\u202e".encode())
    assert "```\none\ntwo\nthree ]52;c;aGk=‹U+202E›\n```" in expand("@a.txt", tmp_path).text


def test_what_was_pasted_attaches_nothing(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "CHIP")
    expanded = expand("see CHIP @a.txt", tmp_path, lambda text: text.replace("CHIP", "@b @a.txt"))
    assert expanded.text == "see @b @a.txt @a.txt\n\n`a.txt`:\n\n```\nCHIP\n```"


def test_what_cannot_be_put_in_is_said(tmp_path: Path) -> None:
    write(tmp_path / "zero", b"a\0b")
    write(tmp_path / "latin", "é".encode("latin-1"))
    write(tmp_path / "big", b"x" * (FILE_LIMIT + 1))
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "gone").symlink_to("nowhere")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "sock"))
        for name, said in (
            ("zero", "zero is no text (it holds zero bytes)."),
            ("latin", "latin is not UTF-8 text."),
            ("big", "big is larger than 256 KB."),
            ("folder/", "folder/ is a folder; name a file in it."),
            ('"folder"', "folder is a folder; name a file in it."),
            ("pipe", "pipe is no regular file."),
            ("sock", "sock is no regular file."),
            ("gone", "gone cannot be read (No such file or directory)."),
            ("/dev/null", "/dev/null is no regular file."),
        ):
            assert problems(f"see @{name}", tmp_path) == said
    write(tmp_path / "a.txt")
    assert "zero is no text" in problems("@a.txt @zero", tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads all")
def test_an_unreadable_file_is_said(tmp_path: Path) -> None:
    write(tmp_path / "a").chmod(0)
    assert problems("@a", tmp_path) == "a cannot be read (Permission denied)."


def test_the_limits_are_what_is_said(tmp_path: Path) -> None:
    for number in range(5):
        write(tmp_path / str(number), b"x" * FILE_LIMIT)
    names = [f"@{number}" for number in range(5)]
    assert ALL_LIMIT == 4 * FILE_LIMIT
    assert len(expand(" ".join(names[:4]), tmp_path).attachments) == 4
    assert problems(" ".join(names), tmp_path) == "Together the files are larger than 1 MB."


def test_a_long_line_of_marks_takes_no_time(tmp_path: Path) -> None:
    for text in ('@"' * 50_000, " @x" * 50_000, '@"' + "\\" * 100_000, "@" + ")" * 100_000):
        assert expand(text, tmp_path).text == text
        attach.asked(text)


# ── completing names ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("before", "typed"),
    [
        ("@", (0, "")),
        ("see @src/a", (4, "src/a")),
        ("(@a", (1, "a")),
        ('x @"a b', (2, "a b")),
        (r'x @"a\"b', (2, 'a"b')),
        ("me@example", None),
        ("@a ", None),
        ('@"a b" ', None),
        ("", None),
    ],
)
def test_what_is_being_named(before: str, typed: tuple[int, str] | None) -> None:
    assert attach.asked(before) == (Asked("file", *typed) if typed else None)


def test_a_completed_name_is_read_back(tmp_path: Path) -> None:
    for name in ("a.txt", "a b.txt", 'a"b', "a\\b", "a.", "ä.txt", "sub/x y"):
        write(tmp_path / name)
        assert [a.name for a in expand(attach.quoted(name), tmp_path).attachments] == [name]
    assert attach.quoted("a b/", open_=True) == '@"a b/'
    assert attach.quoted("ab/", open_=True) == "@ab/"


def labels(finder: FileFinder, typed: str) -> list[str]:
    return [choice.label for choice in finder.find(typed)]


def test_files_below_are_found_without_hidden_ones(tmp_path: Path) -> None:
    for name in ("src/main.py", "main.c", "src/deep/domain.txt", ".hidden/main.py", ".main"):
        write(tmp_path / name)
    write(tmp_path / "bad\x1b[31mmain")
    finder = FileFinder(tmp_path)
    assert labels(finder, "") == ["main.c", "src/main.py", "src/deep/domain.txt"]
    assert labels(finder, "main") == ["main.c", "src/main.py", "src/deep/domain.txt"]
    assert labels(finder, "src/m") == ["src/main.py", "src/deep/domain.txt"]
    assert labels(finder, "SMP") == ["src/main.py"]
    (tmp_path / "main.c").unlink()
    assert labels(finder, "mainc") == []


def test_paths_are_completed_folder_by_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("docs/a.txt", "docs/b c.txt", "docs/.rc", "dot/x"):
        write(tmp_path / name)
    finder = FileFinder(tmp_path / "dot")
    assert labels(finder, "~/do") == ["~/dot/", "~/docs/"]
    assert labels(finder, "~") == ["~/docs/", "~/dot/"]
    assert labels(finder, f"{tmp_path}/docs/") == [
        f"{tmp_path}/docs/{n}" for n in ("a.txt", "b c.txt")
    ]
    assert labels(finder, "../docs/.") == ["../docs/.rc"]
    assert labels(finder, "./") == ["./x"]
    assert [c.insert for c in finder.find("~/docs/b")] == ['@"~/docs/b c.txt" ']
    assert [(c.insert, c.more) for c in finder.find("~/doc")] == [("@~/docs/", True)]
    assert labels(finder, "/nowhere/x") == []


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_git_says_what_is_ignored_and_runs_no_program_of_the_repository(tmp_path: Path) -> None:
    write(tmp_path / ".gitignore", "*.log\n")
    for name in ("a.txt", "b.log", "sub/é x.txt"):
        write(tmp_path / name)
    ran = tmp_path / "ran"
    evil = write(tmp_path / "evil.sh", f"#!/bin/sh\ntouch {ran}\n")
    evil.chmod(0o755)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", "add", "a.txt"], cwd=tmp_path, check=True)
    subprocess.run(["git", "config", "core.fsmonitor", str(evil)], cwd=tmp_path, check=True)
    assert sorted(attach.list_files(tmp_path)) == [".gitignore", "a.txt", "evil.sh", "sub/é x.txt"]
    assert not ran.exists()
    assert attach.list_files(tmp_path / "sub") == ["é x.txt"]


def test_a_large_folder_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attach, "MAX_NAMES", 20)
    for number in range(50):
        write(tmp_path / f"d{number % 10}" / str(number))
    assert len(attach.list_files(tmp_path)) == 20
    assert attach.list_files(tmp_path / "nowhere") == []
