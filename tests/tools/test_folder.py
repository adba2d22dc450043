"""Built-in tools see the files of one folder, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mistral_tui.tools import folder
from mistral_tui.tools.builtin import DEFINITIONS
from mistral_tui.tools.errors import ToolError
from mistral_tui.tools.folder import find_files, read_file
from mistral_tui.tools.schema import check_arguments, check_definition

SECRET = "the secret outside"


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "outside.txt").write_text(SECRET)
    (tmp_path / "work2").mkdir()
    (tmp_path / "work2" / "near.txt").write_text(SECRET)
    root = tmp_path / "work"
    (root / "src" / "deep").mkdir(parents=True)
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("hidden needle")
    (root / "a.py").write_text("one\ntwo needle\nthree\n")
    (root / "src" / "b.py").write_text("needle")
    (root / "src" / "deep" / "c.txt").write_text("nothing\n")
    (root / "blob.bin").write_bytes(b"needle\0\1\2")
    monkeypatch.chdir(root)
    return root


def test_a_file_is_read_in_pieces_that_say_where_to_go_on(work: Path) -> None:
    (work / "long.txt").write_text("".join(f"line {n}\n" for n in range(1, 1001)))
    assert read_file("a.py") == "one\ntwo needle\nthree"
    first = read_file("long.txt", 1, 3)
    assert first == "line 1\nline 2\nline 3\n[There is more: go on with start_line=4.]"
    assert read_file("long.txt", 999, 5) == "line 999\nline 1000"
    assert "only 1000 lines" in read_file("long.txt", 2000)


def test_long_lines_and_long_files_stay_bounded(work: Path) -> None:
    (work / "wide.txt").write_text("x" * 3_000_000 + "\nend\n")
    shown = read_file("wide.txt")
    assert shown.endswith("…\nend")
    assert len(shown) < 1100
    (work / "many.txt").write_text(("y" * 900 + "\n") * 1000)
    shown = read_file("many.txt", 1, 1000)
    assert len(shown) < folder.MOST_CHARACTERS + 100
    assert "go on with start_line=" in shown


def test_an_empty_file_and_bad_text_are_no_errors(work: Path) -> None:
    (work / "empty").touch()
    (work / "bad.txt").write_bytes(b"caf\xe9 \xff\n")
    assert "empty" in read_file("empty")
    assert read_file("bad.txt") == "caf\ufffd \ufffd"


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../outside.txt", "src/../../outside.txt", "~/x", "", "src", ".", "..", "nix",
     "a.py/", "a.py/x", "\0", "../work2/near.txt", "src/\0", "x" * 5000, "/proc/self/environ"],
)  # fmt: skip
def test_what_is_no_file_of_the_folder_is_refused(work: Path, path: str) -> None:
    if path == "a.py/":  # as pathlib has it, the file itself
        assert read_file(path).startswith("one")
        return
    with pytest.raises(ToolError) as caught:
        read_file(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("link", "target"),
    [("file", "../outside.txt"), ("absolute", "/etc/passwd"), ("up", ".."),
     ("kernel", "/proc/self"), ("circle", "circle")],
)  # fmt: skip
def test_links_that_lead_outside_are_refused(work: Path, link: str, target: str) -> None:
    (work / link).symlink_to(target)
    for path in (link, f"{link}/outside.txt", f"{link}/environ"):
        with pytest.raises(ToolError) as caught:
            read_file(path)
        assert SECRET not in str(caught.value)
    assert SECRET not in find_files("*", "secret")
    assert "outside" not in find_files("**/*")


def test_links_within_the_folder_are_followed(work: Path) -> None:
    (work / "inner").symlink_to("src")
    assert read_file("inner/b.py") == "needle"


@pytest.mark.timeout(10)
def test_pipes_and_devices_are_refused_and_waited_for_by_no_one(work: Path) -> None:
    os.mkfifo(work / "pipe")
    (work / "null").symlink_to("/dev/zero")
    for path in ("pipe", "null"):
        with pytest.raises(ToolError, match=r"no ordinary file|outside"):
            read_file(path)
    assert "pipe" not in find_files("*")
    assert find_files("*", "x") == "No file has it."


def test_a_folder_that_becomes_a_link_in_between_is_not_followed(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (work / "swap").mkdir()
    (work / "swap" / "outside.txt").write_text("harmless")
    resolve = Path.resolve

    def and_swap(self: Path, strict: bool = False) -> Path:
        found = resolve(self, strict)
        if self.name == "outside.txt" and not (work / "swap").is_symlink():
            (work / "swap" / "outside.txt").unlink()
            (work / "swap").rmdir()
            (work / "swap").symlink_to("..")
        return found

    monkeypatch.setattr(Path, "resolve", and_swap)
    with pytest.raises(ToolError):
        read_file("swap/outside.txt")
    assert (work / "swap").is_symlink()


def test_the_root_as_working_folder_does_not_open_the_kernel_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir("/")
    for path in ("proc/self/environ", "dev/zero", "sys/kernel/profiling"):
        with pytest.raises(ToolError, match="outside"):
            read_file(path)


def test_files_are_found_by_name_and_by_path(work: Path) -> None:
    assert find_files("*.py").splitlines() == ["a.py", "src/b.py"]
    assert find_files("src/*").splitlines() == ["src/b.py"]
    assert find_files("src/**/*").splitlines() == ["src/b.py", "src/deep/c.txt"]
    assert find_files("**/c.*") == "src/deep/c.txt"
    assert find_files("./a.py") == "a.py"
    assert find_files("[ab].py").splitlines() == ["a.py", "src/b.py"]
    assert find_files("nix*") == "No file matches."


def test_a_text_is_found_with_its_line_but_not_in_hidden_and_binary_files(work: Path) -> None:
    assert find_files("*", "needle").splitlines() == ["a.py:2: two needle", "src/b.py:1: needle"]
    assert find_files("*.txt", "needle") == "No file has it."


def test_no_more_than_so_many_are_found(work: Path) -> None:
    for n in range(150):
        (work / f"f{n:03}.log").write_text("z\n" * 3)
    listed = find_files("*.log").splitlines()
    assert len(listed) == folder.MOST_FOUND + 1
    assert "There are more" in listed[-1]
    assert len(find_files("*.log", "z").splitlines()) == folder.MOST_FOUND + 1


@pytest.mark.parametrize("pattern", ["../*", "/etc/*", "~/*", "src/../../*", "a" * 300, "*/" * 30])
def test_patterns_that_lead_outside_or_on_and_on_are_refused(work: Path, pattern: str) -> None:
    with pytest.raises(ToolError):
        find_files(pattern)


@pytest.mark.timeout(20)
def test_a_pattern_of_many_stars_ends(work: Path) -> None:
    (work / ("a" * 200)).touch()
    assert find_files("*a" * 90 + "b") == "No file matches."
    assert find_files("**/" * 19 + "nix") == "No file matches."


def test_the_definitions_are_good_ones() -> None:
    assert [d.name for d in DEFINITIONS] == ["read_file", "find_files", "calculate", "ask_user"]
    for tool in DEFINITIONS:
        data = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
        again = check_definition(data, source=tool.source, kind=tool.kind, target=tool.target)
        assert again.identity == tool.identity
    read = DEFINITIONS[0]
    assert check_arguments(read, '{"path": "x", "lines": 5}') == {"path": "x", "lines": 5}
    with pytest.raises(ToolError, match="at most 1000"):
        check_arguments(read, '{"path": "x", "lines": 5000}')
