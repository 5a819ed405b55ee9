"""`unsplit import`."""

from json import dumps
from pathlib import Path
from typing import Annotated

import typer

from unsplit.cli import options
from unsplit.cli.console import say

EXAMPLES = """**Examples**

`unsplit import arrays.npz --out runs/traffic` : arrays smashed, labels, cut_grad of the shape [steps, batch, ...]

`unsplit import dump/ --out runs/traffic --batch-size 64` : a folder of .npy files of the shape [samples, ...]

`unsplit import arrays.safetensors --out runs/traffic --smashed activations --ignore epoch,lr`
"""

_Name = Annotated[str | None, typer.Option(help="What that array is called in the source.", metavar="NAME")]


def import_traffic(
    source: Annotated[
        Path, typer.Argument(help="A .npz or .safetensors file, or a folder of .npy files.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for the transcript.")] = Path("runs/traffic"),
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, help="Samples a step, where arrays are of the shape [samples, ...] without one 'step'."),
    ] = None,
    smashed: _Name = None,
    cut_grad: _Name = None,
    labels: _Name = None,
    features: _Name = None,
    feature_grad: _Name = None,
    step: _Name = None,
    ignore: Annotated[str, typer.Option(help="Arrays to leave out, with commas.")] = "",
    client: Annotated[str, typer.Option(help="Name of the client.")] = "client0",
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Make a transcript of dumped arrays, for `attack` and `audit --transcript`.

    Arrays are of the shape [steps, batch, ...]; or [samples, ...], with --batch-size or an array 'step'.
    """
    from unsplit.protocol.importing import import_arrays

    called = {
        "smashed": smashed,
        "cut_grad": cut_grad,
        "labels": labels,
        "features": features,
        "feature_grad": feature_grad,
        "step": step,
    }
    made = import_arrays(
        source,
        out,
        batch_size=batch_size,
        names={ours: theirs for ours, theirs in called.items() if theirs is not None},
        ignore=options.names(ignore),
        client=client,
    )
    if json:
        typer.echo(dumps({"folder": str(made.folder), "steps": made.steps, "shapes": made.shapes}, indent=1))
    elif not quiet:
        shapes = ", ".join(f"{name} {list(shape)}" for name, shape in made.shapes.items())
        say(f"{made.steps} steps in {made.folder}, of {shapes}.")
