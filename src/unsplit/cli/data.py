"""`unsplit data`."""

from dataclasses import asdict
from json import dumps
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from unsplit.cli import options
from unsplit.cli.console import out, say, warn

app = typer.Typer(help="List, fetch and verify data sets.", no_args_is_help=True)

Root = Annotated[
    Path | None,
    typer.Option("--root", help="Folder that holds the sets' folders; UNSPLIT_DATA or the cache if left out."),
]
Name = Annotated[str, typer.Argument(help="Name of the set, or 'all'.", show_default=False)]


@app.command("list", epilog="**Example:** `unsplit data list`")
def list_sets(root: Root = None, json: options.Json = False) -> None:
    """Show every data set that has a name, and where it is."""
    from unsplit.data import available

    found = available(root=root)
    if json:
        typer.echo(dumps([asdict(entry) for entry in found], indent=1))
        return
    table = Table("name", "what", "where")
    for entry in found:
        table.add_row(entry.name, entry.description, entry.place or f"unsplit data fetch {entry.name}")
    out.print(table)


@app.command(epilog="**Example:** `unsplit data fetch mnist`")
def fetch(name: Name, root: Root = None, quiet: options.Quiet = False) -> None:
    """Download a data set, checked against its published checksums."""
    from unsplit import data

    for chosen in data.SOURCES if name == "all" else (name,):
        folder = data.fetch(chosen, root=root)
        say(f"{chosen}: {folder}", quiet=quiet)


@app.command(epilog="**Example:** `unsplit data verify all --root my-data`")
def verify(name: Name, root: Root = None, json: options.Json = False) -> None:
    """Check the files of a data set; exit code 1 if one is damaged, missing, or not the one that was published."""
    from unsplit import data

    found = {chosen: data.verify(chosen, root=root) for chosen in (data.SOURCES if name == "all" else (name,))}
    if json:
        typer.echo(
            dumps({chosen: [asdict(status) for status in statuses] for chosen, statuses in found.items()}, indent=1)
        )
    else:
        table = Table("set", "file", "state", "MD5 of the contents")
        for chosen, statuses in found.items():
            for status in statuses:
                published = f"\npublished: {status.expected}" if status.expected not in ("", status.md5) else ""
                table.add_row(chosen, status.file, status.status, status.md5 + published)
        out.print(table)
    wrong = ("damaged", "missing", "differs")
    if any(status.status.startswith(wrong) for statuses in found.values() for status in statuses):
        warn("unsplit: a file is damaged, missing, or not the one that was published; fetch the set again.")
        raise typer.Exit(1)
