"""The paper's tables and figures in full, some minutes of one device at a time: `python benchmarks/gpu.py --paper`.

The most wanted cells come first. Before anything runs, each kind of cell is told with the time that one of it took, as
the store knows it, or "not known yet". A cell that would not end in what is left of the minutes waits for the next
call; one that did not end in all of a call's minutes waits for a call with more of them.
"""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from timed_cells import TimeIsUpError, run_until

from unsplit.data import require
from unsplit.studies.grid import Cell, Found, Store, missing
from unsplit.studies.reproduction import Selection, plan

_NOT_ENDED = "did not end within"
_AT_ONCE = 8


@dataclass(frozen=True, kw_only=True)
class Part:
    """Cells that are wanted together: a name, and what selects them."""

    name: str
    tables: tuple[str, ...]
    presets: tuple[str, ...] = ("joint",)
    states: tuple[str, ...] = ("before", "after")
    datasets: tuple[str, ...] | None = None

    def cells(self, device: str, *, smoke: bool) -> list[Cell]:
        """Its cells; of a smoke those of the digits, with little work."""
        return plan(
            Selection(
                tables=self.tables,
                presets=self.presets,
                states=self.states,
                datasets=None if smoke else self.datasets,
                budget="smoke" if smoke else "full",
                device=device,
            )
        )


CIFAR = ("cifar-10",)
PARTS = (
    *(
        Part(name=f"Table 2, {preset}, {state} training", tables=("table2",), presets=(preset,), states=(state,))
        for state in ("after", "before")
        for preset in ("paper", "released")
    ),
    Part(name="Table 3, CIFAR-10", tables=("table3",), datasets=CIFAR),
    Part(name="Table 5, CIFAR-10", tables=("table5",), datasets=CIFAR),
    Part(name="Figure 2", tables=("figure2",)),
    Part(name="Figure 3a", tables=("figure3a",)),
    Part(name="Figure 3b, hijacking", tables=("figure3b",)),
)
"""The most wanted first."""


@dataclass(frozen=True, eq=False)
class Times:
    """Seconds that cells took, from a store."""

    seen: dict[tuple[object, ...], list[float]] = field(default_factory=dict)

    @classmethod
    def of(cls, store: Store) -> "Times":
        """Those of every cell that ended well."""
        found = cls()
        for stored in store:
            if stored.status == "done":
                found.seen.setdefault(_likeness(stored.config), []).append(stored.seconds)
        return found

    def each(self, cell: Cell) -> float | None:
        """Seconds of a cell of this kind; None where there was none."""
        found = self.seen.get(_likeness(cell.config))
        return None if found is None else statistics.mean(found)


def whole(store: Store, device: str, jobs: int | None, minutes: float, *, smoke: bool) -> None:
    """Run what is not stored yet of all parts, until the minutes are over.

    Raises:
        SystemExit: not all has been run; says how much is left.
    """
    deadline = time.perf_counter() + 60 * minutes
    parts = {part.name: part.cells(device, smoke=smoke) for part in PARTS}
    for data in {cell.dataset for cells in parts.values() for cell in cells} - {"digits"}:
        require(data)
    _announce(store, parts)
    ended = False
    for name, cells in parts.items():
        todo = missing(store, cells)
        if not todo:
            continue
        print(f"{name}:", flush=True)
        chosen, before = _that_fit(store, todo, minutes, deadline), len(todo)
        try:
            run_until(store, chosen, jobs, deadline)
        except TimeIsUpError:
            if not ended and len(missing(store, cells)) == before:
                _note_too_long(store, chosen, jobs or _AT_ONCE, minutes)
            break
        ended = True
    left = {name: len(missing(store, cells)) for name, cells in parts.items()}
    if any(left.values()):
        told = "; ".join(f"{name}: {number}" for name, number in left.items() if number)
        raise SystemExit(f"Cells to run: {told}. The same command goes on.")
    print("All is stored.")


def _announce(store: Store, parts: Mapping[str, Sequence[Cell]]) -> None:
    """Say how many cells each part has, and how long one of each kind takes."""
    times = Times.of(store)
    for name, cells in parts.items():
        todo = missing(store, cells)
        print(f"{name}: {len(cells)} cells, {len(todo)} to run")
        kinds: dict[str, list[Cell]] = {}
        for cell in todo:
            kinds.setdefault(_in_words(cell), []).append(cell)
        for words, some in kinds.items():
            seconds = times.each(some[0])
            print(
                f"  {len(some)} x {words}: " + ("not known yet" if seconds is None else f"about {seconds:.0f} s each")
            )


def _that_fit(store: Store, cells: Sequence[Cell], minutes: float, deadline: float) -> list[Cell]:
    """Those that may end in time, by what cells of their kind took and what became of them in earlier calls."""
    times, found, left = Times.of(store), Found(store), deadline - time.perf_counter()
    chosen, waiting = [], {"a call with more `--minutes`": 0, "the next call": 0}
    for cell in cells:
        seconds, stored = times.each(cell), found.get(cell)
        tried = float(stored.row.get("minutes", 0)) if stored is not None and stored.status == "failed" else 0.0
        if tried >= minutes or (seconds or 0) > 60 * minutes:
            waiting["a call with more `--minutes`"] += 1
        elif (seconds or 0) > left:
            waiting["the next call"] += 1
        else:
            chosen.append(cell)
    for what, number in waiting.items():
        if number:
            print(f"{number} of its cells wait for {what}.")
    return chosen


def _note_too_long(store: Store, cells: Sequence[Cell], at_once: int, minutes: float) -> None:
    """Note which cells had all of the minutes: the first of those that waited for no other cell."""
    found = Found(store)
    for cell in [cell for cell in cells if cell.needs is None or not missing(store, [cell.needs])][:at_once]:
        row = {"error": f"It {_NOT_ENDED} {minutes:g} minutes.", "details": "", "minutes": minutes}
        store.put(found.key(cell), cell.config, row, seconds=0.0, status="failed")
        print(f"{cell.label} {_NOT_ENDED} {minutes:g} minutes; give it more `--minutes`, or fewer `--jobs`.")


def _likeness(config: Mapping[str, object]) -> tuple[object, ...]:
    """What makes cells take a like time: what they are, on which data and device."""
    names = ("kind", "dataset", "device", "preset", "attack", "depth", "optimizer", "iterations", "steps", "settings")
    return tuple(str(config.get(name)) for name in names)


def _in_words(cell: Cell) -> str:
    config, optimizer = cell.config, cell.config.get("optimizer")
    named = [str(config[name]) for name in ("preset", "attack") if name in config]
    named += [f"depth {config['depth']}"] if "depth" in config else []
    named += [str(optimizer["name"])] if isinstance(optimizer, dict) else []
    return ", ".join([cell.kind, cell.dataset, *named])
