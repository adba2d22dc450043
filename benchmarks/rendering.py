"""What drawing an answer costs: our transcript beside Textual's own Markdown widget.

Both run in a headless app of 120x40 in this process, one after the other, on the same text:

1. a 5,000-token answer (paragraphs, a nested list of 100 items, tables, 600 lines of code) comes
   at 60 tokens/s, and of it the last `--seconds` (all of it with `--full`); what was before is
   there already. Both are handed the text every 40 ms, the pace at which the transcript draws:
   ours by `Transcript.append`, the Markdown widget through `Markdown.get_stream`, below an
   anchored `VerticalScroll`, as its documentation says; its stream joins what comes while an
   update runs. Busy: processor time of the process by wall time. Stall: how late a ticker of
   5 ms wakes. Flush: processor time by hand-overs, the drawing included.
2. a conversation of 1,000 messages is opened, until its first frame is drawn. With the Markdown
   widget it is one widget a message, `--peer-messages` of them (100), as all would take minutes.
3. it is paged through from its beginning: the time from the key to the frame.

    python benchmarks/rendering.py [--rounds 1] [--seconds 20] [--full] [--no-peer] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

from textual.app import App, ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Markdown

from mistral_tui.widgets.canvas import FLUSH_SECONDS
from mistral_tui.widgets.entry import TranscriptItem
from mistral_tui.widgets.transcript import Transcript

RATE = 60.0
SIZE = (120, 40)
TICK = 0.005
WORDS = [
    *("the", "harbour", "lies", "quiet", "while", "a", "light", "turns", "over", "water", "and"),
    *("stone", "until", "morning", "comes"),
]


def paragraphs(count: int) -> str:
    one = " ".join(WORDS * 5)
    return "\n\n".join(f"{one}, **bold {n}**, `code {n}` and [a link](https://x.example/{n})."
                       for n in range(count))  # fmt: skip


def nested_list(items: int) -> str:
    return "\n".join(
        f"{'   ' * (n % 3)}- item {n}: {' '.join(WORDS[: 4 + n % 6])}" for n in range(items)
    )


def tables(count: int) -> str:
    head = "| name | value | remark |\n| --- | ---: | --- |\n"
    rows = "\n".join(f"| row {n} | {n * 17} | {' '.join(WORDS[: n % 5 + 1])} |" for n in range(12))
    return "\n\n".join([head + rows] * count)


def code(lines: int) -> str:
    body = "\n".join(
        f"def function_{n}(value: int) -> int:\n    return value * {n}  # times\n"
        for n in range(lines // 3)
    )
    return f"```python\n{body}\n```"


def answer() -> list[str]:
    """The tokens, about four characters each as a model's are, cut anywhere."""
    text = "\n\n".join(
        ["# A long answer", paragraphs(12), nested_list(100), tables(4), paragraphs(4),
         "Now the code.", code(600), "And the end.", paragraphs(3)]
    )  # fmt: skip
    return [text[at : at + 5] for at in range(0, len(text), 5)]


class Drawing(App[None]):
    """Tells when a frame is drawn."""

    def __init__(self) -> None:
        super().__init__()
        self._frame = asyncio.Event()

    def _display(self, screen: Any, renderable: Any) -> None:
        super()._display(screen, renderable)
        self._frame.set()

    async def drawn(self, act: Callable[[], object]) -> float:
        """Seconds from `act` to the next frame."""
        await asyncio.sleep(0.05)  # what was under way is drawn
        self._frame.clear()
        begin = time.perf_counter()
        act()
        await asyncio.wait_for(self._frame.wait(), 60)
        return time.perf_counter() - begin


class Ours(Drawing):
    def compose(self) -> ComposeResult:
        yield Transcript()

    @property
    def view(self) -> Transcript:
        return self.query_one(Transcript)


class Peer(Drawing):
    CSS = "Markdown { height: auto; }"

    def compose(self) -> ComposeResult:
        yield VerticalScroll()

    @property
    def view(self) -> VerticalScroll:
        return self.query_one(VerticalScroll)


class Meter:
    """Processor time and stalls of the event loop while it runs."""

    def __init__(self) -> None:
        self.late: list[float] = []

    async def __aenter__(self) -> Meter:
        self._ticker = asyncio.create_task(self._tick())
        self._cpu, self._wall = time.process_time(), time.perf_counter()
        self.batches = 0
        return self

    async def __aexit__(self, *_: object) -> None:
        self._cpu = time.process_time() - self._cpu
        self._wall = time.perf_counter() - self._wall
        self._ticker.cancel()

    async def _tick(self) -> None:
        while True:
            due = time.perf_counter() + TICK
            await asyncio.sleep(TICK)
            self.late.append(time.perf_counter() - due)

    @property
    def figures(self) -> dict[str, float]:
        points = statistics.quantiles(self.late, n=100)
        return {
            "busy": self._cpu / self._wall,
            "flush_ms": self._cpu / self.batches * 1e3,
            "stall_p50_ms": points[49] * 1e3,
            "stall_p95_ms": points[94] * 1e3,
            "stall_max_ms": max(self.late) * 1e3,
        }


async def at_rate(meter: Meter, tokens: list[str], write: Callable[[str], Awaitable[None]]) -> None:
    """Hands the tokens over as they come."""
    begin, sent = time.perf_counter(), 0
    while sent < len(tokens):
        await asyncio.sleep(FLUSH_SECONDS)
        due = min(len(tokens), int((time.perf_counter() - begin) * RATE))
        if due > sent:
            meter.batches += 1
            await write("".join(tokens[sent:due]))
            sent = due


async def stream_ours(before: str, tokens: list[str]) -> dict[str, float]:
    app = Ours()
    async with app.run_test(size=SIZE) as pilot:
        view = app.view
        view.add("a", "assistant", title="model")
        view.append("a", before)
        await pilot.pause(0.5)

        async def write(text: str) -> None:
            view.append("a", text)

        async with Meter() as meter:
            await at_rate(meter, tokens, write)
            view.finish("a")
            await asyncio.sleep(0.1)
        return meter.figures


async def stream_peer(before: str, tokens: list[str]) -> dict[str, float]:
    app = Peer()
    async with app.run_test(size=SIZE) as pilot:
        markdown = Markdown()
        await app.view.mount(markdown)
        app.view.anchor()
        await markdown.append(before)
        await pilot.pause(0.5)
        async with Meter() as meter:
            stream = Markdown.get_stream(markdown)
            await at_rate(meter, tokens, stream.write)
            await stream.stop()
            await asyncio.sleep(0.1)
        return meter.figures


def conversation(count: int) -> list[str]:
    pieces = [paragraphs(1), nested_list(8), tables(1), code(18), "Yes, please."]
    return [pieces[n % len(pieces)] for n in range(count)]


async def pages(app: Ours | Peer, count: int = 20) -> dict[str, float]:
    """Down through the conversation, from its beginning."""
    view = app.view
    await app.drawn(lambda: view.scroll_to(y=0, animate=False))
    step = view.size.height - 1
    times = [
        await app.drawn(lambda: view.scroll_to(y=view.scroll_y + step, animate=False))
        for _ in range(count)
    ]
    points = statistics.quantiles(times, n=20, method="inclusive")
    return {"page_p50_ms": points[9] * 1e3, "page_p95_ms": points[18] * 1e3}


async def open_ours(texts: list[str]) -> dict[str, float]:
    app = Ours()
    async with app.run_test(size=SIZE):
        items = [
            TranscriptItem(str(n), "assistant" if n % 2 else "user", text, f"message {n}")
            for n, text in enumerate(texts)
        ]
        view = app.view
        opened = await app.drawn(lambda: view.load(items))
        paged = await pages(app)
        found = await app.drawn(lambda: view.find("harbour"))
        return {"open_s": opened, **paged, "find_s": found}


async def open_peer(texts: list[str]) -> dict[str, float]:
    app = Peer()
    async with app.run_test(size=SIZE):
        widgets = [Markdown(text) for text in texts]
        begin = time.perf_counter()
        await app.view.mount_all(widgets)
        await app.drawn(lambda: app.view.scroll_end(animate=False))
        opened = time.perf_counter() - begin
        return {"open_s": opened, **await pages(app)}


def summary(pairs: list[tuple[dict[str, float], dict[str, float]]]) -> dict[str, Any]:
    """Medians over the rounds; the spread is that of the ratios."""
    result: dict[str, Any] = {}
    for name in pairs[0][0]:
        result[name] = {"ours": statistics.median(ours[name] for ours, _ in pairs)}
        if name in pairs[0][1]:
            ratios = [ours[name] / peer[name] for ours, peer in pairs]
            result[name] |= {
                "peer": statistics.median(peer[name] for _, peer in pairs),
                "ratio": statistics.median(ratios),
                "spread": [min(ratios), max(ratios)],
            }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--full", action="store_true", help="stream the whole answer")
    parser.add_argument("--messages", type=int, default=1000)
    parser.add_argument("--peer-messages", type=int, default=100)
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--json", action="store_true", help="only the last line, one object")
    options = parser.parse_args()
    tokens = answer()
    begin = 0 if options.full else max(0, len(tokens) - int(options.seconds * RATE))
    before, tokens = "".join(tokens[:begin]), tokens[begin:]
    if not options.json:
        print(f"{len(tokens):,} tokens at {RATE:.0f}/s, behind {begin:,} that are there")
    pairs = []
    for _ in range(options.rounds):
        ours = asyncio.run(stream_ours(before, tokens))
        peer = {} if options.no_peer else asyncio.run(stream_peer(before, tokens))
        ours |= asyncio.run(open_ours(conversation(options.messages)))
        if not options.no_peer:
            peer |= asyncio.run(open_peer(conversation(options.peer_messages)))
        pairs.append((ours, peer))
    result = summary(pairs)
    if not options.json:
        for name, row in result.items():
            line = f"{name:14} {row['ours']:9.3f}"
            if "peer" in row:
                line += f"   Markdown {row['peer']:9.3f}   ratio {row['ratio']:.3f}"
            print(line)
    result["messages"] = {"ours": options.messages, "peer": options.peer_messages}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
