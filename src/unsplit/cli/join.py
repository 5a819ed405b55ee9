"""`unsplit join`."""

import secrets
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from unsplit.cli import options
from unsplit.errors import InputError

EXAMPLES = """**Examples**

`unsplit join run.yaml --name client0 --ca certs/ca.pem --certificate certs/client0.pem --key certs/client0.key`

`unsplit join run.yaml --name client0 --ca certs/ca.pem --token certs/client0.token --data photos/`

`unsplit join run.yaml --name client0 --insecure` : no TLS, to this machine only
"""


def join(
    config: options.RunFile,
    name: Annotated[str, typer.Option(help="Which of its clients this is.")],
    server: Annotated[str, typer.Option(help="Where the server listens.")] = "localhost:50051",
    data: Annotated[
        str | None,
        typer.Option(help="This client's data, by name or folder; if left out, its share of the trial's data."),
    ] = None,
    ca: Annotated[
        Path | None, typer.Option(help="CA of the server's certificate; the public ones if left out.")
    ] = None,
    certificate: Annotated[Path | None, typer.Option(help="This client's certificate, PEM.")] = None,
    key: options.Key = None,
    token: Annotated[Path | None, typer.Option(help="File with this client's bearer token.")] = None,
    peer_key: Annotated[
        Path | None, typer.Option(help="The clients' shared key, for weights handed from peer to peer.")
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="No TLS; only to a loopback address.")] = False,
    patience: Annotated[float, typer.Option(help="Seconds without a connection before giving up.")] = 300.0,
    defense: options.Defenses = None,
    guard: options.Guard = None,
    keep_truth: Annotated[
        bool,
        typer.Option(
            "--keep-truth", help="Keep the last step's inputs and labels, so that an audit can be scored with them."
        ),
    ] = False,
    live: options.Live = False,
    log: options.Log = "json",
    out: Annotated[Path | None, typer.Option(help="Folder for this client's states; runs/NAME if left out.")] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Seed of the first weights and the batch order; a trial takes the configuration's."),
    ] = None,
    device: options.Device = "cpu",
    threads: options.Threads = 1,
    quiet: options.Quiet = False,
) -> None:
    """Be a client of a split training between real parties.

    Leaves OUT/states, from which it goes on after a fault: run the same command again. SIGTERM ends it cleanly, with
    exit code 143.
    """
    given = {**locals()}  # the options, by name
    import torch

    from unsplit.cli.live import take_part
    from unsplit.defenses import parse_defense
    from unsplit.devices import device as checked_device
    from unsplit.files import writable_folder
    from unsplit.protocol.remote import ConnectOptions, Seal, Telemetry, logger, make_plan, read_config
    from unsplit.protocol.remote import join as be_client

    torch.set_num_threads(threads)
    settings = read_config(config)
    split = replace(
        settings.split(), defenses=tuple(parse_defense(text) for text in defense or ()), guard=options.guard(guard)
    )
    if split.defense is not None and split.defense.deeper:
        raise InputError("deeper-cut changes what all parties share; set `cut` in the configuration instead.")
    plan, folder = make_plan(settings, split), writable_folder(out or Path("runs") / name)
    connect = options.taken(ConnectOptions, given, address=server)
    if seed is None and settings.data is None:
        seed = own_seed(folder)
    client = plan.make_client(name, data=data, seed=seed, device=checked_device(device))
    telemetry = Telemetry(log=logger(json=log == "json", quiet=quiet or live), total=settings.steps)
    seal = None if peer_key is None else Seal.read(peer_key)
    party = be_client(plan, client, connect, folder, telemetry, seal=seal, keep_truth=keep_truth)
    done = f"{settings.steps} steps; {name}'s layers are in {folder}."
    take_part(party, telemetry, settings.run, live=live, quiet=quiet, done=done)


def own_seed(folder: Path) -> int:
    """A secret seed of this client's, the same when it is started again.

    Raises:
        InputError: the file that keeps it was altered.
    """
    from unsplit.files import write_text

    path = folder / "seed"
    if not path.exists():
        write_text(path, f"{secrets.randbits(62)}\n", private=True)
    text = path.read_text(encoding="utf-8").strip()
    if not text.isdigit():
        raise InputError(f"{path} holds no seed; delete the folder {folder} to begin anew.")
    return int(text)
