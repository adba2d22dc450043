"""Commands that ask the engine one thing and print it: `demo` and `fim`."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

from inference.api import BatchFinished, CompleteBatch, Failed, FillInMiddle, SamplingParams
from mistral_tui.choices import ModelChoice, SamplingChoice
from mistral_tui.engine_client import EngineClient
from mistral_tui.headless import failed, finite, load, model, print_line, result, stream
from mistral_tui.sanitize import sanitize

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
class Fim:
    """What belongs between two texts."""

    choice: ModelChoice
    sampling: SamplingChoice
    as_json: bool
    prefix: str
    suffix: str

    async def do(self, client: EngineClient) -> int:
        """Print the middle. Where the model goes on into the suffix, it ends there."""
        await client.start()
        loaded = await load(self.choice, client, fetch=False)
        if isinstance(loaded, Failed):
            return failed(loaded)
        card, load_s = loaded
        request = FillInMiddle(
            client.next_id(),
            self.prefix,
            self.suffix,
            self.sampling.over(SamplingParams()),
            stop=(self.suffix,) if self.suffix.strip() else (),
        )
        reply = await stream(request, client, show=not self.as_json)
        if isinstance(reply, Failed):
            return failed(reply)
        if self.as_json:
            candidate = {
                "middle": reply.text,
                "ids": reply.ids,
                "logprobs": finite(reply.logprobs),
            }
            keys = {"middle": reply.text, "candidates": [candidate]}
            print_line(sys.stdout, json.dumps(result(card, load_s, reply) | keys))
        return 0
