"""Where the pictures of a row are: a line of one of the grids that Tables 4 and 6 show."""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from unsplit.studies.grid.rows import ResultRow
from unsplit.studies.reproduction.drawing import GRID_MARGIN
from unsplit.studies.reproduction.selection import depths_of
from unsplit.studies.reproduction.tables import table4, table6

PER_LINE = 10
"""The targets: one a class."""


@dataclass(frozen=True, kw_only=True)
class Strip:
    """A line of pictures in a file.

    Args:
        file: the file's name.
        size: its width and height.
        left: where the line begins.
        top: where it begins; the originals begin at 0.
        width: how wide it is.
        height: how high it is.
    """

    file: str
    size: tuple[int, int]
    left: int
    top: int
    width: int
    height: int

    @property
    def placed(self) -> list[str | int]:
        """What the page's script needs to cut it out."""
        return [self.file, *self.size, self.left, self.top, self.width, self.height]


class Gallery:
    """Finds the pictures of rows, and keeps count of those that were found.

    Args:
        folder: the files of pictures, which need not be there.
        rows: all rows of the page, since the first seed of a cell is in another file than its later seeds.
    """

    def __init__(self, folder: Path, rows: Sequence[ResultRow]) -> None:
        self._folder = folder
        self.used: list[Strip] = []
        self._first: dict[tuple[object, ...], int] = {}
        for row in rows:
            seed = _seed(row)
            if seed is not None:
                self._first[_cell(row)] = min(seed, self._first.get(_cell(row), seed))
        self._file = functools.cache(self._read)

    def number_of(self, row: ResultRow) -> int | None:
        """Which of `used` shows this row's pictures, which become part of it; None where there are none."""
        strip = self._strip(row)
        if strip is None:
            return None
        if strip not in self.used:
            self.used.append(strip)
        return self.used.index(strip)

    def _strip(self, row: ResultRow) -> Strip | None:
        if row.value is None or row.depth is None:
            return None
        depths = depths_of(row.dataset)
        if row.table == "figure3a":
            names = table4.LABELS
            if row.depth != table4.depth_of(row.dataset) or row.preset not in names:
                return None
            place = {"lines": 1 + len(names), "line": 1 + names.index(row.preset), "sides": 1, "side": 0}
            return self._cut(f"table4-{row.dataset}.png", **place)
        if row.table not in ("table2", "strong") or row.depth not in depths or row.state not in ("before", "after"):
            return None
        name, side = f"table6-{row.dataset}-{row.preset.partition(',')[0]}", ("before", "after").index(row.state)
        place = {"lines": 1 + len(depths), "line": 1 + depths.index(row.depth), "sides": 2, "side": side}
        seed = _seed(row)
        later = None if seed is None else self._cut(f"{name}{table6.LATER}{seed}.png", **place)
        if later is not None or (seed is not None and seed != self._first[_cell(row)]):
            return later
        return self._cut(f"{name}.png", **place)

    def _cut(self, name: str, *, lines: int, line: int, sides: int, side: int) -> Strip | None:
        """A line of a grid; None where the file is not there, has another form, or the line is empty."""
        pixels = self._file(name)
        if pixels is None:
            return None
        height, width = pixels.shape[0] // lines, pixels.shape[1] - GRID_MARGIN
        # Between two sides there is an empty column.
        columns = PER_LINE * sides + sides - 1
        if pixels.shape[0] != height * lines or width != columns * height:
            return None
        left = GRID_MARGIN + side * (PER_LINE + 1) * height
        strip = Strip(
            file=name,
            size=(pixels.shape[1], pixels.shape[0]),
            left=left,
            top=line * height,
            width=PER_LINE * height,
            height=height,
        )
        shown = pixels[strip.top : strip.top + height, left : left + strip.width]
        return None if (shown == 255).all() else strip

    def _read(self, name: str) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]] | None":
        try:
            with Image.open(self._folder / name) as image:
                return np.asarray(image.convert("L"))
        except OSError:
            return None


def _seed(row: ResultRow) -> int | None:
    """The seed of a row of a single seed, which its preset names."""
    found = re.search(r", seed (\d+)$", row.preset)
    return int(found[1]) if found else None


def _cell(row: ResultRow) -> tuple[object, ...]:
    return (row.table, row.dataset, row.depth, row.state, row.preset.partition(", seed ")[0])
