"""`unsplit attack`."""

from pathlib import Path
from typing import Annotated, Literal

import torch
import typer

from unsplit.cli import options
from unsplit.cli.console import out as console
from unsplit.cli.console import progress_bars
from unsplit.errors import unknown_name
from unsplit.experiment.attack import InversionRequest, LabelRequest, attack_inputs, attack_labels

EXAMPLES = """**Examples**

`unsplit attack runs/plain/transcript --model mnist-net --cut 1` : pictures and a clone from the last step's batch

`unsplit attack runs/labels/transcript --goal labels` : groups of samples of one class, from cut gradients

`unsplit attack runs/labels/transcript --goal labels --observed weight_grad --optimizer sgd:lr=0.01`
"""


def attack(
    transcript: Annotated[Path, typer.Argument(help="Folder of a recorded transcript.", show_default=False)],
    goal: Annotated[str, typer.Option(help="What to recover: inputs (with a clone) or labels.")] = "inputs",
    model: Annotated[str, typer.Option(help="The network, by name or my_module:function.")] = "mnist-net",
    cut: Annotated[str, typer.Option(help="Where it was cut, by depth or module name.")] = "1",
    input_shape: Annotated[str, typer.Option(help="Shape of one input.")] = "1,28,28",
    preset: Annotated[str, typer.Option(help="Preset: strong, joint, paper, paper-literal, released.")] = "joint",
    last: Annotated[int, typer.Option(min=1, help="Attack the last so many steps of it.")] = 1,
    observed: Annotated[str, typer.Option(help="Labels: from cut_grad or weight_grad.")] = "cut_grad",
    head: Annotated[int, typer.Option(help="Labels: layers with weights in the client's head.")] = 1,
    classes: Annotated[int, typer.Option(help="Labels: how many classes.")] = 10,
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
        if observed not in ("cut_grad", "weight_grad"):
            raise unknown_name("observation", observed, ("cut_grad", "weight_grad"))
        seen: Literal["cut_grad", "weight_grad"] = "weight_grad" if observed == "weight_grad" else "cut_grad"
        wanted = LabelRequest(
            observed=seen, model=model, head=head, classes=classes, optimizer=options.optimizer(optimizer), seed=seed
        )
        labels = attack_labels(transcript, wanted, out)
        text = labels.model_dump_json(indent=1)
        kind = "labels" if labels.named else "group numbers (the classes' names cannot be known)"
        line = f"{len(labels.labels)} {kind} in {out / 'attack.json'}."
    if json:
        typer.echo(text)
    elif not quiet:
        console.print(line, soft_wrap=True, markup=False)
