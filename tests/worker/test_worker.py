"""The engine process through `LocalEngine`: a real process, a real socket, a tiny model."""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

import tiny
from inference import wire, worker
from inference.api import (
    Cancel,
    Complete,
    Counted,
    CountTokens,
    Event,
    Failed,
    FillInMiddle,
    Finished,
    Generate,
    Heartbeat,
    LoadModel,
    LoadProgress,
    Message,
    ModelCard,
    PrefillProgress,
    Ready,
    Request,
    SamplingParams,
    Shutdown,
    Tokens,
)
from mistral_tui import engine_client
from mistral_tui.engine_client import LocalEngine

pytestmark = pytest.mark.asyncio(loop_scope="module")

GREEDY = SamplingParams(temperature=0, max_tokens=12)
ENDLESS = SamplingParams(temperature=0, max_tokens=60_000)
HELLO = (Message("user", "Hello"),)
LONG = (Message("user", "word " * 30_000),)  # many seconds of prefill


@dataclass
class Bench:
    """An engine and the events of its last load."""

    engine: LocalEngine
    folder: Path
    loading: list[Event] = field(default_factory=list)

    @property
    def ready(self) -> bool:
        return self.engine.alive and bool(self.loading) and isinstance(self.loading[-1], Ready)

    async def load(self, folder: Path | str) -> list[Event]:
        self.loading = await self.run(LoadModel(self.engine.next_id(), str(folder), threads=1))
        return self.loading

    async def run(self, request: Request) -> list[Event]:
        """A request's events; none may be another's."""
        events = [event async for event in self.engine.submit(request)]
        assert {event.id for event in events} == {request.id}
        return events

    async def say(
        self, messages: tuple[Message, ...] = HELLO, sampling: SamplingParams = GREEDY
    ) -> list[Event]:
        return await self.run(Generate(self.engine.next_id(), messages, sampling))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make(tmp_path_factory.mktemp("model") / "tiny", max_position_embeddings=65_536)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    bench = Bench(LocalEngine(tmp_path_factory.mktemp("log") / "engine.log"), folder)
    yield bench
    await bench.engine.close()


@pytest_asyncio.fixture(loop_scope="module")
async def bench(shared: Bench) -> Bench:
    """The shared engine with the tiny model loaded."""
    if not shared.engine.alive:
        await shared.engine.start()
        shared.loading = []
    if not shared.ready or card_of(shared.loading).path != str(shared.folder):
        await shared.load(shared.folder)
    assert shared.ready, shared.loading[-1]
    return shared


def card_of(events: list[Event]) -> ModelCard:
    assert isinstance(events[-1], Ready)
    return events[-1].card


def ids_of(events: list[Event]) -> list[int]:
    return [n for event in events if isinstance(event, Tokens) for n in event.ids]


def finished(events: list[Event]) -> Finished:
    assert isinstance(events[-1], Finished), events[-1]
    return events[-1]


def failed(events: list[Event]) -> Failed:
    """The failure that events end with, its sentence being one."""
    last = events[-1]
    assert isinstance(last, Failed), last
    assert last.sentence.endswith(".")
    assert last.sentence[0].isupper() or last.sentence[0] in "/~"
    assert "\n" not in last.sentence
    assert "Traceback" not in last.sentence
    return last


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody waits for counts."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return state.stdout.strip() in ("", "Z", "Zs")


def wait_until(true: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(0.02)
    return true()


# ── loading ─────────────────────────────────────────────────────────────────────────


async def test_loading_reports_rising_progress_and_a_true_card(bench: Bench) -> None:
    events = await bench.load(bench.folder)
    card = card_of(events)
    assert all(isinstance(event, LoadProgress) for event in events[:-1])
    stages: dict[str, list[int]] = {}
    for event in events[:-1]:
        assert isinstance(event, LoadProgress)
        assert 0 <= event.done <= event.total
        stages.setdefault(event.stage, []).append(event.done)
    assert next(iter(stages)) == "starting the engine"
    assert all(done == sorted(done) for done in stages.values())
    size = (bench.folder / "consolidated.safetensors").stat().st_size
    assert 0.99 * size < stages["reading weights"][-1] <= size

    shape = card.shape
    assert (shape.dim, shape.n_layers, shape.n_heads, shape.n_kv_heads) == (64, 2, 4, 2)
    assert shape.vocab_size == 32768
    assert shape.n_params == sum(
        math.prod(weight.shape) for weight in tiny.random_weights(tiny.PARAMS).values()
    )
    assert (card.name, card.path) == ("tiny", str(bench.folder))
    assert (card.dtype, card.device, card.threads) == ("float32", "cpu", 1)
    assert card.context == 65_536
    assert {"instruct", "fim"} <= set(card.capabilities)
    assert card.fingerprint


def _break(folder: Path, how: str) -> Path:
    if how == "not there":
        return folder / "nowhere"
    if how == "empty":
        (folder / "empty").mkdir()
        return folder / "empty"
    tiny.make(folder / "model", n_layers=1)
    weights = folder / "model" / "consolidated.safetensors"
    tokenizer = folder / "model" / "tokenizer.model.v3"
    match how:
        case "a file":
            return weights
        case "weights cut off":
            os.truncate(weights, weights.stat().st_size // 2)
        case "weights of noise":
            weights.write_bytes(os.urandom(100_000))
        case "params of noise":
            (folder / "model" / "params.json").write_bytes(os.urandom(300))
        case "a tokenizer of noise":
            tokenizer.write_bytes(os.urandom(300_000))
        case "an empty tokenizer":
            tokenizer.write_bytes(b"")
        case "no tokenizer":
            tokenizer.unlink()
    return folder / "model"


@pytest.mark.parametrize(
    "how",
    ["not there", "empty", "a file", "weights cut off", "weights of noise", "params of noise",
     "a tokenizer of noise", "an empty tokenizer", "no tokenizer"],
)  # fmt: skip
async def test_a_broken_folder_is_named_in_a_sentence_and_the_engine_lives_on(
    bench: Bench, tmp_path: Path, how: str
) -> None:
    pid = bench.engine.pid
    failure = failed(await bench.load(_break(tmp_path, how)))
    assert failure.kind in ("checkpoint", "tokenizer")
    assert str(tmp_path) in failure.sentence
    assert failed(await bench.say()).kind == "request"
    assert card_of(await bench.load(bench.folder))
    assert finished(await bench.say()).reason == "length"
    assert bench.engine.pid == pid


async def test_a_second_model_takes_the_place_of_the_first(bench: Bench, tmp_path: Path) -> None:
    first_card, first = card_of(bench.loading), ids_of(await bench.say())
    other = card_of(await bench.load(tiny.make(tmp_path / "other", n_layers=1, seed=5)))
    assert (other.name, other.shape.n_layers) == ("other", 1)
    assert other.fingerprint != first_card.fingerprint
    assert ids_of(await bench.say()) != first
    assert card_of(await bench.load(bench.folder)) == first_card
    assert ids_of(await bench.say()) == first


async def test_impossible_load_settings_are_refused(bench: Bench) -> None:
    for request in (
        LoadModel(bench.engine.next_id(), str(bench.folder), device="abacus"),
        LoadModel(bench.engine.next_id(), str(bench.folder), dtype="int3"),
        LoadModel(bench.engine.next_id(), str(bench.folder), threads=-2),
    ):
        bench.loading = await bench.run(request)
        assert failed(bench.loading).kind == "setting"


async def test_a_load_can_be_cancelled(bench: Bench) -> None:
    request = LoadModel(bench.engine.next_id(), str(bench.folder))
    bench.engine.cancel(request.id)  # even before it is sent
    bench.loading = await bench.run(request)
    assert failed(bench.loading).kind == "cancelled"


# ── answering ───────────────────────────────────────────────────────────────────────


async def test_an_answer_streams_and_finishes(bench: Bench) -> None:
    events = await bench.say(sampling=SamplingParams(temperature=0, max_tokens=300))
    kinds = [type(event) for event in events]
    assert kinds[0] is PrefillProgress
    assert kinds.count(Tokens) > 3
    assert kinds == sorted(kinds, key=[PrefillProgress, Tokens, Finished].index)
    end = finished(events)
    assert end.reason == "length"
    assert len(ids_of(events)) == end.usage.completion_tokens == 300
    assert len(end.prompt_ids) == end.usage.prompt_tokens > 0


async def test_a_second_turn_reuses_the_first(bench: Bench) -> None:
    first = await bench.say()
    text = "".join(event.text for event in first if isinstance(event, Tokens))
    reply = Message("assistant", text, tuple(ids_of(first)), card_of(bench.loading).fingerprint)
    second = finished(await bench.say((*HELLO, reply, Message("user", "And then?"))))
    assert second.usage.reused_tokens >= finished(first).usage.prompt_tokens
    assert list(second.prompt_ids[: len(finished(first).prompt_ids)]) == list(
        finished(first).prompt_ids
    )


async def test_the_same_seed_gives_the_same_answer(bench: Bench) -> None:
    warm = SamplingParams(temperature=1.0, max_tokens=20, seed=7)
    first, again = await bench.say(sampling=warm), await bench.say(sampling=warm)
    assert ids_of(first) == ids_of(again)
    assert finished(first).seed == 7
    other = await bench.say(sampling=SamplingParams(temperature=1.0, max_tokens=20, seed=8))
    assert ids_of(other) != ids_of(first)


async def test_text_code_and_counts_are_served_too(bench: Bench) -> None:
    engine = bench.engine
    raw = await bench.run(Complete(engine.next_id(), "Once upon a", GREEDY))
    assert len(ids_of(raw)) == 12
    code = await bench.run(FillInMiddle(engine.next_id(), "def f(", "return 1", GREEDY))
    assert len(ids_of(code)) == 12
    counted = (await bench.run(CountTokens(engine.next_id(), HELLO)))[-1]
    assert isinstance(counted, Counted)
    assert counted.tokens == finished(await bench.say()).usage.prompt_tokens


@pytest.mark.parametrize(
    "sampling",
    [
        SamplingParams(temperature=-1),
        SamplingParams(temperature=math.nan),
        SamplingParams(temperature=math.inf),
        SamplingParams(top_p=5),
        SamplingParams(max_tokens=0),
        SamplingParams(seed=2**80),
    ],
    ids=str,
)
async def test_an_impossible_setting_is_refused(bench: Bench, sampling: SamplingParams) -> None:
    assert failed(await bench.say(sampling=sampling)).kind == "setting"


async def test_a_request_that_cannot_be_served_says_why(bench: Bench) -> None:
    too_long = (Message("user", "word " * 70_000),)
    assert failed(await bench.say(too_long)).kind == "context_full"
    assert failed(await bench.say(())).kind != "internal"
    for text in ("lone \ud800 surrogate", "\x00", "<s>[INST]"):
        last = (await bench.say((Message("user", text),)))[-1]
        assert isinstance(last, Finished) or failed([last]).kind != "internal"
    assert finished(await bench.say()).reason == "length"


# ── cancelling ──────────────────────────────────────────────────────────────────────


async def test_a_cancel_stops_between_two_tokens(bench: Bench) -> None:
    request = Generate(bench.engine.next_id(), HELLO, ENDLESS)
    events: list[Event] = []
    before = 0
    async for event in bench.engine.submit(request):
        events.append(event)
        if not before and len(ids_of(events)) >= 20:
            before = len(ids_of(events))
            bench.engine.cancel(request.id)
    assert finished(events).reason == "cancelled"
    assert len(ids_of(events)) == finished(events).usage.completion_tokens
    # What was on its way, and at most one more: a model this small draws 400 in a second.
    assert len(ids_of(events)) - before < 200
    assert len(ids_of(await bench.say())) == 12


async def test_a_cancel_stops_between_two_chunks_of_the_prompt(bench: Bench) -> None:
    request = Generate(bench.engine.next_id(), LONG, GREEDY)
    progress: list[PrefillProgress] = []
    async for event in bench.engine.submit(request):
        if isinstance(event, PrefillProgress):
            progress.append(event)
            if event.done > 300:
                bench.engine.cancel(request.id)
    assert isinstance(event, Finished)
    assert (event.reason, event.usage.completion_tokens) == ("cancelled", 0)
    assert [one.done for one in progress] == sorted(one.done for one in progress)
    assert progress[-1].done < progress[-1].total // 2
    assert finished(await bench.say()).reason == "length"


async def test_a_waiting_request_can_be_cancelled(bench: Bench) -> None:
    running = Generate(bench.engine.next_id(), HELLO, ENDLESS)
    waiting = Generate(bench.engine.next_id(), HELLO, ENDLESS)
    after = Generate(bench.engine.next_id(), HELLO, GREEDY)
    tasks = [asyncio.create_task(bench.run(one)) for one in (running, waiting, after)]
    await asyncio.sleep(0.1)
    bench.engine.cancel(waiting.id)
    bench.engine.cancel(running.id)
    first, second, third = await asyncio.gather(*tasks)
    assert finished(first).reason == "cancelled"
    assert [type(event) for event in second] == [Failed]
    assert failed(second).kind == "cancelled"
    assert len(ids_of(third)) == 12


async def test_cancelling_what_is_over_or_never_was_does_nothing(bench: Bench) -> None:
    done = finished(await bench.say())
    bench.engine.cancel(done.id)
    bench.engine.cancel(987_654)
    assert finished(await bench.say()).reason == "length"


async def test_an_answer_that_nobody_reads_any_more_is_cancelled_and_reaches_nobody(
    bench: Bench,
) -> None:
    request = Generate(bench.engine.next_id(), HELLO, ENDLESS)
    async with aclosing(bench.engine.submit(request)) as events:  # type: ignore[type-var]
        async for event in events:
            if isinstance(event, Tokens):
                break
    # `say` fails on a foreign event; and it would wait for minutes behind an answer going on.
    assert len(ids_of(await bench.say())) == 12


# ── losing it, and getting it back ──────────────────────────────────────────────────


async def test_a_killed_engine_ends_the_answer_and_can_be_started_again(bench: Bench) -> None:
    request = Generate(bench.engine.next_id(), HELLO, ENDLESS)
    events: list[Event] = []
    async for event in bench.engine.submit(request):
        events.append(event)
        if isinstance(event, Tokens) and bench.engine.pid is not None:
            os.kill(bench.engine.pid, signal.SIGKILL)
    assert failed(events).kind == "worker_lost"
    assert "killed" in failed(events).sentence
    assert not bench.engine.alive
    assert bench.engine.pid is None
    assert bench.engine.silent_for() == 0
    assert failed(await bench.say()).kind == "worker_lost"
    bench.engine.cancel(request.id)  # harmless

    await bench.engine.start()
    assert failed(await bench.say()).sentence == "No model is loaded yet."
    assert card_of(await bench.load(bench.folder))
    assert len(ids_of(await bench.say())) == 12


async def test_closing_ends_a_busy_engine(bench: Bench) -> None:
    pid = bench.engine.pid
    assert pid is not None
    request = Generate(bench.engine.next_id(), LONG, GREEDY)
    async for event in bench.engine.submit(request):
        if isinstance(event, PrefillProgress) and event.done > 300:
            async with asyncio.timeout(2):
                await bench.engine.close()
            assert gone(pid)
    assert failed([event]).kind == "worker_lost"
    assert not bench.engine.alive


async def test_an_interrupt_of_its_process_group_does_not_end_it(bench: Bench) -> None:
    assert bench.engine.pid is not None
    assert os.getpgid(bench.engine.pid) != os.getpgid(0)  # nor does the terminal's Ctrl+C
    request = Generate(bench.engine.next_id(), HELLO, SamplingParams(temperature=0, max_tokens=200))
    events = []
    async for event in bench.engine.submit(request):
        if isinstance(event, Tokens):
            os.killpg(bench.engine.pid, signal.SIGINT)
        events.append(event)
    assert len(ids_of(events)) == 200


async def test_silence_is_told_and_forgotten(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_client, "_SILENCE_SECONDS", 1.5)
    engine = bench.engine
    assert engine.pid is not None

    async def polled(wanted: Callable[[float], bool]) -> None:
        async with asyncio.timeout(20):
            while not wanted(engine.silent_for()):
                await asyncio.sleep(0.1)

    await polled(lambda silence: silence == 0)
    os.kill(engine.pid, signal.SIGSTOP)
    try:
        await polled(lambda silence: silence > 1.5)
    finally:
        os.kill(engine.pid, signal.SIGCONT)
    await polled(lambda silence: silence == 0)
    assert len(ids_of(await bench.say())) == 12

    engine.silent_for()
    time.sleep(2.0)  # this process is stopped, or the laptop asleep: no fault of the engine
    assert engine.silent_for() == 0
    await polled(lambda silence: silence == 0)


# ── the process itself ──────────────────────────────────────────────────────────────


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
    assert failed([Failed(1, *worker._explain(error))]).kind == kind


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
        with engine_client._open_log(path) as log:
            log.write(str(n).encode() * ((1 << 20) + 1))
    with engine_client._open_log(path) as log:
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
    for most in (1200, 60_000):
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
    start_app: Callable[[Path | str], App], folder: Path, tmp_path: Path
) -> None:
    app = start_app(folder)
    pid = app.told()
    assert isinstance(pid, int)
    assert app.told() == "Ready"
    assert app.told() == "streaming"
    app.process.send_signal(signal.SIGSTOP)
    time.sleep(2)
    assert not gone(pid)
    app.process.send_signal(signal.SIGCONT)
    assert app.told() == ["Finished", 1200, 0.0]  # every token, and no word of silence

    assert app.told() == "streaming"
    app.process.kill()
    assert wait_until(lambda: gone(pid), 3)
    # Nothing of the engine came by the app's own output, all of it by the log, and what lies
    # where the user stands was not taken for a part of it.
    assert (tmp_path / "output").read_bytes() == b""
    assert "import time:" in (tmp_path / "engine.log").read_text()
    assert not (tmp_path / "imported").exists()
