"""The tables and figures of the reproduction, one module each: its cells, its rows, its section of the page."""

from collections.abc import Sequence

from unsplit.errors import DataError
from unsplit.studies.grid.cell import Cell
from unsplit.studies.grid.rows import ResultRow
from unsplit.studies.grid.store import Store
from unsplit.studies.reproduction.budget import budget
from unsplit.studies.reproduction.reader import StoreReader
from unsplit.studies.reproduction.selection import Selection
from unsplit.studies.reproduction.tables import (
    figure2,
    figure3a,
    figure3b,
    labels,
    table2,
    table3,
    table4,
    table5,
    table6,
    white_box,
)
from unsplit.studies.reproduction.tables.table import Table
from unsplit.studies.targets import evaluation

_MODULES = (table2, table3, table4, table5, table6, figure2, figure3a, figure3b, white_box, labels)

TABLES: dict[str, Table] = {module.TABLE.name: module.TABLE for module in _MODULES}
"""What can be reproduced, in the order of the page."""


def plan(selection: Selection) -> list[Cell]:
    """The cells of these tables, each once, cheap data sets first."""
    chosen = budget(selection.budget)
    cells = [cell for name in selection.tables for cell in TABLES[name].cells(selection, chosen)]
    return list({cell.key: cell for cell in cells}.values())


def collect(store: Store) -> list[ResultRow]:
    """All rows of a store, table by table; what was not run has a row that says so."""
    reader = StoreReader(store, plan)
    return [row for table in TABLES.values() if table.rows is not None for row in table.rows(reader)]


def plots(rows: Sequence[ResultRow]) -> dict[str, bytes]:
    """PNGs by file name, of the figures that have numbers."""
    drawn = {f"{name}.png": table.plot(rows) for name, table in TABLES.items() if table.plot is not None}
    return {name: picture for name, picture in drawn.items() if picture is not None}


def picture_grids(store: Store) -> dict[str, bytes]:
    """PNGs by file name: for Table 4 "table4-DATASET.png", for Table 6 "table6-DATASET-PRESET.png".

    A data set that is not on this machine, whose originals cannot be shown, is left out.
    """
    reader, drawn = StoreReader(store, plan), dict[str, bytes]()
    for dataset in reader.datasets:
        try:
            originals = evaluation(dataset).targets.images
        except DataError:
            continue
        for table in TABLES.values():
            if table.grids is not None:
                drawn |= table.grids(reader, dataset, originals)
    return drawn
