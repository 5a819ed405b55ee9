"""Finding rows."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from unsplit.studies.grid.rows import ResultRow


def select(rows: Iterable[ResultRow], **wanted: object) -> list[ResultRow]:
    """The rows whose fields have these values, in order."""
    return [row for row in rows if all(getattr(row, name) == value for name, value in wanted.items())]


def only(rows: Iterable[ResultRow], **wanted: object) -> ResultRow | None:
    """The one row with these values, or None."""
    found = select(rows, **wanted)
    return found[0] if found else None


def distinct(rows: Iterable[ResultRow], name: str) -> list[Any]:
    """The values of a field, in order of first appearance."""
    return list(dict.fromkeys(getattr(row, name) for row in rows))


def mean_value(rows: Sequence[ResultRow]) -> float | None:
    """Mean of the values, None if there is none or one is missing."""
    values = [row.value for row in rows if row.value is not None]
    return math.fsum(values) / len(values) if values and len(values) == len(rows) else None
