"""What a new table of the reproduction takes: its module's `TABLE`, a row in `tables`, and its name in `choices`."""

from dataclasses import dataclass

import pytest

from unsplit import choices
from unsplit.errors import InputError
from unsplit.studies.grid import Cell
from unsplit.studies.reproduction import (
    ExecutorConfig,
    Selection,
    Store,
    collect,
    page_markdown,
    plan,
    plots,
    run,
    tables,
)
from unsplit.studies.reproduction import selection as selections
from unsplit.studies.reproduction.tables.table import Table


@dataclass(frozen=True, kw_only=True)
class CountCell(Cell):
    """Counts something about a data set."""

    kind = "count"

    @property
    def label(self):
        return f"counting {self.dataset}, seed {self.seed}"

    def run(self, needed):  # noqa: ARG002
        return {"queries": 10.0 + self.seed}, {}


def cells(selection, _):
    return [
        CountCell(dataset=dataset, seed=seed, device=selection.device)
        for dataset in selection.chosen_datasets
        for seed in selection.chosen_seeds
    ]


def rows(reader):
    found = reader.find("counts", reader.datasets[0], CountCell)
    return [found.row("queries", found.values("queries"), depth=None, state="after", preset="counting")]


def section(rows, pictures):  # noqa: ARG001
    (row,) = [row for row in rows if row.table == "counts"]
    return f"## Counts\n\n{row.value:g} over {row.seeds} seeds, by `{row.command}`.\n"


def plot(rows):
    return b"a picture" if any(row.table == "counts" for row in rows) else None


COUNTS = Table(name="counts", cells=cells, rows=rows, section=section, plot=plot)


def test_a_table_is_planned_run_collected_and_shown_by_what_it_declares(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="'counts'"):
        Selection(tables=("counts",), budget="smoke")
    monkeypatch.setattr(selections, "TABLES", (*choices.TABLES, "counts"))
    monkeypatch.setitem(tables.TABLES, "counts", COUNTS)
    chosen = Selection(tables=("counts",), budget="smoke", seeds=(0, 1))
    with Store(tmp_path) as store:
        summary = run(store, plan(chosen), ExecutorConfig(jobs=1))
        assert (summary.ran, summary.failed) == (2, 0)
        found = collect(store)
    (row,) = [row for row in found if row.table == "counts"]
    assert (row.value, row.seeds, row.dataset, row.note) == (10.5, 2, "digits", "")  # the same in every budget
    page = page_markdown(found, [])
    assert "## Counts\n\n10.5 over 2 seeds, by `unsplit reproduce counts --datasets digits --seeds 0,1" in page
    assert plots(found)["counts.png"] == b"a picture"
