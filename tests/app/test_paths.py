"""Where the app keeps its files, who uses them, and what can be wrong with them."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from mistral_tui import paths
from mistral_tui.history.database_file import Presence
from mistral_tui.history.store import Store, StoreError
from mistral_tui.paths import FolderError

FOLDERS = {
    "MISTRAL_TUI_DATA": paths.data_dir,
    "MISTRAL_TUI_STATE": paths.state_dir,
    "MISTRAL_TUI_CONFIG": paths.config_dir,
    "MISTRAL_TUI_CACHE": paths.cache_dir,
}


@pytest.mark.parametrize("variable", FOLDERS)
def test_a_variable_names_the_folder_which_is_made_private(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, str(tmp_path / "a" / "b"))
    folder = FOLDERS[variable]()
    assert folder == tmp_path / "a" / "b"
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("variable", FOLDERS)
def test_without_it_the_folder_is_the_user_s_own(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(os.environ):
        if name.startswith("XDG_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(variable, "")
    folder = FOLDERS[variable]()
    assert folder.is_relative_to(tmp_path)
    assert folder.name == "mistral-tui"
    assert folder.is_dir()


def test_the_home_sign_and_relative_names_are_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MISTRAL_TUI_DATA", "~/kept")
    assert paths.data_dir() == tmp_path / "kept"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MISTRAL_TUI_DATA", "here")
    assert paths.data_dir() == tmp_path / "here"


def test_files_lie_in_their_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in FOLDERS:
        monkeypatch.setenv(variable, str(tmp_path / variable))
    assert paths.database_path().parent == paths.data_dir()
    assert paths.log_dir().parent == paths.state_dir()
    assert paths.themes_dir().parent == paths.config_dir()
    assert paths.log_dir().is_dir()
    assert paths.themes_dir().is_dir()


def test_a_folder_that_cannot_be_made_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MISTRAL_TUI_STATE", str(tmp_path / "file" / "state"))
    with pytest.raises(FolderError, match="set MISTRAL_TUI_STATE"):
        paths.log_dir()


def test_the_one_who_holds_a_name_is_alive_until_it_leaves(tmp_path: Path) -> None:
    me, other = Presence(tmp_path / "file"), Presence(tmp_path / "file")
    assert not other.alive(me.owner)
    me.claim()
    me.claim()
    other.sweep()
    assert other.alive(me.owner)
    assert me.alive(me.owner)
    me.leave()
    assert not other.alive(me.owner)
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_is_dead_and_swept_away(tmp_path: Path) -> None:
    source = (
        "import sys, pathlib; from mistral_tui.history.database_file import Presence\n"
        "p = Presence(pathlib.Path(sys.argv[1])); p.claim()\n"
        "print(p.owner, flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", source, tmp_path / "file"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    owner = process.stdout.readline().strip()
    me = Presence(tmp_path / "file")
    me.sweep()
    assert me.alive(owner)
    process.kill()
    process.wait()
    assert not me.alive(owner)
    me.sweep()
    assert list(tmp_path.iterdir()) == []


def test_without_a_file_nobody_is_held_for_dead() -> None:
    me = Presence(None)
    me.claim()
    me.sweep()
    assert me.alive("anyone")
    me.leave()


# ── several users of one conversation file, and their death ─────────────────────────


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "conversations.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    store = Store(path)
    yield store
    store.close()


def ask(store: Store, text: str = "Why?") -> tuple[str, int]:
    conversation = store.create_conversation()
    return conversation.id, store.add_message(conversation.id, None, "user", text).id


def child(source: str, *args: object) -> subprocess.Popen[str]:
    """Another process that has a store open at the path in its first argument."""
    head = "import sys; from pathlib import Path; from mistral_tui.history.store import Store\n"
    head += "store = Store(Path(sys.argv[1]))\n"
    return subprocess.Popen(
        [sys.executable, "-c", head + textwrap.dedent(source), *map(str, args)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


STREAM = """
    chat = store.create_conversation().id
    question = store.add_message(chat, None, "user", "Count.").id
    message = store.begin_reply(chat, question, fingerprint="f")
    print(chat, flush=True)
    for i in range(int(sys.argv[2])):
        store.append_chunk(message.id, f"{i} ", [i], [-1.0])
        print(i, flush=True)
    sys.stdin.read()
"""


def test_what_was_streamed_survives_the_kill_of_its_process(path: Path) -> None:
    process = child(STREAM, path, 10**9)
    chat = line(process)
    while int(line(process)) < 200:
        pass
    process.kill()
    assert process.stdout is not None
    acknowledged = 201 + len(process.stdout.read().split("\n")[:-1])
    process.wait()
    store = Store(path)
    _, messages = store.load_conversation(chat)
    reply = messages[-1]
    numbers = [int(word) for word in reply.text.split()]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) >= acknowledged
    assert reply.status == "interrupted"
    assert reply.realizations[0].ids == tuple(numbers)
    assert sorted(p.name for p in path.parent.glob("*.live-*")) == []
    store.close()


def test_a_reply_without_a_word_does_not_survive_the_kill(path: Path) -> None:
    process = child(STREAM, path, 0)
    chat = line(process)
    process.kill()
    process.wait()
    store = Store(path)
    assert [m.text for m in store.load_conversation(chat)[1]] == ["Count."]
    store.close()


def test_the_reply_of_a_living_process_is_left_to_it(path: Path) -> None:
    process = child(STREAM, path, 3)
    chat = line(process)
    while line(process) != "2":
        pass
    store = Store(path)
    reply = store.load_conversation(chat)[1][-1]
    assert (reply.text, reply.status) == ("0 1 2 ", "streaming")
    process.send_signal(signal.SIGSTOP)  # a stopped one is alive, too
    assert store.recover() == 0
    process.kill()
    process.wait()
    reply = store.load_conversation(chat)[1][-1]
    assert (reply.text, reply.status) == ("0 1 2 ", "interrupted")
    store.close()


def test_closing_keeps_what_is_still_being_written(path: Path) -> None:
    store = Store(path)
    chat, question = ask(store)
    store.append_chunk(store.begin_reply(chat, question).id, "half")
    store.close()
    store.close()
    store = Store(path)
    reply = store.load_conversation(chat)[1][-1]
    assert (reply.text, reply.status) == ("half", "interrupted")
    store.close()


def test_processes_that_open_a_new_file_at_once_all_write_to_it(path: Path) -> None:
    source = """
        for i in range(20):
            chat = store.create_conversation().id
            store.add_message(chat, None, "user", sys.argv[2] + str(i))
        store.close()
    """
    processes = [child(source, path, name) for name in "abcd"]
    assert [process.wait() for process in processes] == [0] * 4
    store = Store(path)
    expected = {name + str(i) for name in "abcd" for i in range(20)}
    assert set(store.recent_prompts()) == expected
    store.close()


def test_two_stores_see_what_the_other_does(store: Store, path: Path) -> None:
    other = Store(path)
    chat, question = ask(store)
    mine = store.begin_reply(chat, question)
    theirs = other.begin_reply(chat, question)
    store.append_chunk(mine.id, "mine")
    other.append_chunk(theirs.id, "theirs")
    assert store.recover() == other.recover() == 0
    store.finish_reply(mine.id, "complete")
    other.finish_reply(theirs.id, "complete")
    assert {m.text for m in store.load_conversation(chat)[1]} == {"Why?", "theirs"}
    other.delete_conversation(chat)
    with pytest.raises(StoreError, match="deleted"):
        store.add_message(chat, theirs.id, "user", "And?")
    other.close()


# ── troubles ────────────────────────────────────────────────────────────────────────


def test_a_file_of_a_newer_version_is_refused_and_left_alone(path: Path) -> None:
    Store(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(StoreError, match="newer mistral-tui"):
        Store(path)
    assert path.read_bytes() == before


def test_the_database_of_another_program_is_refused(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE theirs (x)")
    with pytest.raises(StoreError, match="another program"):
        Store(path)


def test_a_damaged_file_is_refused_with_a_sentence(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(StoreError, match="damaged: move it away"):
        Store(path)


def test_damage_inside_the_file_is_a_sentence_too(store: Store, path: Path) -> None:
    chat, _ = ask(store)
    store._db.execute("UPDATE messages SET content = '{broken'")
    with pytest.raises(StoreError, match="damaged"):
        store.load_conversation(chat)
    chat, _ = ask(store, "long " * 20_000)
    store.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    with pytest.raises(StoreError, match="damaged"):
        Store(path).load_conversation(chat)


@pytest.fixture
def bound_by_permissions(path: Path) -> Iterator[None]:
    """The superuser is not: for a while it becomes another user, who can come as far as `path`."""
    for folder in path.parents[1:5]:
        if folder.stat().st_uid == os.geteuid() and folder != folder.parent:
            folder.chmod(0o755)
    superuser = os.geteuid() == 0
    if superuser:
        Store(path).close()
        for owned in (path.parent, path):
            os.chown(owned, 65534, -1)
        os.seteuid(65534)
    yield
    if superuser:
        os.seteuid(0)


def test_a_folder_that_cannot_be_written_is_a_sentence(
    path: Path, bound_by_permissions: None
) -> None:
    Store(path).close()
    path.parent.chmod(0o555)
    for file in (path, path.with_name("new.db"), path.parent / "new" / "new.db"):
        with pytest.raises(StoreError, match="permissions"):
            Store(file)
    path.parent.chmod(0o755)


def test_a_file_that_cannot_be_written_is_a_sentence(
    path: Path, bound_by_permissions: None
) -> None:
    Store(path).close()
    path.chmod(0o444)
    with pytest.raises(StoreError, match="permissions"):
        Store(path)


def test_after_a_full_disk_the_store_goes_on(store: Store) -> None:
    chat, question = ask(store)
    unsaved = store.create_conversation().id
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreError, match="disk is full"):
        store.add_message(chat, question, "user", "x" * 100_000)
    with pytest.raises(StoreError, match="disk is full"):
        store.add_message(unsaved, None, "user", "x" * 100_000)
    store._db.execute("PRAGMA max_page_count = 1000000")
    store.add_message(chat, question, "user", "short")
    store.add_message(unsaved, None, "user", "now")
    assert [m.text for m in store.load_conversation(chat)[1]] == ["Why?", "short"]
    assert [m.text for m in store.load_conversation(unsaved)[1]] == ["now"]


def test_a_busy_file_is_a_sentence(store: Store, path: Path) -> None:
    chat, question = ask(store)
    store._db.execute("PRAGMA busy_timeout = 10")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="busy"):
        store.add_message(chat, question, "user", "x")
    other.close()
    store.add_message(chat, question, "user", "x")


def test_only_the_owner_can_read_the_file(store: Store, path: Path) -> None:
    ask(store)
    assert {p.stat().st_mode & 0o777 for p in path.parent.iterdir()} == {0o600}
    assert path.parent.stat().st_mode & 0o777 == 0o700
