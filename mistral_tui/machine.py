"""What this machine has (GPUs, memory, a terminal) and how the app is installed; no torch."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mistral_tui import paths
from mistral_tui.sanitize import one_line

_SMI = ("--query-gpu=uuid,name,memory.total,memory.free", "--format=csv,noheader,nounits")
_SMI_SECONDS = 10.0
_MOST_GPUS = 64
_MIB = 1 << 20
_CGROUP = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")
_MEMINFO = Path("/proc/meminfo")

EXTRAS = (
    ("xformers", "xformers", "attention on CUDA with less memory", "xformers"),
    ("llguidance", "llguidance", "fast masks for tool calls", "tools"),
    ("mcp", "mcp", "tools from MCP servers", "mcp"),
    ("tree-sitter", "tree_sitter", "colours in the code panel", "code"),
)
"""Distribution, module, what it is for, the extra that brings it."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU, its memory in bytes."""

    name: str
    total: int
    free: int


@dataclass(frozen=True, slots=True)
class Machine:
    """Memory in bytes, 0 is unknown; `available` is None where it is unknown. `problems`:
    sentences on what could not be told. `asked`: it is not this machine, but one that was asked
    for. `mig`: it is used by slices of GPUs, which are not counted. `mps`: a Mac, whose GPU
    shares the memory."""

    gpus: tuple[Gpu, ...]
    memory: int = 0
    available: int | None = None
    cores: int = 0
    problems: tuple[str, ...] = ()
    asked: bool = False
    mig: bool = False
    mps: bool = False


@dataclass(frozen=True, slots=True)
class Extra:
    """Something optional; `version` is empty where it is not installed."""

    name: str
    version: str
    purpose: str
    extra: str


@dataclass(frozen=True, slots=True)
class Terminal:
    """Where the output goes; `colours` is 0 where it is no terminal."""

    is_one: bool
    columns: int
    lines: int
    colours: int


@dataclass(frozen=True, slots=True)
class Installation:
    """Versions are empty where something is not installed; `cuda` is that of torch's build."""

    version: str
    python: str
    torch: str
    cuda: str
    extras: tuple[Extra, ...]
    folders: dict[str, str]
    terminal: Terminal
    problems: tuple[str, ...] = ()


def look(environment: Mapping[str, str] = os.environ) -> Machine:
    """This machine as the app would use it."""
    gpus, problems, mig = _gpus(environment)
    memory, available = _memory()
    if not memory:
        problems = (*problems, "This machine does not tell how much memory it has.")
    mps = sys.platform == "darwin"
    return Machine(gpus, memory, available, _cores(), problems, mig=mig, mps=mps)


def asked(gpus: int, memory: float) -> Machine:
    """Another machine: so many GPUs of `memory` GiB."""
    size = int(memory * (1 << 30))
    return Machine((Gpu("", size, size),) * gpus, asked=True)


# ── GPUs ────────────────────────────────────────────────────────────────────────────


def _gpus(environment: Mapping[str, str]) -> tuple[tuple[Gpu, ...], tuple[str, ...], bool]:
    """The GPUs that a process sees, in the order of nvidia-smi; what could not be told; whether
    it sees MIG slices instead."""
    output = _nvidia_smi()
    if output is None:
        sentence = "nvidia-smi does not answer, so no GPU is counted; `nvidia-smi -L` tells more."
        return (), (sentence,), False
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if re.search(r"^GPU-", output, re.M) and re.search(r"(^|,)\s*MIG-", visible or ""):
        sentence = "MIG slices are not judged; use --gpus and --gpu-memory to say what they have."
        return (), (sentence,), True
    listed: dict[str, Gpu] = {}
    problems = []
    for line in output.splitlines()[:_MOST_GPUS]:
        uuid, _, rest = line.partition(", ")
        name, *sizes = rest.rsplit(", ", 2)
        name = one_line(name, 60)
        numbers = [int(size) * _MIB if re.fullmatch(r"\d{1,9}", size) else None for size in sizes]
        if len(numbers) == 2 and (total := numbers[0]):
            free = numbers[1]
            listed[uuid] = Gpu(name, total, total if free is None else min(free, total))
        elif line.startswith("GPU-"):
            problems.append(f"nvidia-smi does not tell the memory of {name}; it is not counted.")
    if visible is None or not listed:
        return tuple(listed.values()), tuple(problems), False
    chosen, understood = _visible(visible, list(listed))
    if not understood:
        problems.append(
            f"CUDA_VISIBLE_DEVICES is {one_line(visible, 60)!r}, of which the GPUs from the first "
            "unknown one on are left out, as CUDA does."
        )
    return tuple(listed[uuid] for uuid in chosen), tuple(problems), False


def _visible(said: str, uuids: list[str]) -> tuple[list[str], bool]:
    """Which GPUs CUDA_VISIBLE_DEVICES leaves: up to the first that is none; whether all were."""
    chosen: list[str] = []
    words = [word.strip() for word in said.split(",")] if said.strip() else []
    for word in words:
        if re.fullmatch(r"\d{1,4}", word):
            found = uuids[int(word) : int(word) + 1]
        else:
            found = [u for u in uuids if word.startswith("GPU-") and u.startswith(word)]
        if len(found) != 1 or found[0] in chosen:
            return chosen, word == "-1"
        chosen += found
    return chosen, True


def _nvidia_smi() -> str | None:
    """Its output, "" where it is not there or has no driver; None: it hangs."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    try:
        process = subprocess.Popen(
            [program, *_SMI],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
    except OSError:
        return ""
    try:
        output, _ = process.communicate(timeout=_SMI_SECONDS)
    except subprocess.TimeoutExpired:
        # It is not waited for: a driver that hangs does not even let it be killed.
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        return None
    return output if process.returncode == 0 else ""


# ── memory and cores ────────────────────────────────────────────────────────────────


def _memory() -> tuple[int, int | None]:
    """Bytes in all and available, cgroups' limits respected; 0 and None: unknown."""
    if sys.platform == "darwin":
        return _sysctl("hw.memsize"), None
    try:
        lines = dict(
            line.split(":", 1) for line in _MEMINFO.read_text().splitlines() if ":" in line
        )
        total, available = (int(lines[n].split()[0]) << 10 for n in ("MemTotal", "MemAvailable"))
    except (OSError, ValueError, KeyError, IndexError):
        return 0, None
    own = total
    for limit, used in _limits():
        if 0 < limit < own:  # where there is none it is "max", or more than any machine has
            total, available = min(total, limit), min(available, max(0, limit - used))
    return total, available


def _limits() -> Iterator[tuple[int, int]]:
    """The limit and the use in bytes of the process's cgroups and of all above them."""
    versions = {
        "": (_CGROUP, "memory.max", "memory.current", "inactive_file"),
        "memory": (
            _CGROUP / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
            "total_inactive_file",
        ),
    }  # fmt: skip
    for controller, (root, limit, usage, cache) in versions.items():
        path = _own_cgroup(controller)
        for folder in (path, *path.parents):
            here = root / folder
            if found := _number(here / limit):
                cached = _number(here / "memory.stat", f"{cache} ")  # given back when needed
                yield found, max(0, _number(here / usage) - cached)


def _own_cgroup(controller: str) -> PurePosixPath:
    """The process's cgroup below the mount; that itself where it is not told, or is outside of
    what the process sees."""
    with contextlib.suppress(OSError, ValueError):
        for line in _OWN_CGROUP.read_text().splitlines():
            _, names, path = line.split(":", 2)
            if controller in names.split(",") and ".." not in path.split("/"):
                return PurePosixPath(path.lstrip("/"))
    return PurePosixPath()


def _number(path: Path, name: str = "") -> int:
    """The number of a line of a file that begins with `name`; 0 where there is none."""
    with contextlib.suppress(OSError, ValueError):
        found = re.search(rf"^{name}(\d+)$", path.read_text(), re.M)
        return int(found[1]) if found else 0
    return 0


def _sysctl(name: str) -> int:
    try:
        done = subprocess.run(
            ["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, timeout=5
        )
        return int(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return 0


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


# ── the installation ────────────────────────────────────────────────────────────────


def installation(environment: Mapping[str, str] = os.environ) -> Installation:
    """Versions, extras, folders and the terminal, with a sentence on each thing that is wrong."""
    torch = _version("torch")
    folders, problems = _folders()
    if shadow := shadowed():
        problems.insert(0, shadow)
    if not torch:
        problems.append("PyTorch is not installed; `pip install mistral-tui` brings it.")
    return Installation(
        _version("mistral-tui"),
        platform.python_version(),
        torch,
        _torch_cuda(torch),
        tuple(
            Extra(name, (_version(name) or "unknown") if _is_there(module) else "", purpose, extra)
            for name, module, purpose, extra in EXTRAS
        ),
        folders,
        _terminal(environment),
        tuple(problems),
    )


def shadowed() -> str:
    """A sentence where `inference` is another package than the one beside this."""
    ours = Path(__file__).resolve().parents[1] / "inference" / "__init__.py"
    try:
        spec = importlib.util.find_spec("inference")
    except (ImportError, ValueError):
        spec = None
    origin = spec.origin if spec else None
    if origin and Path(origin).resolve() == ours and not _version("inference"):
        return ""
    if origin and Path(origin).resolve() != ours:
        return (
            f"Another package named `inference` ({one_line(origin, 200)}) is found before ours "
            f"({one_line(str(ours), 200)}); start from another folder, or remove it: "
            "`pip uninstall inference`."
        )
    return (
        "Another distribution named `inference` is installed over ours; run `pip uninstall "
        "inference`, then `pip install --force-reinstall --no-deps mistral-tui`."
    )


def _version(name: str) -> str:
    try:
        return one_line(importlib.metadata.version(name), 40)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return ""


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _torch_cuda(version: str) -> str:
    """The CUDA that torch was built for, from a file of it: importing it takes seconds."""
    if not version or version.endswith("+cpu"):
        return ""
    try:
        spec = importlib.util.find_spec("torch")
        origin = spec.origin if spec else None
        text = (Path(origin).parent / "version.py").read_text() if origin else ""
    except (ImportError, ValueError, OSError):
        return ""
    found = re.search(r"^cuda\b[^=\n]*= *['\"]([\d.]+)['\"]", text, re.M)
    return found[1] if found else ""


def _folders() -> tuple[dict[str, str], list[str]]:
    """The app's folders, each tried by a file that has no name."""
    named: dict[str, Callable[[], Path]] = {
        "data": paths.data_dir,
        "state": paths.state_dir,
        "config": paths.config_dir,
        "cache": paths.cache_dir,
    }
    found, problems = {}, []
    for name, make in named.items():
        try:
            folder = make()
            found[name] = str(folder)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except paths.FolderError as error:
            problems.append(str(error))
        except OSError as error:
            problems.append(
                f"The folder {found[name]} cannot be written ({error.strerror}): set "
                f"MISTRAL_TUI_{name.upper()} to another."
            )
    return found, problems


def _terminal(environment: Mapping[str, str]) -> Terminal:
    size = next((os.get_terminal_size(n) for n in (1, 0, 2) if os.isatty(n)), None)
    kind = environment.get("TERM", "")
    if not os.isatty(1) or size is None:
        return Terminal(False, 0, 0, 0)
    if environment.get("COLORTERM", "").lower() in ("truecolor", "24bit"):
        colours = 1 << 24
    else:
        colours = 256 if "256color" in kind else 0 if kind in ("", "dumb") else 16
    return Terminal(True, size.columns, size.lines, 0 if environment.get("NO_COLOR") else colours)
