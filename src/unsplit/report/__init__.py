"""The report of an audit: a page, its numbers as JSON, its pictures as PNG."""

from unsplit.report.findings import Finding, findings
from unsplit.report.page import render
from unsplit.report.pictures import Pictures, comparison
from unsplit.report.recorded import render_recorded, write_recorded_report
from unsplit.report.write import read_report, schema, write_report

__all__ = [
    "Finding",
    "Pictures",
    "comparison",
    "findings",
    "read_report",
    "render",
    "render_recorded",
    "schema",
    "write_recorded_report",
    "write_report",
]
