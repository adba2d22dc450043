"""The options that several commands share, each described once."""

from __future__ import annotations

from typing import Annotated

import typer

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A model's folder, the name of a pulled model, or `starter`. "
        "Default: the one used last.",
        show_default=False,
    ),
]
MaxTokens = Annotated[int | None, typer.Option(metavar="N", help="Most tokens of an answer.")]
Temperature = Annotated[
    float | None, typer.Option(metavar="T", help="0 is greedy. Default: the model's own.")
]
TopP = Annotated[
    float | None, typer.Option(metavar="P", help="Keep the likeliest tokens up to this mass.")
]
TopK = Annotated[int | None, typer.Option(metavar="K", help="Keep the K likeliest tokens; 0: all.")]
MinP = Annotated[
    float | None,
    typer.Option(metavar="P", help="Keep tokens of at least P times the likeliest's mass."),
]
RepetitionPenalty = Annotated[float | None, typer.Option(metavar="R", help="Above 1: repeat less.")]
Seed = Annotated[int | None, typer.Option(metavar="N", help="The same seed gives the same answer.")]
Device = Annotated[str, typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:N or mps.")]
Dtype = Annotated[
    str, typer.Option(metavar="NAME", help="auto (the file's), bfloat16, float16 or float32.")
]
Threads = Annotated[
    int | None,
    typer.Option(metavar="N", help="CPU threads of the engine. Default: all cores but one."),
]
Ranks = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Hold the model together by N processes, a GPU each; with --device cpu they share "
        "the CPU.",
    ),
]
Pipeline = Annotated[
    bool,
    typer.Option(
        "--pipeline",
        help="Several ranks: share out layers. Default: each layer, where its heads allow it.",
    ),
]
Attention = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="auto, sdpa or xformers (CUDA only; auto takes it where it is installed).",
    ),
]
Lora = Annotated[
    str,
    typer.Option(
        "--lora",
        "--lora-path",
        metavar="PATH",
        help="A LoRA adapter of mistral-finetune: its folder, or lora.safetensors.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")]
Tools = Annotated[
    list[str] | None,
    typer.Option(
        "--tools",
        metavar="WHICH",
        help="Tools that the model may call: a JSON or TOML file, or the name of one that is "
        "known. Can be given several times.",
    ),
]
ToolChoice = Annotated[
    str | None,
    typer.Option(metavar="HOW", help="auto, none, any (call something), or the name of a tool."),
]
AllowTool = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="With -p: this tool runs unasked; all others are denied."),
]
ToolResult = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=FILE", help="With -p: what calls of this tool get, in place of running it."
    ),
]
