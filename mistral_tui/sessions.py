"""`mistral-tui sessions`: the stored conversations, listed, searched, exported, imported."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mistral_tui.launch import fail, usage

if TYPE_CHECKING:
    from mistral_tui.history.store import Conversation, Store, Summary

_SHORT = 8  # characters of an id that are shown
# Of a hit, with --json; the keys stay.
_HIT = ("conversation_id", "title", "message_id", "role", "snippet", "spans", "when")

app = typer.Typer(
    help="The stored conversations: list, search, export, import, rename, delete. An ID may be "
    "shortened as long as it is unique. Exit codes: 0 good, 1 failed, 2 wrong usage.",
    rich_markup_mode=None,
    no_args_is_help=True,
)

Id = Annotated[str, typer.Argument(metavar="ID", help="A conversation's ID, or its beginning.")]
Ids = Annotated[list[str], typer.Argument(metavar="ID", help="Conversations' IDs.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON array instead of text.")]
Limit = Annotated[int, typer.Option(metavar="N", min=1, help="Most lines; --json: most objects.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@app.command("list")
def list_(
    limit: Limit = 50,
    as_json: Json = False,
    deleted: Annotated[
        bool, typer.Option("--deleted", help="What was deleted in the last 30 days instead.")
    ] = False,
) -> None:
    """List the conversations: pinned ones first, then the newest."""
    with _store() as store:
        if deleted:
            from mistral_tui.history.store import Summary

            found = [Summary(c, 0, "") for c in store.deleted_conversations(limit)]
        else:
            found = store.overview(limit)
        if as_json:
            typer.echo(json.dumps([_described(summary) for summary in found], indent=2))
        elif not found:
            typer.echo("There are no conversations.", err=True)
        else:
            typer.echo("\n".join(_line(summary) for summary in found))


@app.command()
def search(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="WORD",
            help='All of them must be there; the last may be unfinished; words in "quotation '
            'marks" must stand side by side.',
        ),
    ],
    limit: Limit = 20,
    as_json: Json = False,
) -> None:
    """Search messages and titles; the best hits come first."""
    from mistral_tui.sanitize import one_line

    with _store() as store:
        hits = store.search(" ".join(map(_text, words)), limit)
        if as_json:
            typer.echo(json.dumps([{k: getattr(hit, k) for k in _HIT} for hit in hits], indent=2))
            return
        for hit in hits:
            head = f"{_day(hit.when)}  {one_line(hit.title or '(no title)', 60)}"
            typer.echo(f"{_safe(hit.conversation_id)[:_SHORT]}  {head}")
            typer.echo(f"    {hit.role or 'title'}: {hit.snippet}")
    if not hits:
        typer.echo("Nothing was found.", err=True)


@app.command()
def export(
    key: Annotated[
        str, typer.Argument(metavar="ID", help="A conversation's ID, or its beginning.")
    ] = "",
    all_: Annotated[bool, typer.Option("--all", help="All conversations.")] = False,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="NAME",
            help="md: to read, the branch in view; json: everything, to import again.",
        ),
    ] = "md",
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Default: standard output."),
    ] = None,
) -> None:
    """Write one conversation, or all, as Markdown or JSON."""
    from mistral_tui.history import export as exporting

    if form not in ("md", "json"):
        usage(f"--format is md or json, not {form!r}.")
    if bool(key) == all_:
        usage("Give the ID of one conversation, or --all.")
    name: exporting.Form = "json" if form == "json" else "md"
    with _store() as store:
        ids = None if all_ else [_full(store, _text(key))]
        if output is None:
            sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
            exporting.export(store, sys.stdout, name, ids)
            sys.stdout.flush()
            return
        count = exporting.export_file(store, output, name, ids)
    typer.echo(f"Wrote {_count(count)} to {_safe(str(output))}", err=True)


@app.command("import")
def import_(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="What `sessions export --format json` wrote, or the conversations.json of a "
            "ChatGPT export.",
        ),
    ],
) -> None:
    """Add the conversations of a file; those imported before are left."""
    from mistral_tui.history import importing

    with _store() as store:
        typer.echo(importing.import_file(store, file).sentence(), err=True)


@app.command()
def delete(ids: Ids, yes: Yes = False) -> None:
    """Delete conversations; they can be restored for 30 days."""
    with _store() as store:
        chosen = list(dict.fromkeys(_full(store, _text(key)) for key in ids))
        for conversation in map(store.get_conversation, chosen) if not yes else ():
            typer.echo(_head(conversation), err=True)
        _ask(f"Delete {_count(len(chosen))}?", yes)
        for key in chosen:
            store.trash_conversation(key)
    typer.echo(f"Deleted {_count(len(chosen))}; `sessions restore ID` undoes it.", err=True)


@app.command()
def restore(ids: Ids) -> None:
    """Bring deleted conversations back."""
    with _store() as store:
        for key in [_full(store, _text(key), deleted=True) for key in ids]:
            store.restore_conversation(key)
    typer.echo(f"Restored {_count(len(ids))}.", err=True)


@app.command()
def purge(yes: Yes = False) -> None:
    """Delete for ever what was deleted."""
    with _store() as store:
        _ask("Delete for ever all that was deleted, single messages too?", yes)
        count = store.purge(older_than=0)
    typer.echo(f"Deleted for ever: {count:,} conversations and messages.", err=True)


@app.command()
def rename(
    key: Id, title: Annotated[str, typer.Argument(metavar="TITLE", help="One line.")]
) -> None:
    """Give a conversation another title."""
    if not _text(title).strip():
        usage("The title is empty.")
    with _store() as store:
        store.set_title(_full(store, _text(key)), _text(title))


def full_id(beginning: str) -> str:
    """The one conversation whose id begins so; without it, leave with a sentence."""
    with _store() as store:
        return _full(store, beginning)


# ── inside ──────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def _store() -> Iterator[Store]:
    """The user's conversations; what goes wrong is a sentence."""
    from mistral_tui import paths
    from mistral_tui.history.store import Store, StoreError

    try:
        store = Store(paths.database_path())
        try:
            yield store
        finally:
            store.close()
    except (StoreError, paths.FolderError) as error:
        fail(str(error))
    except BrokenPipeError:
        # Nobody reads on: no reason to complain, now or when Python closes its streams.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(0)
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        fail(f"Standard output cannot be written: {error.strerror}.")


def _full(store: Store, beginning: str, *, deleted: bool = False) -> str:
    found = store.matching_ids(beginning.lower(), 2, deleted=deleted) if beginning else []
    if beginning in found:
        return beginning
    if len(found) == 1:
        return found[0]
    shown = _safe(beginning)
    if found:
        fail(f"Several conversations have an ID that begins with {shown!r}: give more of it.")
    fail(f"No conversation has an ID that begins with {shown!r}: see `mistral-tui sessions list`.")


def _ask(question: str, yes: bool) -> None:
    if yes:
        return
    if not os.isatty(0):
        usage("Nobody can be asked here: give --yes.")
    if not typer.confirm(question, err=True):
        fail("Nothing was deleted.")


def _text(argument: str) -> str:
    """An argument without what is not UTF-8 in it."""
    return argument.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _safe(text: str) -> str:
    from mistral_tui.sanitize import one_line

    return one_line(_text(text), 200)


def _count(number: int) -> str:
    return f"{number:,} conversation{'s' * (number != 1)}"


def _day(when: float) -> str:
    try:
        return datetime.fromtimestamp(when).astimezone().strftime("%Y-%m-%d")
    except (ValueError, OverflowError, OSError):
        return "????-??-??"


def _head(conversation: Conversation) -> str:
    from mistral_tui.sanitize import one_line

    pin = "* " if conversation.pinned else ""
    title = one_line(conversation.title or "(no title)", 60)
    return f"{_safe(conversation.id)[:_SHORT]}  {_day(conversation.updated_at)}  {pin}{title}"


def _line(summary: Summary) -> str:
    counted = f" ({summary.messages})" if summary.messages else ""
    return _head(summary.conversation) + counted


def _described(summary: Summary) -> dict[str, Any]:
    """The published keys; they stay."""
    c = summary.conversation
    names = ("id", "title", "created_at", "updated_at", "model_name", "pinned", "deleted_at")
    more = {"messages": summary.messages, "preview": summary.preview, "draft": bool(c.draft)}
    return {name: getattr(c, name) for name in names} | more
