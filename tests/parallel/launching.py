"""The real torchrun, on our script."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
SCRIPT = Path(__file__).with_name("script.py")


def torchrun(
    ranks: int, what: str, folder: Path, *options: str, **environment: str
) -> subprocess.Popen[str]:
    """Start it, output and error in pipes."""
    options = options or ("--standalone",)
    command = [sys.executable, "-m", "torch.distributed.run", *options, "--nproc-per-node"]
    return subprocess.Popen(
        [*command, str(ranks), str(SCRIPT), what, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}",
            "OMP_NUM_THREADS": "1",
            "MALLOC_MMAP_THRESHOLD_": str(1 << 20),  # what is freed is given back at once
            **environment,
        },
    )


def ended(process: subprocess.Popen[str], seconds: float = 120) -> tuple[int, str, str]:
    """Its exit code, output and error."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.terminate()
        out, err = process.communicate(timeout=40)
        raise AssertionError(f"torchrun did not end; {out}\n{err}") from None
    return process.returncode, out, err


def run(ranks: int, what: str, folder: Path, **environment: str) -> str:
    """Run it to its end, which is to be a good one; its output."""
    code, out, err = ended(torchrun(ranks, what, folder, **environment))
    assert code == 0, f"{out}\n{err}"
    return out
