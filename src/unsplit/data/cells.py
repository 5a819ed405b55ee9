"""The cells of a table: how its file is read, and which texts are numbers."""

import bz2
import csv
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from unsplit.data import memory
from unsplit.errors import DataError
from unsplit.files import explained

_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
TEXTS = (".csv", ".tsv", ".tab")
PARQUET = ".parquet"
_SEPARATORS = ",;\t|"
_PER_BYTE = 10
"""Bytes of memory for each byte of text."""

_BETWEEN = "[ '\u00a0\u202f]"
_WITH_POINT = re.compile(rf"[+-]?\d{{1,3}}((,\d{{3}})+|({_BETWEEN}\d{{3}})+)(\.\d*)?")
_WITH_COMMA = re.compile(rf"[+-]?(\d*|\d{{1,3}}((\.\d{{3}})+|({_BETWEEN}\d{{3}})+))(,\d*)?([eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}([.,]\d{3})+")


def is_table(path: Path) -> bool:
    """Whether a file is one, by its name: .csv, .tsv or .tab, packed or not, or .parquet."""
    return _kind(path) in (*TEXTS, PARQUET)


def _kind(path: Path) -> str:
    ending = path.suffix.lower()
    return Path(path.stem).suffix.lower() if ending in _OPENERS else ending


class Rows(NamedTuple):
    """Names of columns, and rows of as many cells each."""

    names: list[str]
    cells: list[list[str]]


def read_rows(path: Path) -> Rows:
    """The cells of a table with the columns' names in its first row, in UTF-8 or UTF-16, with commas, semicolons, tabs
    or bars between cells.

    Raises:
        DataError: it cannot be read, is too large, has too few rows, rows of other lengths, or columns without a name
            of their own.
    """
    if not path.is_file():
        raise DataError(f"There is no file {path}; name a table with the columns' names in its first row.")
    table = _parquet(path) if _kind(path) == PARQUET else _text(path)
    lines = [(number, row) for number, row in enumerate(table, start=1) if any(value.strip() for value in row)]
    if len(lines) < 3:
        raise DataError(f"{path} has {max(len(lines) - 1, 0)} rows; it needs names of columns and two rows or more.")
    names = [name.strip() for name in lines[0][1]]
    if len(set(names)) < len(names) or "" in names[1:]:
        raise DataError(f"The first row of {path} does not name each column once; give every column a name of its own.")
    for number, row in lines[1:]:
        if len(row) != len(names):
            raise DataError(
                f"Row {number} of {path} has {len(row)} values for {len(names)} columns; mend or remove the row."
            )
    return Rows(names, [[value.strip() for value in row] for _, row in lines[1:]])


def _text(path: Path) -> list[list[str]]:
    advice, most = "take fewer rows.", memory.room() // _PER_BYTE + 1
    try:
        with explained(path), _OPENERS.get(path.suffix.lower(), open)(path, "rb") as stream:
            raw: bytes = stream.read(most)
        memory.check_room(path, _PER_BYTE * len(raw), advice)
        text = raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
        first = text.partition("\n")[0]
        separator = "\t" if _kind(path) != ".csv" and "\t" in first else max(_SEPARATORS, key=first.count)
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error.reason}); save it as UTF-8.") from error
    except (csv.Error, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise DataError(f"{path} cannot be read as a table ({error}); save it as CSV.") from error


def _parquet(path: Path) -> list[list[str]]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise DataError(
            f"{path} is read by pyarrow, which is not installed; install unsplit[parquet], or save it as CSV."
        ) from error
    memory.check_room(path, 10 * _PER_BYTE * path.stat().st_size, "take fewer rows.")
    try:
        with explained(path):
            read = parquet.read_table(path)
    except ArrowException as error:
        raise DataError(f"{path} cannot be read as a table ({str(error).splitlines()[0]}); save it as CSV.") from error
    columns = [[_cell(value) for value in column.to_pylist()] for column in read.columns]
    return [list(read.column_names), *map(list, zip(*columns, strict=True))]


def _cell(value: object) -> str:
    return "" if value is None else str(int(value)) if isinstance(value, bool) else str(value)


def decimal_comma(cells: Iterable[str]) -> bool:
    """Whether these cells write numbers with a decimal comma: one does without doubt, and none has a decimal point."""
    found = False
    for cell in cells:
        if _THOUSANDS.fullmatch(cell):
            continue
        if "." in cell and _number(cell, comma=False) is not None:
            return False
        found = found or ("," in cell and _number(cell, comma=True) is not None)
    return found


def numbers_of(cells: list[str], *, comma: bool = False) -> Tensor | None:
    """Cells as numbers [n] in double precision, thousands parted or not; None if one is none.

    Args:
        cells: texts of the cells, without space around them.
        comma: a comma, and no point, stands before decimals.
    """
    found = [_number(cell, comma=comma) for cell in cells]
    if any(number is None for number in found):
        return None
    numbers = torch.tensor(found, dtype=torch.float64)
    return numbers if bool(torch.isfinite(numbers).all()) else None


def _number(cell: str, *, comma: bool) -> float | None:
    if comma and _WITH_COMMA.fullmatch(cell):
        cell = re.sub(rf"\.|{_BETWEEN}", "", cell).replace(",", ".")
    elif comma and "." in cell:
        return None
    elif _WITH_POINT.fullmatch(cell):
        cell = re.sub(rf",|{_BETWEEN}", "", cell)
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None
