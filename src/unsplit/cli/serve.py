"""`unsplit serve`."""

from pathlib import Path
from typing import Annotated

import typer

from unsplit.cli import options
from unsplit.errors import InputError

EXAMPLES = """**Examples**

`unsplit serve run.yaml --certificate certs/server.pem --key certs/server.key --client-ca certs/ca.pem`

`unsplit serve run.yaml --certificate certs/server.pem --key certs/server.key --tokens certs/tokens.yaml --live`

`unsplit serve run.yaml --insecure` : no TLS, on this machine only
"""


def serve(
    config: options.RunFile,
    address: Annotated[str, typer.Option(help="Where to listen.")] = "localhost:50051",
    certificate: Annotated[Path | None, typer.Option(help="The server's certificate, PEM.")] = None,
    key: options.Key = None,
    client_ca: Annotated[Path | None, typer.Option(help="Let in only clients with a certificate of this CA.")] = None,
    tokens: Annotated[Path | None, typer.Option(help="Let in only clients with a token of this list.")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="No TLS; only on a loopback address.")] = False,
    data: Annotated[
        list[str] | None, typer.Option(help="Setup (b): the inputs of a client, as CLIENT=SET or CLIENT=FOLDER.")
    ] = None,
    metrics: Annotated[int | None, typer.Option(help="Port of the Prometheus metrics, on 127.0.0.1.")] = None,
    record: Annotated[bool, typer.Option(help="Keep what the server sees in OUT/transcript, to audit it.")] = True,
    live: Annotated[bool, typer.Option("--live", help="Show turns, loss, bytes and speed instead of the log.")] = False,
    log: options.Log = "json",
    out: options.Out = Path("runs/server"),
    device: options.Device = "cpu",
    threads: options.Threads = 1,
    quiet: options.Quiet = False,
) -> None:
    """Be the server of a split training between real parties.

    Leaves OUT/transcript and what it takes to go on after a fault: run the same command again. SIGTERM ends it
    cleanly, with exit code 143.
    """
    given = {**locals()}  # the options, by name
    import torch

    from unsplit.cli.live import take_part
    from unsplit.data import load
    from unsplit.devices import device as checked_device
    from unsplit.protocol.remote import ListenOptions, Telemetry, logger, make_plan, read_config
    from unsplit.protocol.remote import serve as run_server

    torch.set_num_threads(threads)
    settings = read_config(config)
    plan = make_plan(settings)
    listen = options.taken(ListenOptions, given)
    inputs = None
    if data:
        named = dict(_pair(text) for text in data)
        inputs = {name: load(named[name]).train.images for name in settings.clients if name in named}
    telemetry = Telemetry(log=logger(json=log == "json", quiet=quiet or live))
    party = run_server(plan, listen, out, telemetry, inputs=inputs, device=checked_device(device), record=record)
    done = f"{settings.steps} steps; what the server saw is in {out}."
    take_part(party, telemetry, settings.run, live=live, quiet=quiet, done=done)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--data takes CLIENT=SET or CLIENT=FOLDER, not '{text}'.")
    return name, value
