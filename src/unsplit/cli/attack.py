"""`unsplit attack`."""

from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unsplit.choices import LABEL_ATTACKS, PRESETS
from unsplit.cli import options
from unsplit.cli.console import progress_bars, say

if TYPE_CHECKING:
    from unsplit.experiment.traffic.attack import Findings

EXAMPLES = """**Examples**

`unsplit attack runs/plain/transcript --model mnist-net --cut 1` : pictures and a clone from the last step's batch

`unsplit attack logs/transcript --model my_module:build_model --input-shape 3,64,64 --input-range 0,255`

`unsplit attack logs/transcript --cut conv2 --known-weights backbone.safetensors` : by who has the client's weights

`unsplit attack runs/labels/transcript --goal labels` : groups of samples of one class, and the head that explains them

`unsplit attack runs/labels/transcript --goal labels --known known.csv` : the same with the classes' names

`unsplit attack runs/labels/transcript --goal labels --label-attack sign --optimizer sgd:lr=0.01`

`unsplit attack runs/server/transcript --cut relu1 --follow 60` : beside a training, until a minute is quiet
"""


def attack(
    transcript: Annotated[Path, typer.Argument(help="Folder of a recorded transcript.", show_default=False)],
    goal: Annotated[str, typer.Option(help="What to recover: inputs (with a clone) or labels.")] = "inputs",
    model: Annotated[str, typer.Option(help="The network, by name or my_module:function.")] = "mnist-net",
    cut: Annotated[str, typer.Option(help=f"Where it was cut, by {options.DEPTH} or name.")] = "1",
    input_shape: Annotated[str, typer.Option(help="Shape of one input.")] = "1,28,28",
    input_range: options.InputRange = None,
    preset: Annotated[str, typer.Option(help=f"Preset: {', '.join(PRESETS)}.")] = "joint",
    known_weights: options.KnownWeights = None,
    white_box: options.WhiteBox = "white-box-quick",
    not_photographs: options.NotPhotographs = False,
    not_figures: options.NotFigures = False,
    last: Annotated[int, typer.Option(min=1, help="How many of its last steps to attack.")] = 1,
    label_attack: Annotated[str, typer.Option(help=f"Labels: {', '.join(LABEL_ATTACKS)}.")] = "surrogate",
    head: Annotated[int, typer.Option(help="Labels: layers with weights in the client's head.")] = 1,
    classes: Annotated[int, typer.Option(help="Labels: how many classes.")] = 10,
    loss: options.Loss = "cross_entropy",
    label_smoothing: options.Smoothing = 0.0,
    known: Annotated[
        Path | None, typer.Option(help="Labels: a CSV file of positions and labels that are known.")
    ] = None,
    optimizer: options.Optimizer = "sgd",
    follow: Annotated[
        float | None,
        typer.Option(
            help="Wait for the transcript, attack its newest steps as they come, end after this many seconds without a "
            "new one."
        ),
    ] = None,
    out: options.Out = Path("runs/attack"),
    seed: options.Seed = 0,
    device: options.Device = "cpu",
    reduced_precision: options.ReducedPrecision = "auto",
    threads: options.Threads = 1,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Attack a recorded transcript, knowing nothing but the architecture.

    With --follow the training may still be going on: each attack is told in a line, and is in a folder OUT/step-NNNNNN.
    """
    given = {**locals()}  # the options, by name
    import torch

    from unsplit.experiment.traffic.attack import AttackConfig, attack_recorded
    from unsplit.experiment.traffic.follow import follow as run_follow
    from unsplit.losses import LossSpec
    from unsplit.optim import parse_optimizer
    from unsplit.ranges import InputRange

    torch.set_num_threads(threads)
    config = options.taken(
        AttackConfig,
        given,
        cut=options.one_cut(cut),
        # The head of a network that can be cut without running it needs no shape.
        input_shape=options.integers(input_shape, "input_shape") if goal == "inputs" else None,
        input_range=None if input_range is None else InputRange.of(input_range),
        loss=LossSpec(name=loss, label_smoothing=label_smoothing),
        optimizer=parse_optimizer(optimizer),
    )
    printer = _Printer(quiet=quiet, json=json)
    with progress_bars(quiet=quiet) as bars:
        progress = bars.stage("inverting" if goal == "inputs" else "inferring labels")
        if follow is not None:
            run_follow(transcript, config, out, quiet_for=follow, tell=printer.step, progress=progress)
            return
        found = attack_recorded(transcript, config, out, progress=progress)
    printer.end(out, found)


class _Printer:
    """Says what attacks found: as JSON, in a line, or not at all."""

    def __init__(self, *, quiet: bool, json: bool) -> None:
        self._quiet, self._json = quiet, json

    def end(self, folder: Path, found: "Findings") -> None:
        """The one attack there is."""
        self._say("", found.model_dump_json(indent=1), folder, found)

    def step(self, step: int, folder: Path, found: "Findings") -> None:
        """One of several attacks, by its newest step, in one line."""
        line = dumps({"step": step, "folder": str(folder), **found.model_dump(mode="json")})
        self._say(f"Step {step}: ", line, folder, found)

    def _say(self, begin: str, json: str, folder: Path, found: "Findings") -> None:
        if self._json:
            typer.echo(json)
        elif not self._quiet:
            say(begin + _line(folder, found))


def _line(folder: Path, found: "Findings") -> str:
    if found.goal == "inputs":
        decided = "" if found.decided_by is None else f" (decided by {found.decided_by})"
        sure = "; the attack is sure of its pictures" if found.sure else ""
        return (
            f"{found.inputs} inputs and a clone in {folder / found.tensors}; relative residual {found.residual:.2g}, "
            f"sign {found.sign}{decided}{sure}."
        )
    kind = "labels" if found.named else "group numbers (the classes' names cannot be known)"
    return f"{len(found.labels)} {kind} in {folder / 'attack.json'}, {found.undecided} undecided."
