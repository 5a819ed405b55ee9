"""`unsplit attack`."""

from pathlib import Path
from typing import Annotated

import torch
import typer

from unsplit.attacks.unsplit import PRESETS
from unsplit.cli import options
from unsplit.cli.console import out as console
from unsplit.cli.console import progress_bars
from unsplit.errors import unknown_name
from unsplit.experiment.attack import InversionRequest, attack_inputs
from unsplit.experiment.attack_labels import LABEL_ATTACKS, LabelRequest, attack_labels
from unsplit.losses import LossSpec

EXAMPLES = """**Examples**

`unsplit attack runs/plain/transcript --model mnist-net --cut 1` : pictures and a clone from the last step's batch

`unsplit attack runs/labels/transcript --goal labels` : groups of samples of one class, and the head that explains them

`unsplit attack runs/labels/transcript --goal labels --known known.csv` : the same with the classes' names

`unsplit attack runs/labels/transcript --goal labels --label-attack sign --optimizer sgd:lr=0.01`
"""


def attack(
    transcript: Annotated[Path, typer.Argument(help="Folder of a recorded transcript.", show_default=False)],
    goal: Annotated[str, typer.Option(help="What to recover: inputs (with a clone) or labels.")] = "inputs",
    model: Annotated[str, typer.Option(help="The network, by name or my_module:function.")] = "mnist-net",
    cut: Annotated[str, typer.Option(help="Where it was cut, by depth or module name.")] = "1",
    input_shape: Annotated[str, typer.Option(help="Shape of one input.")] = "1,28,28",
    preset: Annotated[str, typer.Option(help=f"Preset: {', '.join(PRESETS)}.")] = "joint",
    last: Annotated[int, typer.Option(min=1, help="Attack the last so many steps of it.")] = 1,
    label_attack: Annotated[str, typer.Option(help=f"Labels: {', '.join(LABEL_ATTACKS)}.")] = "surrogate",
    head: Annotated[int, typer.Option(help="Labels: layers with weights in the client's head.")] = 1,
    classes: Annotated[int, typer.Option(help="Labels: how many classes.")] = 10,
    loss: options.Loss = "cross_entropy",
    label_smoothing: options.Smoothing = 0.0,
    known: Annotated[
        Path | None, typer.Option(help="Labels: a CSV file of positions and labels that are known.")
    ] = None,
    optimizer: options.Optimizer = "sgd",
    out: options.Out = Path("runs/attack"),
    seed: options.Seed = 0,
    device: options.Device = "cpu",
    threads: options.Threads = 1,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Attack a recorded transcript, knowing nothing but the architecture."""
    torch.set_num_threads(threads)
    if goal not in ("inputs", "labels"):
        raise unknown_name("goal", goal, ("inputs", "labels"))
    if goal == "inputs":
        request = InversionRequest(
            model=model,
            cut=options.one_cut(cut),
            input_shape=options.integers(input_shape, "--input-shape"),
            preset=preset,
            last=last,
            seed=seed,
            device=device,
        )
        with progress_bars(quiet=quiet) as bars:
            found = attack_inputs(transcript, request, out, progress=bars.stage("inverting"))
        text = found.model_dump_json(indent=1)
        line = (
            f"{found.inputs} inputs and a clone in {out / found.tensors}; relative residual {found.residual:.2g}, "
            f"sign {found.sign}."
        )
    else:
        wanted = LabelRequest(
            attack=label_attack,
            model=model,
            head=head,
            classes=classes,
            loss=LossSpec(name=loss, label_smoothing=label_smoothing),
            optimizer=options.optimizer(optimizer),
            known=known,
            seed=seed,
            device=device,
        )
        with progress_bars(quiet=quiet) as bars:
            labels = attack_labels(transcript, wanted, out, progress=bars.stage("inferring labels"))
        text = labels.model_dump_json(indent=1)
        kind = "labels" if labels.named else "group numbers (the classes' names cannot be known)"
        line = f"{len(labels.labels)} {kind} in {out / 'attack.json'}, {labels.undecided} undecided."
    if json:
        typer.echo(text)
    elif not quiet:
        console.print(line, soft_wrap=True, markup=False)
