"""`unsplit audit`."""

import dataclasses
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.table import Table

from unsplit.attacks.unsplit import PRESETS
from unsplit.cli import options
from unsplit.cli.console import out as console
from unsplit.cli.console import progress_bars
from unsplit.cli.outcome import Asked, FailIf, Markdown, Mlflow, asked, conclude, with_outcomes
from unsplit.cli.recorded import audit_recording, check_options, is_given, one_of
from unsplit.errors import InputError
from unsplit.experiment import AuditConfig, AuditResult, load_audit_config
from unsplit.experiment import audit as run_audit
from unsplit.experiment.recorded import RecordedConfig
from unsplit.experiment.thresholds import check_measurable
from unsplit.experiment.verdict import verdict as judged
from unsplit.files import writable_folder
from unsplit.losses import LossSpec
from unsplit.optim import parse_optimizer
from unsplit.report import Pictures, write_report
from unsplit.report.numbers import decimals, error

EXAMPLES = """**Examples**

`unsplit audit --out runs/first` : the embedded digits, depths 1 to 3, labels

`unsplit audit --data fashion-mnist --cuts 1,conv2 --presets joint,paper --out runs/fashion`

`unsplit audit --u-shape 1:1 --cuts none --label-setups none` : inputs, labels and both of the client's parts at once

`unsplit audit my_module:build_model --data photos/ --cuts layer2,layer3 --label-setups none` : a model of your own

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
    label_steps: Annotated[int, typer.Option(help="Single-sample steps to observe.")] = 1000,
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
    image_size: Annotated[
        str | None, typer.Option(help="Height and width to bring a folder's pictures to, e.g. 64,64.")
    ] = None,
    auxiliary: Annotated[
        str | None,
        typer.Option(help="Also attack with data of the server's own: by name or path, or 'test' for the test part."),
    ] = None,
    label: Annotated[str | None, typer.Option(help="A table's column of labels; the last one if left out.")] = None,
    loss: options.Loss = "cross_entropy",
    label_smoothing: options.Smoothing = 0.0,
    config: Annotated[
        Path | None, typer.Option(help="Settings from this YAML file; options that are given win over it.")
    ] = None,
    fail_if: FailIf = None,
    markdown: Markdown = None,
    mlflow: Mlflow = None,
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
    that cannot be used or a condition that cannot be judged.

    With --transcript nothing is trained: what a server recorded is attacked, with --cuts, --label-heads and --model
    as in the recorded training.
    """
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
            loss=LossSpec(name=loss, label_smoothing=label_smoothing),
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
        "image_size": None if image_size is None else options.integers(image_size, "--image-size"),
        "label": label,
        "auxiliary": auxiliary,
        "loss": _loss(context, loss, label_smoothing),
        "u_shape": None if u_shape is None else options.u_shape(u_shape),
        "seed": seed,
        "device": device,
        "reduced_precision": reduced_precision,
    }
    _run(_settings(context, config, chosen), checkpoint, out, wanted)


def _run(config: AuditConfig, checkpoint: Path | None, out: Path, wanted: Asked) -> None:
    """The audit with these settings, from the first check to the exit code."""
    check_measurable(wanted.thresholds, config)
    writable_folder(out)
    command = shlex.join(["unsplit", *sys.argv[1:]])
    with progress_bars(quiet=wanted.quiet) as bars:
        found = run_audit(config, folder=out, checkpoint=checkpoint, command=command, stages=bars.stage)
    result = found.result
    verdict = with_outcomes(judged(result, targets=len(found.originals)), result, wanted)
    pictures = Pictures(originals=found.originals, reconstructions=found.reconstructions, whole=found.whole)
    page = write_report(out, result, pictures, verdict)
    conclude(result, verdict, wanted, page=page, settings=config, tables=lambda: _print(result))


def _loss(context: typer.Context, loss: str, smoothing: float) -> LossSpec | None:
    """The loss that was asked for; None for the one that suits the labels."""
    asked_for = is_given(context, "loss") or is_given(context, "label_smoothing")
    return LossSpec(name=loss, label_smoothing=smoothing) if asked_for else None


_FIELDS = {"targets": "targets_per_class", "label_smoothing": "loss"}
"""Options whose setting has another name."""


def _settings(context: typer.Context, file: Path | None, chosen: dict[str, Any]) -> AuditConfig:
    """The settings of the command line, or of a file with what is given on the command line in place of its own."""
    if file is None:
        return AuditConfig(**chosen)
    given = {_FIELDS.get(name, name) for name in context.params if is_given(context, name)}
    if chosen["model"] is not None:
        given.add("model")
    return dataclasses.replace(load_audit_config(file), **{name: chosen[name] for name in given & set(chosen)})


def _one_model(argument: str | None, option: str | None) -> str | None:
    """The model, which may be named in two ways.

    Raises:
        InputError: two models are named.
    """
    if argument is not None and option is not None and argument != option:
        raise InputError(f"Two models are named, '{argument}' and --model {option}; leave one of them out.")
    return option if argument is None else argument


def _print(result: AuditResult) -> None:
    if result.inversion:
        table = Table("depth", "state", "preset", "MSE", "best guess", "SSIM", "clone", "own", title="Inputs and model")
        for row in result.inversion:
            table.add_row(
                f"{row.depth} ({row.cut})",
                row.state,
                row.preset,
                error(row.mse),
                f"{row.mse_best_trivial:.4f}",
                decimals(row.ssim),
                f"{row.clone_accuracy:.1%}",
                f"{row.reference_accuracy:.1%}",
            )
        console.print(table)
    if result.whole is not None:
        whole = result.whole
        line = (
            f"Everything at once, U-shape: error {error(whole.mse)} (best guess {error(whole.mse_best_trivial)}), "
            f"labels {whole.label_accuracy:.1%}, network without the client {whole.whole_accuracy:.1%} "
            f"(client's own {whole.reference_accuracy:.1%})."
        )
        console.print(line, soft_wrap=True, markup=False)
    if result.labels:
        table = Table(
            "setup", "head", "seen", "optimiser", "clone", "known", "right", "up to names", "chance", title="Labels"
        )
        for label in result.labels:
            table.add_row(
                label.setup,
                str(label.depth),
                label.observed,
                label.optimizer.partition(",")[0],
                label.clone_head,
                str(label.known_samples),
                "names unknown" if label.accuracy is None else f"{label.accuracy:.1%}",
                f"{label.accuracy_up_to_names:.1%}",
                f"{label.chance:.1%}",
            )
        console.print(table)
