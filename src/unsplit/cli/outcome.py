"""What every audit does once its page is written: Markdown, MLflow, the conditions that fail it."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer
from rich.console import RenderableType

from unsplit.cli.console import say, warn
from unsplit.cli.summary import print_verdict
from unsplit.errors import InputError
from unsplit.experiment import AuditConfig
from unsplit.files import writable_folder, write_text
from unsplit.report import as_markdown
from unsplit.report.longer import longer
from unsplit.report.tracking import check_installed, track
from unsplit.results import AuditResult
from unsplit.settings import flags_of, in_options
from unsplit.verdict import Verdict
from unsplit.verdict.thresholds import Threshold, judge, parse_threshold, refuse_unmeasured


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is wanted beside the page.

    Args:
        thresholds: conditions that fail the audit.
        markdown: path of the Markdown file to write, "-" for standard output, or None for none.
        mlflow: name of the MLflow experiment to log to, or None for none.
        json: whether the result is printed as JSON.
        quiet: whether nothing but errors is printed.
    """

    thresholds: tuple[Threshold, ...]
    markdown: str | None
    mlflow: str | None
    json: bool
    quiet: bool

    @property
    def talks(self) -> bool:
        """Whether there is text for people on standard output."""
        return not (self.quiet or self.json or self.markdown == "-")

    def say(self, content: RenderableType) -> None:
        """Print it on standard output, if that is for people."""
        say(content, quiet=not self.talks)


def asked(fail_if: Sequence[str] | None, markdown: str | None, mlflow: str | None, *, json: bool, quiet: bool) -> Asked:
    """The options, checked before any work begins.

    Raises:
        InputError: a condition that cannot be read, no MLflow, or two things for standard output.
        StorageError: the Markdown's folder cannot be written.
    """
    if mlflow is not None:
        check_installed()
    if json and markdown == "-":
        raise InputError("--json and --markdown - both print to standard output; give --markdown a file.")
    thresholds = tuple(parse_threshold(text) for text in fail_if or ())
    if markdown is not None and markdown != "-":
        writable_folder(Path(markdown).resolve().parent)
    return Asked(thresholds=thresholds, markdown=markdown, mlflow=mlflow, json=json, quiet=quiet)


def with_flags(result: AuditResult) -> AuditResult:
    """The result with options where its notes say settings."""
    flags = flags_of(AuditConfig)
    parts = {"training": result.training, "recorded": result.recorded}
    said = {
        name: part.model_copy(update={"notes": tuple(in_options(note, flags) for note in part.notes)})
        for name, part in parts.items()
        if part is not None
    }
    return result.model_copy(update=said)


def with_outcomes(verdict: Verdict, result: AuditResult, asked: Asked) -> Verdict:
    """The verdict with what the conditions came to."""
    return verdict.model_copy(update={"thresholds": judge(asked.thresholds, result, verdict)})


def conclude(
    result: AuditResult, verdict: Verdict, asked: Asked, *, page: Path, settings: object, tables: Callable[[], None]
) -> None:
    """Print and hand on what was found, then exit as the conditions say.

    Raises:
        UnsplitError: a file or a store that cannot be written, or a condition that cannot be judged. The report is
            complete by then.
        typer.Exit: with 1, if a condition holds.
    """
    if asked.markdown is not None:
        write_markdown(asked.markdown, lambda address: as_markdown(result, verdict, page=address), page)
    if asked.json:
        typer.echo(result.model_dump_json(indent=1))
    elif asked.talks:
        tables()
        print_verdict(verdict)
        options = ", ".join(option for option, _ in longer(result))
        more = f" (it says what a longer run adds: {options})" if options else ""
        say(f"The page: {page}{more}")
    for outcome in verdict.thresholds:
        if outcome.holds:
            warn(f"unsplit: {outcome.words}")
    if asked.mlflow is not None:
        track(asked.mlflow, result, verdict, settings, page.parent)
    refuse_unmeasured(verdict.thresholds)
    if any(outcome.holds for outcome in verdict.thresholds):
        raise typer.Exit(1)


def write_markdown(target: str, render: Callable[[str], str], page: Path) -> None:
    """Write Markdown to a file, with a link from there to the page, or print it if the file is "-".

    Raises:
        StorageError: the file cannot be written.
    """
    if target == "-":
        typer.echo(render(page.as_posix()))
        return
    home = Path(target).resolve().parent
    write_text(Path(target), render(Path(os.path.relpath(page.resolve(), home)).as_posix()))
