"""From a key to the suggestion gone, and to the engine stopped, while a request runs.

The real app (headless, 120x40) on the real engine process with a random model of the starter's size
and a v3 tokenizer; a Python file of some thousand lines is open. A request is under way in its
prefill, or while it writes; then Right is pressed, and measured is

1. gone: until a frame is drawn without the suggestion (only while it writes),
2. stopped: until the engine has told the end of the request,

beside what one token, or one prefill chunk of 64 tokens, takes in the same run.

    python benchmarks/completion.py [--rounds 20] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from textual.events import Key

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import tiny
from fake_engine import chat, wait_until
from inference.api import Event, FillInMiddle, Finished, PrefillProgress, Request, Tokens
from mistral_tui.app import ChatApp
from mistral_tui.choices import SamplingChoice
from mistral_tui.engine_client import LocalEngine

PARAMS = {
    **{"dim": 576, "n_layers": 30, "head_dim": 64, "hidden_dim": 1536, "n_heads": 9},
    **{"n_kv_heads": 3, "norm_eps": 1e-5, "vocab_size": 32768, "rope_theta": 1e4},
    "max_position_embeddings": 8192,
}
LINES = 4000
CHUNK = 64


class Engine(LocalEngine):
    """Notes when events of a completion come."""

    def __init__(self, log: Path) -> None:
        super().__init__(log)
        self.told: list[tuple[float, Event]] = []
        self.ended = asyncio.Event()

    async def submit(self, request: Request) -> AsyncIterator[Event]:
        async for event in super().submit(request):
            if isinstance(request, FillInMiddle):
                self.told.append((time.perf_counter(), event))
                if isinstance(event, Finished):
                    self.ended.set()
            yield event


async def measure(folder: Path, rounds: int) -> dict[str, Any]:
    engine = Engine(folder / "engine.log")
    file = folder / "long.py"
    file.write_text("".join(f"value_{n} = compute({n}, value_{n - 1})\n" for n in range(LINES)))
    options: dict[str, Any] = {"model": str(folder / "model"), "code": (str(file),)}
    async with chat(engine, size=(120, 40), sampling=SamplingChoice(), **options) as (app, pilot):
        await wait_until(pilot, lambda: app.panel is not None and app.panel.area is not None)
        writing = [await _one(app, engine, row, prefill=False) for row in _rows(rounds)]
        reading = [await _one(app, engine, row, prefill=True) for row in _rows(rounds)]
    token = statistics.median(step for found in writing for step in found["steps"])
    chunk = statistics.median(step for found in reading for step in found["steps"])
    gone = [found["gone"] for found in writing]
    return {
        "token_s": token,
        "chunk_s": chunk,
        "gone_s": _spread(gone),
        "stopped_writing_s": _spread([found["stopped"] for found in writing]),
        "stopped_reading_s": _spread([found["stopped"] for found in reading]),
        "stopped_writing": {
            "ratio": statistics.median(found["stopped"] for found in writing) / token
        },
        "stopped_reading": {
            "ratio": statistics.median(found["stopped"] for found in reading) / chunk
        },
    }


def _rows(rounds: int) -> list[int]:
    return [LINES // 2 + 3 * n for n in range(rounds)]


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "worst": max(values)}


async def _one(app: ChatApp, engine: Engine, row: int, *, prefill: bool) -> dict[str, Any]:
    assert app.panel is not None
    area = app.panel.area
    assert area is not None
    area.focus()
    area.move_cursor((row, 8 + prefill))
    await asyncio.sleep(0.3)
    engine.told.clear()
    engine.ended.clear()
    app.post_message(Key("ctrl+@", None))
    kind = PrefillProgress if prefill else Tokens
    while sum(isinstance(event, kind) for _, event in engine.told) < 6:
        await asyncio.sleep(0.001)
    while not prefill and area.ghost is None:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.0137)  # anywhere within a token or chunk
    drawn = asyncio.Event()
    render = area.render_lines

    def rendered(*args: Any) -> Any:
        if area.ghost is None:
            drawn.set()
        return render(*args)

    area.render_lines = rendered  # type: ignore[method-assign]
    begun = time.perf_counter()
    app.post_message(Key("right", None))
    await drawn.wait()
    gone = time.perf_counter() - begun
    area.render_lines = render  # type: ignore[method-assign]
    await engine.ended.wait()
    times = [at for at, event in engine.told if isinstance(event, kind)]
    last = engine.told[-1]
    assert isinstance(last[1], Finished)
    assert last[1].reason == "cancelled", last[1].reason
    if prefill:  # the progress of several chunks may come as one
        done = [(at, e.done) for at, e in engine.told if isinstance(e, PrefillProgress)]
        steps = [
            (b[0] - a[0]) / ((b[1] - a[1]) / CHUNK) for a, b in pairwise(done[1:]) if b[1] > a[1]
        ]
    else:
        counts = [len(event.ids) for _, event in engine.told if isinstance(event, Tokens)]
        steps = [(b - a) / n for a, b, n in zip(times, times[1:], counts[1:], strict=False) if n]
    return {"gone": gone, "stopped": last[0] - begun, "steps": steps}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for what in ("DATA", "STATE", "CONFIG", "CACHE"):
            os.environ[f"MISTRAL_TUI_{what}"] = str(folder / what.lower())
        (folder / "model").mkdir()
        tiny.write(folder / "model", PARAMS, tiny.random_weights(PARAMS))
        shutil.copy(tiny.data_file("v3"), folder / "model" / "tokenizer.model.v3")
        found = asyncio.run(measure(folder, options.rounds))
    if options.json:
        print(json.dumps(found))
        return
    print(f"a token {found['token_s'] * 1e3:.1f} ms, a chunk {found['chunk_s'] * 1e3:.0f} ms")
    for name in ("gone_s", "stopped_writing_s", "stopped_reading_s"):
        median, worst = found[name]["median"], found[name]["worst"]
        print(f"{name[:-2]}: median {median * 1e3:.1f} ms, worst {worst * 1e3:.1f} ms")
    for name in ("stopped_writing", "stopped_reading"):
        print(f"{name}: {found[name]['ratio']:.2f} of a step")


if __name__ == "__main__":
    main()
