"""What `mistral-tui doctor` prints: for people, and as JSON. Memory is in GiB, as nvidia-smi and
the cards' names count it."""

from __future__ import annotations

import json
import shlex
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from inference.fitting import WORK, Fit
from mistral_tui import catalog
from mistral_tui.catalog import Listed
from mistral_tui.doctor import Judged
from mistral_tui.launch import COMMANDS
from mistral_tui.machine import Installation, Machine
from mistral_tui.sanitize import one_line, sanitize

_GIB = 1 << 30
_WIDTH = 80
_CARDS = (24, 48, 80, 141)
"""GiB of usual GPUs, for what would do."""


def of_model(judged: Judged, machine: Machine, problems: Sequence[str]) -> str:
    """One model on this machine."""
    listed = judged.listed
    dtype = "fp8, widened to bfloat16" if judged.fp8 else judged.own.name
    lines = _wrapped(
        f"{one_line(listed.name, 40)}: parameters {catalog.count(listed)}, {dtype}, context "
        f"{listed.context:,}"
    )
    lines += [*_machine(machine), "", *_table(judged, machine), "", *_wrapped(_legend(judged))]
    lines += ["", *_proposal(judged, machine)]
    if problems:
        lines += ["", *_problems(problems)]
    return "\n".join(lines)


def of_all(
    judged: Sequence[Judged],
    broken: Sequence[Listed],
    machine: Machine,
    installed: Installation,
    problems: Sequence[str],
) -> str:
    """The installation, and the models that were found."""
    lines = [*_installation(installed), *_machine(machine), "", *_models(judged, machine)]
    if broken:
        many = "1 folder" if len(broken) == 1 else f"{len(broken)} folders"
        lines.append(f"{many} cannot be opened; `mistral-tui models` says why.")
    if problems:
        lines += ["", *_problems(problems)]
    return "\n".join(lines)


# ── parts ───────────────────────────────────────────────────────────────────────────


def _machine(machine: Machine) -> list[str]:
    if machine.asked:
        return [f"Asked for: {_gpus(len(machine.gpus))} of {_gib(machine.gpus[0].total)}"]
    lines = []
    for (name, total), alike in groupby(machine.gpus, key=lambda gpu: (gpu.name, gpu.total)):
        free = [gpu.free for gpu in alike]
        lines.append(f"{len(free)} × {one_line(name, 32)}, {_gib(total)}, {_gib(min(free))} free")
    cores = "1 core" if machine.cores == 1 else f"{machine.cores} cores"
    memory = f"memory {_gib(machine.memory)}" if machine.memory else "memory unknown"
    if machine.available is not None:
        memory += f", {_gib(machine.available)} available"
    if machine.mps:
        lines = ["the GPU (MPS) shares this memory"]
        return [f"This machine: {line}" for line in (f"{memory}; {cores}", *lines)]
    lines = lines or ["MIG slices, not judged" if machine.mig else "no NVIDIA GPU"]
    return [f"This machine: {line}" for line in (*lines, f"{memory}; {cores}")]


def _table(judged: Judged, machine: Machine) -> list[str]:
    rows = [("RANKS", "DTYPE", "WEIGHTS", "KV CACHE", "WORK", "NEEDED", "FITS")]
    for alike in _alike(judged.fits):
        fit = alike[0]
        names = "/".join(one.precision.name for one in alike)
        if fit.problem:
            rows.append((_holders(fit), names, "-", "-", "-", "-", "cannot be"))
            continue
        parts = (fit.need.weights, fit.need.cache, fit.need.work, fit.need.total)
        weights, cache, work, needed = (f"{part / _GIB:.1f}" for part in parts)
        rows.append((_holders(fit), names, weights, cache, work, needed, _verdict(fit, machine)))
    return _columns(rows, right={2, 3, 4, 5})


def _alike(fits: Iterable[Fit]) -> list[list[Fit]]:
    """Ways that differ in the precision's name only."""
    groups = groupby(fits, key=lambda fit: (fit.device, fit.ranks, fit.need, fit.tokens))
    return [list(group) for _, group in groups]


def _holders(fit: Fit) -> str:
    if fit.device == "cpu":
        return "CPU"
    return str(fit.ranks) if fit.mode == "one" else f"{fit.ranks} {fit.mode}"


def _verdict(fit: Fit, machine: Machine) -> str:
    if fit.device == "cuda" and not machine.gpus:
        return "not judged" if machine.mig else "no CUDA" if machine.mps else "no GPU"
    if not fit.tokens:
        return "no"
    if fit.device == "cuda" and fit.ranks > len(machine.gpus):
        return f"with {fit.ranks} GPUs"
    return "yes" if fit.whole else f"{fit.tokens:,} tokens"


def _legend(judged: Judged) -> str:
    cuda = [fit for fit in judged.fits if fit.device == "cuda" and fit.need.total]
    several = " (tensor: shared in each layer; pipeline: by layers)" if len(cuda) > 1 else ""
    return (
        f"GiB on each rank, which has a GPU of its own{several}. KV CACHE: one conversation of "
        f"{judged.tokens:,} tokens; code suggestions keep a second one. WORK: "
        f"{_gib(WORK['cuda'])} on a GPU, {_gib(WORK['cpu'])} on a CPU and the attention's mask: "
        "assumed, not measured on a GPU."
    )


def _proposal(judged: Judged, machine: Machine) -> list[str]:
    way = judged.proposed
    if not judged.kinds:
        return ["Whether a MIG slice holds it is not told, so nothing is proposed."]
    if way is None:
        on = "It does not fit" if "cuda" in judged.kinds else "It does not fit the CPU"
        return _wrapped(f"{on}, not even for a short conversation. {would_do(judged)}")
    first, *others = commands(way, judged, machine)
    lines = [f"Start it:  {first}", *(f"or:        {command}" for command in others)]
    if way.precision is not judged.own:
        lines += _wrapped(f"In {way.precision.name}, for in {judged.own.name} it fits less well.")
    if not way.whole:
        lines += _wrapped(
            f"Only about {way.tokens:,} of {judged.tokens:,} tokens fit; a longer conversation "
            f"runs out of memory. {would_do(judged)}"
        )
    on_cpu = judged.best.get("cpu")
    if way.device == "cuda" and on_cpu and on_cpu.tokens > way.tokens:
        lines += _wrapped(f"On the CPU {on_cpu.tokens:,} tokens fit, slowly: --device cpu.")
    return lines


def commands(way: Fit, judged: Judged, machine: Machine) -> list[str]:
    """The command lines that start it, the first one to be proposed. A Mac is not told to use
    the CPU: its GPU has the same memory."""
    typed = judged.typed
    words = shlex.quote(f"./{typed}" if typed in COMMANDS else typed)
    words = "mistral-tui " + one_line(words, 4096)
    if way.device == "cpu" and not machine.mps:
        words += " --device cpu"
    if way.precision is not judged.own:
        words += f" --dtype {way.precision.name}"
    if way.ranks == 1:
        return [words]
    return [
        f"torchrun --nproc-per-node {way.ranks} --no-python {words}",
        f"{words} --ranks {way.ranks}",
    ]


def would_do(judged: Judged) -> str:
    """A sentence on the fewest GPUs of usual sizes that hold it in its own precision."""
    needs = {
        fit.ranks: fit.need.total
        for fit in judged.fits
        if fit.device == "cuda" and fit.precision is judged.own and not fit.problem
    }
    found: dict[int, int] = {}
    for size in _CARDS:
        enough = [ranks for ranks, needed in needs.items() if needed <= size * _GIB]
        if enough:
            found.setdefault(min(enough), size)
    if not found:
        return f"Not even {_gpus(max(needs))} of {_CARDS[-1]} GiB hold all of it."
    return f"All of it fits {_or([f'{_gpus(n)} of {size} GiB' for n, size in found.items()])}."


def _models(judged: Sequence[Judged], machine: Machine) -> list[str]:
    if not judged:
        return _wrapped(
            "No models found where they usually are; `mistral-tui doctor FOLDER` looks at one, "
            "`mistral-tui pull starter` gets a tiny one."
        )
    rows = [("MODEL", "PARAMETERS", "DTYPE", "FITS")]
    for one in judged:
        name, parameters = one_line(one.listed.name, 32), catalog.count(one.listed)
        rows.append((name, parameters, one.own.name, in_short(one, machine)))
    return [line[:_WIDTH].rstrip() for line in _columns(rows)]


def in_short(judged: Judged, machine: Machine) -> str:
    """In a few words whether it fits."""
    way = judged.proposed
    if way is None:
        return "no" if judged.kinds else "not judged"
    on_cpu = "CPU and MPS" if machine.mps else "the CPU"
    where = on_cpu if way.device == "cpu" else _gpus(way.ranks)
    as_ = "" if way.precision is judged.own else f" as {way.precision.name}"
    return f"{where}{as_}" + ("" if way.whole else f", {way.tokens:,} tokens")


def _installation(installed: Installation) -> list[str]:
    cuda = f"CUDA {installed.cuda}" if installed.cuda else "without CUDA"
    torch = f"PyTorch {installed.torch} ({cuda})" if installed.torch else "no PyTorch"
    lines = [f"mistral-tui {installed.version}, Python {installed.python}, {torch}"]
    terminal = installed.terminal
    if terminal.is_one:
        colours = {0: "no colours", 1 << 24: "all colours"}.get(
            terminal.colours, f"{terminal.colours} colours"
        )
        lines.append(f"Terminal: {terminal.columns} × {terminal.lines}, {colours}")
    else:
        lines.append("Terminal: the output goes elsewhere; the chat needs one")
    for name, folder in installed.folders.items():
        lines.append(f"{name.capitalize()}: {one_line(_short(folder), 60)}")
    rows = [
        (
            e.name,
            e.version or "not there",
            e.purpose if e.version else f'{e.purpose}: pip install "mistral-tui[{e.extra}]"',
        )
        for e in installed.extras
    ]
    return [*lines, *_columns(rows)]


def _problems(problems: Iterable[str]) -> list[str]:
    lines = []
    for problem in problems:
        lines += textwrap.wrap(
            sanitize(problem), _WIDTH, initial_indent="! ", subsequent_indent="  ",
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip
    return lines


def _columns(rows: Sequence[Sequence[str]], right: Iterable[int] = ()) -> list[str]:
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    right = set(right)
    return [
        "  ".join(
            cell.rjust(w) if n in right else cell.ljust(w)
            for n, (cell, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)


def _gpus(count: int) -> str:
    return "1 GPU" if count == 1 else f"{count} GPUs"


def _or(words: Sequence[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)


def _gib(nbytes: int) -> str:
    return f"{nbytes / _GIB:.1f} GiB"


def _short(path: str) -> str:
    home = str(Path.home())
    return "~" + path[len(home) :] if path.startswith(f"{home}/") else path


# ── for programs ────────────────────────────────────────────────────────────────────


def as_json(
    one: Judged | None,
    judged: Sequence[Judged],
    broken: Sequence[Listed],
    machine: Machine,
    installed: Installation,
    problems: Sequence[str],
) -> str:
    """The published keys; they stay. `model` is the one that was named, `models` all found."""
    models = [_model(each, machine) for each in judged]
    installation = asdict(installed)
    del installation["problems"]
    found = {
        "model": models[0] if one else None,
        "models": [] if one else models,
        "broken": [{"path": each.path, "problem": each.problem} for each in broken],
        "machine": {
            "asked": machine.asked,
            "gpus": [
                {"name": gpu.name, "total_bytes": gpu.total, "free_bytes": gpu.free}
                for gpu in machine.gpus
            ],
            "memory_bytes": machine.memory,
            "available_bytes": machine.available,
            "cores": machine.cores,
        },
        "installation": installation,
        "problems": list(problems),
    }
    return json.dumps(found, indent=2)


def _model(judged: Judged, machine: Machine) -> dict[str, Any]:
    listed, way = judged.listed, judged.proposed
    return {
        "name": listed.name,
        "path": listed.path,
        "n_params": listed.n_params,
        "n_active_params": listed.n_active_params,
        "dtype": judged.own.name,
        "context": listed.context,
        "tokens": judged.tokens,
        "ways": [_way(fit, machine) for fit in judged.fits],
        "proposal": {
            "device": way.device,
            "ranks": way.ranks,
            "dtype": way.precision.name,
            "tokens": way.tokens,
            "commands": commands(way, judged, machine),
        }
        if way
        else None,
    }


def _way(fit: Fit, machine: Machine) -> dict[str, Any]:
    here = fit.device == "cpu" or fit.ranks <= len(machine.gpus)
    return {
        "device": fit.device,
        "ranks": fit.ranks,
        "mode": fit.mode,
        "dtype": fit.precision.name,
        "weights_bytes": fit.need.weights,
        "cache_bytes": fit.need.cache,
        "work_bytes": fit.need.work,
        "needed_bytes": fit.need.total,
        "here": here,
        "fits": here and fit.whole,
        "tokens": fit.tokens if here else 0,
        "problem": fit.problem,
    }
