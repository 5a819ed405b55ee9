"""What a table or figure of the reproduction is made of."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from unsplit.studies.grid.cell import Cell
from unsplit.studies.grid.rows import ResultRow
from unsplit.studies.reproduction.budget import Budget
from unsplit.studies.reproduction.reader import StoreReader
from unsplit.studies.reproduction.sections import Pictures
from unsplit.studies.reproduction.selection import Selection


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table or figure: each is a module of this room that makes one.

    Args:
        name: the table's name in the command, which is also in `choices.TABLES`.
        cells: gives the cells that have to be run, for a selection within a budget.
        section: gives its part of the page from the rows and the names of the pictures that there are; may be empty.
        rows: gives what was measured, from the results in a store; None for a table that shows other tables' rows.
        plot: draws a PNG from the rows, kept as `pictures/NAME.png`; gives None where nothing was measured.
        grids: PNGs by file name of one data set's reconstructions below its originals, shape [n, channels, h, w].
    """

    name: str
    cells: Callable[[Selection, Budget], Iterable[Cell]]
    section: Callable[[Sequence[ResultRow], Pictures], str]
    rows: Callable[[StoreReader], Iterable[ResultRow]] | None = None
    plot: Callable[[Sequence[ResultRow]], bytes | None] | None = None
    grids: Callable[[StoreReader, str, Tensor], dict[str, bytes]] | None = None
