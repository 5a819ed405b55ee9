"""Table 6: pictures by depth."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from torch import Tensor

from unsplit.studies.grid.cell import Cell
from unsplit.studies.grid.markdown import image
from unsplit.studies.grid.rows import ResultRow
from unsplit.studies.reproduction.budget import Budget
from unsplit.studies.reproduction.drawing import Line, grid
from unsplit.studies.reproduction.reader import StoreReader
from unsplit.studies.reproduction.sections import Pictures, named
from unsplit.studies.reproduction.selection import Selection, depths_of
from unsplit.studies.reproduction.tables._inversion import InversionCell, find_inversion
from unsplit.studies.reproduction.tables._seeds import SEEDS
from unsplit.studies.reproduction.tables.table import Table
from unsplit.studies.reproduction.tables.table2 import FIRST, table2_cells

LATER = "-seed"
"""What the names of grids of later seeds have; `browse.html` shows them, and this section does not."""


def _cells(selection: Selection, chosen: Budget) -> Iterator[Cell]:
    """The pictures of Table 2, of one seed."""
    return table2_cells(replace(selection, seeds=selection.chosen_seeds[:1]), chosen)


def _section(_: Sequence[ResultRow], pictures: Pictures) -> str:
    names = [name for name in named(pictures, "table6-") if LATER not in name]
    if not names:
        return ""
    shown = [f"`{name[7:-4]}`:\n\n" + image(f"Reconstructions by depth, {name[7:-4]}", name) for name in names]
    return (
        "## Table 6: pictures by depth\n\nLeft: before training. Right: after it. Empty rows were not run.\n\n"
        + "\n".join(shown)
    )


def _lines(reader: StoreReader, dataset: str, preset: str, state: str) -> list[Line]:
    found = {
        depth: reader.find("table6", dataset, InversionCell, preset=preset, depth=depth, state=state)
        for depth in depths_of(dataset)
    }
    return [(f"depth {depth}", reader.pictures(results)) for depth, results in found.items()]


def _later(reader: StoreReader, dataset: str, seed: int, state: str) -> list[Line]:
    """The attack that is listed seed by seed, with a seed that is not the first."""
    lines: list[Line] = []
    for depth in depths_of(dataset):
        found = find_inversion(reader, dataset, SEEDS, depth, state).each_seed().get(seed)
        lines.append((f"depth {depth}", None if found is None else reader.pictures(found)))
    return lines


def _grids(reader: StoreReader, dataset: str, originals: Tensor) -> dict[str, bytes]:
    states = ("before", "after")
    sides = {
        f"table6-{dataset}-{preset}.png": [_lines(reader, dataset, preset, state) for state in states]
        for preset in FIRST
    }
    for seed in reader.seeds[1:]:
        name = f"table6-{dataset}-{SEEDS}{LATER}{seed}.png"
        sides[name] = [_later(reader, dataset, seed, state) for state in states]
    return {
        name: grid(*([("original", originals), *side] for side in both))
        for name, both in sides.items()
        if any(pictures is not None for side in both for _, pictures in side)
    }


TABLE = Table(name="table6", cells=_cells, section=_section, grids=_grids)
