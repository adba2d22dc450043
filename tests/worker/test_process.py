"""The engine's process and its log: how it starts, ends, and is heard when it fails."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import tiny
from engine_bench import HELLO, failed, gone
from inference import wire
from inference.api import (
    Cancel,
    CountTokens,
    Event,
    Failed,
    Generate,
    Heartbeat,
    Request,
    Shutdown,
)
from inference.errors import explain
from mistral_tui import engine_client
from mistral_tui.engine_client import LocalEngine


def wait_until(true: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(0.02)
    return true()


@pytest.fixture
def bare() -> Iterator[tuple[subprocess.Popen[bytes], socket.socket]]:
    """An engine process without a model, and the other end of its socket."""
    ours, theirs = socket.socketpair()
    ours.settimeout(20)
    with theirs:
        command = [sys.executable, "-m", "inference.worker", str(theirs.fileno()), str(os.getpid())]
        process = subprocess.Popen(command, pass_fds=(theirs.fileno(),), stderr=subprocess.PIPE)
    with ours, process:
        yield process, ours
        process.kill()


def test_a_request_before_any_model_is_refused(
    bare: tuple[subprocess.Popen[bytes], socket.socket],
) -> None:
    process, sock = bare
    sock.sendall(wire.encode(Cancel(1, 2)) + wire.encode(Generate(2, HELLO)))
    sock.sendall(wire.encode(CountTokens(3, HELLO)))
    events: list[Request | Event | None] = []
    while len(events) < 2:
        if (event := wire.receive(sock)) != Heartbeat():
            events.append(event)
    assert events == [
        Failed(2, "cancelled", "Cancelled."),
        Failed(3, "request", "No model is loaded yet."),
    ]
    sock.sendall(wire.encode(Shutdown()))
    assert process.wait(10) == 0


@pytest.mark.parametrize("data", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\2[]"], ids=repr)
def test_an_end_or_nonsense_on_the_socket_ends_the_process_in_order(
    bare: tuple[subprocess.Popen[bytes], socket.socket], data: bytes
) -> None:
    process, sock = bare
    sock.sendall(data)
    if not data:
        sock.close()
    assert process.wait(10) == 0
    assert process.stderr is not None
    assert b"Traceback" not in process.stderr.read()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), "memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9"), "memory"),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory."), "memory"),
        (PermissionError(13, "Permission denied", "/x"), "system"),
        (ModuleNotFoundError("No module named 'torch'"), "install"),
        (ZeroDivisionError("x\ny"), "internal"),
    ],
    ids=repr,
)
def test_what_nobody_foresaw_becomes_a_sentence(error: Exception, kind: str) -> None:
    assert failed([Failed(1, *explain(error))]).kind == kind


async def test_an_engine_that_cannot_be_started_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no python"))
    engine = LocalEngine(tmp_path / "log")
    await engine.start()
    assert not engine.alive
    failure = failed([event async for event in engine.submit(Generate(1, HELLO))])
    assert failure.kind == "worker_lost"
    assert "could not be started" in failure.sentence
    await engine.close()


async def test_a_log_that_cannot_be_written_keeps_nobody_from_starting(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    engine = LocalEngine(tmp_path / "file" / "engine.log")
    await engine.start()
    assert failed([event async for event in engine.submit(Generate(1, HELLO))]).kind == "request"
    await engine.close()


async def test_nonsense_from_the_engine_ends_it_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = LocalEngine(tmp_path / "log")
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(engine, "_spawn", lambda: ours)
    with theirs:
        await engine.start()
        stream = engine.submit(Generate(1, HELLO))
        theirs.sendall(b"\0\0\0\2[]")
        failure = failed([event async for event in stream])
    assert failure.kind == "worker_lost"
    assert not engine.alive


def test_the_log_is_rotated_and_three_old_ones_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "engine.log"
    for n in range(8):
        with engine_client.open_log(path) as log:
            log.write(str(n).encode() * ((1 << 20) + 1))
    with engine_client.open_log(path) as log:
        log.write(b"new")
    names = {file.name: file.read_bytes()[:1] for file in path.parent.iterdir()}
    assert names == {
        "engine.log": b"n",
        "engine.1.log": b"7",
        "engine.2.log": b"6",
        "engine.3.log": b"5",
    }


# ── an app of its own ───────────────────────────────────────────────────────────────

APP = """
import asyncio, json, os, sys
from pathlib import Path
from inference.api import *
from mistral_tui.engine_client import LocalEngine

report = os.fdopen(int(sys.argv[1]), "w", buffering=1)
hello = (Message("user", "Hello"),)

def tell(what):
    print(json.dumps(what), file=report)

async def main(log, folder):
    os.environ["PYTHONPROFILEIMPORTTIME"] = "1"  # makes the engine write to its stderr
    engine = LocalEngine(Path(log))
    await engine.start()
    tell(engine.pid)
    if not folder:
        await asyncio.sleep(600)
    async for event in engine.submit(LoadModel(engine.next_id(), folder, threads=1)):
        pass
    tell(type(event).__name__)
    for most in (800, 60_000):
        sampling = SamplingParams(temperature=0, max_tokens=most)
        ids = []
        async for event in engine.submit(Generate(engine.next_id(), hello, sampling)):
            if isinstance(event, Tokens):
                if not ids:
                    tell("streaming")
                ids += event.ids
        tell([type(event).__name__, len(ids), engine.silent_for()])

asyncio.run(main(*sys.argv[2:]))
"""


@dataclass
class App:
    """A process that has an engine, and reports by a pipe what happens."""

    process: subprocess.Popen[bytes]
    report: Iterator[str]

    def told(self) -> object:
        return json.loads(next(self.report))


@pytest.fixture
def start_app(tmp_path: Path) -> Iterator[Callable[[Path | str], App]]:
    apps: list[subprocess.Popen[bytes]] = []
    (tmp_path / "cwd" / "inference").mkdir(parents=True)
    for name in ("inference/__init__", "torch", "mistral_common", "safetensors", "logging"):
        path = tmp_path / "cwd" / f"{name}.py"
        path.write_text(f"open({str(tmp_path / 'imported')!r}, 'w'); raise SystemExit('decoy')")
    script = tmp_path / "app.py"
    script.write_text(APP)

    def start(folder: Path | str) -> App:
        reading, writing = os.pipe()
        arguments = (str(writing), str(tmp_path / "engine.log"), str(folder))
        with (tmp_path / "output").open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, str(script), *arguments],
                cwd=tmp_path / "cwd",
                pass_fds=(writing,),
                stdout=output,
                stderr=output,
            )
        os.close(writing)
        apps.append(process)
        return App(process, os.fdopen(reading))

    yield start
    for process in apps:
        process.kill()
        process.wait()


def test_an_engine_ends_with_its_app(start_app: Callable[[Path | str], App]) -> None:
    app = start_app("")
    pid = app.told()
    assert isinstance(pid, int)
    assert not gone(pid)
    app.process.kill()
    assert wait_until(lambda: gone(pid), 3)


def test_a_stopped_app_loses_nothing_and_a_killed_one_takes_its_busy_engine_along(
    start_app: Callable[[Path | str], App], tmp_path: Path
) -> None:
    app = start_app(tiny.make(tmp_path / "model", n_layers=1, max_position_embeddings=65_536))
    pid = app.told()
    assert isinstance(pid, int)
    assert app.told() == "Ready"
    assert app.told() == "streaming"
    app.process.send_signal(signal.SIGSTOP)
    time.sleep(2)
    assert not gone(pid)
    app.process.send_signal(signal.SIGCONT)
    assert app.told() == ["Finished", 800, 0.0]  # every token, and no word of silence

    assert app.told() == "streaming"
    app.process.kill()
    assert wait_until(lambda: gone(pid), 3)
    # Nothing of the engine came by the app's own output, all of it by the log, and what lies
    # where the user stands was not taken for a part of it.
    assert (tmp_path / "output").read_bytes() == b""
    assert "import time:" in (tmp_path / "engine.log").read_text()
    assert not (tmp_path / "imported").exists()
