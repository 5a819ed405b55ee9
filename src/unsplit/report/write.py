"""Writing a report to a folder, and reading its numbers back."""

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from unsplit.errors import FormatError
from unsplit.experiment.traffic.audit import RecordedAudit
from unsplit.files import explained, replacing, writable_folder, write_text
from unsplit.report.page import pictures_of, render
from unsplit.report.pictures import Pictures
from unsplit.results import SCHEMA_VERSION, AuditResult
from unsplit.verdict import Verdict
from unsplit.verdict import verdict as judged


def write_report(folder: Path, result: AuditResult, pictures: Pictures, verdict: Verdict | None = None) -> Path:
    """Write `report.json`, `verdict.json`, `pictures/*.png` and `report.html`; returns the page's path.

    Everything is made before anything is written, so a failure leaves an older report as it was.

    Args:
        folder: the folder for the report, which is made if it does not exist.
        result: the numbers of the audit.
        pictures: one reconstruction for each row of `result.inversion`, or of `result.recorded.inversion`.
        verdict: the verdict on the result; the result's own if left out.

    Raises:
        StorageError: the folder cannot be written, or the disk is full.
    """
    verdict = verdict or judged(result, targets=pictures.targets)
    page = render(result, pictures, verdict)
    rows = result.inversion if result.recorded is None else result.recorded.inversion
    drawn = {
        **dict(zip((row.pictures for row in rows), pictures.comparisons, strict=pictures.drawable)),
        **dict(zip((row.pictures for row in result.u_shapes), pictures.whole_comparisons, strict=False)),
    }
    writable_folder(folder)
    for name, png in drawn.items():
        with replacing(folder / name) as temporary:
            temporary.write_bytes(png)
    write_text(folder / "report.json", result.model_dump_json(indent=1) + "\n")
    write_text(folder / "verdict.json", verdict.model_dump_json(indent=1) + "\n")
    write_text(folder / "report.html", page)
    return folder / "report.html"


def write_recorded_report(folder: Path, found: RecordedAudit, verdict: Verdict | None = None) -> Path:
    """The same of an audit of recorded traffic: write its report to a folder; returns the page's path.

    Raises:
        StorageError: the folder cannot be written, or the disk is full.
    """
    return write_report(folder, found.result, pictures_of(found), verdict)


def read_report(path: Path) -> AuditResult:
    """The numbers of a `report.json`.

    Raises:
        FormatError: damaged, not a report, or written by a newer version.
        StorageError: it cannot be read.
    """
    with explained(path):
        text = path.read_text(encoding="utf-8")
    try:
        content = json.loads(text)
        version = content["schema_version"]
        if version > SCHEMA_VERSION:
            raise FormatError(
                f"{path} is of version {version}, and this program reads up to {SCHEMA_VERSION}; update unsplit."
            )
        return AuditResult.model_validate_json(text)
    except (ValueError, TypeError, KeyError, ValidationError) as error:
        raise FormatError(f"{path} is damaged or not a report of unsplit; run the audit again.") from error


def schema() -> dict[str, Any]:
    """The JSON schema of `report.json`."""
    return AuditResult.model_json_schema()
