"""A call in a process of its own: whatever it does, there is an outcome, and nothing stays."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from mistral_tui.tools.builtin import ASK_USER, CALCULATE, FIND_FILES, READ_FILE
from mistral_tui.tools.definition import Definition, Outcome
from mistral_tui.tools.limits import MOST_RESULT
from mistral_tui.tools.process import run

ROOT = Path(__file__).parents[2]
CODE = """
import asyncio, ctypes, enum, os, subprocess, sys, time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

class Colour(enum.Enum):
    RED = "red"

@dataclass
class Point:
    x: float
    colour: Colour = Colour.RED

def echo(text): return text
def typed(point: Point, path: Path, n: int | None = None) -> list:
    return [point, str(type(path).__name__), point.colour is Colour.RED, n]
async def slow_echo(text: str) -> str:
    await asyncio.sleep(0)
    return text
def positional(a, b=2, /, *, c=3): return [a, b, c]
def where(): return os.getcwd()
def prints():
    print("to stdout"); print("to stderr", file=sys.stderr); os.write(1, b"raw")
    return "result"
def prints_and_fails():
    print("half way \\x1b[31mred"); raise ValueError("no\\nsuch\\nluck")
def prints_much():
    for _ in range(50): os.write(1, b"x" * (1 << 20))
    return "done"
def says_much(): return "y" * 50_000_000
def says_bytes(): return b"caf\\xe9"
def prints_bytes():
    os.write(2, b"\\xff\\xfe\\x1b]52;c;evil\\x07"); raise KeyError("k")
def says_escapes(): return "\\x1b[31mred\\x1b[0m \\x07bell"
def says_half(): return "a\\ud800b"
def reads(): return input()
def exits(): sys.exit(3)
def leaves(): os._exit(7)
def crashes(): ctypes.string_at(0)
def loops():
    while True: pass
def recurses(): return recurses()
def closes():
    os.closerange(0, 3); sys.stdout.close(); return "still here"
def circle():
    it = []; it.append(it); return it
def wordless(): raise RuntimeError
def bad_words():
    class Odd(Exception):
        def __str__(self): raise TypeError
    raise Odd
def starts(note: str):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(note).write_text(f"{os.getpid()} {child.pid}")
    time.sleep(600)
def hogs(note: str):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(note).write_text(f"{os.getpid()} {child.pid}")
    ctypes.PyDLL(None).sleep(600)  # gives no other thread a turn
def starts_and_returns(note: str):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(note).write_text(f"{os.getpid()} {child.pid}")
    return "back"
def forks(note: str):
    pid = os.fork()
    if not pid: time.sleep(600)
    Path(note).write_text(f"{os.getpid()} {pid}")
    return "forked"
def flees(note: str):
    os.setsid()
    Path(note).write_text(f"{os.getpid()} {os.getppid()}")
    time.sleep(600)
def descriptors():
    return sorted(int(n) for n in os.listdir("/proc/self/fd"))
def modules():
    slow = ("torch", "textual", "mistral_common", "numpy", "jsonschema", "mcp")
    return [name for name in slow if name in sys.modules]
"""


@pytest.fixture
def module(tmp_path: Path) -> Path:
    path = tmp_path / "code.py"  # the name of a module that Python has, too
    path.write_text(CODE)
    return path


def _tool(module: Path, function: str) -> Definition:
    return Definition(function, "", kind="python", source="m", target=f"{module}:{function}")


async def _run(module: Path, function: str, timeout: float = 20, **arguments: Any) -> Outcome:
    tool = _tool(module, function)
    return await run(tool, arguments, folder=module.parent, timeout=timeout)


def _gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    try:  # dead, but nobody has waited for it
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


async def _all_gone(note: Path) -> bool:
    pids = [int(pid) for pid in note.read_text().split()]
    for _ in range(100):
        if all(_gone(pid) for pid in pids):
            return True
        await asyncio.sleep(0.02)
    return False


async def _written(note: Path) -> None:
    for _ in range(500):
        if note.exists() and len(note.read_text().split()) == 2:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the function did not start")


@pytest.mark.parametrize(
    ("function", "arguments", "text"),
    [
        ("echo", {"text": "grüße \U0001f600"}, "grüße \U0001f600"),
        ("echo", {"text": {"a": [1, None]}}, '{"a": [1, null]}'),
        ("echo", {"text": None}, "null"),
        ("echo", {"text": ""}, ""),
        ("slow_echo", {"text": "later"}, "later"),
        ("positional", {"a": 1, "c": 9}, "[1, 2, 9]"),
        ("typed", {"point": {"x": 1}, "path": "a/b"},
         '[{"x": 1.0, "colour": "red"}, "PosixPath", true, null]'),
        ("prints", {}, "result"),
        ("says_bytes", {}, "caf\ufffd"),
        ("says_escapes", {}, "red bell"),
        ("says_half", {}, "a?b"),
        ("closes", {}, "still here"),
        ("prints_much", {}, "done"),
        ("modules", {}, "[]"),
    ],
)  # fmt: skip
async def test_the_result_is_the_text(
    module: Path, function: str, arguments: dict[str, Any], text: str
) -> None:
    outcome = await _run(module, function, **arguments)
    assert (outcome.text, outcome.error, outcome.cut) == (text, False, False)
    assert outcome.seconds > 0


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("prints_and_fails", "ValueError: no such luck\nIt had printed:\nhalf way red"),
        ("prints_bytes", "KeyError: 'k'\nIt had printed:\n\ufffd\ufffd]52;c;evil"),
        ("reads", "EOFError: EOF when reading a line"),
        ("exits", "SystemExit: 3"),
        ("leaves", "The tool ended without an answer (exit status 7)."),
        ("crashes", "The tool ended without an answer (killed by SIGSEGV)."),
        ("circle", "ValueError: Circular reference detected"),
        ("wordless", "RuntimeError"),
        ("bad_words", "Odd"),
        ("recurses", "RecursionError: maximum recursion depth exceeded"),
        ("missing", "There is no function missing any more."),
    ],
)
async def test_a_failure_is_an_outcome_in_words(module: Path, function: str, words: str) -> None:
    outcome = await _run(module, function)
    assert outcome.error
    assert outcome.text == words
    assert "Traceback" not in outcome.text


async def test_arguments_that_do_not_fit_the_hints_are_a_failure(module: Path) -> None:
    outcome = await _run(module, "typed", point={"x": 1, "colour": "blue"}, path="a")
    assert outcome.error
    assert outcome.text == "point does not fit: 'blue' is no Colour."
    outcome = await _run(module, "echo", words=1)
    assert outcome.text == "words is no parameter of echo."
    outcome = await _run(module, "echo", text={1, 2})
    assert outcome.text == "The arguments are not JSON."


async def test_an_endless_loop_is_stopped(module: Path) -> None:
    started = time.monotonic()
    outcome = await _run(module, "loops", timeout=0.4)
    assert outcome.error
    assert outcome.text == "The tool took longer than 0.4 seconds and was stopped."
    assert time.monotonic() - started < 2


async def test_a_huge_result_is_cut(module: Path) -> None:
    outcome = await _run(module, "says_much")
    assert outcome.cut
    assert not outcome.error
    assert outcome.text == "y" * MOST_RESULT


async def test_a_cancelled_call_takes_all_its_processes_with_it(
    module: Path, tmp_path: Path
) -> None:
    note = tmp_path / "note"
    task = asyncio.create_task(_run(module, "starts", note=str(note)))
    await _written(note)
    started = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - started < 2
    assert await _all_gone(note)


@pytest.mark.parametrize("function", ["starts", "flees"])
async def test_a_late_call_takes_all_its_processes_with_it(
    module: Path, tmp_path: Path, function: str
) -> None:
    if function == "flees" and sys.platform != "linux":
        pytest.skip("only Linux ends a process that has left its group")
    note = tmp_path / "note"
    outcome = await _run(module, function, timeout=1.5, note=str(note))
    assert "longer than 1.5 seconds" in outcome.text
    assert await _all_gone(note)


@pytest.mark.parametrize(
    ("function", "text"), [("starts_and_returns", "back"), ("forks", "forked")]
)
async def test_what_a_call_leaves_running_ends_with_it(
    module: Path, tmp_path: Path, function: str, text: str
) -> None:
    note = tmp_path / "note"
    outcome = await _run(module, function, note=str(note))
    assert outcome.text == text
    assert outcome.seconds < 5
    assert await _all_gone(note)


@pytest.mark.parametrize("function", ["starts", "hogs"])
async def test_the_processes_die_with_the_app(module: Path, tmp_path: Path, function: str) -> None:
    note = tmp_path / "note"
    code = f"""
        import asyncio
        from pathlib import Path
        from mistral_tui.tools.definition import Definition
        from mistral_tui.tools.process import run
        tool = Definition("x", "", kind="python", target={f"{module}:{function}"!r})
        asyncio.run(run(tool, {{"note": {str(note)!r}}}, folder=Path({str(tmp_path)!r})))
    """
    app = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT)
    try:
        await _written(note)
    finally:
        app.send_signal(signal.SIGKILL)
        app.wait()
    assert await _all_gone(note)


async def test_many_calls_at_once_leave_nothing_open(module: Path) -> None:
    await _run(module, "echo", text="warm")
    before = len(list(Path("/dev/fd").iterdir()))
    outcomes = await asyncio.gather(
        *(_run(module, "echo", text=str(n)) for n in range(8)),
        *(_run(module, "loops", timeout=0.3) for _ in range(2)),
    )
    assert [outcome.text for outcome in outcomes[:8]] == [str(n) for n in range(8)]
    await asyncio.sleep(0.05)
    assert len(list(Path("/dev/fd").iterdir())) <= before


def _children() -> set[str]:
    """Of this process; where the system does not say, none."""
    found: set[str] = set()
    for path in Path("/proc/self/task").glob("*/children"):
        found |= set(path.read_text().split())
    return found


async def test_a_call_can_be_cancelled_at_any_moment(module: Path) -> None:
    await _run(module, "echo", text="warm")
    files, children = len(list(Path("/dev/fd").iterdir())), _children()
    for milliseconds in (0, 1, 3, 10, 30):
        task = asyncio.create_task(_run(module, "loops"))
        await asyncio.sleep(milliseconds / 1000)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await asyncio.sleep(0.2)
    assert len(list(Path("/dev/fd").iterdir())) <= files
    assert _children() <= children


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_a_call_inherits_no_descriptors(module: Path) -> None:
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    try:
        outcome = await _run(module, "descriptors")
    finally:
        os.close(reader)
        os.close(writer)
    # The three, the way out of the result, and the listing itself.
    assert outcome.text == "[0, 1, 2, 3, 4]"


async def test_the_working_folder_is_the_one_given_and_lends_no_modules(
    module: Path, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    for name in ("json", "subprocess", "mistral_tui", "ctypes", "dataclasses"):
        (work / f"{name}.py").write_text("raise SystemExit('a module of the working folder')")
    outcome = await run(_tool(module, "where"), {}, folder=work, timeout=20)
    assert outcome.text == str(work)
    assert (await run(CALCULATE, {"expression": "6*7"}, folder=work)).text == "42"


async def test_the_built_in_tools_run(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("grüße")
    assert (await run(READ_FILE, {"path": "a.txt"}, folder=tmp_path)).text == "grüße"
    assert (await run(FIND_FILES, {"pattern": "*"}, folder=tmp_path)).text == "a.txt"
    outcome = await run(CALCULATE, {"expression": "9**9**9"}, folder=tmp_path)
    assert outcome.error
    assert outcome.text == "The result, or a number on the way to it, is too large."
    outcome = await run(READ_FILE, {"path": "../../etc/passwd"}, folder=tmp_path)
    assert outcome.error
    assert "outside of the working folder" in outcome.text


async def test_what_cannot_be_started_is_an_outcome(module: Path, tmp_path: Path) -> None:
    outcome = await run(_tool(module, "echo"), {"text": "x"}, folder=tmp_path / "nix")
    assert outcome.error
    assert "No such file or directory" in outcome.text
    for tool in (ASK_USER, Definition("x", "", kind="mcp", target="a:b"), Definition("x", "")):
        outcome = await run(tool, {}, folder=tmp_path)
        assert outcome.error
        assert "no tool that is run here" in outcome.text
    outcome = await run(_tool(tmp_path / "gone.py", "echo"), {}, folder=tmp_path)
    assert outcome.text == "There is no such file."


def test_importing_all_this_is_light() -> None:
    code = (
        "import sys\n"
        "from mistral_tui.tools import builtin, files, functions, process, schema\n"
        "slow = ('torch', 'textual', 'rich', 'mistral_common', 'numpy', 'jsonschema', 'mcp')\n"
        "print([name for name in slow if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stderr


async def test_a_call_costs_little(tmp_path: Path) -> None:
    outcomes = [await run(CALCULATE, {"expression": "1+1"}, folder=tmp_path) for _ in range(5)]
    assert min(outcome.seconds for outcome in outcomes) < 0.5
