"""One answer on standard output, without a UI: `mistral-tui MODEL -p TEXT`."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import math
import os
import signal
import stat
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TextIO

from inference.api import (
    CallPiece,
    Failed,
    Finished,
    Generate,
    LoadProgress,
    Message,
    ModelCard,
    Ready,
    Tokens,
)
from mistral_tui.choices import ModelChoice, SamplingChoice
from mistral_tui.engine_client import EngineClient, LocalEngine
from mistral_tui.sanitize import StreamSanitizer, sanitize
from mistral_tui.torchrun import REASON_SECONDS, started_us

if TYPE_CHECKING:
    from mistral_tui.headless_tools import Tools

INTERRUPTED = 130
_MOST_INPUT = 64 << 20


@dataclass(frozen=True, slots=True)
class Ask:
    """What `-p` was asked to do."""

    choice: ModelChoice
    prompt: str
    sampling: SamplingChoice
    system: str = ""
    as_json: bool = False
    fetch: bool = False
    tools: Tools | None = None

    async def do(self, client: EngineClient) -> int:
        """Answer."""
        return await _answer(self, client)


def piped_input() -> str:
    """What was piped or redirected into standard input; empty for a terminal or nothing."""
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return ""
    if sys.stdin is None:  # it was closed when Python started
        return ""
    if not (stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)):
        return ""
    data = sys.stdin.buffer.read(_MOST_INPUT + 1)
    if len(data) > _MOST_INPUT:
        raise ValueError(f"standard input is longer than {_MOST_INPUT >> 20} MB")
    return data.decode("utf-8", "replace")


class Job(Protocol):
    """Something to do with an engine, without a UI."""

    async def do(self, client: EngineClient) -> int:
        """Do it; the exit code."""
        ...


def run(job: Job, log_path: Path, *, ranks: int = 1) -> int:
    """Do a job and return the exit code: 0 good, 1 failed (a sentence on stderr), 130
    interrupted."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a character that the locale lacks is a "?"
    try:
        return asyncio.run(_run(job, LocalEngine(log_path, ranks=ranks)))
    except OSError as error:
        # No second complaint when Python flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if isinstance(error, BrokenPipeError):
            return 0  # the reader has what it wanted
        print_line(sys.stderr, f"mistral-tui: The answer cannot be written: {error.strerror}.")
        return 1


async def _run(job: Job, client: EngineClient) -> int:
    interrupted = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, interrupted.set)
    # torchrun sends this where a rank is lost, and the engine may be about to say which.
    patience = REASON_SECONDS if started_us() else 0
    loop.add_signal_handler(signal.SIGTERM, loop.call_later, patience, interrupted.set)
    answering = asyncio.create_task(job.do(client))
    waiting = asyncio.create_task(interrupted.wait())
    try:
        await asyncio.wait({answering, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            answering.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await answering
            return INTERRUPTED
        return answering.result()
    finally:
        waiting.cancel()
        await client.close()


async def _answer(ask: Ask, client: EngineClient) -> int:
    await client.start()
    loaded = await load(ask.choice, client, fetch=ask.fetch)
    if isinstance(loaded, Failed):
        return failed(loaded)
    card, load_s = loaded
    messages = [Message("system", ask.system)] if ask.system else []
    messages.append(Message("user", ask.prompt))
    request = Generate(
        client.next_id(),
        tuple(messages),
        ask.sampling.over(card.sampling),
        instruct=ask.choice.instruct,
    )
    if ask.tools is not None:
        return await _answer_with_tools(ask, ask.tools, request, card, load_s, client)
    reply = await stream(request, client, show=not ask.as_json)
    if isinstance(reply, Failed):
        return failed(reply)
    if ask.as_json:
        print_line(sys.stdout, json.dumps(result(card, load_s, reply)))
    return 0


async def _answer_with_tools(
    ask: Ask, tools: Tools, request: Generate, card: ModelCard, load_s: float, client: EngineClient
) -> int:
    from mistral_tui.headless_tools import Rounds, TooManyRounds
    from mistral_tui.tools.errors import ToolError

    rounds = Rounds(tools, card, client)
    try:
        reply = await rounds.answer(request, show=not ask.as_json)
    except (ToolError, TooManyRounds) as error:
        print_line(sys.stderr, f"mistral-tui: {sanitize(str(error))}")
        return 1
    if isinstance(reply, Failed):
        return failed(reply)
    if ask.as_json:
        calls = {"tool_calls": [called.as_json() for called in rounds.called]}
        print_line(sys.stdout, json.dumps(result(card, load_s, reply) | calls))
    if rounds.unfinished:
        said = "The model's call was not finished and not run; --max-tokens gives it more room."
        print_line(sys.stderr, f"mistral-tui: {said}")
        return 1
    return 0


@dataclass(slots=True)
class Reply:
    """A generation as it came."""

    finished: Finished
    text: str
    ids: list[int]
    logprobs: list[float]
    calls: list[CallPiece] = field(default_factory=list)


async def stream(request: Generate, client: EngineClient, *, show: bool) -> Reply | Failed:
    """Generate, printing the text as it comes where `show` is true."""
    text: list[str] = []
    out = Printer(sys.stdout)
    ids: list[int] = []
    logprobs: list[float] = []
    calls: list[CallPiece] = []
    last: Finished | Failed | None = None
    try:
        async for event in client.submit(request):
            match event:
                case Tokens():
                    text.append(event.text)
                    ids.extend(event.ids)
                    logprobs.extend(event.logprobs)
                    calls.extend(event.calls)
                    if show:
                        out.feed(event.text)
                case Finished() | Failed():
                    last = event
    finally:  # interrupted, too
        out.end()
    assert last is not None
    if isinstance(last, Failed):
        return last
    return Reply(last, "".join(text), ids, logprobs, calls)


async def load(
    choice: ModelChoice, client: EngineClient, *, fetch: bool = False
) -> tuple[ModelCard, float] | Failed:
    """Load the model, with a line of progress on a terminal, and what is to be said of it."""
    request = choice.load_request(client.next_id(), fetch=fetch)
    meter = ProgressLine(sys.stderr)
    try:
        async for event in client.submit(request):
            match event:
                case LoadProgress():
                    meter.show(event.stage, event.done, event.total)
                case Ready():
                    meter.clear()
                    for note in event.card.notes if sys.stderr.isatty() else ():
                        print_line(sys.stderr, f"mistral-tui: {sanitize(note)}")
                    return event.card, event.load_s
                case Failed():
                    return event
        raise AssertionError("a load ends with Ready or Failed")
    finally:
        meter.clear()


class Printer:
    """Prints an answer as it comes, safe for a terminal, its last line complete."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._safe = StreamSanitizer()
        self._line_open = False

    def feed(self, text: str) -> None:
        self._write(self._safe.feed(text))

    def end(self) -> None:
        self._write(self._safe.flush())
        if self._line_open:
            self._write("\n")

    def _write(self, text: str) -> None:
        if text:
            self._line_open = not text.endswith("\n")
            self._out.write(text)
            self._out.flush()


class ProgressLine:
    """One line that is written over, on a terminal; nothing elsewhere."""

    def __init__(self, out: TextIO) -> None:
        self._out = out if out.isatty() else None

    def show(self, stage: str, done: int, total: int) -> None:
        """`done` of `total` bytes; `total` 0: not known."""
        share = f" {done / 1e6:,.0f} of {total / 1e6:,.0f} MB" if total else " …"
        if self._out:
            self._out.write(f"\r\x1b[K{sanitize(stage)}{share}")
            self._out.flush()

    def clear(self) -> None:
        if self._out:
            self._out.write("\r\x1b[K")
            self._out.flush()


def result(card: ModelCard, load_s: float, reply: Reply) -> dict[str, object]:
    """The published keys of `-p --json`; they stay."""
    finished = reply.finished
    timings = asdict(finished.timings)
    return {
        "text": reply.text,
        "ids": reply.ids,
        "logprobs": finite(reply.logprobs),
        "prompt_ids": list(finished.prompt_ids),
        "prompt_tokens": finished.usage.prompt_tokens,
        "reused_tokens": finished.usage.reused_tokens,
        "completion_tokens": finished.usage.completion_tokens,
        "finish_reason": finished.reason,
        "seed": finished.seed,
        "timings": {"load_s": load_s, **timings},
        "model": model(card),
    }


def model(card: ModelCard) -> dict[str, object]:
    """The published keys of `model`; they stay."""
    return {
        "name": card.name,
        "path": card.path,
        "dtype": card.dtype,
        "device": card.device,
        "ranks": card.ranks,
        "parallel": card.parallel,
        "threads": card.threads,
        "fingerprint": card.fingerprint,
        "attention": card.attention,
        "adapter": card.adapter,
        "notes": list(card.notes),
    }


def finite(logprobs: Sequence[float]) -> list[float | None]:
    """JSON has no word for an infinity, which a damaged model can give."""
    return [p if math.isfinite(p) else None for p in logprobs]


def failed(event: Failed) -> int:
    """Say why; the exit code."""
    print_line(sys.stderr, f"mistral-tui: {sanitize(event.sentence)}")
    if event.kind in ("internal", "worker_lost") and event.detail:
        print_line(sys.stderr, sanitize(event.detail.strip().splitlines()[-1]))
    return 1


def print_line(out: TextIO, text: str) -> None:
    """A line, at once."""
    out.write(text + "\n")
    out.flush()
