"""Table 4: pictures at depth three, of a trained client."""

from collections.abc import Iterator, Sequence

from torch import Tensor

from unsplit.studies.grid.cell import Cell
from unsplit.studies.grid.markdown import image, markdown_table, number
from unsplit.studies.grid.rows import ResultRow
from unsplit.studies.grid.select import only
from unsplit.studies.reproduction.budget import Budget
from unsplit.studies.reproduction.drawing import Line, grid
from unsplit.studies.reproduction.paper import PAPER_SETS
from unsplit.studies.reproduction.reader import Results, StoreReader
from unsplit.studies.reproduction.sections import Pictures, named
from unsplit.studies.reproduction.select import title
from unsplit.studies.reproduction.selection import Selection
from unsplit.studies.reproduction.tables._he2019 import COLLABORATIVE, CollaborativeCell, on_trained_clients
from unsplit.studies.reproduction.tables._inversion import InversionCell
from unsplit.studies.reproduction.tables.table import Table

PRESETS = ("strong", "joint", "paper")
LABELS = (COLLABORATIVE[0], *(f"UnSplit, {preset}" for preset in PRESETS), *COLLABORATIVE[1:])
"""Whose pictures the lines of a grid show, below the originals."""


def depth_of(dataset: str) -> int:
    """The depth of a data set's pictures."""
    return 2 if dataset == "digits" else 3


def _cells(selection: Selection, chosen: Budget) -> Iterator[Cell]:
    """The attacks of He et al. beside UnSplit's, at depth three (or a budget's deepest)."""
    depth = 3 if chosen.depths is None else max(chosen.depths)
    return on_trained_clients(selection, chosen, [depth], selection.chosen_seeds[:1])


def _section(rows: Sequence[ResultRow], pictures: Pictures) -> str:
    names = named(pictures, "table4-")
    if not names:
        return ""
    shown = [image(f"Originals and reconstructions, {name[7:-4]}", name) for name in names]
    lines = []
    for row in _depth_three(rows):
        ssim = only(
            rows, table=row.table, dataset=row.dataset, depth=3, state="after", preset=row.preset, metric="ssim"
        )
        attack = row.preset if row.table == "figure3a" else f"UnSplit, {row.preset}"
        lines.append([title(row.dataset), attack, number(row), number(ssim) if ssim else "", row.note])
    table = markdown_table(["data", "attack", "MSE at depth 3", "SSIM", "note"], lines) if lines else ""
    return "## Table 4: pictures at depth three, trained client\n\n" + "\n".join([*shown, table])


def _lines(reader: StoreReader, dataset: str) -> list[Line]:
    depth = depth_of(dataset)
    wanted: list[tuple[str, Results]] = [
        (attack, reader.find("table4", dataset, CollaborativeCell, attack=attack, depth=depth))
        for attack in COLLABORATIVE
    ]
    # UnSplit's stand below the white box.
    wanted[1:1] = [
        (
            f"UnSplit, {preset}",
            reader.find("table4", dataset, InversionCell, preset=preset, depth=depth, state="after"),
        )
        for preset in PRESETS
    ]
    return [(label, reader.pictures(results)) for label, results in wanted]


def _depth_three(rows: Sequence[ResultRow]) -> list[ResultRow]:
    chosen = [row for row in rows if row.table in ("figure3a", "table2") and (row.depth, row.state) == (3, "after")]
    chosen = [row for row in chosen if row.metric == "mse" and row.value is not None]
    return sorted(chosen, key=lambda row: (PAPER_SETS.index(row.dataset), row.table))


def _grids(reader: StoreReader, dataset: str, originals: Tensor) -> dict[str, bytes]:
    lines = _lines(reader, dataset)
    if all(pictures is None for _, pictures in lines):
        return {}
    return {f"table4-{dataset}.png": grid([("original", originals), *lines])}


TABLE = Table(name="table4", cells=_cells, section=_section, grids=_grids)
