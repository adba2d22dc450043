"""What the UI costs the model: decode tokens/s through the app against headless.

Both run the starter model with the same explicit number of threads, in turn; the app
runs in a pseudo-terminal of 120x40 with a markdown answer on the screen.

    python benchmarks/ui_overhead.py [--rounds 5] [--threads 1] [--tokens 200] [--json]
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from terminal import Terminal

from inference import starter

PROMPT = "Write a long story about a lighthouse, with headings and lists."


def command(tokens: int, threads: int, *more: str) -> list[str]:
    fixed = ["--temperature", "0", "--repetition-penalty", "1.3"]
    limits = ["--max-tokens", str(tokens), "--threads", str(threads)]
    return [sys.executable, "-m", "mistral_tui", "starter", *fixed, *limits, *more]


def headless(tokens: int, threads: int) -> float:
    """tokens/s of `-p`."""
    done = subprocess.run(
        command(tokens, threads, "-p", PROMPT, "--json"), capture_output=True, check=True
    )
    return float(json.loads(done.stdout)["timings"]["decode_tokens_per_s"])


def through_ui(tokens: int, threads: int) -> float:
    """tokens/s of the same answer in the app, from what it saved."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        (data / "models").mkdir(parents=True)
        (data / "models" / "starter").symlink_to(starter.folder())
        env = {f"MISTRAL_TUI_{n}": str(Path(folder) / n.lower()) for n in ("STATE", "CONFIG")}
        env["MISTRAL_TUI_DATA"] = str(data)
        with Terminal(command(tokens, threads), env=env) as terminal:
            terminal.wait_for(b"Write a message")
            terminal.read(0.5)
            terminal.send(PROMPT + "\r")
            deadline = time.monotonic() + 300
            while time.monotonic() < deadline:
                terminal.read(0.25)
                if rate := saved_rate(data / "conversations.db"):
                    return rate
    raise TimeoutError("the answer did not end")


def saved_rate(path: Path) -> float:
    if not path.exists():
        return 0.0
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
        try:
            row = db.execute("SELECT timings FROM realizations").fetchone()
        except sqlite3.OperationalError:
            return 0.0
    return float(json.loads(row[0])["decode_tokens_per_s"]) if row and row[0] else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--json", action="store_true", help="only the last line, one object")
    options = parser.parse_args()
    starter.ensure()
    pairs = []
    for number in range(options.rounds):
        bare = headless(options.tokens, options.threads)
        drawn = through_ui(options.tokens, options.threads)
        pairs.append((drawn, bare))
        if not options.json:
            print(f"round {number + 1}: UI {drawn:.1f}, headless {bare:.1f}, {drawn / bare:.3f}")
    ratios = [drawn / bare for drawn, bare in pairs]
    result = {
        "decode_tokens_per_s": {
            "ours": statistics.median(drawn for drawn, _ in pairs),
            "peer": statistics.median(bare for _, bare in pairs),
            "ratio": statistics.median(ratios),
            "spread": [min(ratios), max(ratios)],
        }
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
