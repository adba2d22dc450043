"""Everything that a model can be asked for, as tensors and JSON, to compare one process with
several ranks."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch

from inference.api import (
    BatchFinished,
    CompleteBatch,
    Ends,
    FillInMiddle,
    Finished,
    Generate,
    Measure,
    Message,
    SamplingParams,
    Tokens,
)
from inference.engine import Engine
from inference.generation import generate
from inference.transformer import Transformer

Seen = dict[str, torch.Tensor]


@torch.inference_mode()
def observe(model: Transformer, *, thorough: bool) -> Seen:
    """Logits (floats) and tokens (whole numbers) of the ways to compute them. A step costs
    milliseconds where several ranks share two cores: `thorough` ones are many."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, 500, (340,), generator=generator).tolist()
    steps = 6 if thorough else 2

    def run(tokens: list[list[int]], *args: Any, **kwargs: Any) -> torch.Tensor:
        logits: torch.Tensor = model(model.ids(tokens), *args, **kwargs)
        return logits

    seen = {"in one pass": run([ids[:40]], last_only=False)[0]}
    cache = model.new_cache()
    parts = [run([ids[n : n + 17]], cache, last_only=False)[0] for n in (0, 17)]
    parts += [run([[token]], cache)[0] for token in ids[34 : 34 + steps]]
    seen["in chunks, then step by step"] = torch.cat(parts)
    seen["where the cache grows"] = run([ids[40:]], cache)[0]
    cache.truncate(21)
    seen["behind what was cut off"] = run([ids[50:59]], cache, last_only=False)[0]
    rows = model.fan_out(cache, 3, room=300)
    each = [run([[ids[n]], [ids[n + 1]], [ids[n + 2]]], rows)[:, 0] for n in range(steps // 2)]
    seen["fanned out"] = torch.cat(each)
    seen["after fanning out"] = run([[7]], cache)[0]

    prompts = [ids[:5], ids[3:19], ids[:1]]
    tokens, logprobs = generate(prompts, model, max_tokens=steps)
    seen["greedy batch"] = torch.tensor(tokens)
    seen["logprobs of a batch"] = torch.tensor([p for row in logprobs for p in row])
    if thorough:
        sampled = {"temperature": 0.7, "top_p": 0.8}
        for seed in (1, 2, 3):
            tokens, _ = generate(prompts, model, max_tokens=6, seed=seed, **sampled)
            seen[f"sampled with seed {seed}"] = torch.tensor(tokens)
        params = SamplingParams(0.9, top_k=40, min_p=0.02, repetition_penalty=1.1, seed=4)
        tokens, _ = generate(prompts, model, max_tokens=6, sampling=params)
        seen["sampled otherwise"] = torch.tensor(tokens)
        tokens, _ = generate([ids[:40]], model, max_tokens=3, chunk_size=7)
        seen["from a prompt in chunks"] = torch.tensor(tokens)
        empty = model.fan_out(model.new_cache(), 2, room=20)
        seen["fanned out of nothing"] = run([[5], [6]], empty)[:, 0]
    return {name: tensor.contiguous().clone() for name, tensor in seen.items()}


GREEDY = SamplingParams(0.0, max_tokens=8)
WARM = SamplingParams(0.7, top_p=0.9, seed=11, max_tokens=8)


def converse(engine: Engine) -> dict[str, Any]:
    """What an engine says: chat turns, one of them cancelled, middles, a measurement, a batch."""
    told: dict[str, Any] = {}
    messages: tuple[Message, ...] = (Message("user", "Hello there!"),)
    for turn, sampling in enumerate((GREEDY, WARM, GREEDY)):
        events = list(engine.run(Generate(turn, messages, sampling, candidates=3)))
        ids = tuple(i for e in events if isinstance(e, Tokens) for i in e.ids)
        text = "".join(e.text for e in events if isinstance(e, Tokens))
        assert isinstance(events[-1], Finished)
        told[f"turn {turn}"] = [ids, events[-1].reason, events[-1].usage.reused_tokens]
        reply = Message("assistant", text, ids, engine.tokenizer.fingerprint)
        messages = (*messages, reply, Message("user", f"And then? {turn}"))
    heard = 0

    def enough() -> bool:
        return heard >= 3

    for event in engine.run(Generate(7, messages, GREEDY), enough):
        heard += isinstance(event, Tokens)
        last = event
    assert isinstance(last, Finished)
    told["cancelled"] = last.reason
    told["measured"] = [
        [e.ids, [round(p, 3) for p in e.logprobs]]
        for e in engine.run(Measure(8, messages[:4], candidates=2))
        if isinstance(e, Tokens)
    ]
    for middles in (1, 3):
        request = FillInMiddle(
            9, "def add(a, b):\n", "    return c\n", WARM, ends=Ends(lines=3), middles=middles
        )
        told[f"{middles} middles"] = [
            [e.middle, e.ids] for e in engine.run(request) if isinstance(e, Tokens)
        ]
    prompts = ("One, two", "Once upon a time, there was", "x")
    (batch,) = engine.run(CompleteBatch(10, prompts, WARM))
    assert isinstance(batch, BatchFinished)
    told["batch"] = [asdict(c)["ids"] for c in batch.completions]
    return told
