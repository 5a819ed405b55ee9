"""The report of an audit: a page, its numbers as JSON, its pictures as PNG, its verdict; and two audits compared."""

from unsplit.report._findings import Finding, findings
from unsplit.report.compared import Comparison, Side, compare, read_side
from unsplit.report.compared_page import comparison_markdown, headline, render_comparison, shown, write_comparison
from unsplit.report.markdown import as_markdown
from unsplit.report.page import render, render_recorded
from unsplit.report.pictures import Pictures, comparison
from unsplit.report.write import read_report, schema, write_recorded_report, write_report

__all__ = [
    "Comparison",
    "Finding",
    "Pictures",
    "Side",
    "as_markdown",
    "compare",
    "comparison",
    "comparison_markdown",
    "findings",
    "headline",
    "read_report",
    "read_side",
    "render",
    "render_comparison",
    "render_recorded",
    "schema",
    "shown",
    "write_comparison",
    "write_recorded_report",
    "write_report",
]
