"""Finding the results of a plan's cells in a store."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import Tensor

from unsplit.errors import DataError
from unsplit.metrics import mse_scale_free_each
from unsplit.studies.grid.cell import REVISION, Cell, Values
from unsplit.studies.grid.found import built_with, computed_by, wherever
from unsplit.studies.grid.rows import ACCURACIES, Metric, ResultRow, interval
from unsplit.studies.grid.store import Store, Stored
from unsplit.studies.reproduction.paper import PAPER_SETS
from unsplit.studies.reproduction.selection import Selection
from unsplit.studies.targets import evaluation

_SHARES = (*ACCURACIES, "clone_agreement", "task_accuracy")
_BOUNDS = {"ssim": (-1.0, 1.0), **dict.fromkeys(_SHARES, (0.0, 1.0))}


class Results:
    """The stored results of a table's cells that differ in their seed only, of the largest budget that was run.

    Args:
        table: the table that was looked for, as the command names it.
        dataset: the data set's name.
        stored: the results, in the order of the plan; empty where nothing was run.
        budget: the budget's name.
        reason: why there are no results.
        command: the command that measures them again.
    """

    def __init__(
        self, table: str, dataset: str, stored: Sequence[Stored], *, budget: str, reason: str, command: str
    ) -> None:
        self.table, self.dataset, self.stored = table, dataset, stored
        self._budget, self._reason, self._command = budget, reason, command

    def __bool__(self) -> bool:
        return bool(self.stored)

    @property
    def device(self) -> str | None:
        """The model of the GPU that computed them; None of a processor."""
        return computed_by(self.stored[0]) if self else None

    @property
    def rows(self) -> list[Values]:
        """What each cell measured."""
        return [result.row for result in self.stored]

    def values(self, name: str) -> list[float]:
        """One number of each cell."""
        return [row[name] for row in self.rows]

    def mean(self, name: str) -> float | None:
        """The mean of one number; None where nothing was run."""
        return math.fsum(self.values(name)) / len(self.stored) if self else None

    def parts(self, name: str) -> list[Any]:
        """The entries of one list of each cell, one after another."""
        return [part for row in self.rows for part in row[name]]

    def each_seed(self) -> dict[int, "Results"]:
        """Every result by itself, by its seed."""
        return {
            result.config["seed"]: self.of([result])
            for result in sorted(self.stored, key=lambda result: int(result.config["seed"]))
        }

    def of(self, stored: Sequence[Stored]) -> "Results":
        """Some of the results."""
        return Results(
            self.table, self.dataset, stored, budget=self._budget, reason=self._reason, command=self._command
        )

    def row(
        self,
        metric: Metric,
        values: Iterable[float],
        *,
        depth: int | None,
        state: str,
        preset: str,
        table: str | None = None,
        seeds: int | None = None,
        paper: float | None = None,
        trivial: float | None = None,
        note: str = "",
    ) -> ResultRow:
        """The row of a metric: the mean of these values and its interval.

        Args:
            metric: what was measured.
            values: one for each seed; none where it was not measured.
            depth: the depth of the cut, or of the head for labels; None for a mean over depths.
            state: the client's, as `ResultRow` has it.
            preset: the attack, as `ResultRow` has it.
            table: the table that the row belongs to, where it is not the one that was looked for.
            seeds: how many seeds the values come from; None for one each result.
            paper: what the paper prints.
            trivial: what the best guess that has seen no message gets.
            note: what else is to be said.
        """
        measured = list(values)
        mean, low, high = interval(measured, _BOUNDS.get(metric, (0.0, math.inf)))
        if not measured:
            note = self._reason
        elif self._budget != "full":
            note = ", ".join(filter(None, (note, f"{self._budget} budget")))
        return ResultRow(
            table=table or self.table,
            dataset=self.dataset,
            depth=depth,
            state=state,
            preset=preset,
            metric=metric,
            value=mean,
            low=low,
            high=high,
            seeds=len(self.stored) if seeds is None else seeds,
            paper=paper,
            trivial=trivial,
            command=self._command,
            device=self.device,
            versions=built_with(self.stored[0]) if measured and self else None,
            note=note,
            revision=REVISION if measured else None,
        )


class StoreReader:
    """Finds in a store the cells that `plan` gives for a selection."""

    def __init__(self, store: Store, plan: Callable[[Selection], list[Cell]]) -> None:
        self._store, self._plan = store, plan
        stored = list(store)
        self._on_gpus: dict[str, list[Stored]] = {}
        for cell in stored:
            if computed_by(cell) is not None:
                self._on_gpus.setdefault(wherever(cell.config), []).append(cell)
        seeds = sorted({int(cell.config["seed"]) for cell in stored if "seed" in cell.config})
        self.seeds = tuple(seeds) or (0,)
        self._planned: dict[tuple[str, str, str, str], list[Cell]] = {}
        self.presets = sorted({cell.config["preset"] for cell in stored if cell.config["kind"] == "inversion"})
        self.sets = {str(cell.config.get("dataset")) for cell in stored if cell.config["kind"] != "client"}

    @property
    def datasets(self) -> tuple[str, ...]:
        """The paper's three, and the digits where they are all that was run."""
        return ("digits",) if self.sets == {"digits"} else PAPER_SETS

    def find(
        self,
        table: str,
        dataset: str,
        kind: type[Cell],
        *,
        preset: str | None = None,
        options: str = "",
        **fields: object,
    ) -> Results:
        """The results of a table's cells of one kind, of the largest budget that has any.

        Args:
            table: the table's name.
            dataset: the data set's name.
            kind: the cells' class.
            preset: the preset of UnSplit's inversion, where the command names one; the cells have it too.
            options: more of the command that measures these cells again.
            fields: values that the cells' fields have.
        """
        reason = "not run"
        command = f"unsplit reproduce {table} --datasets {dataset}"
        command += (f" --preset {preset}" if preset else "") + options
        wanted = fields | ({"preset": preset} if preset else {})
        for budget in ("full", "short", "smoke") if dataset == "digits" else ("full", "short"):
            found: dict[tuple[str, str], list[Stored]] = {}
            for cell in self._cells(table, dataset, preset or "joint", budget):
                if isinstance(cell, kind) and all(getattr(cell, name) == value for name, value in wanted.items()):
                    for result in self._results_of(cell):
                        if result.status == "done":
                            found.setdefault((computed_by(result) or "", built_with(result)), []).append(result)
                        else:
                            reason = f"failed: {result.row['error']}"
            if found:
                # Of one device and build, since rounding differs; of several that of the most seeds, a processor first.
                stored = max((found[name] for name in sorted(found)), key=len)
                seeds = ",".join(sorted({str(result.config["seed"]) for result in stored}))
                command = f"{command} --seeds {seeds} --budget {budget}"
                device = str(stored[0].config.get("device", "cpu"))
                command += "" if device == "cpu" else f" --device {device}"
                return Results(table, dataset, stored, budget=budget, reason="", command=command)
        return Results(table, dataset, [], budget="full", reason=reason, command=f"{command} --budget full")

    def _results_of(self, cell: Cell) -> list[Stored]:
        """The results of a cell: that of this machine's processor, and those of GPUs, which may be of another machine
        and another build of torch.
        """
        own = self._store.get(cell.key)
        return ([] if own is None else [own]) + self._on_gpus.get(wherever(cell.config), [])

    def scale_free_each(self, found: Results) -> list[float]:
        """The diagnostic that needs the originals: nothing where the data set is not on this machine."""
        if not found:
            return []
        try:
            truth = evaluation(found.dataset).targets.images
        except DataError:
            return []
        return [mse_scale_free_each(self._store.tensors(result)["inputs"], truth) for result in found.stored]

    def pictures(self, found: Results) -> Tensor | None:
        """What the first seed's attack made of the targets, shape [n, channels, h, w]; None where nothing was run."""
        if not found:
            return None
        first = min(found.stored, key=lambda result: int(result.config["seed"]))
        return self._store.tensors(first)["inputs"]

    def _cells(self, table: str, dataset: str, preset: str, budget: str) -> list[Cell]:
        key = (table, dataset, preset, budget)
        if key not in self._planned:
            selection = Selection(
                tables=(table,), presets=(preset,), datasets=(dataset,), seeds=self.seeds, budget=budget
            )
            self._planned[key] = self._plan(selection)
        return self._planned[key]
