"""What the commands without a UI share: which model, checked settings, standard input."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from mistral_tui.launch import STARTER, check_folder, fail, last_model, resolve, usage

if TYPE_CHECKING:
    from mistral_tui import headless
    from mistral_tui.choices import ModelChoice, SamplingChoice
    from mistral_tui.config.file import Config

_MOST_RANKS = 64


def check(sampling: SamplingChoice) -> None:
    """An impossible setting is said before a model is loaded."""
    from inference.api import SamplingParams
    from inference.errors import SettingError
    from inference.limits import check as check_limits

    try:
        check_limits(sampling.over(SamplingParams()))
    except SettingError as error:
        fail(str(error))


def choose(
    model: str,
    device: str,
    dtype: str,
    threads: int | None,
    attention: str,
    lora: str,
    *,
    instruct: bool = True,
    ranks: int | None = None,
    pipeline: bool = False,
) -> ModelChoice:
    """The model that the options name."""
    from mistral_tui.choices import ModelChoice

    if ranks is not None:
        check_ranks(ranks)

    return ModelChoice(
        resolve(model),
        device=device,
        dtype=dtype,
        threads=threads,
        attention=attention,
        lora=str(Path(utf8(lora)).expanduser().absolute()) if lora else "",
        instruct=instruct,
        ranks=ranks,
        pipeline=pipeline,
    )


def check_ranks(ranks: int) -> None:
    """A number of ranks that cannot be is said before anything is started."""
    from mistral_tui import torchrun

    if not 1 <= ranks <= _MOST_RANKS:
        usage(f"--ranks {ranks} cannot be; give a number from 1 to {_MOST_RANKS}.")
    if ranks > 1 and torchrun.started_us():
        usage("torchrun starts the ranks already; leave --ranks out.")


def config() -> Config:
    """The user's settings; what is wrong with them is said."""
    from mistral_tui import paths
    from mistral_tui.config import file
    from mistral_tui.config.user_files import FileProblem

    try:
        loaded = file.load()
    except (FileProblem, paths.FolderError) as error:
        fail(str(error))
    for problem in loaded.problems:
        print(f"mistral-tui: {problem}", file=sys.stderr)  # noqa: T201
    return loaded


def run(job: Callable[[ModelChoice], headless.Job], choice: ModelChoice) -> NoReturn:
    """Do a job without a UI, on the model that is named or the one used last."""
    from dataclasses import replace

    from mistral_tui import headless, paths

    if not choice.model:
        choice = replace(choice, model=last_model())
    if choice.model != STARTER:
        check_folder(choice.model, choice.lora)
    try:
        log = paths.log_dir() / "engine.log"
    except paths.FolderError as error:
        fail(str(error))
    sys.exit(headless.run(job(choice), log, ranks=choice.ranks or 1))


def piped() -> str:
    """What comes on standard input."""
    from mistral_tui import headless

    try:
        return headless.piped_input()
    except ValueError as error:
        fail(f"The input cannot be used: {error}.")
    except KeyboardInterrupt:
        sys.exit(headless.INTERRUPTED)


def utf8(argument: str) -> str:
    """An argument without what is not UTF-8 in it."""
    return argument.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
