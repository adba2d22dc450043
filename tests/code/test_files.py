"""Code files on a real disk: what is read, what is refused, that nothing is half written."""

from __future__ import annotations

import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistral_tui.code import files, line_ends, writing
from mistral_tui.code.errors import ChangedOnDisk, CodeError
from mistral_tui.code.files import open_file, save, state

NOBODY = 65534


def write(path: Path, data: bytes | str) -> Path:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def nobody() -> Iterator[None]:
    """Somebody without the superuser's rights, whoever runs the tests."""
    if os.geteuid() != 0:
        yield
        return
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that others can reach, too."""
    folder = Path(tempfile.mkdtemp()).resolve()
    folder.chmod(0o777)
    yield folder
    folder.chmod(0o777)
    shutil.rmtree(folder)


# ── line ends ───────────────────────────────────────────────────────────────────────

RAW = st.text(st.sampled_from("ab\r\n\x0b\x0c\x1c\x85\u2028\ufeffé😀"), max_size=40)
TEXT = st.text(st.sampled_from("ab\n\x0c"), max_size=40)


@given(RAW, st.booleans())
@settings(max_examples=300, deadline=None)
def test_an_unchanged_text_gives_the_same_bytes(raw: str, bom: bool) -> None:
    data = b"\xef\xbb\xbf" * bom + raw.encode()
    text, ends, has_bom = files._decoded(data, "x")
    assert "\r" not in text
    kept = line_ends.carried(text, ends, text)
    assert files._encoded(text, kept, bom=has_bom, shown="x") == data


@given(RAW, TEXT)
@settings(max_examples=300, deadline=None)
def test_an_edited_text_is_what_was_typed_and_keeps_the_ends_around_it(raw: str, new: str) -> None:
    old, ends = line_ends.split(raw)
    carried = line_ends.carried(old, ends, new)
    written = line_ends.joined(new, carried)
    assert line_ends.split(written)[0] == new
    if "\r" in ends and "" in old.split("\n"):
        return  # between "\r" and "\n" there can be no empty line: one of them gives way
    around = "new\n" + old + "\nnew"
    assert raw in line_ends.joined(around, line_ends.carried(old, ends, around))


@pytest.mark.parametrize(
    ("raw", "edit", "expected"),
    [
        (b"a\r\nb\r\n", ("b", "b\nc"), b"a\r\nb\r\nc\r\n"),
        (b"a\rb", ("b", "b\nc"), b"a\rb\rc"),
        (b"a\nb", ("b", "c\n"), b"a\nc\n"),
        (b"a", ("a", "a\nb"), b"a\nb"),
        # Mixed: the line that is edited keeps its end, and new ones get the usual end.
        (b"a\r\nb\nc\r\nd\r\n", ("b", "B"), b"a\r\nB\nc\r\nd\r\n"),
        (b"a\r\nb\nc\r\nd\r\n", ("c\n", "new\nc\n"), b"a\r\nb\nnew\r\nc\r\nd\r\n"),
        (b"a\nb\r\nc\nd\n", ("a\n", ""), b"b\r\nc\nd\n"),
        (b"a\nb\r\nc\nd\re", ("b\n", ""), b"a\nc\nd\re"),
        (b"\xef\xbb\xbfa\r\n", ("a", "b"), b"\xef\xbb\xbfb\r\n"),
        (b"a\x0cb\xc2\x85c\xe2\x80\xa8d\n", ("d", "e"), b"a\x0cb\xc2\x85c\xe2\x80\xa8e\n"),
        (b"a\r\n", ("a", "a\rb"), b"a\rb\r\n"),  # a return that is typed is text
    ],
)
def test_an_edit_keeps_the_line_ends_of_the_file(
    tmp_path: Path, raw: bytes, edit: tuple[str, str], expected: bytes
) -> None:
    path = write(tmp_path / "x.c", raw)
    file = open_file(path)
    assert "\r" not in file.text
    saved = save(file, file.text.replace(*edit))
    assert path.read_bytes() == expected
    assert save(saved, saved.text).path.read_bytes() == expected  # and once more


def test_a_large_file_with_mixed_ends_keeps_them_through_edits_far_apart() -> None:
    dice = random.Random(0)
    raw = "".join(f"line {n}" + dice.choice(("\n", "\r\n", "\r")) for n in range(50_000))
    text, ends = line_ends.split(raw)
    lines = text.split("\n")
    lines[10], lines[40_000] = "changed", "changed"
    new = "\n".join(lines)
    written = line_ends.joined(new, line_ends.carried(text, ends, new))
    expected = raw.replace("line 10\n", "changed\n").replace("line 10\r", "changed\r")
    expected = expected.replace("line 40000", "changed")
    assert written == expected


# ── opening ─────────────────────────────────────────────────────────────────────────


def test_a_file_is_read_with_what_is_unusual_about_it(tmp_path: Path) -> None:
    path = write(tmp_path / "x.py", b"\xef\xbb\xbfa\r\nb")
    path.chmod(0o444)
    file = open_file(path)
    assert (file.path, file.text, file.ends, file.bom, file.mode) == (
        path, "a\nb", "\r\n", True, 0o444,
    )  # fmt: skip
    assert not file.writable
    assert file.marks == ("read-only", "CRLF", "BOM")
    assert open_file(write(tmp_path / "y", b"a\nb\r")).marks == ("mixed line ends",)
    assert open_file(write(tmp_path / "z", b"")).marks == ()


def test_a_file_that_is_not_there_is_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "new.py"
    file = open_file(path)
    assert (file.text, file.signature, file.writable, file.marks) == ("", None, True, ("new",))
    assert state(file) == "same"
    assert not path.exists()
    saved = save(file, "x = 1\n")
    assert path.read_bytes() == b"x = 1\n"
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    assert saved.marks == ()
    assert state(saved) == "same"
    assert names(tmp_path) == ["new.py"]


def test_what_cannot_be_edited_is_refused_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "null").symlink_to("/dev/null")
    write(tmp_path / "binary", b"ELF\0\1")
    write(tmp_path / "utf16", "text".encode("utf-16"))
    write(tmp_path / "latin", b"good\r\nold\rgr\xfc\xdfe\n")
    write(tmp_path / "large", b"x" * (files.MOST_BYTES + 1))
    for name, said in {
        ".": " is a folder",
        "pipe": "pipe is no ordinary file",
        "null": "null is no ordinary file",
        "/dev/zero": "/dev/zero is no ordinary file",
        "loop": "loop cannot be opened: too many levels",
        "binary": "binary is a binary file",
        "utf16": "utf16 is UTF-16",
        "latin": "latin, line 3: the text is not UTF-8",
        "large": "large is too large: files of up to 8 MB",
        "nowhere/new": "nowhere/new cannot be made: there is no folder nowhere",
        "binary/new": "binary/new cannot be made: there is no folder binary",
        "a" * 300: "file name too long",
        "a\0b": "No file can have such a name",
        "a\ud800b": "No file can have such a name",
        "\x1b]0;evil\a/x": "there is no folder ]0;evil",
    }.items():
        with pytest.raises(CodeError) as error:
            open_file(Path(name))
        sentence = str(error.value)
        assert said in sentence, sentence
        assert "\x1b" not in sentence
        assert "\n" not in sentence
        assert sentence.endswith(".")


def test_a_file_of_just_the_limit_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "x", b"0123456\n" * (files.MOST_BYTES // 8))
    assert len(open_file(path).text) == files.MOST_BYTES


def test_a_file_that_may_not_be_read_says_so(open_folder: Path) -> None:
    path = write(open_folder / "secret", "x")
    path.chmod(0)
    with nobody(), pytest.raises(CodeError, match=r"secret cannot be opened: permission denied\."):
        open_file(path)


def test_paths_are_shown_short_and_safe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    assert open_file(Path("x.py")).shown == "x.py"
    assert open_file(Path("~/y.py")).shown == "~/y.py"
    assert open_file(Path("~/y.py")).path == tmp_path / "y.py"
    assert open_file(Path("../z.py")).shown == "~/z.py"
    assert open_file(Path("/never.py")).shown == "/never.py"
    assert open_file(Path("a\x1b[31mb\nc.py")).shown == "ab c.py"
    long = files.show(Path("/" + "folder/" * 40 + "end.py"))
    assert len(long) == 100
    assert long.startswith("…")
    assert long.endswith("/end.py")


# ── saving ──────────────────────────────────────────────────────────────────────────


def test_permissions_owner_attributes_and_links_stay(tmp_path: Path) -> None:
    path = write(tmp_path / "run.sh", "old\n")
    path.chmod(0o750)
    if os.geteuid() == 0:
        os.chown(path, 1234, 4321)
    attribute = sys.platform == "linux"
    if attribute:
        os.setxattr(path, "user.note", b"mine")
    (tmp_path / "sub").mkdir()
    link = tmp_path / "sub" / "link.sh"
    link.symlink_to("../run.sh")
    before = path.stat()
    file = save(open_file(link), "new\n")
    after = path.stat()
    assert path.read_text() == "new\n"
    assert link.is_symlink()
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode, before.st_uid, before.st_gid,
    )  # fmt: skip
    if attribute:
        assert os.getxattr(path, "user.note") == b"mine"
    assert state(file) == "same"
    assert names(tmp_path) == ["run.sh", "sub"]


def test_a_link_to_nothing_makes_the_file_it_names(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("target")
    file = open_file(tmp_path / "link")
    assert file.signature is None
    save(file, "x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "x"


def test_a_file_with_several_names_stays_one_file(tmp_path: Path) -> None:
    path = write(tmp_path / "one", "old\nlonger\n")
    (tmp_path / "two").hardlink_to(path)
    file = save(open_file(path), "new\n")
    assert (tmp_path / "two").read_text() == "new\n"
    assert path.samefile(tmp_path / "two")
    assert names(tmp_path) == ["one", "two"]
    assert state(file) == "same"
    (tmp_path / ".one.mistral-tui-backup").write_text("old")
    with pytest.raises(CodeError, match="mistral-tui-backup has what the file was"):
        save(file, "newer")
    assert path.read_text() == "new\n"


def test_a_file_in_a_closed_folder_or_of_another_owner_is_written_in_place(
    open_folder: Path,
) -> None:
    path = write(open_folder / "x", "old")
    path.chmod(0o666)
    inode = path.stat().st_ino
    for mode, text in ((0o555, "new"), (0o1777, "newer")):
        open_folder.chmod(mode)
        with nobody():
            save(open_file(path), text)
        assert path.read_text() == text
        if os.geteuid() == 0:  # else it is our own, and takes the usual way
            assert path.stat().st_ino == inode
    assert names(open_folder) == ["x"]


def test_a_read_only_file_is_not_written(tmp_path: Path, open_folder: Path) -> None:
    path = write(tmp_path / "x", "old")
    path.chmod(0o444)
    with pytest.raises(CodeError, match="x is read-only"):
        save(open_file(path), "new", over=True)
    assert path.read_text() == "old"
    other = write(open_folder / "y", "old")
    if os.geteuid() == 0:
        other.chmod(0o644)
        with nobody():
            assert not open_file(other).writable
            with pytest.raises(CodeError, match="y is read-only"):
                save(open_file(other), "new")


def test_what_somebody_else_wrote_is_not_overwritten_unasked(tmp_path: Path) -> None:
    path = write(tmp_path / "x", "old\n")
    file = open_file(path)
    old = path.stat()
    write(path, "own\n")
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))  # the glance does not tell, the bytes do
    assert state(file) == "same"
    with pytest.raises(ChangedOnDisk, match="x was written by somebody else"):
        save(file, "new\n")
    assert path.read_text() == "own\n"
    assert state(save(file, "new\n", over=True)) == "same"
    assert path.read_text() == "new\n"


def test_what_was_touched_or_written_back_is_the_same(tmp_path: Path) -> None:
    path = write(tmp_path / "x", "old\r\n")
    file = open_file(path)
    write(tmp_path / "y", "old\r\n").replace(path)
    assert state(file) == "changed"  # at a glance
    save(file, "new\n")
    assert path.read_bytes() == b"new\r\n"


def test_what_was_taken_away_or_made_meanwhile_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "x", "old")
    file = open_file(path)
    path.unlink()
    assert state(file) == "gone"
    with pytest.raises(ChangedOnDisk, match="taken away"):
        save(file, "new")
    assert not path.exists()
    assert save(file, "new", over=True).signature is not None
    fresh = open_file(tmp_path / "fresh")
    write(tmp_path / "fresh", "theirs")
    assert state(fresh) == "changed"
    with pytest.raises(ChangedOnDisk, match="made by somebody else"):
        save(fresh, "ours")
    assert (tmp_path / "fresh").read_text() == "theirs"


def test_what_comes_between_the_look_and_the_rename_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "x", "old")
    file = open_file(path)
    sync = os.fsync

    def slow(descriptor: int) -> None:
        sync(descriptor)
        write(path, "theirs")

    monkeypatch.setattr(writing.os, "fsync", slow)
    with pytest.raises(ChangedOnDisk):
        save(file, "new")
    assert path.read_text() == "theirs"
    assert names(tmp_path) == ["x"]


def test_a_place_that_became_something_else_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x", "old")
    file = open_file(path)
    path.unlink()
    path.mkdir()
    for over in (False, True):
        with pytest.raises(CodeError, match="x is a folder"):
            save(file, "new", over=over)
    path.rmdir()
    os.mkfifo(path)
    with pytest.raises(CodeError, match="no ordinary file"):
        save(file, "new", over=True)
    assert state(file) == "changed"
    (tmp_path / "sub").mkdir()
    deep = open_file(tmp_path / "sub" / "y")
    (tmp_path / "sub").rmdir()
    with pytest.raises(CodeError, match="there is no folder"):
        save(deep, "new")


def test_half_a_character_is_not_saved_as_something_else(tmp_path: Path) -> None:
    path = write(tmp_path / "x", "old")
    with pytest.raises(CodeError, match="line 2 has a character that no file can hold"):
        save(open_file(path), "a\n\ud83d")
    assert path.read_text() == "old"


def test_two_names_of_one_file_are_known_as_one(tmp_path: Path) -> None:
    path = write(tmp_path / "x", "x")
    (tmp_path / "link").symlink_to("x")
    assert files.same_file(open_file(path), open_file(tmp_path / "link"))
    assert not files.same_file(open_file(path), open_file(write(tmp_path / "y", "x")))
    (tmp_path / "twin").hardlink_to(path)
    assert files.same_file(open_file(path), open_file(tmp_path / "twin"))
    before = open_file(path)
    write(tmp_path / "z", "x").replace(path)  # as other programs save
    assert files.same_file(before, open_file(path))
    (tmp_path / "other").symlink_to("new")
    assert files.same_file(open_file(tmp_path / "new"), open_file(tmp_path / "other"))


# ── a full disk, and the end of the process ─────────────────────────────────────────


@pytest.mark.parametrize("several", [False, True])
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, several: bool) -> None:
    """A limit on the size of files ends a write as a full disk does: in its middle."""
    path = write(tmp_path / "x", "old\n" * 1000)
    if several:
        (tmp_path / "y").hardlink_to(path)
    code = (
        "import resource, signal, sys\nfrom pathlib import Path\n"
        "from mistral_tui.code.files import open_file, save\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "file = open_file(Path(sys.argv[1]))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "try: save(file, 'new' * 1_000_000)\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert done.stdout.startswith("CodeError"), done
    assert "x cannot be saved: file too large." in done.stdout
    assert path.read_text() == "old\n" * 1000
    assert names(tmp_path) == (["x", "y"] if several else ["x"])


def test_a_really_full_disk_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    path = write(tmp_path / "x", "old")
    file = open_file(path)
    really = os.open

    def open_full(name: Path | str, flags: int, *args: int) -> int:
        return really(full if flags & os.O_EXCL else name, flags & ~os.O_EXCL, *args)

    monkeypatch.setattr(writing.os, "open", open_full)
    monkeypatch.setattr(writing, "_dress", lambda *args: None)
    with pytest.raises(CodeError, match=r"x cannot be saved: the disk is full\."):
        save(file, "new")
    assert path.read_text() == "old"


KILLED = """
import os, sys
from pathlib import Path
from mistral_tui.code.files import open_file, save
os.fsync = lambda descriptor: None  # more of the time is spent writing
file = open_file(Path(sys.argv[1]))
print("ready", flush=True)
turn = int(sys.argv[2])
while True:
    turn += 1
    file = save(file, f"{turn % 10}" * 1_000_000)
"""


def _killed(folder: Path, kills: int) -> None:
    dice = random.Random(kills)
    path = write(folder / "x", "0" * 1_000_000)
    seen = set()
    for turn in range(kills):
        command = [sys.executable, "-c", KILLED, str(path), str(turn)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
            time.sleep(dice.uniform(0.001, 0.06))
            child.send_signal(signal.SIGKILL)
        data = path.read_bytes()
        assert len(data) == 1_000_000
        assert len(set(data)) == 1
        seen.add(data[0])
        assert len(names(folder)) <= turn + 2  # each leaves one unfinished file at most
    assert len(seen) > 1
    left = [name for name in names(folder) if name != "x"]
    for name in left[1:]:
        os.utime(folder / name, (1, 1))
    save(open_file(path), "good")
    assert len(names(folder)) == min(len(left), 1) + 1  # but for one that may be at work


def test_a_killed_program_leaves_the_old_file_or_the_new(tmp_path: Path) -> None:
    _killed(tmp_path, 25)


@pytest.mark.soak
def test_a_killed_program_leaves_the_old_file_or_the_new_each_time(tmp_path: Path) -> None:
    _killed(tmp_path, 1000)


def test_what_others_left_is_not_swept(tmp_path: Path) -> None:
    path = write(tmp_path / "x", "x")
    mine = writing._prefix(path) + "00000000"
    for name in (mine, writing._prefix(tmp_path / "y") + "00000000", ".x.swp"):
        os.utime(write(tmp_path / name, "left"), (1, 1))
    save(open_file(path), "new")
    assert mine not in names(tmp_path)
    assert len(names(tmp_path)) == 3
