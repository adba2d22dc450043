"""`mistral-tui doctor`: whether a model fits this machine, before anything is loaded."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mistral_tui import options
from mistral_tui.command_line import utf8
from mistral_tui.launch import STARTER, fail, resolve, usage

if TYPE_CHECKING:
    from inference.fitting import Device, Fit, Precision
    from mistral_tui.catalog import Listed
    from mistral_tui.machine import Installation, Machine


@dataclass(frozen=True, slots=True)
class Judged:
    """A model on a machine: every way to hold it, also those that take more GPUs than there
    are; `best`: the way to propose for each kind of device, where one fits. `typed`: the model
    as the user named it. `kinds`: the devices that may be proposed; none is where that cannot be
    told."""

    listed: Listed
    typed: str
    own: Precision
    fp8: bool
    tokens: int
    fits: tuple[Fit, ...]
    kinds: tuple[Device, ...]
    best: dict[Device, Fit]

    @property
    def proposed(self) -> Fit | None:
        """On GPUs before the CPU."""
        return self.best.get("cuda") or self.best.get("cpu")


def doctor(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="As of the chat. Without: the installation, and which models here fit.",
            show_default=False,
        ),
    ] = "",
    context: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Tokens of the conversation. Default: the model's context."
        ),
    ] = None,
    gpus: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=64, help="Ask for a machine with so many GPUs …"),
    ] = None,
    gpu_memory: Annotated[
        float | None,
        typer.Option(metavar="GIB", min=1, max=10_000, help="… of so much memory each, in GiB."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Tell whether MODEL fits this machine, on how many GPUs, and how it is started.

    Exit code 1: not even a short conversation fits.
    """
    from mistral_tui import machine as machines

    if (gpus is None) != (gpu_memory is None):
        usage("--gpus and --gpu-memory go together.")
    if shadow := machines.shadowed():  # nothing of `inference` can be asked
        fail(shadow)
    from mistral_tui import doctor_report as report

    machine = machines.asked(gpus, gpu_memory) if gpus and gpu_memory else machines.look()
    installed = machines.installation()
    problems = [*installed.problems, *machine.problems]
    kinds: tuple[Device, ...] = () if machine.mig else ("cuda", "cpu")
    if without := _without_cuda(installed, machine):
        problems.append(without)
        kinds = ("cpu",)
    one = _of_model(utf8(model), machine, kinds, context) if model else None
    judged, broken = ([one], []) if one else _of_all(machine, kinds, context)
    if as_json:
        text = report.as_json(one, judged, broken, machine, installed, problems)
    elif one:
        text = report.of_model(one, machine, problems)
    else:
        text = report.of_all(judged, broken, machine, installed, problems)
    typer.echo(text)
    if one and kinds and not one.proposed:
        sys.exit(1)


def _of_model(
    typed: str, machine: Machine, kinds: tuple[Device, ...], context: int | None
) -> Judged:
    from inference import starter
    from inference.errors import InferenceError
    from inference.folder import inspect_folder
    from mistral_tui import catalog

    path = resolve(typed)
    if typed == STARTER:
        if not starter.is_installed():
            fail("The starter model is not here; `mistral-tui pull starter` gets it.")
        path = str(starter.folder())
    try:
        inspect_folder(Path(path))
        (listed,) = catalog.find([Path(path)])
        if listed.problem:
            fail(listed.problem)
        if context and context > listed.context:
            usage(f"--context is {context:,}; the model's is {listed.context:,} at most.")
        return _judged(listed, typed, machine, kinds, context)
    except InferenceError as error:
        fail(str(error))
    except (OSError, ValueError) as error:
        fail(f"{path} cannot be opened: {getattr(error, 'strerror', None) or 'it changed'}.")


def _of_all(
    machine: Machine, kinds: tuple[Device, ...], context: int | None
) -> tuple[list[Judged], list[Listed]]:
    """The models on disk, and the folders that cannot be opened."""
    from inference.errors import InferenceError
    from mistral_tui import catalog

    found = catalog.find(catalog.places())
    judged = []
    for listed in found:
        if not listed.problem:
            with contextlib.suppress(InferenceError, OSError):  # it changed meanwhile
                judged.append(_judged(listed, listed.path, machine, kinds, context))
    return judged, [listed for listed in found if listed.problem]


def _judged(
    listed: Listed,
    typed: str,
    machine: Machine,
    kinds: tuple[Device, ...],
    context: int | None,
) -> Judged:
    from inference.fitting import PRECISIONS, RANKS, best, fits, own_precision
    from inference.folder import inspect_folder

    folder = inspect_folder(Path(listed.path))
    config, own = folder.config, own_precision(folder)
    precisions = sorted(PRECISIONS, key=lambda one: (one is not own, one.width != own.width))
    tokens = min(context or listed.context, listed.context)
    free = [gpu.free for gpu in machine.gpus]
    ways: list[Fit] = []
    for ranks in sorted({*RANKS, len(free) or 1}):
        rooms = [*free, *[min(free, default=0)] * ranks][:ranks]
        ways += fits(config, rooms, tokens=tokens, precisions=precisions)
    if not machine.asked:
        room = [machine.memory if machine.available is None else machine.available]
        on_cpu = fits(config, room, tokens=tokens, device="cpu", precisions=precisions)
        ways = [*ways, *on_cpu] if free else [*on_cpu, *ways]
    proposed: dict[Device, Fit] = {}
    for device in kinds:
        here = [w for w in ways if w.device == device and (device == "cpu" or w.ranks <= len(free))]
        if way := best(here, own):
            proposed[device] = way
    return Judged(listed, typed, own, config.fp8, tokens, tuple(ways), kinds, proposed)


def _without_cuda(installed: Installation, machine: Machine) -> str:
    gpus = not machine.asked and (machine.gpus or machine.mig)
    if not gpus or not installed.torch or installed.cuda:
        return ""
    return (
        f"This PyTorch ({installed.torch}) is built without CUDA and cannot use the GPUs; install "
        "the CUDA build that pytorch.org/get-started shows."
    )
