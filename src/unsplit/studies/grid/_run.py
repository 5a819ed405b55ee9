"""Running a plan: what is stored already is not run again, what ends is stored at once."""

import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from torch import Tensor

from unsplit.devices import card
from unsplit.studies.grid.beside import execute_beside
from unsplit.studies.grid.cell import Cell, Tensors, Values
from unsplit.studies.grid.execute import ExecutorConfig, TaskResult, execute
from unsplit.studies.grid.found import Found
from unsplit.studies.grid.store import Store

Done = tuple[Values, Tensors, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """A cell with what it needs; small enough to send to another machine."""

    cell: Cell
    needed: Mapping[str, Tensor] = field(default_factory=dict)

    def __call__(self) -> Done:
        started = time.perf_counter()
        row, tensors = self.cell.run(self.needed)
        model = card(self.cell.device)
        # Rounding differs from card to card, so that it is part of what was measured.
        named = row if model is None else row | {"device": model}
        return named, tensors, time.perf_counter() - started


@dataclass(frozen=True, kw_only=True)
class CellEnded:
    """How far a run is.

    Args:
        cell: the cell that has just ended.
        error: what went wrong with it, if anything.
        done, total: cells that have ended, and all that this run has to do.
        seconds: how long the cell took.
    """

    cell: Cell
    error: str | None
    done: int
    total: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a run did."""

    ran: int
    kept: int
    failed: int


def missing(store: Store, cells: Sequence[Cell], *, any_device: bool = False) -> list[Cell]:
    """The cells that have to be run: those that are not stored, or failed; with the cells that they need.

    Args:
        store: the store.
        cells: the cells of a plan.
        any_device: take what another device, or another build of torch, computed for stored.
    """
    return _missing(Found(store, any_device=any_device), cells)


def _missing(found: Found, cells: Sequence[Cell]) -> list[Cell]:
    wanted: dict[str, Cell] = {}

    def want(cell: Cell) -> None:
        if not _done(found, cell) and cell.key not in wanted:
            if cell.needs is not None:
                want(cell.needs)
            wanted[cell.key] = cell

    for cell in cells:
        want(cell)
    return list(wanted.values())


def estimate(store: Store, cells: Sequence[Cell], jobs: int) -> float | None:
    """Seconds that these cells will take, judged by cells of the same kind in the store; None if it has none."""
    seen: dict[object, list[float]] = {}
    for stored in store:
        if stored.status == "done":
            for likeness in _likenesses(stored.config):
                seen.setdefault(likeness, []).append(stored.seconds)
    times = []
    for cell in cells:
        known = next((seen[likeness] for likeness in _likenesses(cell.config) if likeness in seen), None)
        if known is not None:
            times.append(statistics.mean(known))
    return sum(times) * len(cells) / len(times) / jobs if times else None


def _likenesses(config: Mapping[str, object]) -> list[object]:
    """What makes cells take a like time, from near to far: what differs between them is dropped step by step."""
    near = {name: value for name, value in config.items() if name not in ("seed", "code", "epoch")}
    chosen = [near, {name: near.get(name) for name in ("kind", "dataset", "preset")}, {"kind": near["kind"]}]
    return [json.dumps(part, sort_keys=True) for part in chosen]


def run(
    store: Store,
    cells: Sequence[Cell],
    config: ExecutorConfig,
    *,
    resume: bool = True,
    any_device: bool = False,
    tell: Callable[[CellEnded], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
) -> Summary:
    """Run cells and store each as it ends.

    Args:
        store: the store, open for writing.
        cells: the cells of a plan.
        config: where the cells run.
        resume: leave alone what is stored; without, these cells are run again (not those that they need).
        any_device: let what another device, or another build of torch, computed count as stored.
        tell: called each time a cell has ended.
        say: called with a sentence where fewer cells run side by side than were to.
    """
    found = Found(store, any_device=any_device)
    todo, wanted = _missing(found, cells), {cell.key for cell in cells}
    if not resume:
        todo = [*(cell for cell in todo if cell.key not in wanted), *cells]
    done = failed = 0
    waves: dict[int, list[Cell]] = {}
    for cell in todo:
        waves.setdefault(_rank(cell), []).append(cell)
    for _, wave in sorted(waves.items()):
        ready = []
        for cell in wave:
            if cell.needs is None or _done(found, cell.needs):
                ready.append(cell)
                continue
            _fail(
                store, found.key(cell), cell, f"What it needs ({cell.needs.label}) failed; see that cell's error.", ""
            )
            done, failed = done + 1, failed + 1
            tell(CellEnded(cell=cell, error=f"{cell.needs.label} failed", done=done, total=len(todo), seconds=0.0))
        for outcome in _executed(store, found, ready, config, say):
            cell = ready[outcome.index]
            seconds = _keep(store, found.key(cell), cell, outcome)
            done, failed = done + 1, failed + (outcome.error is not None)
            tell(CellEnded(cell=cell, error=outcome.error, done=done, total=len(todo), seconds=seconds))
    return Summary(ran=done, kept=len(wanted - {cell.key for cell in todo}), failed=failed)


def _executed(
    store: Store, found: Found, cells: Sequence[Cell], config: ExecutorConfig, say: Callable[[str], None]
) -> Iterator[TaskResult[Done]]:
    """The outcomes of cells as they end. Those that share a GPU of this machine run within this process."""
    tasks = [partial(_task, store, found, cell) for cell in cells]
    here = [index for index, cell in enumerate(cells) if config.executor == "local" and cell.gives_way]
    elsewhere = [index for index in range(len(cells)) if index not in set(here)]
    for outcome in execute_beside(_call, [tasks[index] for index in here], config.jobs, say):
        yield replace(outcome, index=here[outcome.index])
    if elsewhere:
        for outcome in execute(_call, [tasks[index]() for index in elsewhere], config):
            yield replace(outcome, index=elsewhere[outcome.index])


def _task(store: Store, found: Found, cell: Cell) -> Task:
    return Task(cell=cell, needed=_needed(store, found, cell))


def _rank(cell: Cell) -> int:
    """How many cells must have ended one after another before this one."""
    return 0 if cell.needs is None else 1 + _rank(cell.needs)


def _call(task: Task) -> Done:
    return task()


def _done(found: Found, cell: Cell) -> bool:
    stored = found.get(cell)
    return stored is not None and stored.status == "done"


def _needed(store: Store, found: Found, cell: Cell) -> Mapping[str, Tensor]:
    if cell.needs is None:
        return {}
    stored = found.get(cell.needs)
    if stored is None:
        raise RuntimeError(f"{cell.needs.label} is not stored, which {cell.label} needs")
    return cell.select(store.tensors(stored))


def _keep(store: Store, key: str, cell: Cell, outcome: TaskResult[Done]) -> float:
    if outcome.result is None:
        _fail(store, key, cell, outcome.error or "no result", outcome.details)
        return 0.0
    row, tensors, seconds = outcome.result
    store.put(key, cell.config, row, tensors=tensors, seconds=seconds)
    return seconds


def _fail(store: Store, key: str, cell: Cell, error: str, details: str) -> None:
    store.put(key, cell.config, {"error": error, "details": details}, seconds=0.0, status="failed")
