"""The engine of every study: cells, where they run, the store that keeps them, and rows. It knows no attack."""

from unsplit.studies.grid._run import CellEnded, Summary, estimate, missing, run
from unsplit.studies.grid.cell import REVISION, Cell, Tensors
from unsplit.studies.grid.execute import EXECUTORS, ExecutorConfig
from unsplit.studies.grid.store import Store, Stored

__all__ = [
    "EXECUTORS",
    "REVISION",
    "Cell",
    "CellEnded",
    "ExecutorConfig",
    "Store",
    "Stored",
    "Summary",
    "Tensors",
    "estimate",
    "missing",
    "run",
]
