"""What more ranks bring: tokens per second of N ranks against one, on the same machine.

Each number of ranks answers the same prompt in turn, round after round, so that what else the
machine does hits all alike. On GPUs tensor parallel should gain; ranks that share one CPU lose.

    python benchmarks/ranks.py [MODEL] [--ranks 1 2 4] [--device cpu] [--tokens 64] [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from typing import Any

PROMPT = "Tell a long story about the sea. " * 16


def answer(model: str, ranks: int, device: str, tokens: int, pipeline: bool) -> dict[str, Any]:
    """One answer by so many ranks, as `-p --json` tells it."""
    command = [sys.executable, "-m", "mistral_tui", model, "-p", PROMPT, "--json"]
    command += ["--max-tokens", str(tokens), "--temperature", "0", "--device", device]
    command += ["--ranks", str(ranks), *(["--pipeline"] if pipeline else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="starter")
    parser.add_argument("--ranks", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pipeline", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rates: dict[int, dict[str, list[float]]] = {n: {} for n in args.ranks}
    ways = {}
    for _ in range(args.rounds):
        for ranks in args.ranks:
            told = answer(args.model, ranks, args.device, args.tokens, args.pipeline)
            ways[ranks] = told["model"]["parallel"] or "one"
            timings = told["timings"]
            figures = {
                "prefill_tokens_per_s": told["prompt_tokens"] / timings["prefill_s"],
                "decode_tokens_per_s": timings["decode_tokens_per_s"],
            }
            for name, value in figures.items():
                rates[ranks].setdefault(name, []).append(value)
    base = args.ranks[0]
    result = {}
    for ranks in args.ranks:
        for name, values in rates[ranks].items():
            ratios = [v / b for v, b in zip(values, rates[base][name], strict=True)]
            ratio = statistics.median(ratios)
            result[f"{name}_{ranks}"] = {
                "ours": statistics.median(values),
                "peer": statistics.median(rates[base][name]),
                "ratio": ratio,
                "spread": [min(ratios), max(ratios)],
            }
            print(
                f"{ranks} ranks ({ways[ranks]}): {name.replace('_', ' ')} "
                f"{statistics.median(values):.1f}, {ratio:.2f} of {base}'s"
            )
    if args.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
