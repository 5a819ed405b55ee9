"""Table 2: inversion and stealing, before and after training; and the strongest attack seed by seed."""

import itertools
from collections.abc import Iterator, Sequence

from unsplit.report.numbers import error
from unsplit.studies.grid.cell import Cell
from unsplit.studies.grid.markdown import markdown_table, number
from unsplit.studies.grid.rows import ResultRow
from unsplit.studies.grid.select import distinct, only, select
from unsplit.studies.reproduction.budget import Budget
from unsplit.studies.reproduction.reader import StoreReader
from unsplit.studies.reproduction.sections import Pictures, claims_of, notes, three
from unsplit.studies.reproduction.select import title
from unsplit.studies.reproduction.selection import Selection, depths_of
from unsplit.studies.reproduction.tables._inversion import find_inversion, inversion_cells, inversion_rows
from unsplit.studies.reproduction.tables._seeds import reliability_plot, seed_rows, seeds_section
from unsplit.studies.reproduction.tables.table import Table

FIRST = ("strong", "joint", "paper", "released")
"""The presets that come first, in the order of the page; others that were run stand behind them."""


def table2_cells(selection: Selection, chosen: Budget) -> Iterator[Cell]:
    """Every preset on every client before and after its training."""
    for dataset in selection.chosen_datasets:
        client = chosen.clients[dataset]
        for seed in selection.chosen_seeds:
            for name in selection.presets:
                for state in selection.states:
                    epoch = client.epochs if state == "after" else 0
                    yield from inversion_cells(selection, chosen, dataset, seed, name, epoch, client)


def _rows(reader: StoreReader) -> Iterator[ResultRow]:
    presets = dict.fromkeys((*FIRST, *reader.presets))
    for dataset, preset, state in itertools.product(reader.datasets, presets, ("before", "after")):
        for depth in depths_of(dataset):
            found = find_inversion(reader, dataset, preset, depth, state)
            # That another preset was not run is not worth a row.
            if found or preset in ("joint", "paper"):
                yield from inversion_rows(found, depth, state, preset)
            each = reader.scale_free_each(found)
            if each:
                yield found.row("mse_scale_free_each", each, depth=depth, state=state, preset=preset)
    yield from seed_rows(reader)


def _section(rows: Sequence[ResultRow], pictures: Pictures) -> str:
    return "\n".join(part for part in (_by_depth(rows), seeds_section(rows, pictures)) if part)


def _by_depth(rows: Sequence[ResultRow]) -> str:
    parts = ["## Table 2: inversion and stealing\n"]
    chosen = select(rows, table="table2")
    for dataset in distinct(chosen, "dataset"):
        for preset in distinct(select(chosen, dataset=dataset), "preset"):
            cells = select(chosen, dataset=dataset, preset=preset)
            guess = next((row.trivial for row in cells if row.metric == "mse" and row.trivial is not None), None)
            parts.append(f"### {title(dataset)}, preset `{preset}`\n")
            if guess is not None:
                parts.append(f"Best guess that has seen nothing: {error(guess)}.\n")
            lines = []
            for depth in distinct(cells, "depth"):
                line = [str(depth)]
                for state, metric in (("before", "mse"), ("after", "mse"), ("after", "clone_accuracy")):
                    row = only(cells, depth=depth, state=state, metric=metric)
                    line += three(row)
                for metric in ("mse_scale_free", "mse_scale_free_each", "ssim"):
                    row = only(cells, depth=depth, state="after", metric=metric)
                    line.append(number(row) if row is not None else "")
                line.append(notes(select(cells, depth=depth)))
                lines.append(line)
            header = ["depth"]
            for what in ("before: paper", "after: paper", "clone: paper"):
                header += [what, "ours", "verdict"]
            parts.append(
                markdown_table([*header, "scale-free, after", "of each picture", "SSIM, after", "note"], lines)
            )
    return "\n".join([*parts, claims_of(rows, "table2")])


TABLE = Table(name="table2", cells=table2_cells, rows=_rows, section=_section, plot=reliability_plot)
