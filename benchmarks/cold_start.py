"""From a cold page cache to the first token, against the time that reading the file takes.

    python benchmarks/cold_start.py --make DIR     a random checkpoint of the 7B's shape (14.5 GB)
    python benchmarks/cold_start.py DIR            measure; --json for the numbers alone

Both are measured in one run, one after the other, `--rounds` times. What has no meaning as an
absolute number on another machine is given as a ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import struct
import subprocess
import sys
import time
from pathlib import Path

SHAPE = {
    "dim": 4096,
    "n_layers": 32,
    "head_dim": 128,
    "hidden_dim": 14336,
    "n_heads": 32,
    "n_kv_heads": 8,
    "norm_eps": 1e-05,
    "vocab_size": 32768,
    "rope_theta": 1000000.0,
}
WEIGHTS = "consolidated.safetensors"


def make(folder: Path) -> None:
    """Write the checkpoint, tensor by tensor, with mistral-common's v3 tokenizer."""
    import torch
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

    from inference.params import from_params

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.json").write_text(json.dumps(SHAPE))
    name = "mistral_instruct_tokenizer_240323.model.v3"
    shutil.copy(MistralTokenizer._data_path() / name, folder / "tokenizer.model.v3")
    shapes = from_params(SHAPE).tensor_shapes()
    header, place = {}, 0
    for key, shape in shapes.items():
        size = 2 * torch.Size(shape).numel()
        header[key] = {"dtype": "BF16", "shape": shape, "data_offsets": [place, place + size]}
        place += size
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    with (folder / WEIGHTS).open("wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        for shape in shapes.values():
            if len(shape) == 1:
                tensor = torch.ones(shape, dtype=torch.bfloat16)
            else:
                tensor = torch.empty(shape, dtype=torch.bfloat16).uniform_(-0.02, 0.02)
            file.write(tensor.view(torch.uint8).numpy().data)
        os.fsync(file.fileno())
    print(f"{folder}: {place / 1e9:.1f} GB")


def forget(path: Path) -> None:
    """Drop the file's pages from the cache."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_s(path: Path) -> float:
    """Seconds to read the file from a cold cache, in large pieces."""
    forget(path)
    buffer = bytearray(16 << 20)
    started = time.perf_counter()
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
    return time.perf_counter() - started


def first_token(folder: Path) -> tuple[float, float]:
    """(seconds from the start of the command to the first token, peak resident GB)."""
    forget(folder / WEIGHTS)
    command = [sys.executable, "-m", "mistral_tui", str(folder), "-p", "Hi", "--max-tokens", "1"]
    started = time.perf_counter()
    with subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE) as process:
        peak = 0.0
        while process.poll() is None:
            peak = max(peak, resident_gb(process.pid))
            time.sleep(0.1)
        seconds = time.perf_counter() - started
        assert process.stdout is not None
        result = json.loads(process.stdout.read())
    assert result["completion_tokens"] == 1
    return seconds, peak


def resident_gb(pid: int) -> float:
    """Of a process and its children, shared pages included."""
    total = 0.0
    for child in [pid, *children(pid)]:
        try:
            status = Path(f"/proc/{child}/status").read_text()
        except OSError:
            continue
        rss = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")]
        total += sum(map(int, rss)) / 1e6
    return total


def children(pid: int) -> list[int]:
    try:
        return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--make", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.make:
        make(options.folder)
        return
    ratios, reads, firsts, peaks = [], [], [], []
    for _ in range(options.rounds):
        reads.append(read_s(options.folder / WEIGHTS))
        first, peak = first_token(options.folder)
        firsts.append(first)
        peaks.append(peak)
        ratios.append(first / reads[-1])
        if not options.json:
            print(f"read {reads[-1]:.1f} s, first token {first:.1f} s, resident {peak:.1f} GB")
    result = {
        "first_token_s": {
            "ours": statistics.median(firsts),
            "peer": statistics.median(reads),
            "ratio": statistics.median(ratios),
            "spread": [min(ratios), max(ratios)],
        },
        "resident_gb": {"ours": max(peaks)},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
