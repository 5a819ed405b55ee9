"""What each defence costs, and what attacks that do and do not know it still get: cells, points, advice, page."""

from unsplit.studies.tradeoff._catalogue import catalogue, with_catalogue
from unsplit.studies.tradeoff._points import ATTACKS, TABLE, Measure, Point, points, tradeoff_rows
from unsplit.studies.tradeoff.advice import AFFORDABLE, LEAKS, Advice, advise, pareto
from unsplit.studies.tradeoff.cell import TradeoffCell, Work
from unsplit.studies.tradeoff.page import tradeoff_markdown, write_tradeoff
from unsplit.studies.tradeoff.plan import BUDGETS, STRENGTHS, USUAL, TradeoffSelection, fitting_selection, plan_tradeoff

__all__ = [
    "AFFORDABLE",
    "ATTACKS",
    "BUDGETS",
    "LEAKS",
    "STRENGTHS",
    "TABLE",
    "USUAL",
    "Advice",
    "Measure",
    "Point",
    "TradeoffCell",
    "TradeoffSelection",
    "Work",
    "advise",
    "catalogue",
    "fitting_selection",
    "pareto",
    "plan_tradeoff",
    "points",
    "tradeoff_markdown",
    "tradeoff_rows",
    "with_catalogue",
    "write_tradeoff",
]
