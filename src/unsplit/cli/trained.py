"""The part of `unsplit audit` that trains."""

import dataclasses
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unsplit.cli.console import err, progress_bars
from unsplit.cli.outcome import Asked, conclude, with_flags, with_outcomes
from unsplit.cli.summary import Following, print_summary
from unsplit.experiment import AuditConfig, load_audit_config
from unsplit.experiment import audit as run_audit
from unsplit.files import writable_folder
from unsplit.report import Pictures, write_report
from unsplit.verdict import verdict as judged
from unsplit.verdict.thresholds import check_measurable


def settings(file: Path | None, given: Mapping[str, Any]) -> AuditConfig:
    """The settings of an audit: those of a file, if there is one, with what is given on the command line in place of
    its own.
    """
    return dataclasses.replace(AuditConfig() if file is None else load_audit_config(file), **given)


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
        # Above the bars of a terminal; into a file or a pipe with the other results.
        tell = Following(bars.say if err.is_terminal else asked.say)
        found = run_audit(config, folder=out, checkpoint=checkpoint, command=command, stages=bars.stage, tell=tell)
    result = with_flags(found.result)
    verdict = with_outcomes(judged(result, targets=len(found.originals)), result, asked)
    pictures = Pictures(
        originals=found.originals,
        reconstructions=found.reconstructions,
        whole=found.whole,
        whole_aware=found.whole_aware,
    )
    page = write_report(out, result, pictures, verdict)
    conclude(result, verdict, asked, page=page, settings=config, tables=lambda: print_summary(result))
