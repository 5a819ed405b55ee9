"""`unsplit audit`."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from unsplit.cli import options
from unsplit.errors import InputError

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


@options.settings_of_audits
def audit(
    context: typer.Context,
    architecture: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="The same as --model.", show_default=False)
    ] = None,
    *,
    label_smoothing: options.Smoothing = 0.0,
    checkpoint: Annotated[Path | None, typer.Option(help="Attack this network instead of training.")] = None,
    transcript: Annotated[
        Path | None, typer.Option(help="Train nothing: attack the recorded traffic in this folder.")
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(help="Recorded traffic: score it by this file, which a client wrote.")
    ] = None,
    input_shape: Annotated[
        str, typer.Option(help="Recorded traffic: shape of one input, where the truth does not tell.")
    ] = "1,28,28",
    config: Annotated[
        Path | None, typer.Option(help="Settings from this YAML file; options that are given win over it.")
    ] = None,
    fail_if: options.FailIf = None,
    markdown: options.Markdown = None,
    mlflow: options.Mlflow = None,
    out: options.Out = Path("runs/audit"),
    threads: options.Threads = 1,
    quiet: options.Quiet = False,
    json: options.Json = False,
    **_: Any,
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
    from unsplit.cli.recorded import audit_recording, check_options, recorded_settings
    from unsplit.cli.trained import audit_training, settings

    torch.set_num_threads(threads)
    check_options(context, transcript)
    wanted = asked(fail_if, markdown, mlflow, json=json, quiet=quiet)
    given = _given(context, architecture, label_smoothing)
    if transcript is not None:
        shape = options.integers(input_shape, "input_shape") if options.is_given(context, "input_shape") else None
        recorded = recorded_settings(given, shape)
        audit_recording(transcript, recorded, truth=truth, out=out, asked=wanted)
    else:
        audit_training(settings(config, given), checkpoint=checkpoint, out=out, asked=wanted)


def _given(context: typer.Context, model: str | None, smoothing: float) -> dict[str, Any]:
    """The settings that were given on the command line; the model may be named in two ways.

    Raises:
        InputError: a text that a setting cannot have, or two models.
    """
    from unsplit.losses import LossSpec

    given = options.given_settings(context)
    if options.is_given(context, "label_smoothing"):
        given["loss"] = replace(given.get("loss", LossSpec()), label_smoothing=smoothing)
    if model is not None and given.setdefault("model", model) != model:
        raise InputError(f"Two models are named, '{model}' and --model {given['model']}; leave one of them out.")
    return given
