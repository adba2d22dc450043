"""`mistral-tui fim`: what belongs between two texts, or at a place in a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mistral_tui import options
from mistral_tui.code.place import STANDARD_INPUT, is_file, parse, split
from mistral_tui.command_line import check, choose, config, piped, run, utf8
from mistral_tui.launch import fail, usage

if TYPE_CHECKING:
    from mistral_tui.code.files import CodeFile
    from mistral_tui.code.place import Place

_FORMS = "FILE:LINE or FILE:LINE:COLUMN"


def fim(
    model: options.Model = "",
    place: Annotated[
        str,
        typer.Argument(
            metavar="FILE:LINE[:COLUMN]",
            help="Where, counted from 1; without a column at the line's end. FILE `-`: standard "
            "input. It can stand in the place of MODEL.",
            show_default=False,
        ),
    ] = "",
    prefix: Annotated[
        str, typer.Option(metavar="TEXT", help="What stands before. `-`: standard input.")
    ] = "",
    suffix: Annotated[
        str, typer.Option(metavar="TEXT", help="What stands behind. `-`: standard input.")
    ] = "",
    candidates: Annotated[
        int, typer.Option(metavar="N", help="Draw so many, 1 to 8; `---` is printed between.")
    ] = 1,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Write it into FILE instead of printing it.")
    ] = False,
    stdio: Annotated[
        bool,
        typer.Option(
            "--stdio",
            help="For editors: answer one JSON object on each line of standard input with one, "
            "until it ends.",
        ),
    ] = False,
    whole: Annotated[
        bool,
        typer.Option(
            "--whole",
            help="Let it go on to where the model ends it, or reaches all of the suffix; without, "
            "the settings of the code panel say where it ends. With --prefix always.",
        ),
    ] = False,
    window: Annotated[
        int | None,
        typer.Option(metavar="N", help="Most tokens that the model reads, around the place."),
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(metavar="N", help="Most tokens between. Default: 256, or the code panel's."),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(metavar="T", help="0 is greedy, the default; 0.5 for several candidates."),
    ] = None,
    top_p: options.TopP = None,
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
    """Fill in the middle: print what belongs at a place in a file, or between a prefix and a
    suffix (Codestral)."""
    from inference.fim import LEAST_WINDOW
    from mistral_tui import oneshot
    from mistral_tui.choices import SamplingChoice
    from mistral_tui.code.asking import FimSettings

    model, where = _which(model, place)
    _check_combination(where, prefix, suffix, candidates, in_place, stdio, as_json)
    if window is not None and window < LEAST_WINDOW:
        usage(f"--window must be {LEAST_WINDOW} or more.")
    sampling = SamplingChoice(
        temperature=temperature, top_p=top_p, max_tokens=max_tokens, seed=seed
    )
    check(sampling)
    if candidates > 1 and temperature == 0:
        usage("Several --candidates need a --temperature above 0.")
    choice = choose(model, device, dtype, threads, attention, lora, ranks=ranks, pipeline=pipeline)
    of_panel = where is not None or stdio
    values = config().values
    choice = choice.filled(values)
    settings = FimSettings.of(values) if of_panel else FimSettings()
    asking = oneshot.Asking(
        sampling,
        settings,
        middles=candidates,
        window=window,
        whole=whole or not of_panel,
        windowed=of_panel,
    )
    if stdio:
        from mistral_tui.fim_stdio import Serve

        run(lambda choice: Serve(choice, asking), choice)
    if where is not None:
        file, before, behind = _at(where, in_place=in_place)
    else:
        file = None
        before, behind = (piped() if text == "-" else utf8(text) for text in (prefix, suffix))
        if not (before or behind):
            usage("Give --prefix and --suffix: what stands before and behind the hole.")
    written = file if in_place else None
    run(lambda choice: oneshot.Fim(choice, asking, as_json, before, behind, written), choice)


def _which(model: str, place: str) -> tuple[str, Place | None]:
    """The model and the place of up to two words, in either order."""
    words = [word for word in (model, place) if word]
    places = [found for word in words if (found := parse(word)) is not None]
    others = [word for word in words if parse(word) is None]
    if len(places) > 1 or len(others) > 1:
        usage(f"Give one place, {_FORMS}, and at most one model.")
    if others and not places and is_file(others[0]):
        usage(f"Say where in {utf8(others[0])}: {_FORMS}.")
    return others[0] if others else "", places[0] if places else None


def _check_combination(
    where: Place | None,
    prefix: str,
    suffix: str,
    candidates: int,
    in_place: bool,
    stdio: bool,
    as_json: bool,
) -> None:
    if prefix == suffix == "-":
        usage("Only one of --prefix and --suffix can come from standard input.")
    if where is not None and (prefix or suffix):
        usage(f"Give either {_FORMS} or --prefix and --suffix.")
    if stdio and (where is not None or prefix or suffix or in_place or as_json):
        usage("--stdio takes what to fill in from standard input: give only the model with it.")
    if not (where is not None or prefix or suffix or stdio):
        usage(f"Give --prefix and --suffix, what stands before and behind the hole; or {_FORMS}.")
    if not 1 <= candidates <= 8:
        usage("--candidates must be 1 to 8.")
    if in_place and (where is None or where.path == STANDARD_INPUT or candidates > 1):
        usage(f"--in-place needs {_FORMS} of a file, and one candidate.")


def _at(where: Place, *, in_place: bool) -> tuple[CodeFile | None, str, str]:
    """The file, and what stands before and behind the place."""
    from mistral_tui.code import files, line_ends
    from mistral_tui.code.errors import CodeError

    try:
        if where.path == STANDARD_INPUT:
            return None, *split(line_ends.split(piped())[0], where, "Standard input")
        file = files.open_file(Path(where.path))
        if file.signature is None:
            fail(f"There is no file {file.shown}.")
        if in_place and not file.writable:
            fail(f"{file.shown} is read-only: change its permissions first.")
        return file, *split(file.text, where, file.shown)
    except CodeError as error:
        fail(str(error))
