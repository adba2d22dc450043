"""How soon one can type: from the start of the process to the echo of a key, for the chat
and, in turn, for the smallest Textual app with a text area.

    python benchmarks/startup.py [--rounds 7] [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from terminal import Terminal

from inference import starter

BARE = """
from textual.app import App
from textual.widgets import TextArea
class Bare(App):
    def compose(self):
        yield TextArea(placeholder="Write a message")
Bare().run()
"""


def until_echo(command: list[str], env: dict[str, str]) -> float:
    """Seconds until a key typed into the painted prompt is shown."""
    with Terminal(command, env=env) as terminal:
        terminal.wait_for(b"rite a message")
        mark = len(terminal.output)
        terminal.send("\u00e6")
        return terminal.wait_for("\u00e6".encode(), since=mark)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="only the last line, one object")
    options = parser.parse_args()
    starter.ensure()
    ours, bare = [], []
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        (data / "models").mkdir(parents=True)
        (data / "models" / "starter").symlink_to(starter.folder())
        env = {f"MISTRAL_TUI_{n}": str(Path(folder) / n.lower()) for n in ("STATE", "CONFIG")}
        env["MISTRAL_TUI_DATA"] = str(data)
        chat = [sys.executable, "-m", "mistral_tui", "starter"]
        for number in range(options.rounds + 1):
            pair = until_echo(chat, env), until_echo([sys.executable, "-c", BARE], env)
            if number == 0:
                continue  # warms the disk cache and compiles
            ours.append(pair[0])
            bare.append(pair[1])
            if not options.json:
                print(f"round {number}: chat {pair[0]:.3f} s, bare {pair[1]:.3f} s")
    ratios = [a / b for a, b in zip(ours, bare, strict=True)]
    result = {
        "seconds_to_first_key": {
            "ours": statistics.median(ours),
            "peer": statistics.median(bare),
            "ratio": statistics.median(ratios),
            "spread": [min(ratios), max(ratios)],
        }
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
