"""Pieces of sections that several tables share."""

from collections.abc import Sequence

from unsplit.report.numbers import percent
from unsplit.studies.grid.markdown import image, markdown_table, number
from unsplit.studies.grid.rows import ResultRow, paper_verdict
from unsplit.studies.grid.select import select
from unsplit.studies.reproduction._claims import claims
from unsplit.studies.reproduction.paper import PAPER_SETS

Pictures = Sequence[str]


def figure_section(heading: str, rows: Sequence[ResultRow], table: str, pictures: Pictures, more: str = "") -> str:
    name = f"{table}.png"
    shown = image(heading, name) if name in pictures else "Not run.\n"
    said = notes(select(rows, table=table))
    parts = [f"## {heading}\n", shown, f"Notes: {said}.\n" if said and not more else "", more, claims_of(rows, table)]
    return "\n".join(part for part in parts if part)


def claims_of(rows: Sequence[ResultRow], table: str) -> str:
    lines = [[claim.text, claim.outcome, claim.seen] for claim in claims(rows) if claim.table == table]
    return markdown_table(["what the paper says", "here", "what we saw"], lines) if lines else ""


def three(row: ResultRow | None) -> list[str]:
    """The paper's value, ours, and the verdict."""
    if row is None:
        return ["", "", ""]
    if row.paper is None:
        printed = ""
    elif row.metric.endswith("accuracy"):
        printed = f"{100 * row.paper:g}%"
    else:
        printed = f"{row.paper:g}"
    return [printed, number(row), paper_verdict(row) or ""]


def percent_of(value: float | None) -> str:
    return "" if value is None else percent(value)


def notes(rows: Sequence[ResultRow]) -> str:
    """What is to be said of a line, once each; of missing numbers, which they are."""
    notes = dict.fromkeys(row.note for row in rows if row.note and row.value is not None)
    for row in rows:
        if row.value is None:
            notes.setdefault(f"{row.state} training: {row.note}" if row.state in ("before", "after") else row.note)
    for device in dict.fromkeys(row.device for row in rows if row.device is not None and row.value is not None):
        notes.setdefault(f"computed by {device}")
    return "; ".join(notes)


def named(pictures: Pictures, prefix: str) -> list[str]:
    """The files of a table, in the paper's order of data sets."""
    names = [name for name in pictures if name.startswith(prefix)]
    places = {name: [name.startswith(f"{prefix}{dataset}") for dataset in PAPER_SETS] for name in names}
    return sorted(names, key=lambda name: (places[name].index(True) if True in places[name] else -1, name))
