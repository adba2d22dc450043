"""`fim --stdio`: one engine that stays, for editors; a JSON object on each line, in and out.

    {"id": 1, "prefix": "def add(", "suffix": "\\n", "max_tokens": 64, "candidates": 2}
    {"id": 1, "middle": "a, b):", "candidates": [...], "finish_reason": "stop", ...}
    {"id": 2, "error": "..."}

What is asked while another is being answered ends that one: its answer is what came of it so far,
its finish_reason "cancelled".
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import select
import sys
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from inference.api import Failed, ModelCard
from mistral_tui.choices import ModelChoice
from mistral_tui.config.setting import Invalid
from mistral_tui.config.settings import BY_KEY
from mistral_tui.engine_client import EngineClient
from mistral_tui.headless import failed, load, print_line
from mistral_tui.oneshot import Asking, Filled, fill

_LONGEST = 64 << 20
_TOO_LONG = b"\n"  # which no line is
_MOST_LINES = 16  # read ahead
_LOOK_S = 0.5
_KEYS = ("id", "prefix", "suffix", "max_tokens", "candidates")


class _Wrong(Exception):
    """A line that asks for nothing; a sentence."""

    def __init__(self, sentence: str, key: Any = None) -> None:
        super().__init__(sentence)
        self.key = key


@dataclass(frozen=True, slots=True)
class _Asked:
    key: Any
    prefix: str
    suffix: str
    max_tokens: int | None
    candidates: int | None


class _Turn:
    """One question on its way to its answer."""

    def __init__(self, asked: _Asked, request_id: int) -> None:
        self.asked = asked
        self.request_id = request_id
        self.sent = False
        self.over = False  # another one has come


class Serve:
    """Answers until standard input ends, or nobody reads the answers any more."""

    def __init__(self, choice: ModelChoice, asking: Asking) -> None:
        self._choice = choice
        self._asking = asking
        self._card: ModelCard | None = None

    async def do(self, client: EngineClient) -> int:
        """Load the model once, then answer; the exit code."""
        serving = asyncio.create_task(self._serve(client))
        watching = asyncio.create_task(_reader_gone())
        try:
            await asyncio.wait({serving, watching}, return_when=asyncio.FIRST_COMPLETED)
            if not serving.done():
                raise BrokenPipeError
            return serving.result()
        finally:
            for task in (serving, watching):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task

    async def _serve(self, client: EngineClient) -> int:
        trouble = await self._load(client)
        if trouble is not None:
            return failed(trouble)
        turn: _Turn | None = None
        answering: asyncio.Task[None] | None = None
        try:
            async for line in _lines():
                try:
                    asked = self._read(line)
                except _Wrong as wrong:
                    _print(wrong.key, {"error": str(wrong)})
                    continue
                if turn is not None and answering is not None:
                    turn.over = True
                    if turn.sent:
                        client.cancel(turn.request_id)
                    await answering
                turn = _Turn(asked, client.next_id())
                answering = asyncio.create_task(self._answer(turn, client))
            if answering is not None:
                await answering
            return 0
        finally:
            if answering is not None:
                answering.cancel()

    def _read(self, line: bytes) -> _Asked:
        """Raises _Wrong."""
        asked = _read(line)
        if (asked.candidates or 1) > 1 and self._asking.sampling.temperature == 0:
            raise _Wrong("Several candidates need a --temperature above 0.", asked.key)
        return asked

    async def _load(self, client: EngineClient) -> Failed | None:
        await client.start()
        loaded = await load(self._choice, client, fetch=False)
        if isinstance(loaded, Failed):
            return loaded
        self._card, _ = loaded
        return None

    async def _answer(self, turn: _Turn, client: EngineClient) -> None:
        asked = turn.asked
        trouble = None if client.alive else await self._load(client)  # it was lost
        if turn.over:
            _print(asked.key, _NOTHING)
        elif trouble is not None:
            _print(asked.key, {"error": trouble.sentence})
        else:
            assert self._card is not None
            request = self._asking.request(
                turn.request_id, self._card, asked.prefix, asked.suffix, asked.candidates
            )
            if asked.max_tokens is not None:
                sampling = replace(request.sampling, max_tokens=asked.max_tokens)
                request = replace(request, sampling=sampling)
            turn.sent = True  # it is, with the next step of this task
            filled = await fill(request, client)
            if isinstance(filled, Filled):
                _print(asked.key, _answered(filled))
            elif filled.kind == "cancelled":  # before it was begun
                _print(asked.key, _NOTHING)
            else:
                _print(asked.key, {"error": filled.sentence})


_NOTHING: dict[str, object] = {"middle": "", "candidates": [], "finish_reason": "cancelled"}


def _answered(filled: Filled) -> dict[str, object]:
    """The published keys of an answer; they stay."""
    finished = filled.finished
    timings = finished.timings
    return filled.as_json | {
        "finish_reason": finished.reason,
        "prompt_tokens": finished.usage.prompt_tokens,
        "reused_tokens": finished.usage.reused_tokens,
        "completion_tokens": finished.usage.completion_tokens,
        "seed": finished.seed,
        "timings": {
            "prefill_s": timings.prefill_s,
            "ttft_s": timings.ttft_s,
            "decode_s": timings.decode_s,
            "decode_tokens_per_s": timings.decode_tokens_per_s,
        },
    }


def _print(key: Any, told: dict[str, object]) -> None:
    print_line(sys.stdout, json.dumps({"id": key} | told, allow_nan=False))


def _read(line: bytes) -> _Asked:
    """Raises _Wrong."""
    if line == _TOO_LONG:
        raise _Wrong(f"The line is longer than {_LONGEST >> 20} MB.")
    try:
        data = json.loads(line, parse_float=_finite, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise _Wrong("The line is no JSON.") from None
    if not isinstance(data, dict):
        raise _Wrong("The line is no JSON object.")
    key = data.get("id")
    unknown = next((name for name in data if name not in _KEYS), None)
    if unknown is not None:
        raise _Wrong(f"There is no key {unknown!r}; there are {', '.join(_KEYS)}.", key)
    prefix, suffix = data.get("prefix", ""), data.get("suffix", "")
    if not (isinstance(prefix, str) and isinstance(suffix, str) and (prefix or suffix)):
        raise _Wrong("Give prefix and suffix as texts that are not both empty.", key)
    return _Asked(
        key,
        prefix,
        suffix,
        _number(data, "max_tokens", "fim_max_tokens"),
        _number(data, "candidates", "fim_middles"),
    )


def _finite(text: str) -> float:
    """Raises _Wrong."""
    number = float(text)
    return number if math.isfinite(number) else _no_number(text)


def _no_number(text: str) -> NoReturn:
    shown = text if len(text) < 20 else f"{text[:20]}…"
    raise _Wrong(f"The line has {shown} in it: give numbers that are finite.")


def _number(data: dict[str, Any], name: str, setting: str) -> int | None:
    if data.get(name) is None:
        return None
    try:
        return int(BY_KEY[setting].read(data[name]))  # type: ignore[arg-type]
    except Invalid as error:
        raise _Wrong(f"{name} {error}.", data.get("id")) from None


async def _lines() -> AsyncIterator[bytes]:
    """The lines of standard input that are not empty, read in a thread: it may be a pipe, a
    file or a terminal."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[bytes | None] = asyncio.Queue()
    room = threading.Semaphore(_MOST_LINES)

    def put(item: bytes | None) -> None:
        room.acquire()
        loop.call_soon_threadsafe(queue.put_nowait, item)

    def read() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is gone
            buffer, skipping = bytearray(), False  # skipping: the rest of one that is too long
            while piece := _piece():
                *ended, rest = piece.split(b"\n")
                for end in ended:
                    buffer += end
                    if not skipping and buffer.strip():
                        put(bytes(buffer) if len(buffer) <= _LONGEST else _TOO_LONG)
                    buffer, skipping = bytearray(), False
                buffer += rest
                if len(buffer) > _LONGEST:
                    if not skipping:
                        put(_TOO_LONG)
                    buffer, skipping = bytearray(), True
            if buffer.strip() and not skipping:
                put(bytes(buffer))
            put(None)

    threading.Thread(target=read, name="standard input", daemon=True).start()
    while (item := await queue.get()) is not None:
        room.release()
        yield item


async def _reader_gone() -> None:
    """Wait until nobody reads standard output any more."""
    poll = select.poll()
    poll.register(1, 0)  # errors are told anyway
    while not any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0)):
        await asyncio.sleep(_LOOK_S)


def _piece() -> bytes:
    """What there is of standard input; nothing at its end."""
    while True:
        try:
            return os.read(0, 1 << 16)
        except BlockingIOError:  # the other end made it so
            select.select([0], [], [])
        except OSError:
            return b""
