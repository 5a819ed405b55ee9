"""`unsplit audit`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unsplit.choices import PRESETS
from unsplit.cli import options
from unsplit.errors import InputError

if TYPE_CHECKING:
    from unsplit.losses import LossSpec

EXAMPLES = """**Examples**

`unsplit audit --out runs/first` : the embedded digits, depths 1 to 3, labels

`unsplit audit --data fashion-mnist --cuts 1,conv2 --presets joint,paper --out runs/fashion`

`unsplit audit --u-shape 1:1 --cuts none --label-setups none` : inputs, labels and both of the client's parts at once

`unsplit audit my_module:build_model --data photos/ --cuts layer2,layer3 --label-setups none` : a model of your own

`unsplit audit --defense gaussian:0.5 --defense label-dp:2 --aware --out runs/defended` : what leaks in spite of them

`unsplit audit my_module:build_model --data photos/ --cuts layer1 --known-weights resnet18.pth` : a public backbone

`unsplit audit --config audit.yaml --seed 1` : settings from a file, one of them another

`unsplit audit --fail-if "label_accuracy>0.5" --fail-if "inversion_skill>=0.3" --markdown verdict.md` : in a build

`unsplit audit --transcript runs/server/transcript --cuts relu1 --presets joint` : what a real server recorded, unscored

`unsplit audit --transcript runs/server/transcript --truth runs/client0/truth.safetensors` : the same, scored

`unsplit audit --transcript logs/transcript --model my_module:build_model --input-shape 3,64,64 --loss bce`
"""


def audit(
    context: typer.Context,
    architecture: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="The same as --model.", show_default=False)
    ] = None,
    data: options.Data = "digits",
    model: options.Model = None,
    cuts: Annotated[
        str,
        typer.Option(help=f"Cuts to invert, by {options.DEPTH} or name; or 'none'."),
    ] = "1,2,3",
    presets: Annotated[str, typer.Option(help=f"Presets: {', '.join(PRESETS)}.")] = "strong-quick,joint",
    states: Annotated[str, typer.Option(help="Attack before training, after it, or both.")] = "before,after",
    targets: Annotated[int, typer.Option(help="Pictures of each class to recover.")] = 1,
    epochs: Annotated[int, typer.Option(help="Passes over the training data.")] = 10,
    batch_size: Annotated[int, typer.Option(help="Samples a step.")] = 64,
    optimizer: options.Optimizer = "adam",
    checkpoint: Annotated[Path | None, typer.Option(help="Attack this network instead of training.")] = None,
    label_setups: Annotated[str, typer.Option(help="Setups in which to infer labels; or 'none'.")] = "b,c",
    label_heads: Annotated[str, typer.Option(help="Depths of the client's head, in layers with weights.")] = "1,2",
    label_steps: Annotated[int, typer.Option(help="Samples whose steps are observed, one a step.")] = 1000,
    label_batch_size: Annotated[
        int | None,
        typer.Option(help="Samples a step there; 1 if left out, or --batch-size for defences that act within batches."),
    ] = None,
    u_shape: Annotated[
        str | None, typer.Option(help="Also take everything at once from the U-shape with this cut and head, e.g. 1:1.")
    ] = None,
    transcript: Annotated[
        Path | None, typer.Option(help="Train nothing: attack the recorded traffic in this folder.")
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(help="Recorded traffic: score it by this file, which a client wrote.")
    ] = None,
    input_shape: Annotated[
        str, typer.Option(help="Recorded traffic: shape of one input, where the truth does not tell.")
    ] = "1,28,28",
    input_range: options.InputRange = None,
    image_size: Annotated[
        str | None, typer.Option(help="Height and width to bring a folder's pictures to, e.g. 64,64.")
    ] = None,
    auxiliary: Annotated[
        str | None,
        typer.Option(help="Also attack with data of the server's own: by name or path, or 'test' for the test part."),
    ] = None,
    row_knowledge: Annotated[
        str,
        typer.Option(help="What else the server knows of a table: known-rows, statistics (of columns); or none."),
    ] = "known-rows,statistics",
    known_rows: Annotated[int, typer.Option(help="How many rows of a table the server knows.")] = 10,
    label: Annotated[str | None, typer.Option(help="A table's column of labels; the last one if left out.")] = None,
    loss: options.Loss = "cross_entropy",
    label_smoothing: options.Smoothing = 0.0,
    defense: options.Defenses = None,
    aware: Annotated[
        bool, typer.Option("--aware", help="Also run the attacks that know the defences (--defense) and adapt.")
    ] = False,
    known_weights: options.KnownWeights = None,
    white_box: options.WhiteBox = "white-box-quick",
    freeze_client: Annotated[
        bool, typer.Option("--freeze-client", help="Leave the client's first layers at their known weights.")
    ] = False,
    config: Annotated[
        Path | None, typer.Option(help="Settings from this YAML file; options that are given win over it.")
    ] = None,
    fail_if: options.FailIf = None,
    markdown: options.Markdown = None,
    mlflow: options.Mlflow = None,
    out: options.Out = Path("runs/audit"),
    seed: options.Seed = 0,
    device: options.Device = "cpu",
    reduced_precision: options.ReducedPrecision = "auto",
    threads: options.Threads = 1,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Train split, record what the server sees, attack it, and write a page that says what leaked.

    The page is OUT/report.html, its numbers OUT/report.json, the verdict OUT/verdict.json. Run again with the same
    settings, it skips the attacks that were finished. Exit codes: 0, 1 if a condition of --fail-if holds, 2 for input
    that cannot be used or a condition that cannot be judged, 70 for a fault of the program.

    With --transcript nothing is trained: what a server recorded is attacked, with --cuts, --label-heads and --model
    as in the recorded training.
    """
    import torch

    from unsplit.cli.outcome import asked
    from unsplit.cli.recorded import audit_recording, check_options, is_given, one_of
    from unsplit.cli.trained import audit_training, settings
    from unsplit.defenses import parse_defenses
    from unsplit.experiment.traffic.run import RecordedConfig
    from unsplit.losses import LossSpec
    from unsplit.optim import parse_optimizer

    torch.set_num_threads(threads)
    check_options(context, transcript)
    wanted = asked(fail_if, markdown, mlflow, json=json, quiet=quiet)
    model = _one_model(architecture, model)
    if transcript is not None:
        shape = options.integers(input_shape, "--input-shape")
        recorded = RecordedConfig(
            model=model,
            cut=options.one_cut(one_of(context, "cuts", cuts)),
            head=options.integers(one_of(context, "label_heads", label_heads), "--label-heads")[0],
            presets=options.names(presets),
            input_shape=shape if is_given(context, "input_shape") else None,
            input_range=options.range_of(input_range),
            loss=LossSpec(name=loss, label_smoothing=label_smoothing),
            known_weights=known_weights,
            white_box=white_box,
            seed=seed,
            device=device,
            reduced_precision=reduced_precision,
        )
        audit_recording(transcript, recorded, truth=truth, out=out, asked=wanted)
        return
    chosen: dict[str, Any] = {
        "data": data,
        "model": model,
        "cuts": options.cuts(cuts),
        "presets": options.names(presets),
        "states": options.names(states),
        "targets_per_class": targets,
        "epochs": epochs,
        "batch_size": batch_size,
        "optimizer": parse_optimizer(optimizer),
        "label_setups": options.names(label_setups),
        "label_heads": options.integers(label_heads, "--label-heads"),
        "label_steps": label_steps,
        "label_batch_size": label_batch_size,
        "image_size": None if image_size is None else options.integers(image_size, "--image-size"),
        "label": label,
        "input_range": options.range_of(input_range),
        "auxiliary": auxiliary,
        "row_knowledge": options.names(row_knowledge),
        "known_rows": known_rows,
        "loss": _loss(context, loss, label_smoothing),
        "defenses": tuple(one for text in defense or () for one in parse_defenses(text)),
        "aware": aware,
        "known_weights": known_weights,
        "white_box": white_box,
        "freeze_client": freeze_client,
        "u_shape": None if u_shape is None else options.u_shape(u_shape),
        "seed": seed,
        "device": device,
        "reduced_precision": reduced_precision,
    }
    audit_training(settings(context, config, chosen), checkpoint=checkpoint, out=out, asked=wanted)


def _loss(context: typer.Context, loss: str, smoothing: float) -> "LossSpec | None":
    """The loss that was asked for; None for the one that suits the labels."""
    from unsplit.cli.recorded import is_given
    from unsplit.losses import LossSpec

    asked_for = is_given(context, "loss") or is_given(context, "label_smoothing")
    return LossSpec(name=loss, label_smoothing=smoothing) if asked_for else None


def _one_model(argument: str | None, option: str | None) -> str | None:
    """The model, which may be named in two ways.

    Raises:
        InputError: two models are named.
    """
    if argument is not None and option is not None and argument != option:
        raise InputError(f"Two models are named, '{argument}' and --model {option}; leave one of them out.")
    return option if argument is None else argument
