"""Tables in CSV files: a row a sample, one column the label."""

import csv
from pathlib import Path

import torch
from torch import Tensor

from unsplit.data.dataset import Dataset, Scaling, Splits, standardised, stratified
from unsplit.errors import DataError, unknown_name
from unsplit.files import explained

_MISSING = {"", "na", "n/a", "nan", "null", "none", "?", "-"}
_FEW = 20
"""Whole numbers as labels are classes if there are at most so many, and five rows of each on average."""


def read_table(path: Path, *, label: str | None, test_share: float, generator: torch.Generator) -> Splits:
    """A table, dealt out into training and test.

    Columns of numbers are scaled to 0 to 1 by what the training part spans; columns of text become one column for each
    value. A label of text or of a few whole numbers is a class, any other a regression's target (see `standardised`).

    Args:
        path: a CSV file with the columns' names in its first row.
        label: the label's column; the last one if None.
        test_share: share of the rows that is kept for test.
        generator: deals them out.

    Raises:
        DataError: no such file or column, missing or ragged values, no rows, a single class.
    """
    names, rows = _rows(path)
    chosen = names[-1] if label is None else label
    if chosen not in names:
        raise unknown_name(f"column of {path}", chosen, names)
    columns = {name: [row[place] for row in rows] for place, name in enumerate(names)}
    _check_missing(path, columns)
    labels, classes = _labels(path, chosen, columns.pop(chosen))
    if not columns:
        raise DataError(f"{path} has no column but the label '{chosen}'; give it the columns of the inputs too.")
    values, features = _values(columns)
    # The scale is that of the training part, so rows are dealt out before they are scaled: by their numbers.
    numbers = torch.arange(len(rows), dtype=torch.float64)[:, None] / len(rows)
    dealt = stratified(
        Dataset(name=path.stem, images=numbers, labels=labels, classes=classes), test_share, generator=generator
    )
    places = [(part.images[:, 0] * len(rows)).round().long() for part in (dealt.train, dealt.test)]
    scaling = Scaling.of(values[places[0]], each=True)
    train, test = (
        Dataset(
            name=path.stem,
            images=scaling.to_unit(values[chosen]).float(),
            labels=labels[chosen],
            classes=classes,
            scaling=scaling,
            features=features,
        )
        for chosen in places
    )
    return standardised(Splits(train=train, test=test))


def _rows(path: Path) -> tuple[list[str], list[list[str]]]:
    try:
        with explained(path), path.open(newline="", encoding="utf-8-sig") as file:
            table = list(csv.reader(file))
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error.reason}); save it as UTF-8.") from error
    except csv.Error as error:
        raise DataError(f"{path} cannot be read as a table ({error}); save it as CSV.") from error
    table = [row for row in table if row]
    if len(table) < 3:
        raise DataError(f"{path} has {max(len(table) - 1, 0)} rows; it needs names of columns and two rows or more.")
    names = [name.strip() for name in table[0]]
    if len(set(names)) < len(names) or "" in names:
        raise DataError(f"The first row of {path} does not name each column once; give every column a name of its own.")
    for number, row in enumerate(table[1:], start=2):
        if len(row) != len(names):
            raise DataError(
                f"Row {number} of {path} has {len(row)} values for {len(names)} columns; mend or remove the row."
            )
    return names, [[value.strip() for value in row] for row in table[1:]]


def _check_missing(path: Path, columns: dict[str, list[str]]) -> None:
    for name, values in columns.items():
        missing = sum(value.lower() in _MISSING for value in values)
        if missing:
            raise DataError(
                f"The column '{name}' of {path} lacks {missing} of {len(values)} values; fill them in, or remove those "
                "rows or the column."
            )


def _numbers(values: list[str]) -> Tensor | None:
    try:
        found = torch.tensor([float(value) for value in values], dtype=torch.float64)
    except ValueError:
        return None
    return found if bool(torch.isfinite(found).all()) else None


def _labels(path: Path, name: str, values: list[str]) -> tuple[Tensor, tuple[str, ...]]:
    numbers = _numbers(values)
    whole = numbers is not None and bool((numbers == numbers.round()).all())
    distinct = sorted(set(values)) if numbers is None else sorted(set(values), key=float)
    few = max(2, min(_FEW, len(values) // 5))
    if numbers is not None and not (whole and len(distinct) <= few):
        return numbers.float(), ()
    if len(distinct) < 2:
        raise DataError(f"The label '{name}' of {path} is '{distinct[0]}' in every row; it needs two classes or more.")
    return torch.tensor([distinct.index(value) for value in values]), tuple(distinct)


def _values(columns: dict[str, list[str]]) -> tuple[Tensor, tuple[str, ...]]:
    """The columns as numbers, shape [n, features], and what each is called."""
    made: list[Tensor] = []
    features: list[str] = []
    for name, texts in columns.items():
        numbers = _numbers(texts)
        if numbers is not None:
            made.append(numbers)
            features.append(name)
            continue
        for value in sorted(set(texts)):
            made.append(torch.tensor([float(text == value) for text in texts], dtype=torch.float64))
            features.append(f"{name}={value}")
    return torch.stack(made, 1), tuple(features)
