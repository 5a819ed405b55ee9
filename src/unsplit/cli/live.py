"""The live view of a training between real parties: turns, loss, bytes and speed."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from unsplit.cli.console import err, say
from unsplit.protocol.remote import Telemetry

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def view(telemetry: Telemetry, title: str) -> Group:
    """The picture of this moment."""
    bar = Progress(TextColumn(title), BarColumn(), MofNCompleteColumn(), TextColumn(f"{telemetry.speed:.1f} steps/s"))
    bar.add_task("", completed=telemetry.steps_done, total=telemetry.total)
    table = Table("client", "state", "steps", "loss", "in", "out")
    for name, party in telemetry.parties.items():
        state = "its turn" if name in telemetry.active else "waits"
        table.add_row(
            name,
            state if party.connected else "away",
            str(party.steps),
            "-" if party.loss != party.loss else f"{party.loss:.4f}",
            size(party.came),
            size(party.left),
        )
    return Group(bar, table)


@contextmanager
def live_view(telemetry: Telemetry, title: str, *, shown: bool) -> Iterator[None]:
    """Show the view on standard error, renewed a few times a second, while a block runs."""
    if not shown:
        yield
        return
    with Live(console=err, get_renderable=lambda: view(telemetry, title), refresh_per_second=4):
        yield


def take_part(
    party: Coroutine[Any, Any, bool], telemetry: Telemetry, title: str, *, live: bool, quiet: bool, done: str
) -> None:
    """Be a party until the training is complete, and say so.

    Args:
        party: what it does; says whether the training was completed.
        telemetry: what it tells of itself.
        title: name of the training.
        live: show the view, where standard error is a terminal.
        quiet: whether nothing is printed.
        done: what is printed in the end.

    Raises:
        typer.Exit: with 143, if it was told to stop.
    """
    with live_view(telemetry, title, shown=live and err.is_terminal and not quiet):
        complete = asyncio.run(party)
    if not complete:
        raise typer.Exit(143)
    say(done, quiet=quiet)


def size(count: float) -> str:
    """A number of bytes for people."""
    for unit in _UNITS[:-1]:
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} {_UNITS[-1]}"
