"""Options that several commands share, and how their values are read."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unsplit.choices import DEFENSES, GUARDS, LOSSES, METRICS, WHITE_BOX, Precision
from unsplit.errors import InputError, unknown_name

if TYPE_CHECKING:
    from unsplit import ranges
    from unsplit.defenses.detection import GuardConfig

DEPTH = "depth (from 0: 1 keeps two modules at the client)"
"""How a cut is named in the help of options."""

Data = Annotated[str, typer.Option("--data", help="Data set by name (see `unsplit data list`), or a folder of images.")]
Model = Annotated[
    str | None,
    typer.Option("--model", help="Model by name, or my_module:function; the paper's net for the data if left out."),
]
Out = Annotated[Path, typer.Option("--out", help="Folder for the results.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of everything random.")]
Device = Annotated[str, typer.Option("--device", help="Where to compute: cpu, cuda, cuda:1, mps.")]
ReducedPrecision = Annotated[
    Precision,
    typer.Option(
        "--reduced-precision",
        help="Decoders' convolutions in bfloat16: 'auto' (where the device has instructions for it), 'on' or 'off'.",
    ),
]
InputRange = Annotated[
    str | None,
    typer.Option(
        "--input-range",
        metavar="LOW,HIGH",
        help="Lowest and highest value of an input in its own units, e.g. 0,255; or these two for each channel.",
    ),
]
Threads = Annotated[
    int, typer.Option("--threads", min=1, help="Processor threads; the paper's nets are so small that one is fastest.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
Json = Annotated[bool, typer.Option("--json", help="Print the results as JSON on standard output.")]
Optimizer = Annotated[
    str, typer.Option("--optimizer", help="Optimiser of torch.optim with its options, e.g. sgd:lr=0.05,momentum=0.9.")
]

Defenses = Annotated[
    list[str] | None,
    typer.Option(
        "--defense",
        help=f"Defence of the clients, e.g. gaussian:scale=0.5; repeat it for several: {', '.join(DEFENSES)}.",
    ),
]

KnownWeights = Annotated[
    str | None,
    typer.Option(
        "--known-weights",
        metavar="FILE",
        help="Public weights of the client's first layers (safetensors or a torch state dict): run the white box.",
    ),
]
WhiteBox = Annotated[
    str, typer.Option("--white-box", help=f"Preset of the attack with --known-weights: {', '.join(WHITE_BOX)}.")
]

Guard = Annotated[
    str | None,
    typer.Option("--guard", help=f"Stop when the server seems to hijack the training (a): {', '.join(GUARDS)}."),
]

Loss = Annotated[str, typer.Option("--loss", help=f"The client's loss: {', '.join(LOSSES)}.")]
Smoothing = Annotated[float, typer.Option("--label-smoothing", help="Label smoothing of it, 0 to below 1.")]

FailIf = Annotated[
    list[str] | None,
    typer.Option(
        "--fail-if",
        help=f"Exit with 1 if this holds, e.g. 'label_accuracy>0.5'; may be repeated. Metrics: {', '.join(METRICS)}.",
    ),
]
Markdown = Annotated[
    str | None, typer.Option("--markdown", help="Also write the verdict as Markdown to this file; - prints it.")
]
Mlflow = Annotated[
    str | None,
    typer.Option("--mlflow", metavar="EXPERIMENT", help="Also log to MLflow, in the store of MLFLOW_TRACKING_URI."),
]


def guard(name: str | None) -> "GuardConfig | None":
    """A guard by name, or none.

    Raises:
        InputError: no such guard.
    """
    if name is None:
        return None
    if name not in GUARDS:
        raise unknown_name("guard", name, GUARDS)
    from unsplit.defenses.detection import ScrutinyConfig, SplitGuardConfig

    made: dict[str, type[GuardConfig]] = {"splitguard": SplitGuardConfig, "scrutiny": ScrutinyConfig}
    return made[name]()


def names(text: str) -> tuple[str, ...]:
    """The parts of a comma-separated list; an empty text or "none" is an empty list."""
    return () if text.strip().lower() in ("", "none") else tuple(part.strip() for part in text.split(","))


def cuts(text: str) -> tuple[int | str, ...]:
    """Cuts by depth or by name."""
    return tuple(int(part) if part.lstrip("-").isdigit() else part for part in names(text))


def one_cut(text: str) -> int | str:
    """One cut by depth or by name.

    Raises:
        InputError: none, or more than one.
    """
    found = cuts(text)
    if len(found) != 1:
        raise InputError(f"--cut takes one depth or module name, not '{text}'.")
    return found[0]


def integers(text: str, option: str) -> tuple[int, ...]:
    """Whole numbers.

    Raises:
        InputError: something else is among them.
    """
    try:
        return tuple(int(part) for part in names(text))
    except ValueError as error:
        raise InputError(
            f"{option} takes whole numbers with commas between them, for example 1,2,3; not '{text}'."
        ) from error


def range_of(text: str | None) -> "ranges.InputRange | None":
    """The range of inputs, where one is given.

    Raises:
        InputError: it is none.
    """
    from unsplit.ranges import InputRange as Range

    return None if text is None else Range.of(text)


def u_shape(text: str) -> tuple[int | str, int]:
    """A cut and the number of layers of the head, written as cut:head.

    Raises:
        InputError: not of this form.
    """
    cut, _, head = text.partition(":")
    if not head.isdigit():
        raise InputError(f"--u-shape takes a cut and the layers of the head, for example 1:1; not '{text}'.")
    return one_cut(cut), int(head)
