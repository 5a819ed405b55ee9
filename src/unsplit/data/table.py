"""Tables: a row a sample, one column the label."""

from pathlib import Path

import torch
from torch import Tensor

from unsplit.data.cells import decimal_comma, numbers_of, read_rows
from unsplit.data.dataset import Dataset, Splits
from unsplit.data.dealing import dealt, standardised
from unsplit.data.labels import labels_of
from unsplit.data.scaling import Scaling
from unsplit.errors import DataError, unknown_name

_MISSING = {"", "na", "n/a", "nan", "null", "none", "?", "-"}
_CATEGORIES = 100
"""Texts in one column, above which it is a name, a date or an identifier rather than a category."""


def read_table(path: Path, *, label: str | None, test_share: float, generator: torch.Generator) -> Splits:
    """A table, dealt out into training and test.

    Columns of numbers are scaled to 0 to 1 by what the training part spans; columns of text become one column for each
    value. A label of text or of a few whole numbers is a class, any other a regression's target (see `standardised`). A
    first column without a name that only numbers or names the rows is left out.

    Args:
        path: the columns' names are in its first row; see `cells`.
        label: the label's column; the last one if None.
        test_share: share of the rows that is kept for test.
        generator: source of randomness that deals the rows out.

    Raises:
        DataError: no such file or column, missing or ragged values, no rows, a single class, or texts that are no
            categories.
    """
    names, rows = read_rows(path)
    columns = {name: [row[place] for row in rows] for place, name in enumerate(names)}
    comma = decimal_comma(cell for row in rows for cell in row)
    notes = ["Numbers were read with a comma as the decimal mark."] if comma else []
    if "" in columns:
        _check_index(path, columns.pop(""))
        notes.append("The first column has no name and only counts or names the rows; it was left out.")
    chosen = names[-1] if label is None else label
    if chosen not in columns:
        raise unknown_name(f"column of {path}", chosen, columns)
    _check_missing(path, columns)
    texts = columns.pop(chosen)
    labels, classes = labels_of(path, chosen, texts, numbers_of(texts, comma=comma))
    if not columns:
        raise DataError(f"{path} has no column besides the label '{chosen}'; add the columns of the inputs.")
    values, features = _values(path, columns, comma=comma)
    notes += [
        f"The column '{name}' counts the rows; remove it if it is not an input."
        for name, column in zip(features, values.T, strict=True)
        if len(column) > 2 and bool((column.diff() == 1).all())
    ]
    places = dealt(path.stem, labels, classes, test_share, generator=generator)
    # The scale is that of the training part.
    scaling = Scaling.of(values[places[0]], each=True)
    train, test = (
        Dataset(
            name=path.name.partition(".")[0],
            images=scaling.to_unit(values[rows_of]),
            labels=labels[rows_of],
            classes=classes,
            scaling=scaling,
            features=features,
            notes=tuple(notes),
        )
        for rows_of in places
    )
    return standardised(Splits(train=train, test=test))


def _check_index(path: Path, cells: list[str]) -> None:
    """Check that a column without a name tells rows apart and nothing else."""
    numbers = numbers_of(cells)
    counted = numbers is not None and bool((numbers.diff() == 1).all())
    named = numbers is None and len(set(cells)) == len(cells)
    if not (counted or named):
        raise DataError(f"The first column of {path} has no name; give it one, or remove it.")


def _check_missing(path: Path, columns: dict[str, list[str]]) -> None:
    lacking = []
    for name, values in columns.items():
        missing = sum(value.lower() in _MISSING for value in values)
        if missing:
            lacking.append(f"the column '{name}' of {path} lacks {missing} of {len(values)} values")
    if lacking:
        raise DataError(f"T{', '.join(lacking)[1:]}; fill them in, or remove those rows or columns.")


def _values(path: Path, columns: dict[str, list[str]], *, comma: bool) -> tuple[Tensor, tuple[str, ...]]:
    """The columns as numbers, shape [n, features], and what each is called."""
    made: list[Tensor] = []
    features: list[str] = []
    texts = {name: cells for name, cells in columns.items() if numbers_of(cells, comma=comma) is None}
    _check_categories(path, texts, comma=comma)
    for name, cells in columns.items():
        numbers = None if name in texts else numbers_of(cells, comma=comma)
        if numbers is not None:
            made.append(numbers)
            features.append(name)
            continue
        for value in sorted(set(cells)):
            made.append(torch.tensor([float(cell == value) for cell in cells], dtype=torch.float64))
            features.append(f"{name}={value}")
    return torch.stack(made, 1), tuple(features)


def _check_categories(path: Path, texts: dict[str, list[str]], *, comma: bool) -> None:
    """Refuse columns of text that hold a slip among numbers, or something else in almost every row."""
    wrong = []
    for name, cells in texts.items():
        slips = [row for row, cell in enumerate(cells, start=2) if numbers_of([cell], comma=comma) is None]
        if len(slips) * 2 < len(cells):
            raise DataError(
                f"The column '{name}' of {path} holds '{cells[slips[0] - 2]}' in row {slips[0]} and numbers in most "
                "others; mend or remove that row."
            )
        if len(set(cells)) > min(_CATEGORIES, max(2, len(cells) // 2)):
            wrong.append(f"'{name}' ({len(set(cells)):,} values)")
    if wrong:
        they = ("s", "have", "categories", "them") if len(wrong) > 1 else ("", "has", "a category", "it")
        raise DataError(
            f"The text column{they[0]} {', '.join(wrong)} of {path} {they[1]} too many different values in "
            f"{len(cells):,} rows to be {they[2]}; remove {they[3]}, group the values, or turn dates into numbers."
        )
