"""The page of the trade-off: a chart, a table and a recommendation for each data set; and the table of defences."""

from unsplit.report.tradeoff.catalogue import catalogue, with_catalogue
from unsplit.report.tradeoff.write import tradeoff_markdown, write_tradeoff

__all__ = ["catalogue", "tradeoff_markdown", "with_catalogue", "write_tradeoff"]
