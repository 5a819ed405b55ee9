"""Tables in CSV files: a row a sample, one column the label."""

import csv
from pathlib import Path

import torch
from torch import Tensor

from unsplit.data.dataset import Dataset, Splits
from unsplit.data.dealing import dealt, standardised
from unsplit.data.memory import check_room
from unsplit.data.scaling import Scaling
from unsplit.errors import DataError, unknown_name
from unsplit.files import explained

_MISSING = {"", "na", "n/a", "nan", "null", "none", "?", "-"}
_FEW = 20
"""Whole numbers as labels are classes if there are at most so many, and five rows of each on average."""
_CATEGORIES = 100
"""Texts in one column, above which it is a name or an identifier rather than a category."""
_SEPARATORS = ",;\t|"


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
    labels, classes = labels_of(path, chosen, columns.pop(chosen))
    if not columns:
        raise DataError(f"{path} has no column but the label '{chosen}'; give it the columns of the inputs too.")
    values, features = _values(path, columns)
    places = dealt(path.stem, labels, classes, test_share, generator=generator)
    # The scale is that of the training part.
    scaling = Scaling.of(values[places[0]], each=True)
    train, test = (
        Dataset(
            name=path.stem,
            images=scaling.to_unit(values[rows_of]).float(),
            labels=labels[rows_of],
            classes=classes,
            scaling=scaling,
            features=features,
        )
        for rows_of in places
    )
    return standardised(Splits(train=train, test=test))


def _rows(path: Path) -> tuple[list[str], list[list[str]]]:
    if not path.is_file():
        raise DataError(f"There is no file {path}; name a table with the columns' names in its first row.")
    check_room(path, 10 * path.stat().st_size, "take fewer rows.")
    try:
        with explained(path), path.open(newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            file.seek(0)
            table = list(csv.reader(file, delimiter=max(_SEPARATORS, key=first.count)))
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error.reason}); save it as UTF-8.") from error
    except csv.Error as error:
        raise DataError(f"{path} cannot be read as a table ({error}); save it as CSV.") from error
    lines = [(number, row) for number, row in enumerate(table, start=1) if any(value.strip() for value in row)]
    table = [row for _, row in lines]
    if len(table) < 3:
        raise DataError(f"{path} has {max(len(table) - 1, 0)} rows; it needs names of columns and two rows or more.")
    names = [name.strip() for name in table[0]]
    if len(set(names)) < len(names) or "" in names:
        raise DataError(f"The first row of {path} does not name each column once; give every column a name of its own.")
    for number, row in lines[1:]:
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


def labels_of(path: Path, name: str, values: list[str]) -> tuple[Tensor, tuple[str, ...]]:
    """Labels from texts: the numbers of classes and their names, or a regression's targets and no names.

    Raises:
        DataError: a single class, or one number in every row.
    """
    numbers = _numbers(values)
    if numbers is not None:
        few, different = max(2, min(_FEW, len(values) // 5)), len(set(numbers.tolist()))
        if bool((numbers != numbers.round()).any()) or different > few:
            if different == 1:
                raise DataError(f"The label '{name}' of {path} is {values[0]} in every row; name a label that varies.")
            return numbers.float(), ()
        # 1 and 1.0 are one class.
        values = [str(int(number)) for number in numbers.tolist()]
    distinct = sorted(set(values)) if numbers is None else sorted(set(values), key=int)
    if len(distinct) < 2:
        raise DataError(f"The label '{name}' of {path} is '{distinct[0]}' in every row; it needs two classes or more.")
    places = {value: number for number, value in enumerate(distinct)}
    return torch.tensor([places[value] for value in values]), tuple(distinct)


def _values(path: Path, columns: dict[str, list[str]]) -> tuple[Tensor, tuple[str, ...]]:
    """The columns as numbers, shape [n, features], and what each is called."""
    made: list[Tensor] = []
    features: list[str] = []
    for name, texts in columns.items():
        numbers = _numbers(texts)
        if numbers is not None:
            made.append(numbers)
            features.append(name)
            continue
        _check_category(path, name, texts)
        for value in sorted(set(texts)):
            made.append(torch.tensor([float(text == value) for text in texts], dtype=torch.float64))
            features.append(f"{name}={value}")
    return torch.stack(made, 1), tuple(features)


def _check_category(path: Path, name: str, texts: list[str]) -> None:
    """Refuse a column of text that holds a slip among numbers, or something else in almost every row."""
    slips = [row for row, text in enumerate(texts, start=2) if _numbers([text]) is None]
    if len(slips) * 2 < len(texts):
        raise DataError(
            f"The column '{name}' of {path} holds '{texts[slips[0] - 2]}' in row {slips[0]} and numbers in most "
            "others; mend or remove that row."
        )
    if len(set(texts)) > min(_CATEGORIES, max(2, len(texts) // 2)):
        raise DataError(
            f"The text column '{name}' of {path} holds {len(set(texts))} different values in {len(texts)} rows, so it "
            "is no category; remove it, or group its values."
        )
