"""The engine of every study: cells, where they run, the store that keeps them, and rows. It knows no attack."""

from unsplit.studies.grid._run import CellEnded, Summary, estimate, missing, run
from unsplit.studies.grid.cell import REVISION, Cell, Tensors
from unsplit.studies.grid.execute import EXECUTORS, ExecutorConfig
from unsplit.studies.grid.found import Found
from unsplit.studies.grid.merging import Merged, merge
from unsplit.studies.grid.store import Store, Stored

__all__ = [
    "EXECUTORS",
    "REVISION",
    "Cell",
    "CellEnded",
    "ExecutorConfig",
    "Found",
    "Merged",
    "Store",
    "Stored",
    "Summary",
    "Tensors",
    "estimate",
    "merge",
    "missing",
    "run",
]
