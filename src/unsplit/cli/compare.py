"""`unsplit compare`."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from unsplit.cli import options
from unsplit.cli.console import say, warn
from unsplit.errors import InputError
from unsplit.experiment.auditing.config import AuditConfig
from unsplit.settings import flags_of, in_options

EXAMPLES = """**Examples**

`unsplit audit --out runs/plain` and `unsplit audit --defense gaussian:0.5 --aware --out runs/defended`, then

`unsplit compare runs/plain runs/defended` : what a defence changed, and what it costs

`unsplit compare runs/main runs/branch --fail-if-worse --markdown comment.md` : in a test of a build

`unsplit compare before/report.json after/report.json --markdown - --quiet`
"""


def compare(
    before: Annotated[Path, typer.Argument(metavar="BEFORE", help="Folder of an audit, or its report.json.")],
    after: Annotated[Path, typer.Argument(metavar="AFTER", help="Folder of another audit, or its report.json.")],
    fail_if_worse: Annotated[bool, typer.Option("--fail-if-worse", help="Exit with 1 if more leaks after.")] = False,
    tolerance: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Changes of a score up to this do not count.")
    ] = 0.01,
    markdown: Annotated[str | None, typer.Option("--markdown", help="Also write Markdown here; - prints it.")] = None,
    out: options.Out = Path("runs/compare"),
    quiet: options.Quiet = False,
) -> None:
    """Say what changed between two audits: for each asset what leaks before and after, and what the change costs.

    The page is OUT/compare.html, the same as Markdown OUT/compare.md. Where both scores have intervals, overlapping
    ones do not count as a change. Exit codes: 0, 1 if --fail-if-worse is given and more leaks, 2 for input that cannot
    be used, which with --fail-if-worse includes audits that have no score in common.
    """
    from unsplit.cli.outcome import write_markdown
    from unsplit.files import writable_folder
    from unsplit.report import compare as compare_audits
    from unsplit.report import comparison_markdown, headline, read_side, shown, write_comparison
    from unsplit.report.box import TITLES
    from unsplit.report.compared_page import defenses

    comparison = compare_audits(read_side(before), read_side(after), tolerance=tolerance)
    warnings = tuple(in_options(warning, flags_of(AuditConfig)) for warning in comparison.warnings)
    comparison = replace(comparison, warnings=warnings)
    writable_folder(out)
    page = write_comparison(out, comparison)
    if markdown is not None:
        write_markdown(markdown, lambda address: comparison_markdown(comparison, page=address), page)
    if not quiet and markdown != "-":
        say(f"{headline(comparison)}.")
        if comparison.defenses is not None:
            say(f"Defences: {defenses(comparison)}")
        for asset in comparison.assets:
            say(f"{TITLES[asset.before.asset]}: {shown(asset)}")
        for warning in comparison.warnings:
            say(f"Warning: {warning}")
        say(f"The page: {page}")
    if not fail_if_worse:
        return
    if all(asset.change == "not comparable" for asset in comparison.assets):
        raise InputError(f"{before} and {after} have no score in common; compare audits that measure the same.")
    if comparison.worse:
        warn(f"unsplit: {headline(comparison)}.")
        raise typer.Exit(1)
