"""`unsplit serve`."""

from pathlib import Path
from typing import Annotated

import typer

from unsplit.cli import options
from unsplit.cli.console import err
from unsplit.cli.console import out as console
from unsplit.errors import InputError

EXAMPLES = """**Examples**

`unsplit serve run.yaml --certificate certs/server.pem --key certs/server.key --client-ca certs/ca.pem`

`unsplit serve run.yaml --certificate certs/server.pem --key certs/server.key --tokens certs/tokens.yaml --live`

`unsplit serve run.yaml --insecure` : no TLS, on this machine only
"""


def serve(
    config: Annotated[Path, typer.Argument(help="The configuration that all parties share.", show_default=False)],
    address: Annotated[str, typer.Option(help="Where to listen.")] = "localhost:50051",
    certificate: Annotated[Path | None, typer.Option(help="The server's certificate, PEM.")] = None,
    key: Annotated[Path | None, typer.Option(help="Its key, PEM.")] = None,
    client_ca: Annotated[Path | None, typer.Option(help="Let in only clients with a certificate of this CA.")] = None,
    tokens: Annotated[Path | None, typer.Option(help="Let in only clients with a token of this list.")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="No TLS; only on a loopback address.")] = False,
    data: Annotated[
        list[str] | None, typer.Option(help="Setup (b): the inputs of a client, as CLIENT=SET or CLIENT=FOLDER.")
    ] = None,
    metrics: Annotated[int | None, typer.Option(help="Port of the Prometheus metrics, on 127.0.0.1.")] = None,
    record: Annotated[bool, typer.Option(help="Keep what the server sees in OUT/transcript, to audit it.")] = True,
    live: Annotated[bool, typer.Option("--live", help="Show turns, loss, bytes and speed instead of the log.")] = False,
    log: Annotated[str, typer.Option(help="Log as 'json' or 'text'.")] = "json",
    out: options.Out = Path("runs/server"),
    device: options.Device = "cpu",
    threads: options.Threads = 1,
    quiet: options.Quiet = False,
) -> None:
    """Be the server of a split training between real parties.

    Leaves OUT/transcript and what it takes to go on after a fault: run the same command again. SIGTERM ends it
    cleanly, with exit code 143.
    """
    import asyncio

    import torch

    from unsplit.cli.live import live_view
    from unsplit.data import load
    from unsplit.devices import device as checked_device
    from unsplit.protocol.remote import ListenOptions, Telemetry, logger, make_plan, read_config
    from unsplit.protocol.remote import serve as run_server

    torch.set_num_threads(threads)
    settings = read_config(config)
    plan = make_plan(settings)
    listen = ListenOptions(
        address=address,
        certificate=certificate,
        key=key,
        client_ca=client_ca,
        tokens=tokens,
        insecure=insecure,
        metrics=metrics,
    )
    inputs = None
    if data:
        named = dict(_pair(text) for text in data)
        inputs = {name: load(named[name]).train.images for name in settings.clients if name in named}
    telemetry = Telemetry(log=logger(json=log == "json", quiet=quiet or live))
    with live_view(telemetry, settings.run, shown=live and err.is_terminal and not quiet):
        complete = asyncio.run(
            run_server(plan, listen, out, telemetry, inputs=inputs, device=checked_device(device), record=record)
        )
    if not complete:
        raise typer.Exit(143)
    if not quiet:
        console.print(f"{settings.steps} steps; what the server saw is in {out}.", soft_wrap=True, markup=False)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--data takes CLIENT=SET or CLIENT=FOLDER, not '{text}'.")
    return name, value
