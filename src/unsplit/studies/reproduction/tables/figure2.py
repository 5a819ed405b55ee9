"""Figure 2: the error while the client trains."""

import itertools
from collections.abc import Iterator, Sequence

from unsplit.studies.grid.cell import Cell
from unsplit.studies.grid.rows import ResultRow
from unsplit.studies.grid.select import distinct, only, select
from unsplit.studies.reproduction.budget import BUDGETS, Budget
from unsplit.studies.reproduction.drawing import COLOURS, axes_of, png
from unsplit.studies.reproduction.reader import StoreReader
from unsplit.studies.reproduction.sections import Pictures, figure_section
from unsplit.studies.reproduction.select import epoch_of, title
from unsplit.studies.reproduction.selection import Selection, depths_of
from unsplit.studies.reproduction.tables._inversion import InversionCell, inversion_cells
from unsplit.studies.reproduction.tables.table import Table


def _cells(selection: Selection, chosen: Budget) -> Iterator[Cell]:
    for dataset in selection.chosen_datasets:
        client = chosen.clients[dataset]
        for seed in selection.chosen_seeds[:1]:
            for name in selection.presets:
                for epoch in range(client.epochs + 1):
                    yield from inversion_cells(selection, chosen, dataset, seed, name, epoch, client)


def _rows(reader: StoreReader) -> Iterator[ResultRow]:
    for dataset, preset in itertools.product(reader.datasets, ("joint", "paper")):
        for epoch in range(BUDGETS["full"].clients[dataset].epochs + 1):
            found = reader.find("figure2", dataset, InversionCell, preset=preset, epoch=epoch)
            if not found and preset != "joint":
                continue
            seed = found.stored[0].config["seed"] if found else None
            first = found.of([result for result in found.stored if result.config["seed"] == seed])
            depths = sorted(result.config["depth"] for result in first.stored)
            mean = first.mean("mse")
            yield found.row(
                "mse",
                [] if mean is None else [mean],
                depth=None,
                state=f"epoch {epoch}",
                preset=preset,
                seeds=1 if found else 0,
                trivial=first.mean("mse_best_trivial"),
                note="" if depths == [*depths_of(dataset)] else "depths " + ", ".join(map(str, depths)),
            )


def _section(rows: Sequence[ResultRow], pictures: Pictures) -> str:
    return figure_section("Figure 2: error while the client trains", rows, "figure2", pictures)


def _plot(rows: Sequence[ResultRow]) -> bytes | None:
    chosen = [row for row in select(rows, table="figure2") if row.value is not None]
    if not chosen:
        return None
    figure, axes = axes_of("training epochs", "mean squared error, mean over depths")
    for number, dataset in enumerate(distinct(chosen, "dataset")):
        for dashes, preset in (("-", "joint"), ("--", "paper")):
            curve = sorted((epoch_of(row), row.value or 0) for row in select(chosen, dataset=dataset, preset=preset))
            if curve:
                label = f"{title(dataset)}, {preset}"
                axes.plot(*zip(*curve, strict=True), dashes, color=COLOURS[number], marker="o", label=label)
        guess = only(chosen, dataset=dataset)
        if guess is not None and guess.trivial is not None:
            label = f"{title(dataset)}, best guess"
            axes.axhline(guess.trivial, color=COLOURS[number], linewidth=0.9, linestyle=":", label=label)
    axes.set_ylim(bottom=0)
    return png(figure, axes)


TABLE = Table(name="figure2", cells=_cells, rows=_rows, section=_section, plot=_plot)
