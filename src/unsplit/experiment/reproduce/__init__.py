"""The paper's tables and figures, rerun: planned as grids of cells, run anywhere, kept in one store."""

from unsplit.experiment.reproduce.budget import BUDGETS
from unsplit.experiment.reproduce.execute import EXECUTORS, ExecutorConfig
from unsplit.experiment.reproduce.plan import TABLES, Selection, plan
from unsplit.experiment.reproduce.run import Progress, Summary, estimate, missing, run
from unsplit.experiment.reproduce.store import Store

__all__ = [
    "BUDGETS",
    "EXECUTORS",
    "TABLES",
    "ExecutorConfig",
    "Progress",
    "Selection",
    "Store",
    "Summary",
    "estimate",
    "missing",
    "plan",
    "run",
]
