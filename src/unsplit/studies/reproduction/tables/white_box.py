"""The white box beside what its own authors print."""

from collections.abc import Sequence

from unsplit.studies.grid.cell import Cell
from unsplit.studies.grid.markdown import markdown_table
from unsplit.studies.grid.rows import ResultRow
from unsplit.studies.grid.select import select
from unsplit.studies.reproduction import paper
from unsplit.studies.reproduction.budget import Budget
from unsplit.studies.reproduction.paper import HE_PSNR
from unsplit.studies.reproduction.reader import StoreReader
from unsplit.studies.reproduction.sections import Pictures
from unsplit.studies.reproduction.select import title
from unsplit.studies.reproduction.selection import Selection
from unsplit.studies.reproduction.tables._he2019 import CollaborativeCell, collaborative_cells
from unsplit.studies.reproduction.tables.table import Table


def white_box_depths(dataset: str) -> tuple[int, ...]:
    """The depths of the table white-box."""
    return (0,) if dataset == "digits" else tuple(HE_PSNR.get(dataset, ()))


def _cells(selection: Selection, chosen: Budget) -> list[Cell]:
    """The white box at the cuts for which its authors print figures."""
    return [
        cell
        for dataset in selection.chosen_datasets
        for seed in selection.chosen_seeds[:1]
        for depth in white_box_depths(dataset)
        for cell in collaborative_cells(selection, chosen, dataset, seed, depth)[:1]
    ]


def _rows(reader: StoreReader) -> list[ResultRow]:
    """Beside what its own authors print."""
    return [
        found.row(
            "psnr",
            found.values("psnr"),
            depth=depth,
            state="after",
            preset="white box",
            paper=paper.HE_PSNR.get(dataset, {}).get(depth),
        )
        for dataset in reader.datasets
        for depth in white_box_depths(dataset)
        for found in [reader.find("white-box", dataset, CollaborativeCell, attack="white box", depth=depth)]
    ]


def _section(rows: Sequence[ResultRow], _: Pictures) -> str:
    lines = []
    for row in select(rows, table="white-box"):
        short = "" if row.value is None or row.paper is None else f"{row.value - row.paper:+.1f}"
        ours = f"{row.value:.1f}" if row.value is not None else f"({row.note})"
        lines.append([title(row.dataset), str(row.depth), "" if row.paper is None else str(row.paper), ours, short])
    return (
        "## The white box beside its own authors' figures\n\nPSNR in dB; He et al. do not say on which pictures.\n\n"
        + markdown_table(["data", "depth", "He et al.", "ours", "difference"], lines)
    )


TABLE = Table(name="white-box", cells=_cells, rows=_rows, section=_section)
