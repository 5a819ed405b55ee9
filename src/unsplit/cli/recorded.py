"""The part of `unsplit audit` that reads recorded traffic."""

import shlex
import sys
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from unsplit.cli import options
from unsplit.cli.console import out as console
from unsplit.cli.console import progress_bars, say
from unsplit.cli.outcome import Asked, conclude, with_flags, with_outcomes
from unsplit.errors import InputError
from unsplit.experiment import AuditConfig
from unsplit.experiment.traffic.audit import RecordedConfig, audit_recorded
from unsplit.files import writable_folder
from unsplit.report import write_recorded_report
from unsplit.report.numbers import decimals, error, percent
from unsplit.results import AuditResult, RecordedRow
from unsplit.settings import flag_of, option_name, with_options
from unsplit.verdict import verdict as judged

_OTHERWISE = {"cuts": "cut", "label_heads": "head"}
"""Settings of an audit that trains which take several values, and one of another name where a recording is read."""
_KNOWN = {each.name for each in fields(RecordedConfig)}
_TRAINS = (
    *(option_name(each) for each in with_options(AuditConfig) if _OTHERWISE.get(each.name, each.name) not in _KNOWN),
    "checkpoint",
    "config",
)
_READS = ("truth", "input_shape")


def check_options(context: typer.Context, transcript: Path | None) -> None:
    """Refuse options that belong to the other kind of audit.

    Raises:
        InputError: one was given.
    """
    foreign = _READS if transcript is None else _TRAINS
    given = [name for name in foreign if options.is_given(context, name)]
    if given and transcript is None:
        raise InputError(
            f"{flag_of(given[0])} is for recorded traffic only; name the recording's folder with --transcript, or "
            f"leave {flag_of(given[0])} out."
        )
    if given:
        raise InputError(
            f"{flag_of(given[0])} is for an audit that trains, and --transcript attacks a recorded training; leave one "
            "of them out."
        )


def recorded_settings(given: Mapping[str, Any], input_shape: tuple[int, ...] | None) -> RecordedConfig:
    """The settings of an audit of recorded traffic, from those that were given on the command line.

    Raises:
        InputError: several values where a recording has one, or a setting that cannot be used.
    """
    known = {}
    for name, value in given.items():
        if name in _OTHERWISE and len(value) != 1:
            text = ",".join(map(str, value)) or "none"
            raise InputError(
                f"{flag_of(name)} takes one value with --transcript, that of the recorded training; not '{text}'."
            )
        known[_OTHERWISE.get(name, name)] = value[0] if name in _OTHERWISE else value
    return RecordedConfig(**known, input_shape=input_shape)


def audit_recording(transcript: Path, config: RecordedConfig, *, truth: Path | None, out: Path, asked: Asked) -> None:
    """Attack recorded traffic, write the page, and print what was found.

    Raises:
        UnsplitError: a recording or settings that cannot be used, or a condition without a truth to judge it by.
        typer.Exit: with 1, if a condition holds.
    """
    if asked.thresholds and truth is None:
        raise InputError(
            f"'{asked.thresholds[0]}' cannot be judged without the truth; name a client's file with --truth."
        )
    if out.resolve().is_relative_to(transcript.resolve()):
        raise InputError(f"{out} is within the recording, which is only read; name another place with --out.")
    writable_folder(out)
    command = shlex.join(["unsplit", *sys.argv[1:]])
    with progress_bars(quiet=asked.quiet) as bars:
        found = audit_recorded(transcript, config, truth=truth, command=command, stages=bars.stage)
    result = with_flags(found.result)
    verdict = with_outcomes(judged(result), result, asked)
    page = write_recorded_report(out, replace(found, result=result), verdict)
    conclude(result, verdict, asked, page=page, settings=config, tables=lambda: _print(result))


def _print(result: AuditResult) -> None:
    recorded = result.recorded
    if recorded is None:
        return
    if recorded.inversion:
        console.print(_inversions(recorded))
    if recorded.labels:
        console.print(_labels(recorded))
    if not recorded.truth:
        say("Nothing is scored, since the truth is not known; a client can write it to a file, which --truth names.")


def _inversions(recorded: RecordedRow) -> Table:
    first, scored = recorded.inversion[0], ("MSE", "best guess", "SSIM") if recorded.truth else ()
    table = Table("preset", "steps", "residual", "sign", *scored, title=f"{first.samples} inputs of step {first.step}")
    for row in recorded.inversion:
        told = [row.preset, str(row.steps), error(row.residual), row.sign]
        if row.scores is not None:
            told += [error(row.scores.mse), error(row.scores.mse_best_trivial), decimals(row.scores.ssim)]
        table.add_row(*told)
    return table


def _labels(recorded: RecordedRow) -> Table:
    scored = ("known", "right", "up to names", "chance") if recorded.truth else ()
    table = Table("attack", "samples", "undecided", *scored, title="Labels")
    for row in recorded.labels:
        name = row.attack.removeprefix("infer_by_").removeprefix("infer_from_").replace("_", "-")
        told = (name, str(row.samples), str(row.undecided))
        if not row.scores:
            table.add_row(*told)
        for score in row.scores:
            table.add_row(
                *told,
                str(score.known_samples),
                "names unknown" if score.accuracy is None else percent(score.accuracy),
                percent(score.accuracy_up_to_names),
                percent(score.chance),
            )
    return table
