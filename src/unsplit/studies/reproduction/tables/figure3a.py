"""Figure 3a: UnSplit and the attacks of He et al. on trained clients."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from unsplit.report.numbers import error
from unsplit.studies.grid.cell import Cell
from unsplit.studies.grid.markdown import markdown_table, number
from unsplit.studies.grid.rows import ResultRow
from unsplit.studies.grid.select import distinct, mean_value, select
from unsplit.studies.reproduction.budget import Budget
from unsplit.studies.reproduction.drawing import COLOURS, axes_of, png
from unsplit.studies.reproduction.reader import StoreReader
from unsplit.studies.reproduction.sections import Pictures, figure_section, notes
from unsplit.studies.reproduction.select import ATTACKS_OF_3A, compared, title
from unsplit.studies.reproduction.selection import Selection, depths_of
from unsplit.studies.reproduction.tables._he2019 import COLLABORATIVE, CollaborativeCell, on_trained_clients
from unsplit.studies.reproduction.tables._inversion import inversion_rows
from unsplit.studies.reproduction.tables.table import Table


def _cells(selection: Selection, chosen: Budget) -> Iterator[Cell]:
    return on_trained_clients(selection, chosen, selection.depths or chosen.depths, selection.chosen_seeds)


def _rows(reader: StoreReader) -> Iterator[ResultRow]:
    """Every depth of every attack; page and figure take the means."""
    for dataset, attack in itertools.product(reader.datasets, COLLABORATIVE):
        for depth in depths_of(dataset):
            options = f" --depths {depth}"
            found = reader.find("figure3a", dataset, CollaborativeCell, options=options, attack=attack, depth=depth)
            of_attack = inversion_rows(found, depth, "after", attack, printed=False)
            # The white box clones nothing: it has the client's own weights.
            yield from [row for row in of_attack if (attack, row.metric) != ("white box", "clone_accuracy")]


def _section(rows: Sequence[ResultRow], pictures: Pictures) -> str:
    chosen = select(rows, table="figure3a")
    lines = []
    for dataset in distinct(chosen, "dataset"):
        for attack in distinct(select(chosen, dataset=dataset), "preset"):
            cells = select(chosen, dataset=dataset, preset=attack)
            errors = select(cells, metric="mse")
            values = [number(row) for row in errors]
            mean = mean_value(errors)
            line = [title(dataset), attack, *values, *[""] * (8 - len(values))]
            lines.append([*line, "" if mean is None else error(mean), notes(cells)])
    depths = [f"depth {depth}" for depth in range(1, 9)]
    table = markdown_table(["data", "attack", *depths, "mean", "note"], lines)
    return figure_section("Figure 3a: UnSplit and the attacks of He et al.", rows, "figure3a", pictures, table)


def _plot(rows: Sequence[ResultRow]) -> bytes | None:
    """Means over depths, with the upper and lower quartiles, as the paper draws them."""
    chosen = {dataset: compared(rows, dataset) for dataset in distinct(rows, "dataset")}
    chosen = {dataset: found for dataset, found in chosen.items() if any(found.values())}
    if not any(row.table == "figure3a" for found in chosen.values() for errors in found.values() for row in errors):
        return None
    figure, axes = axes_of("", "mean squared error, mean over depths")
    for which, (table, attack) in enumerate(ATTACKS_OF_3A):
        label: str | None = attack if table == "figure3a" else f"UnSplit, {attack}"
        for place, found in enumerate(chosen.values()):
            values = sorted(row.value or 0 for row in found.get(attack, []))
            if values:
                at = place + (which - 2) * 0.16
                axes.bar(at, sum(values) / len(values), 0.14, color=COLOURS[which], label=label)
                axes.plot([at, at], np.quantile(values, [0.25, 0.75]), color="#1d2126", linewidth=1)
                label = None
    for place, found in enumerate(chosen.values()):
        guess = next(row.trivial for errors in found.values() for row in errors)
        axes.plot(
            [place - 0.45, place + 0.45], [guess or 0] * 2, ":", color="#1d2126", label=None if place else "best guess"
        )
    depths = [sorted({row.depth or 0 for errors in found.values() for row in errors}) for found in chosen.values()]
    names = [f"{title(dataset)}\ndepths {_span(shared)}" for dataset, shared in zip(chosen, depths, strict=True)]
    axes.set_xticks(range(len(chosen)), names)
    return png(figure, axes)


def _span(depths: Sequence[int]) -> str:
    """Depths in words: "1 to 6", or a list where some are missing."""
    whole = len(depths) > 1 and list(depths) == list(range(depths[0], depths[-1] + 1))
    return f"{depths[0]} to {depths[-1]}" if whole else ", ".join(map(str, depths))


TABLE = Table(name="figure3a", cells=_cells, rows=_rows, section=_section, plot=_plot)
