"""What each defence costs, and what attacks that do and do not know it still get."""

from unsplit.experiment.tradeoff.cell import TradeoffCell, Work, parse_defenses
from unsplit.experiment.tradeoff.plan import BUDGETS, STRENGTHS, USUAL, TradeoffSelection, plan_tradeoff

__all__ = [
    "BUDGETS",
    "STRENGTHS",
    "USUAL",
    "TradeoffCell",
    "TradeoffSelection",
    "Work",
    "parse_defenses",
    "plan_tradeoff",
]
