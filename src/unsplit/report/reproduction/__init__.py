"""The pages of a reproduction: tables and figures beside the paper's, rendered from rows."""

from unsplit.report.reproduction.claims import Claim, claims
from unsplit.report.reproduction.front import FRONT_BEGIN, FRONT_END, front_table, with_front_table
from unsplit.report.reproduction.grids import picture_grids
from unsplit.report.reproduction.page import page_html, page_markdown
from unsplit.report.reproduction.write import write_results

__all__ = [
    "FRONT_BEGIN",
    "FRONT_END",
    "Claim",
    "claims",
    "front_table",
    "page_html",
    "page_markdown",
    "picture_grids",
    "with_front_table",
    "write_results",
]
