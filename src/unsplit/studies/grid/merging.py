"""Putting the results of another store into one's own."""

import json
from dataclasses import dataclass

from unsplit.errors import InputError
from unsplit.studies.grid.found import beside, computed_by
from unsplit.studies.grid.store import Store, Stored


@dataclass(frozen=True, kw_only=True)
class Merged:
    """How many cells a merge took over, and how many were there already."""

    taken: int
    kept: int


def merge(source: Store, target: Store) -> Merged:
    """Copy the cells of one store into another. What devices computed stands side by side, and a cell that ended well
    takes the place of one that failed.

    Args:
        source: the store that is read.
        target: the store that takes them, open for writing.

    Raises:
        InputError: the same cell of the same device has other numbers in either; nothing is copied then.
    """
    there: dict[str, list[Stored]] = {}
    for stored in target:
        if target.get(stored.key) is not None:
            there.setdefault(_configuration(stored), []).append(stored)
    kept, taken = 0, []
    for stored in source:
        same = there.get(_configuration(stored), [])
        alike = (cell for cell in same if computed_by(cell) == computed_by(stored) and not _failed(cell, stored))
        own = next(alike, None)
        if own is not None and (own.row, own.tensors) != (stored.row, stored.tensors):
            raise _other_numbers(source, stored, target, own)
        if own is not None or (same and stored.status == "failed"):
            kept += 1
            continue
        failed = next((cell.key for cell in same if cell.status == "failed"), None)
        free = stored.key if target.get(stored.key) is None else beside(stored.key, computed_by(stored))
        taken.append((failed or free, stored))
    for key, stored in taken:
        tensors = source.tensors(stored)
        target.put(key, stored.config, stored.row, seconds=stored.seconds, tensors=tensors, status=stored.status)
    return Merged(taken=len(taken), kept=kept)


def _configuration(stored: Stored) -> str:
    return json.dumps(stored.config, sort_keys=True)


def _failed(*cells: Stored) -> bool:
    return any(cell.status == "failed" for cell in cells)


def _other_numbers(source: Store, one: Stored, target: Store, other: Stored) -> InputError:
    names = [name for name in ("dataset", "state", "depth", "preset", "seed") if name in one.config]
    cell = ", ".join([str(one.config["kind"]), *(f"{name} {one.config[name]}" for name in names)])
    differ = [name for name in sorted({*one.row, *other.row}) if one.row.get(name) != other.row.get(name)]
    numbers = [f"{differ[0]} is {found.row.get(differ[0])}" if differ else "other tensors" for found in (one, other)]
    return InputError(
        f"The same cell ({cell}) of the same device has other numbers in {source.folder} ({numbers[0]}) and in "
        f"{target.folder} ({numbers[1]}); run it again where it is wrong, without `resume`, and merge then."
    )
