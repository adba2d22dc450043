"""Commands that ask the engine one thing and print it: `demo` and `fim`."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from inference.api import (
    BatchFinished,
    CompleteBatch,
    Ends,
    Failed,
    FillInMiddle,
    Finished,
    ModelCard,
    SamplingParams,
    Tokens,
)
from mistral_tui.choices import ModelChoice, SamplingChoice
from mistral_tui.engine_client import EngineClient
from mistral_tui.headless import (
    Printer,
    Reply,
    failed,
    finite,
    load,
    model,
    print_line,
    result,
)
from mistral_tui.sanitize import sanitize

if TYPE_CHECKING:
    from mistral_tui.code.asking import FimSettings
    from mistral_tui.code.files import CodeFile

# Those of the reference's mistral-demo, so that the two can be compared.
PROMPTS = (
    "This is a test",
    "This is another great test",
    "This is a third test, mistral AI is very good at testing. ",
)
_RULE = "=" * 21


@dataclass(frozen=True, slots=True)
class Demo:
    """Three fixed prompts, continued as one batch."""

    choice: ModelChoice
    sampling: SamplingChoice
    as_json: bool

    async def do(self, client: EngineClient) -> int:
        """Print each prompt with its continuation."""
        await client.start()
        loaded = await load(self.choice, client, fetch=False)
        if isinstance(loaded, Failed):
            return failed(loaded)
        card, load_s = loaded
        request = CompleteBatch(client.next_id(), PROMPTS, self.sampling.over(SamplingParams()))
        done: BatchFinished | Failed | None = None
        async for event in client.submit(request):
            if isinstance(event, BatchFinished | Failed):
                done = event
        assert done is not None
        if isinstance(done, Failed):
            return failed(done)
        if self.as_json:
            print_line(sys.stdout, json.dumps(_batch(done, load_s) | {"model": model(card)}))
            return 0
        for prompt, completion in zip(PROMPTS, done.completions, strict=True):
            print_line(sys.stdout, f"{sanitize(prompt + completion.text)}\n{_RULE}")
        return 0


def _batch(done: BatchFinished, load_s: float) -> dict[str, object]:
    """The published keys of `demo --json`; they stay."""
    return {
        "completions": [
            {
                "prompt": prompt,
                "text": completion.text,
                "ids": list(completion.ids),
                "logprobs": finite(completion.logprobs),
                "prompt_ids": list(completion.prompt_ids),
            }
            for prompt, completion in zip(PROMPTS, done.completions, strict=True)
        ],
        "seed": done.seed,
        "timings": {"load_s": load_s, "total_s": done.seconds},
    }


@dataclass(frozen=True, slots=True)
class Asking:
    """How middles are asked for. `whole`: they end where the model ends them, or, as with the
    reference, where it reaches the suffix; else as the settings say. `windowed`: without a
    `window` the one of the settings applies."""

    sampling: SamplingChoice
    settings: FimSettings
    middles: int = 1
    window: int | None = None
    whole: bool = False
    windowed: bool = True

    def request(
        self, request_id: int, card: ModelCard, prefix: str, suffix: str, middles: int | None = None
    ) -> FillInMiddle:
        """For this place; `middles` instead of the usual number."""
        middles = middles or self.middles
        asked = self.settings.request(request_id, card, prefix, suffix, several=middles > 1)
        sampling = self.sampling.over(asked.sampling)
        window = self.window or (asked.window if self.windowed else None)
        asked = replace(asked, sampling=sampling, middles=middles, window=window)
        if self.whole:
            stop = (suffix,) if suffix.strip() else ()
            asked = replace(asked, ends=Ends(), stop=stop)
        return asked


@dataclass(slots=True)
class Middle:
    """One middle as it came."""

    text: str = ""
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Filled:
    """All middles of a request, at its end."""

    finished: Finished
    middles: list[Middle]

    @property
    def as_json(self) -> dict[str, object]:
        """The published keys of `fim --json` beside those of an answer; they stay."""
        return {
            "middle": self.middles[0].text,
            "candidates": [
                {
                    "middle": middle.text,
                    "ids": middle.ids,
                    "logprobs": finite(middle.logprobs),
                    "finish_reason": reason,
                }
                for middle, reason in zip(self.middles, self.finished.reasons, strict=True)
            ],
            "left_out": list(self.finished.left_out),
        }


async def fill(
    request: FillInMiddle, client: EngineClient, show: Callable[[str], None] = lambda text: None
) -> Filled | Failed:
    """Have the middles written; `show` gets the text of the first as it comes."""
    middles = [Middle() for _ in range(request.middles)]
    last: Finished | Failed | None = None
    async for event in client.submit(request):
        match event:
            case Tokens():
                middle = middles[event.middle]
                middle.text += event.text
                middle.ids.extend(event.ids)
                middle.logprobs.extend(event.logprobs)
                if event.middle == 0:
                    show(event.text)
            case Finished() | Failed():
                last = event
    assert last is not None
    return last if isinstance(last, Failed) else Filled(last, middles)


@dataclass(frozen=True, slots=True)
class Fim:
    """What belongs between two texts; with a `file`, it is written into it."""

    choice: ModelChoice
    asking: Asking
    as_json: bool
    prefix: str
    suffix: str
    file: CodeFile | None = None

    async def do(self, client: EngineClient) -> int:
        """Print the middles, or write the one into the file."""
        await client.start()
        loaded = await load(self.choice, client, fetch=False)
        if isinstance(loaded, Failed):
            return failed(loaded)
        card, load_s = loaded
        request = self.asking.request(client.next_id(), card, self.prefix, self.suffix)
        filled = await self._fill(request, client)
        if isinstance(filled, Failed):
            return failed(filled)
        if self.file is not None and not await self._write(self.file, filled.middles[0].text):
            return 1
        if self.as_json:
            first = filled.middles[0]
            reply = Reply(filled.finished, first.text, first.ids, first.logprobs)
            print_line(sys.stdout, json.dumps(result(card, load_s, reply) | filled.as_json))
        elif self.file is None and len(filled.middles) > 1:
            for number, middle in enumerate(filled.middles):
                if number:
                    print_line(sys.stdout, "---")
                _print(middle.text)
        return 0

    async def _fill(self, request: FillInMiddle, client: EngineClient) -> Filled | Failed:
        if self.as_json or self.file is not None or request.middles > 1:
            return await fill(request, client)
        out = Printer(sys.stdout)
        try:
            return await fill(request, client, out.feed)
        finally:  # interrupted, too
            out.end()

    async def _write(self, file: CodeFile, middle: str) -> bool:
        from mistral_tui.code import files
        from mistral_tui.code.errors import CodeError

        text = self.prefix + sanitize(middle) + self.suffix
        try:
            if text != file.text:
                await asyncio.to_thread(files.save, file, text)
        except CodeError as error:
            print_line(sys.stderr, f"mistral-tui: {sanitize(str(error))}")
            return False
        return True


def _print(text: str) -> None:
    out = Printer(sys.stdout)
    out.feed(text)
    out.end()
