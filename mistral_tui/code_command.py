"""`mistral-tui code`: the chat with files in the code panel."""

from __future__ import annotations

from typing import Annotated

import typer

from mistral_tui import options
from mistral_tui.command_line import check, choose, utf8
from mistral_tui.launch import open_chat, usage


def code(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE…", help="The files to open.", show_default=False),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            "--model", "-m", metavar="MODEL", help="As of the chat. Default: the one used last."
        ),
    ] = "",
    preset: Annotated[
        str, typer.Option(metavar="NAME", help="Settings that new conversations begin with.")
    ] = "code",
    max_tokens: options.MaxTokens = None,
    temperature: options.Temperature = None,
    top_p: options.TopP = None,
    seed: options.Seed = None,
    system: Annotated[str, typer.Option(metavar="TEXT", help="A system prompt.")] = "",
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
    theme: Annotated[
        str, typer.Option(metavar="NAME", help="A theme, for instance mistral-light.")
    ] = "",
) -> None:
    """Chat with the code panel open: files beside the conversation, completed by the model."""
    from mistral_tui.choices import SamplingChoice
    from mistral_tui.command_line import config

    sampling = SamplingChoice(
        temperature=temperature, top_p=top_p, max_tokens=max_tokens, seed=seed
    )
    check(sampling)
    presets = config().presets
    if preset and preset not in presets:
        usage(f"There is no preset {utf8(preset)!r}; there are {', '.join(presets)}.")
    open_chat(
        choose(model, device, dtype, threads, attention, lora, ranks=ranks, pipeline=pipeline),
        sampling=sampling,
        system_prompt=utf8(system),
        reopen=continue_,
        theme=theme,
        code=tuple(files or ()),
        preset=preset,
    )
