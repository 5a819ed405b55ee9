"""What each defence costs, and what attacks that do and do not know it still get."""

from unsplit.experiment.tradeoff.advice import AFFORDABLE, LEAKS, Advice, advise, pareto
from unsplit.experiment.tradeoff.cell import TradeoffCell, Work
from unsplit.experiment.tradeoff.plan import (
    BUDGETS,
    STRENGTHS,
    USUAL,
    TradeoffSelection,
    fitting_selection,
    plan_tradeoff,
)
from unsplit.experiment.tradeoff.points import ATTACKS, TABLE, Measure, Point, points, tradeoff_rows

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
    "fitting_selection",
    "pareto",
    "plan_tradeoff",
    "points",
    "tradeoff_rows",
]
