"""The part of `unsplit audit` that trains."""

import dataclasses
import shlex
import sys
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from unsplit.cli.console import out as console
from unsplit.cli.console import progress_bars
from unsplit.cli.outcome import Asked, conclude, with_outcomes
from unsplit.cli.recorded import is_given
from unsplit.experiment import AuditConfig, AuditResult, load_audit_config
from unsplit.experiment import audit as run_audit
from unsplit.experiment.thresholds import check_measurable
from unsplit.experiment.verdict import verdict as judged
from unsplit.files import writable_folder
from unsplit.report import Pictures, write_report
from unsplit.report.numbers import decimals, error

_FIELDS = {"targets": "targets_per_class", "label_smoothing": "loss"}
"""Options whose setting has another name."""


def settings(context: typer.Context, file: Path | None, chosen: dict[str, Any]) -> AuditConfig:
    """The settings of the command line, or of a file with what is given on the command line in place of its own."""
    if file is None:
        return AuditConfig(**chosen)
    given = {_FIELDS.get(name, name) for name in context.params if is_given(context, name)}
    if chosen["model"] is not None:
        given.add("model")
    return dataclasses.replace(load_audit_config(file), **{name: chosen[name] for name in given & set(chosen)})


def audit_training(config: AuditConfig, *, checkpoint: Path | None, out: Path, asked: Asked) -> None:
    """Train and attack with these settings, write the page, and print what was found.

    Raises:
        UnsplitError: settings that cannot be used, or a condition that they do not measure.
        typer.Exit: with 1, if a condition holds.
    """
    check_measurable(asked.thresholds, config)
    writable_folder(out)
    command = shlex.join(["unsplit", *sys.argv[1:]])
    with progress_bars(quiet=asked.quiet) as bars:
        found = run_audit(config, folder=out, checkpoint=checkpoint, command=command, stages=bars.stage)
    result = found.result
    verdict = with_outcomes(judged(result, targets=len(found.originals)), result, asked)
    pictures = Pictures(originals=found.originals, reconstructions=found.reconstructions, whole=found.whole)
    page = write_report(out, result, pictures, verdict)
    conclude(result, verdict, asked, page=page, settings=config, tables=lambda: _print(result))


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
