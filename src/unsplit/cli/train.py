"""`unsplit train`."""

from pathlib import Path
from typing import Annotated

import typer

from unsplit.choices import Setup
from unsplit.cli import options
from unsplit.cli.console import progress_bars, say

EXAMPLES = """**Examples**

`unsplit train --out runs/plain` : setup (a), the embedded digits, one epoch

`unsplit train --setup c --cut relu1 --clients 3 --turn 20 --epochs 5 --out runs/u-shape`

`unsplit train --defense gaussian:scale=0.5 --defense top-k:keep=0.2 --out runs/defended`

`unsplit train --setup b --clients 2 --turn 1 --batch-size 1 --steps 1000 --optimizer sgd:lr=0.01 --out runs/labels`
"""


def train(
    data: options.Data = "digits",
    model: options.Model = None,
    setup: Annotated[Setup, typer.Option(help="Who holds what: the paper's Figure 1.")] = Setup.A,
    cut: Annotated[
        str,
        typer.Option(help=f"End of the client's bottom, by {options.DEPTH} or name (a, c)."),
    ] = "1",
    head: Annotated[int, typer.Option(help="Layers with weights in the client's head (b, c).")] = 1,
    clients: Annotated[int, typer.Option(help="Clients that take turns.")] = 1,
    turn: Annotated[int | None, typer.Option(help="Steps a turn; one pass over a client's data if left out.")] = None,
    hand_off: Annotated[str, typer.Option(help="Weights change hands through the 'server' or 'peer'.")] = "server",
    hand_off_optimizer: Annotated[bool, typer.Option(help="Hand on the optimiser's state with the weights.")] = False,
    batch_size: options.BatchSize = 64,
    epochs: Annotated[int, typer.Option(help="Passes over all data.")] = 1,
    steps: Annotated[int | None, typer.Option(help="Steps in all; overrides --epochs.")] = None,
    optimizer: options.Optimizer = "adam",
    loss: options.Loss = "cross_entropy",
    label_smoothing: options.Smoothing = 0.0,
    defense: options.Defenses = None,
    guard: options.Guard = None,
    observer: Annotated[str, typer.Option(help="Whose transcript to keep: server, client0, ...")] = "server",
    keep_last: Annotated[int | None, typer.Option(help="Keep only this many of its last steps.")] = None,
    checkpoint_every: Annotated[int, typer.Option(help="Steps between two checkpoints.")] = 1000,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from OUT's checkpoint.")] = False,
    out: options.Out = Path("runs/train"),
    seed: options.Seed = 0,
    device: options.Device = "cpu",
    threads: options.Threads = 1,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Train a network split between a server and its clients, and keep what one party saw.

    Leaves OUT/transcript, OUT/checkpoint.safetensors and OUT/training.json.
    """
    given = {**locals()}  # the options, by name
    import torch

    from unsplit.defenses import parse_defense
    from unsplit.experiment.training import TrainConfig
    from unsplit.experiment.training import train as run_training
    from unsplit.losses import LossSpec
    from unsplit.optim import parse_optimizer
    from unsplit.protocol import SplitConfig

    torch.set_num_threads(threads)
    split = options.taken(
        SplitConfig,
        given,
        cut=options.one_cut(cut),
        client_optimizer=parse_optimizer(optimizer),
        server_optimizer=parse_optimizer(optimizer),
        loss=LossSpec(name=loss, label_smoothing=label_smoothing),
        defenses=tuple(parse_defense(text) for text in defense or ()),
        guard=options.guard(guard),
    )
    config = options.taken(TrainConfig, given, split=split)
    with progress_bars(quiet=quiet) as bars:
        summary = run_training(config, out, resume=resume, progress=bars.stage("training"))
    if json:
        typer.echo(summary.model_dump_json(indent=1))
    elif not quiet:
        say(
            f"{summary.steps} steps, test accuracy {summary.accuracy:.1%}; {summary.messages} messages in "
            f"{out / summary.transcript}, weights in {out / summary.checkpoint}."
        )
