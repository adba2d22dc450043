"""How fast a long history answers: the list, a long conversation, the search.

    python benchmarks/history.py [--conversations 10000] [--messages 200000] [--rounds 30] [--json]

Builds such a conversation file in a temporary folder through the store and prints median and
p95 in milliseconds.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from mistral_tui.history.schema import Conversation, Message, Part, Realization
from mistral_tui.history.store import Store

LONG = 1000  # messages of the conversation that is opened


class Words:
    """Made-up words, as unevenly used as those of a language (Zipf's law)."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        syllables = [a + b for a in "bcdfghklmnprstvz" for b in "aeiou"]
        self.all = list(
            dict.fromkeys(
                "".join(self.random.choices(syllables, k=self.random.randint(1, 4)))
                for _ in range(40_000)
            )
        )
        self.weights = list(itertools.accumulate(1 / (n + 2) for n in range(len(self.all))))

    def text(self) -> str:
        count = self.random.randint(8, 120)
        return " ".join(self.random.choices(self.all, cum_weights=self.weights, k=count))


def build(store: Store, words: Words, conversations: int, messages: int) -> str:
    """Fill the store; the id of the long conversation."""
    store._db.execute("PRAGMA synchronous = OFF")
    rest = max(conversations, messages - LONG)
    sizes = [rest // conversations + (n < rest % conversations) for n in range(conversations - 1)]
    made = [plant(store, words, number, size) for number, size in enumerate(sizes)]
    del made
    return plant(store, words, conversations, LONG)


def plant(store: Store, words: Words, number: int, size: int) -> str:
    key, at = f"{number:08x}-benchmark", 1.7e9 + number * 600
    parts = [(Part("text", words.text()),) for _ in range(size)]
    ids = tuple(range(60))
    made = (Realization("model", ids, tuple(-0.5 for _ in ids), seed=number),)
    tree = [
        Message(
            *(n + 1, key, n or None),
            "assistant" if n % 2 else "user",
            part,
            "complete",
            at + n,
            made if n % 2 else (),
        )
        for n, part in enumerate(parts)
    ]
    title = parts[0][0].text[:60]
    with store._transaction():
        store._plant(Conversation(key, title, at, at + size, active_leaf=size), tree, {})
    return key


def measure(call: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Median and 95th percentile, in ms."""
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        call()
        times.append((time.perf_counter() - begun) * 1000)
    return statistics.median(times), sorted(times)[int(0.95 * (rounds - 1))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--conversations", type=int, default=10_000)
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", action="store_true", help="only the last line, one object")
    options = parser.parse_args()
    words = Words(1)
    w = words.all
    result: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "conversations.db"
        store = Store(path)
        begun = time.perf_counter()
        long = build(store, words, options.conversations, options.messages)
        result["build_s"] = {"ours": time.perf_counter() - begun}
        store.close()
        result["file_mb"] = {"ours": path.stat().st_size / 1e6}

        def reopen() -> None:
            Store(path).close()

        store = Store(path)
        last = store.load_conversation(long)[1][-1].id

        def turn() -> None:
            nonlocal last
            last = store.add_message(long, last, "user", words.text()).id

        searches = {
            "rare": w[-1000],
            "common": w[0],
            "three_common": f"{w[0]} {w[1]} {w[5]} ",
            "phrase": f'"{w[0]} {w[1]}"',
            "prefix_2": w[0][:2],
            "prefix_3": w[700][:3],
            "prefix_5": w[700][:5],
            "absent": "xylophone",
        }
        jobs: dict[str, Callable[[], object]] = {
            "open_store": reopen,
            "list_first_page": store.overview,
            "list_last_page": lambda: store.overview(50, options.conversations - 50),
            "open_1000_messages": lambda: store.load_conversation(long),
            "siblings_1000_messages": lambda: store.siblings(long),
            "add_message": turn,
        }
        for name, query in searches.items():
            jobs[f"search_{name}"] = lambda query=query: store.search(query)
        for name, job in jobs.items():
            median, p95 = measure(job, options.rounds)
            result[f"{name}_ms"] = {"ours": median, "p95": p95}
            if not options.json:
                print(f"{name:24} median {median:8.2f} ms   p95 {p95:8.2f} ms")
        begun = time.perf_counter()
        store.delete_conversation(long)
        result["delete_for_ever_s"] = {"ours": time.perf_counter() - begun}
        store.close()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
