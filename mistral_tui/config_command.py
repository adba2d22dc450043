"""`mistral-tui config`: where the settings are, what applies and why, a file to begin with."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mistral_tui.launch import fail

if TYPE_CHECKING:
    from mistral_tui.config.file import Config
    from mistral_tui.config.layers import Effective

app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Show the settings and where they come from, or write a config file to begin with.",
)


@app.command("path")
def path() -> None:
    """Print where the config file is, or would be."""
    from mistral_tui import paths
    from mistral_tui.config import file as config

    try:
        typer.echo(config.config_path())
    except paths.FolderError as error:
        fail(str(error))


@app.command("show")
def show(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead.")] = False,
) -> None:
    """Print every setting, its value and where that comes from; exit code 1 if something in
    the files is wrong."""
    import json

    from mistral_tui import paths
    from mistral_tui.config import file as config
    from mistral_tui.config import layers

    try:
        loaded = config.load()
    except paths.FolderError as error:
        fail(str(error))
    now = layers.effective(loaded)
    typer.echo(json.dumps(_object(loaded, now)) if as_json else _table(loaded, now))
    for problem in loaded.problems:
        typer.echo(f"mistral-tui: {problem}", err=True)
    sys.exit(1 if loaded.problems else 0)


@app.command("keys")
def keys() -> None:
    """Print every action with its keys as a [keys] table for the config file; those that are
    not changed there are commented out. Exit code 1 if something in the files is wrong."""
    from mistral_tui import paths
    from mistral_tui.config import file as config
    from mistral_tui.config import rebinding

    try:
        loaded = config.load()
    except paths.FolderError as error:
        fail(str(error))
    typer.echo(rebinding.table(loaded.keys))
    for problem in loaded.problems:
        typer.echo(f"mistral-tui: {problem}", err=True)
    sys.exit(1 if loaded.problems else 0)


@app.command("init")
def init() -> None:
    """Write a config file with every setting in it, commented out."""
    from mistral_tui import paths
    from mistral_tui.config import file as config
    from mistral_tui.config import user_files

    try:
        typer.echo(config.write_default())
    except (paths.FolderError, user_files.FileProblem) as error:
        fail(str(error))


def _table(loaded: Config, now: dict[str, Effective]) -> str:
    from mistral_tui.config.settings import SECTIONS
    from mistral_tui.sanitize import one_line

    missing = "" if loaded.there else "  (not there; `mistral-tui config init` writes one)"
    lines = [f"{one_line(str(loaded.path), 4096)}{missing}"]
    for section in SECTIONS:
        lines += ["", f"[{section}]"]
        for key, one in now.items():
            if one.setting.section == section:
                lines.append(f"{key:<20}{one.shown:<44}  {one.origin}")
    lines += ["", "presets"]
    for preset in loaded.presets.values():
        lines.append(f"{preset.name:<20}{one_line(preset.summary, 80)}  ({preset.origin})")
    return "\n".join(lines)


def _object(loaded: Config, now: dict[str, Effective]) -> dict[str, Any]:
    """The published keys; they stay."""
    return {
        "path": str(loaded.path),
        "exists": loaded.there,
        "settings": [
            {
                "section": one.setting.section,
                "key": key,
                "value": one.value,
                "origin": one.origin,
                "allowed": one.setting.allowed,
                "help": one.setting.help,
            }
            for key, one in now.items()
        ],
        "presets": [
            {"name": p.name, "origin": p.origin, "help": p.help, "values": dict(p.values)}
            for p in loaded.presets.values()
        ],
        "problems": list(loaded.problems),
    }
