"""What holding a tool call to its grammar costs: time a token against a decode step.

Calls of a few tools are written by a sampler whose logits like the call's own tokens best, as
those of a model that knows what it is doing. A token's cost is all that the constraint does for
it: mask, filtering the logits with it, checks, bookkeeping. The decode step is that of a random
model of the starter model's shape; for a 7B model on a fast GPU 15 ms are taken.

    python benchmarks/masks.py [--rounds 3] [--threads 1] [--json]
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import tiny
from inference.api import SamplingParams, Tool
from inference.config import ModelConfig
from inference.constrained.constraint import CallConstraint, make_constraint
from inference.generation import decode, prefill
from inference.sampling import make_sampler
from inference.tokenizer import Tokenizer
from inference.transformer import Transformer
from tool_schemas import SCHEMAS

GPU_STEP_S = 0.015
STARTER: dict[str, Any] = {
    "dim": 576, "n_layers": 30, "head_dim": 64, "hidden_dim": 1536, "n_heads": 9, "n_kv_heads": 3,
    "norm_eps": 1e-5, "vocab_size": 49173, "rope_theta": 1e5, "max_position_embeddings": 512,
    "tied_embeddings": True,
}  # fmt: skip
CALLS: dict[str, dict[str, Any]] = {
    "weather": {"location": "Saint-Germain-en-Laye, near Paris", "unit": "celsius"},
    "calendar_event": {
        "title": "Lunch with the whole team and their guests", "date": "2026-05-04",
        "time": "12:30", "minutes": 90, "attendees": ["ana@example.com", "bo@example.org"],
    },
    "sql": {
        "table": "orders", "columns": ["id", "customer", "total"],
        "where": [{"column": "total", "operator": ">=", "value": 100.5}], "limit": 20,
    },
    "filter_expression": {"filter": {"all": [{"field": "age", "at_least": 18}, {"all": []}]}},
    "translate": {"text": "The quick brown fox jumps over the lazy dog. " * 4, "target": "de"},
}  # fmt: skip
TOOLS = [Tool(name, "", json.dumps(SCHEMAS[name])) for name in CALLS]
PARAMS = SamplingParams(temperature=0.7, top_p=0.9)


class Timed:
    """A constraint, with the time that is spent in it."""

    def __init__(self, constraint: CallConstraint) -> None:
        self._constraint = constraint
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        started = time.perf_counter()
        value = getattr(self._constraint, name)
        self.seconds += time.perf_counter() - started
        if not callable(value):
            return value

        def timed(*values: Any) -> Any:
            started = time.perf_counter()
            result = value(*values)
            self.seconds += time.perf_counter() - started
            return result

        return timed


def tokenizer_of(folder: Path, version: str) -> Tokenizer:
    name = "tekken.json" if version in tiny.TEKKEN else f"tokenizer.model.{version}"
    shutil.copy(tiny.data_file(version), folder / name)
    return Tokenizer.from_folder(folder)


def texts(tokenizer: Tokenizer) -> list[list[int]]:
    """Each call as the model would write it, in ids."""
    from mistral_common.protocol.instruct.messages import AssistantMessage
    from mistral_common.protocol.instruct.tool_calls import FunctionCall, ToolCall

    return [
        tokenizer.instruct_tokenizer.encode_assistant_message(
            AssistantMessage(
                tool_calls=[
                    ToolCall(
                        id="abcDEF123",
                        function=FunctionCall(name=name, arguments=json.dumps(arguments)),
                    )
                ]
            ),
            False,
        )
        for name, arguments in CALLS.items()
    ]


def written(tokenizer: Tokenizer, ids: list[int], masks: Any) -> tuple[list[float], list[float]]:
    """Seconds a token: inside the constraint, and of the whole held sampler beyond a free one."""
    size = tokenizer.n_words
    constraint = make_constraint(tokenizer, TOOLS, "any", 4000, size, masks)
    assert constraint is not None
    timed: Any = Timed(constraint)
    held = make_sampler(PARAMS, seed=1, constraint=timed)
    free = make_sampler(PARAMS, seed=1)
    noise = torch.randn(8, size, generator=torch.Generator().manual_seed(3))
    inside, beyond = [], []
    for n, token in enumerate(ids):
        logits = noise[n % 8].clone()
        logits[token] += 25
        before = timed.seconds
        started = time.perf_counter()
        drawn, _ = held(logits)
        middle = time.perf_counter()
        free(logits)
        ended = time.perf_counter()
        if drawn != token:
            raise AssertionError("the grammar does not let the call through")
        inside.append(timed.seconds - before)
        beyond.append(middle - started - (ended - middle))
    return inside[1:-1], beyond[1:-1]


def decode_step(threads: int) -> float:
    """Seconds a token of a random model of the starter model's shape, in bf16."""
    torch.set_num_threads(threads)
    config = ModelConfig.from_params(STARTER)
    with torch.device("meta"):
        model = Transformer(config)
    weights = {n: w.to(torch.bfloat16) for n, w in tiny.random_weights(STARTER).items()}
    model.load_state_dict(weights, assign=True, strict=False)
    cache = model.new_cache()
    logits = prefill(model, cache, list(range(64)))
    assert logits is not None
    sampler = make_sampler(SamplingParams(temperature=0), seed=0)
    times: list[float] = []
    last = time.perf_counter()
    for _ in decode(model, cache, logits, sampler, max_tokens=40):
        times.append(time.perf_counter() - last)
        last = time.perf_counter()
    return statistics.median(times[5:])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="only the last line, one object")
    options = parser.parse_args()
    with torch.inference_mode():
        step = decode_step(options.threads)
    if not options.json:
        print(f"decode step at the starter model's size: {step * 1e3:.1f} ms")
    result: dict[str, Any] = {"decode_step_ms": {"ours": step * 1e3}}
    for version in ("v3", "tekken-v3"):
        with tempfile.TemporaryDirectory() as folder:
            tokenizer = tokenizer_of(Path(folder), version)
        calls = texts(tokenizer)
        for masks in ("llguidance", "own") if find_spec("llguidance") else ("own",):
            started = time.perf_counter()
            written(tokenizer, calls[0], masks)
            first = time.perf_counter() - started
            inside: list[float] = []
            means: list[float] = []
            beyond: list[float] = []
            for _ in range(options.rounds):
                costs = [written(tokenizer, ids, masks) for ids in calls]
                flat = [value for cost, _ in costs for value in cost]
                inside += flat
                means.append(statistics.mean(flat))
                beyond += [value for _, more in costs for value in more]
            mean = statistics.median(means)
            worst = sorted(inside)[int(len(inside) * 0.99)]
            key = f"{masks}_{tokenizer.n_words}"
            result[f"mask_us_{key}"] = {
                "ours": mean * 1e6,
                "peer": step * 1e6,
                "ratio": mean / step,
                "spread": [min(means) / step, max(means) / step],
            }
            result[f"mask_p99_us_{key}"] = {"ours": worst * 1e6}
            result[f"sampler_beyond_free_us_{key}"] = {"ours": statistics.mean(beyond) * 1e6}
            result[f"first_call_ms_{key}"] = {"ours": first * 1e3}
            if not options.json:
                print(
                    f"{masks}, {tokenizer.n_words:,} tokens: {mean * 1e6:.0f} µs a token "
                    f"({mean / step:.2%} of that step, {mean / GPU_STEP_S:.2%} of 15 ms), "
                    f"p99 {worst * 1e6:.0f}, sampler {statistics.mean(beyond) * 1e6:.0f} µs more "
                    f"than a free one, first call {first * 1e3:.0f} ms"
                )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
