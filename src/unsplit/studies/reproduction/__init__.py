"""The paper's tables and figures, rerun: planned as grids of cells, run anywhere, and laid beside what it prints."""

from unsplit.studies.grid import EXECUTORS, CellEnded, ExecutorConfig, Store, Summary, estimate, missing, run
from unsplit.studies.grid.markdown import page_html
from unsplit.studies.reproduction._claims import Claim, claims
from unsplit.studies.reproduction.budget import BUDGETS
from unsplit.studies.reproduction.front import FRONT_BEGIN, FRONT_END, front_table, with_front_table
from unsplit.studies.reproduction.page import page_markdown
from unsplit.studies.reproduction.selection import Selection
from unsplit.studies.reproduction.tables import TABLES, collect, picture_grids, plan, plots
from unsplit.studies.reproduction.write import write_results

Progress = CellEnded
"""The name that it had before, for programs that were written then."""

__all__ = [
    "BUDGETS",
    "EXECUTORS",
    "FRONT_BEGIN",
    "FRONT_END",
    "TABLES",
    "CellEnded",
    "Claim",
    "ExecutorConfig",
    "Progress",
    "Selection",
    "Store",
    "Summary",
    "claims",
    "collect",
    "estimate",
    "front_table",
    "missing",
    "page_html",
    "page_markdown",
    "picture_grids",
    "plan",
    "plots",
    "run",
    "with_front_table",
    "write_results",
]
