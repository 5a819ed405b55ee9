"""`unsplit certs`."""

from pathlib import Path
from typing import Annotated

import typer

from unsplit.cli import options
from unsplit.cli.console import say

EXAMPLES = """**Examples**

`unsplit certs keys --host localhost --host 127.0.0.1 --clients 2` : a trial on one machine; client0 and client1

`unsplit certs keys --host split.example.org --client clinic-a --client clinic-b --days 7`
"""


def certs(
    out: Annotated[
        Path, typer.Argument(help="Folder for the files; it is made if it does not exist.", show_default=False)
    ],
    host: Annotated[
        list[str] | None, typer.Option("--host", help="DNS name or IP address of the server; may be repeated.")
    ] = None,
    client: Annotated[list[str] | None, typer.Option("--client", help="Name of a client; may be repeated.")] = None,
    clients: Annotated[int, typer.Option(help="How many more clients: client0, client1, ...")] = 0,
    days: Annotated[int, typer.Option(help="Days for which the certificates are valid.")] = 30,
    quiet: options.Quiet = False,
) -> None:
    """Make certificates, tokens and the clients' key for a training between machines.

    They come from a private authority made for the occasion, and are meant for trials.
    """
    from unsplit.protocol.remote.certificates import make_certificates

    names = [*(client or ()), *(f"client{number}" for number in range(clients))]
    made = make_certificates(out, hosts=host or (), clients=names, days=days)
    if quiet:
        return
    for who, files in {"server": made.server, **made.clients}.items():
        say(f"{who}: {', '.join(file.name for file in files)}")
    say(
        f"Give each party these files of {out}, and no others. {made.offline.name} stays offline: whoever has it can "
        "pose as any party."
    )
