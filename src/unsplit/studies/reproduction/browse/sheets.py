"""The tables of the page: a line for each cell, all of its numbers side by side."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from unsplit.studies.grid.markdown import form_of, number
from unsplit.studies.grid.rows import ResultRow, paper_verdict, smaller_budget
from unsplit.studies.grid.select import distinct, select
from unsplit.studies.reproduction.browse.strips import Gallery
from unsplit.studies.reproduction.sections import three
from unsplit.studies.reproduction.select import title
from unsplit.studies.reproduction.selection import DATASETS

TITLES = {
    "table2": "Table 2: inversion and stealing",
    "strong": "The strongest attack, seed by seed",
    "table3": "Table 3: label inference",
    "table5": "Table 5: black-box queries until UnSplit's error",
    "figure2": "Figure 2: error while the client trains",
    "figure3a": "Figure 3a: UnSplit and the attacks of He et al.",
    "figure3b": "Figure 3b: UnSplit and feature-space hijacking",
    "white-box": "The white box beside its own authors' figures",
    "labels": "Labels, in the settings that people use",
    "tradeoff": "What defences cost",
}
_METRICS = {
    "mse": "MSE",
    "mse_best_of_eight": "MSE, best of eight",
    "mse_scale_free": "scale-free",
    "mse_scale_free_each": "scale-free, of each picture",
    "ssim": "SSIM",
    "psnr": "PSNR",
    "clone_accuracy": "clone",
    "label_accuracy": "labels",
    "label_accuracy_up_to_names": "labels, up to names",
}


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column.

    Args:
        title: its heading.
        field: what the page can filter by: the field of a row, or "verdict"; empty for none.
    """

    title: str
    field: str = ""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A cell.

    Args:
        texts: what stands in each column.
        command: which of the page's commands measures it again.
        strip: which of the page's strips shows its pictures; None for none.
    """

    texts: tuple[str, ...]
    command: int
    strip: int | None


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A table of the page."""

    name: str
    title: str
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]


def sheets(rows: Sequence[ResultRow], gallery: Gallery, commands: dict[str, int]) -> list[Sheet]:
    """The tables, in the order of the rows.

    Args:
        rows: the rows of `results.json`.
        gallery: finds the pictures.
        commands: gets each command and its number.
    """
    return [_sheet(name, select(rows, table=name), gallery, commands) for name in distinct(rows, "table")]


def _sheet(name: str, rows: Sequence[ResultRow], gallery: Gallery, commands: dict[str, int]) -> Sheet:
    defended, built = (any(getattr(row, field) is not None for row in rows) for field in ("defense", "versions"))
    parts = {metric: _Part.of(select(rows, metric=metric)) for metric in distinct(rows, "metric")}
    columns = [Column(title="data set", field="dataset"), Column(title="depth", field="depth")]
    columns += [Column(title="state", field="state"), Column(title="preset", field="preset")]
    columns += [Column(title="defence", field="defense")] if defended else []
    columns += [column for metric, part in parts.items() for column in part.columns(_METRICS.get(metric, metric))]
    columns += [Column(title="seeds"), Column(title="budget", field="budget"), Column(title="device", field="device")]
    columns += [Column(title="versions", field="versions")] if built else []
    columns += [Column(title="revision", field="revision"), Column(title="note")]
    lines = []
    for found in _cells(rows):
        first = next(iter(found.values()))
        texts = [_dataset(first.dataset), "all" if first.depth is None else str(first.depth), first.state, first.preset]
        texts += [first.defense or ""] if defended else []
        texts += [text for metric, part in parts.items() for text in part.texts(found.get(metric))]
        command = commands.setdefault(first.command, len(commands))
        strips = [gallery.number_of(row) for row in found.values() if row.metric == "mse"]
        texts += _origin(first, built=built)
        lines.append(Line(texts=tuple(texts), command=command, strip=strips[0] if strips else None))
    return Sheet(name=name, title=TITLES.get(name, name), columns=tuple(columns), lines=tuple(lines))


def _cells(rows: Sequence[ResultRow]) -> list[dict[str, ResultRow]]:
    """Rows by metric of each cell: those that agree in all but the number, so that a number that another device or
    another revision measured stands on a line of its own.
    """
    cells: dict[tuple[object, ...], dict[str, ResultRow]] = {}
    for row in rows:
        cell = (row.dataset, row.depth, row.state, row.preset, row.defense)
        key = (*cell, row.seeds, row.device, row.versions, row.revision, row.note, row.command)
        times = 0
        while row.metric in cells.setdefault((*key, times), {}):
            times += 1
        cells[(*key, times)][row.metric] = row
    return list(cells.values())


@dataclass(frozen=True, kw_only=True)
class _Part:
    """The columns of a metric: its number; what the paper prints, and how they compare; what the best guess gets."""

    printed: bool
    guessed: bool

    @classmethod
    def of(cls, rows: Sequence[ResultRow]) -> "_Part":
        return cls(
            printed=any(row.paper is not None for row in rows), guessed=any(row.trivial is not None for row in rows)
        )

    def columns(self, name: str) -> list[Column]:
        name = name.replace("_", " ")
        found = [Column(title=name)]
        if self.printed:
            found += [Column(title=f"{name}: paper"), Column(title=f"{name}: verdict", field="verdict")]
        return [*found, *([Column(title=f"{name}: best guess")] if self.guessed else [])]

    def texts(self, row: ResultRow | None) -> list[str]:
        if row is None:
            return [""] * len(self.columns(""))
        found = [number(row) if row.value is not None else row.note or number(row)]
        if self.printed:
            found += [three(row)[0], _verdict(row)]
        if self.guessed:
            found.append("" if row.trivial is None else form_of(row.metric)(row.trivial))
        return found


def _verdict(row: ResultRow) -> str:
    """How a number compares with the paper's, or why that is not said; nothing where the paper prints none."""
    if row.paper is None:
        return ""
    if row.value is None:
        return "no number"
    return paper_verdict(row) or ("smaller budget" if smaller_budget(row) else "")


def _origin(row: ResultRow, *, built: bool) -> list[str]:
    """Seeds, budget, device, versions if they have a column, revision and note."""
    seeds, budget = re.search(r"--seeds ([\d,]+)", row.command), re.search(r"--budget (\S+)", row.command)
    listed = f" ({seeds[1].replace(',', ', ')})" if seeds and row.seeds else ""
    measured = row.value is not None
    revision = "2 or less" if row.revision is None else str(row.revision)
    return [
        f"{row.seeds}{listed}",
        budget[1] if budget else "",
        (row.device or "processor") if measured else "",
        *([row.versions or ""] if built else []),
        revision if measured else "",
        row.note,
    ]


def _dataset(name: str) -> str:
    return title(name) if name in DATASETS else name
