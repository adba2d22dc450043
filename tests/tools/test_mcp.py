"""MCP servers through the host process: real ones, ones that misbehave, ones that die."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Collection
from pathlib import Path
from typing import Any

import pytest

from mistral_tui.tools import limits, mcp, mcp_frames
from mistral_tui.tools.definition import NAME, Definition
from mistral_tui.tools.mcp import McpServers
from mistral_tui.tools.mcp_config import Server
from mistral_tui.tools.mcp_results import fitting

HERE = Path(__file__).parent
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="process groups")
proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


def real(name: str = "real", **more: Any) -> Server:
    """The server of the official package."""
    return Server(name, "stdio", sys.executable, (str(HERE / "mcp_server.py"),), **more)


def bad(way: str, *more: str, timeout: float = 0.0, name: str = "") -> Server:
    script = str(HERE / "mcp_hostile_server.py")
    args = ("-I", "-S", script, way, *more)
    return Server(name or way, "stdio", sys.executable, args, timeout=timeout)


class Servers(McpServers):
    """With what tests need: waiting for a state, calling by the server's own names."""

    def __init__(self, *servers: Server, log: Path, allowed: Collection[str] = ()) -> None:
        self.news = asyncio.Event()
        super().__init__(servers, log=log, allowed=allowed, changed=self.news.set)

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not true():
                self.news.clear()
                await self.news.wait()

    def tool(self, server: str, target: str = "do") -> Definition:
        found = self.states[server].definitions
        return next(definition for definition in found if definition.target == target)


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[Callable[..., Servers]]:
    """Makes `Servers`; all are closed in the end, and have left no process."""
    all_made: list[Servers] = []

    def make(*servers: Server, allowed: Collection[str] = ()) -> Servers:
        all_made.append(Servers(*servers, log=tmp_path / "mcp.log", allowed=allowed))
        return all_made[-1]

    yield make
    for servers in all_made:
        left = descendants(servers.host_pid)
        await servers.close()
        await gone(left)


def descendants(pid: int | None) -> list[int]:
    """A process and all below it, as /proc tells; none where there is no /proc."""
    if pid is None or not Path("/proc/self/stat").exists():
        return []
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def gone(pids: list[int], seconds: float = 3.0) -> None:
    deadline = time.monotonic() + seconds
    while left := [pid for pid in pids if runs(pid)]:
        assert time.monotonic() < deadline, f"{left} still run"
        await asyncio.sleep(0.01)


async def begun(mark: Path) -> None:
    async with asyncio.timeout(10):
        while not mark.exists():
            await asyncio.sleep(0.005)


@proc
async def test_a_real_server_is_listed_called_and_closed(
    made: Callable[..., Servers], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_SECRET", "for nobody")
    servers = made(real(env={"GIVEN": "this"}))
    assert servers.states["real"].state == "off"
    assert servers.host_pid is None  # nothing runs before it is asked for
    await servers.start()
    state = servers.states["real"]
    assert (state.state, state.sentence, state.version) == ("ready", "", "real 1.2")
    add = servers.tool("real", "add")
    assert (add.name, add.kind, add.source) == ("real_add", "mcp", "real")
    assert add.description == "Adds two numbers."
    assert add.parameters["properties"]["a"]["type"] == "integer"

    outcome = await servers.call(add, {"a": 2, "b": 40})
    assert (outcome.text, outcome.error, outcome.cut) == ("42", False, False)
    assert 0 < outcome.seconds < 5
    outcome = await servers.call(servers.tool("real", "fail"), {})
    assert outcome.error
    assert "Error executing tool fail" in outcome.text
    outcome = await servers.call(add, {"a": "x"})
    assert outcome.error
    outcome = await servers.call(servers.tool("real", "facts"), {})
    assert re.sub(r"\s", "", outcome.text) == '{"city":"Paris","people":2}'
    outcome = await servers.call(servers.tool("real", "picture"), {})
    assert outcome.text == "here:\n[image image/png, 12 KB]"
    environment = servers.tool("real", "environment")
    assert (await servers.call(environment, {"name": "GIVEN"})).text == "this"
    assert (await servers.call(environment, {"name": "MY_SECRET"})).text == "(none)"
    outcome = await servers.call(add, {"a": float("inf")})
    assert outcome.text == "The arguments are too large or no JSON."

    grandchild = int((await servers.call(servers.tool("real", "child"), {})).text)
    assert runs(grandchild)
    left = [*descendants(servers.host_pid), grandchild]
    assert len(left) >= 3
    await servers.close()
    assert not [pid for pid in left if runs(pid)]
    assert servers.states["real"].state == "off"


async def test_a_call_is_taken_back_and_the_server_still_answers(
    made: Callable[..., Servers], tmp_path: Path
) -> None:
    servers = made(real())
    await servers.start()
    slow, add = servers.tool("real", "slow"), servers.tool("real", "add")
    mark = tmp_path / "begun"
    task = asyncio.create_task(servers.call(slow, {"seconds": 60, "mark": str(mark)}))
    await begun(mark)
    task.cancel()
    before = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - before < 0.5
    assert (await servers.call(add, {"a": 1, "b": 2})).text == "3"
    outcome = await servers.call(slow, {"seconds": 60}, timeout=0.2)
    assert outcome.error
    assert outcome.text == "The tool gave no answer within 0.2 seconds."
    assert outcome.seconds < 2
    taken = await servers.call(servers.tool("real", "taken_back"), {})
    assert taken.text == "slow,slow"


async def test_calls_do_not_wait_for_each_other_and_a_changed_list_is_read_again(
    made: Callable[..., Servers],
) -> None:
    servers = made(real())
    await servers.start()
    slow = asyncio.create_task(servers.call(servers.tool("real", "slow"), {"seconds": 60}))
    assert (await servers.call(servers.tool("real", "add"), {"a": 1, "b": 2})).text == "3"
    before = servers.states["real"].definitions
    await servers.call(servers.tool("real", "grow"), {})
    await servers.until(lambda: len(servers.states["real"].definitions) > len(before))
    assert servers.states["real"].definitions[:-1] == before
    outcome = await servers.call(servers.tool("real", "grown"), {})
    assert outcome.text == "new"
    assert not slow.done()
    slow.cancel()


@proc
async def test_a_server_that_is_killed_fails_and_comes_back(
    made: Callable[..., Servers], tmp_path: Path
) -> None:
    servers = made(real())
    await servers.start()
    mark = tmp_path / "begun"
    arguments = {"seconds": 60, "mark": str(mark)}
    task = asyncio.create_task(servers.call(servers.tool("real", "slow"), arguments))
    await begun(mark)
    add = servers.tool("real", "add")
    (server,) = [pid for pid in descendants(servers.host_pid) if pid != servers.host_pid]
    os.kill(server, signal.SIGKILL)
    outcome = await task
    assert outcome.error
    assert outcome.text == "The MCP server real ended during the call, or its connection did."
    await servers.until(lambda: servers.states["real"].state == "failed")
    assert servers.states["real"].sentence == "The MCP server real was killed."
    assert servers.states["real"].definitions == ()
    assert (await servers.call(add, {})).text == "The MCP server real was killed."
    await servers.restart("real")
    assert (await servers.call(add, {"a": 1, "b": 2})).text == "3"


@proc
async def test_a_host_that_is_killed_is_a_sentence_and_comes_back(
    made: Callable[..., Servers], tmp_path: Path
) -> None:
    child = tmp_path / "child"
    servers = made(real(), bad("stubborn", str(child)))
    await servers.start()
    mark = tmp_path / "begun"
    arguments = {"seconds": 60, "mark": str(mark)}
    task = asyncio.create_task(servers.call(servers.tool("real", "slow"), arguments))
    await begun(mark)
    add = servers.tool("real", "add")
    assert servers.host_pid is not None
    all_of_them = descendants(servers.host_pid)
    assert int(child.read_text()) in all_of_them
    os.kill(servers.host_pid, signal.SIGKILL)
    outcome = await task
    assert outcome.error
    sentence = "The process that talks to MCP servers was killed; restart brings it back."
    assert outcome.text == sentence
    assert {state.sentence for state in servers.states.values()} == {sentence}
    await gone(all_of_them)  # a server that minds no signal, and its child, too
    await servers.restart("real")
    assert (await servers.call(add, {"a": 1, "b": 2})).text == "3"


@proc
async def test_a_host_that_hangs_is_ended(
    made: Callable[..., Servers], monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = made(bad("plain"))
    await servers.start()
    do = servers.tool("plain")
    monkeypatch.setattr(mcp, "_GRACE_SECONDS", 0.2)
    monkeypatch.setattr(mcp, "_CLOSE_SECONDS", 0.2)
    left = descendants(servers.host_pid)
    assert servers.host_pid is not None
    os.kill(servers.host_pid, signal.SIGSTOP)
    outcome = await servers.call(do, {}, timeout=0.1)
    assert outcome.error
    assert outcome.text == "The MCP server plain gave no answer within 0.1 seconds."
    assert "did not answer and was ended" in servers.states["plain"].sentence
    await gone(left)
    monkeypatch.setattr(mcp, "_GRACE_SECONDS", 5)
    await servers.restart("plain")
    assert (await servers.call(do, {})).text == "done by plain"
    left = descendants(servers.host_pid)
    os.kill(servers.host_pid, signal.SIGSTOP)
    await servers.close()
    await gone(left)


@proc
@pytest.mark.parametrize("host_too", [False, True])
async def test_everything_ends_with_an_app_that_is_killed(tmp_path: Path, host_too: bool) -> None:
    code = f"""
import asyncio, os, sys
from pathlib import Path
sys.path.insert(0, {str(HERE)!r})
import test_mcp as t
async def main():
    folder = Path({str(tmp_path)!r})
    servers = t.Servers(t.bad("stubborn", str(folder / "child")), log=folder / "log")
    await servers.start()
    print(*t.descendants(servers.host_pid), flush=True)
    if {host_too}:
        os.kill(servers.host_pid, 9)
    os.kill(os.getpid(), 9)
asyncio.run(main())
"""
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", code], capture_output=True, text=True, timeout=20
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    host, server, child = [int(pid) for pid in done.stdout.split()]
    if host_too:  # nobody is left to end a server's children, only Linux for the server itself
        await gone([host, server])
        os.kill(child, signal.SIGKILL)
    await gone([host, server, child])


async def test_servers_that_do_not_start_are_sentences_in_bounded_time(
    made: Callable[..., Servers], tmp_path: Path
) -> None:
    servers = made(
        bad("silent", timeout=1.0),
        bad("exits"),
        Server("nowhere", "stdio", "no-such-command-here"),
        Server("folder", "stdio", sys.executable, cwd=str(tmp_path / "none")),
        Server("closed", "http", url="http://127.0.0.1:9/mcp"),
        bad("plain"),
    )
    before = time.monotonic()
    await servers.start()
    assert time.monotonic() - before < 8
    said = {name: (state.state, state.sentence) for name, state in servers.states.items()}
    assert said["silent"] == (
        "failed",
        "The MCP server silent did not get ready within 1 seconds.",
    )
    assert said["exits"] == (
        "failed",
        "The MCP server exits ended by itself (code 3). Its last words: no licence found",
    )
    assert said["nowhere"] == (
        "failed",
        "The MCP server nowhere cannot be started: the command no-such-command-here is not found.",
    )
    assert said["folder"] == (
        "failed",
        "The MCP server folder cannot be started: its folder cwd is not there.",
    )
    assert said["closed"] == (
        "failed",
        "The MCP server closed cannot be reached: look whether it runs, and at its url.",
    )
    assert said["plain"] == ("ready", "")
    assert "no licence found" in (tmp_path / "mcp.log").read_text()
    await servers.stop("plain")
    assert servers.states["plain"].state == "off"


async def test_what_hostile_servers_answer_is_bounded_and_safe(
    made: Callable[..., Servers], tmp_path: Path
) -> None:
    ways = ("garbage", "big", "escapes", "wrong", "deep", "bytes", "asks")
    servers = made(*(bad(way) for way in ways), bad("dies"))
    await servers.start()
    assert {state.state for state in servers.states.values()} == {"ready"}
    outcomes = {way: await servers.call(servers.tool(way), {}, timeout=10) for way in ways}
    assert outcomes["garbage"].text == "done by garbage"
    assert outcomes["big"].text == "x" * limits.MOST_RESULT
    assert outcomes["big"].cut
    assert outcomes["escapes"].text == "red ]52;c;cm0gLXJmIC8=‹U+202E›gnp.exe"
    for way in ("wrong", "deep"):
        assert outcomes[way].error
        assert "is not as the protocol wants it" in outcomes[way].text
    assert outcomes["bytes"].text == "a\ufffd\ufffd?z"
    assert outcomes["asks"].text == "error,error,error"  # sampling, elicitation and roots
    log = (tmp_path / "mcp.log").read_text()
    assert "a line of the server" in log
    assert "garbage: stdout: more noise" in log
    outcome = await servers.call(servers.tool("dies"), {})
    assert outcome.error
    await servers.until(lambda: servers.states["dies"].state == "failed")
    assert (await servers.call(servers.tool("garbage"), {})).text == "done by garbage"


async def test_lists_of_tools_are_bounded_and_safe_and_follow_changes(
    made: Callable[..., Servers],
) -> None:
    servers = made(bad("listing"), bad("pages"), bad("empty pages"), bad("grows"))
    await servers.start()
    state = servers.states["listing"]
    assert state.state == "ready"
    names = [definition.name for definition in state.definitions]
    assert names[:4] == [
        "listing_good", "listing_same_name", "listing_same_name_2", "listing_t_st",
    ]  # fmt: skip
    targets = [definition.target for definition in state.definitions]
    assert targets == [
        "good", "same/name", "same name", "tëst 日本", "n" * 100, "huge", "talks",
    ]  # fmt: skip
    assert state.sentence.startswith("11 tools are left out: same name: there are two tools")
    good, talks = state.definitions[0], state.definitions[-1]
    assert good.description == "Fine.red ]52;c;cm0gLXJmIC8=‹U+202E›gnp.exe"
    assert "\x1b" not in good.parameters["description"]
    assert len(talks.description) <= 4001
    assert "\x1b" not in state.version
    assert len(servers.states["pages"].definitions) == 500
    assert servers.states["pages"].sentence == "Only the first 500 tools are used."
    assert servers.states["empty pages"].definitions == ()
    every = [d.name for s in servers.states.values() for d in s.definitions]
    assert all(NAME.fullmatch(name) for name in every)
    assert len(set(every)) == len(every)
    for number in (2, 3):  # a server of 2025 tells of changes unasked
        await servers.call(servers.tool("grows", "t0"), {})
        await servers.until(lambda n=number: len(servers.states["grows"].definitions) == n)


async def test_servers_with_the_same_tools_have_names_of_their_own(
    made: Callable[..., Servers],
) -> None:
    servers = made(bad("plain", name="a b"), bad("plain", name="a.b"), bad("plain", name="x"))
    await servers.start(["a.b", "x"])
    assert servers.states["a b"].state == "off"
    assert servers.tool("a.b").name == "a_b_do"
    await servers.start()
    assert servers.tool("a.b").name == "a_b_do"  # what a conversation knows does not change
    assert servers.tool("a b").name == "a_b_do_2"
    assert servers.tool("x").name == "x_do"
    await servers.restart("a.b")
    assert servers.tool("a.b").name == "a_b_do"


async def test_two_starts_at_once_have_one_host(made: Callable[..., Servers]) -> None:
    servers = made(real("one"), real("two"))
    await asyncio.gather(servers.start(["one"]), servers.start(["two"]))
    assert {state.state for state in servers.states.values()} == {"ready"}
    assert len(descendants(servers.host_pid)) <= 3 or not Path("/proc/self/stat").exists()


async def test_a_permission_is_not_for_another_server_of_that_name(
    made: Callable[..., Servers],
) -> None:
    servers = made(real("db", digest="one")), made(real("db", digest="other"))
    tools = []
    for one in servers:
        await one.start()
        tools.append(one.states["db"].definitions[0])
    assert tools[0].name == tools[1].name
    assert tools[0].identity != tools[1].identity


def test_what_a_projects_server_wants_is_told_whole(tmp_path: Path) -> None:
    environment = {"LD_PRELOAD": "/tmp/evil.so"}
    args = ("-c", "x" * 300, "the end")
    server = Server("s", "stdio", "/bin/sh", args, environment, "/srv", from_project=True)
    state = McpServers([server], log=tmp_path / "log").states["s"]
    assert state.state == "asks"
    for part in ("'the end'", "LD_PRELOAD=/tmp/evil.so", "in /srv"):
        assert part in state.sentence


async def test_a_projects_server_does_not_run_before_the_user_says_so(
    made: Callable[..., Servers], tmp_path: Path
) -> None:
    command = ("-c", f"open({str(tmp_path / 'ran')!r}, 'w')")
    server = Server(
        "theirs", "stdio", sys.executable, command, from_project=True, digest="d", uses=("TOKEN",)
    )
    allowed: set[str] = set()
    servers = made(server, allowed=allowed)
    await servers.start()
    await servers.restart("theirs")
    state = servers.states["theirs"]
    assert state.state == "asks"
    assert "wants to run" in state.sentence
    assert state.sentence.endswith("It is given TOKEN.")
    assert servers.host_pid is None
    outcome = await servers.call(Definition("n", "", source="theirs", target="do"), {})
    assert outcome.text == "The MCP server theirs is not running."
    assert not (tmp_path / "ran").exists()
    allowed.add("d")
    assert servers.states["theirs"].state == "off"
    await servers.start()
    assert servers.states["theirs"].state == "failed"  # it is no server, but it ran
    assert (tmp_path / "ran").exists()


async def test_a_server_at_an_address(made: Callable[..., Servers], tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, str(HERE / "mcp_server.py"), "http"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        port = int(await asyncio.to_thread(process.stdout.readline))
        url = f"http://127.0.0.1:{port}"
        servers = made(
            Server("web", "http", url=f"{url}/mcp", headers={"X-Key": "k"}),
            Server("wrong", "http", url=f"{url}/elsewhere"),
        )
        await servers.start()
        assert servers.states["web"].version == "real 1.2"
        assert "HTTP 404" in servers.states["wrong"].sentence
        add, slow = servers.tool("web", "add"), servers.tool("web", "slow")
        assert (await servers.call(add, {"a": 2, "b": 40})).text == "42"
        outcome = await servers.call(slow, {"seconds": 60}, timeout=0.2)
        assert outcome.error
        assert (await servers.call(servers.tool("web", "taken_back"), {})).text == "slow"
        await servers.call(servers.tool("web", "grow"), {})
        await servers.until(
            lambda: any(d.target == "grown" for d in servers.states["web"].definitions)
        )
        mark = tmp_path / "begun"
        task = asyncio.create_task(servers.call(slow, {"seconds": 60, "mark": str(mark)}))
        await begun(mark)
        process.kill()
        outcome = await task
        assert outcome.error
        await servers.until(lambda: servers.states["web"].state == "failed")
        assert servers.states["web"].sentence == "The MCP server web: the connection was lost."
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


async def test_without_the_package_there_is_a_sentence(
    made: Callable[..., Servers], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "without" / "mcp"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ModuleNotFoundError('none', name='mcp')")
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    servers = made(bad("plain"), Server("web", "http", url="https://example.com/mcp"))
    await servers.start()
    for state in servers.states.values():
        assert state.state == "failed"
        assert state.sentence == 'MCP servers need the package mcp: pip install "mistral-tui[mcp]".'


async def test_closing_twice_and_starting_after_it_works(made: Callable[..., Servers]) -> None:
    servers = made(bad("plain"))
    await servers.close()
    await servers.start()
    await servers.close()
    await servers.close()
    await servers.start(["plain", "not there"])
    assert (await servers.call(servers.tool("plain"), {})).text == "done by plain"


def test_names_fit_what_models_can_say() -> None:
    assert fitting("git", "log", ()) == "git_log"
    assert fitting("日本", "ü", ()) == "tool"
    assert fitting("s" * 90, "t" * 90, ()) == "s" * 24 + "_" + "t" * 39
    taken = [fitting("s", "t" * 90, ())]
    taken.append(fitting("s", "t" * 90, taken))
    taken.append(fitting("s", "t" * 90, taken))
    assert len({*taken}) == 3
    assert all(NAME.fullmatch(name) for name in taken)
    assert taken[2].endswith("_3")


async def test_frames_that_are_none_are_refused() -> None:
    for data in (b"\xff\xff\xff\xff", b"\0\0\0\x02no", b"\0\0\0\x02[]"):
        reader = asyncio.StreamReader()
        reader.feed_data(data)
        reader.feed_eof()
        with pytest.raises(mcp_frames.FrameError):
            await mcp_frames.read(reader)
    with pytest.raises(mcp_frames.FrameError):
        mcp_frames.encode({"x": "y" * (mcp_frames.MOST_FRAME + 1)})


def test_the_apps_side_loads_nothing_slow() -> None:
    code = (
        "import sys, mistral_tui.tools.mcp, mistral_tui.tools.mcp_config\n"
        "import mistral_tui.tools.mcp_host, mistral_tui.tools.mcp_session\n"
        "slow = {'mcp', 'mcp_types', 'pydantic', 'jsonschema', 'textual', 'torch'}\n"
        "print(slow & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
