"""Finding the results of a plan's cells in a store."""

import math
from collections.abc import Callable, Iterable, Sequence

from torch import Tensor

from unsplit.errors import DataError
from unsplit.metrics import mse_scale_free_each
from unsplit.studies.grid.cell import Cell
from unsplit.studies.grid.rows import ACCURACIES, Metric, ResultRow, interval
from unsplit.studies.grid.store import Store, Stored
from unsplit.studies.reproduction.paper import PAPER_SETS
from unsplit.studies.reproduction.selection import Selection
from unsplit.studies.targets import evaluation

_SHARES = (*ACCURACIES, "clone_agreement", "task_accuracy")


_BOUNDS = {"ssim": (-1.0, 1.0), **dict.fromkeys(_SHARES, (0.0, 1.0))}


class Found:
    """The stored results of cells that differ in their seed only, of the largest budget that was run."""

    def __init__(self, results: Sequence[Stored], budget: str, reason: str, command: str) -> None:
        self.results, self.budget, self.reason, self.command = results, budget, reason, command

    def each_seed(self) -> dict[int, "Found"]:
        """Every result by itself, by its seed."""
        return {
            int(str(result.config["seed"])): Found([result], self.budget, self.reason, self.command)
            for result in sorted(self.results, key=lambda result: int(str(result.config["seed"])))
        }

    def row(
        self,
        metric: Metric,
        values: Iterable[float],
        *,
        table: str,
        dataset: str,
        depth: int | None,
        state: str,
        preset: str,
        paper: float | None = None,
        trivial: float | None = None,
        note: str = "",
    ) -> ResultRow:
        measured = list(values)
        mean, low, high = interval(measured) if measured else (None, None, None)
        if low is not None and high is not None:
            least, most = _BOUNDS.get(metric, (0.0, math.inf))
            low, high = max(low, least), min(high, most)
        if not measured:
            note = self.reason
        elif self.budget != "full":
            note = ", ".join(filter(None, (note, f"{self.budget} budget")))
        return ResultRow(
            table=table,
            dataset=dataset,
            depth=depth,
            state=state,
            preset=preset,
            metric=metric,
            value=mean,
            low=low,
            high=high,
            seeds=len(self.results),
            paper=paper,
            trivial=trivial,
            command=self.command,
            note=note,
        )


class Reader:
    """Finds in a store the cells that `plan` gives for a selection."""

    def __init__(self, store: Store, plan: Callable[[Selection], list[Cell]]) -> None:
        self._store, self._plan = store, plan
        stored = list(store)
        seeds = sorted({int(str(cell.config["seed"])) for cell in stored if "seed" in cell.config})
        self.seeds = tuple(seeds) or (0,)
        self._planned: dict[tuple[str, str, str, str], list[Cell]] = {}
        self.sets = {str(cell.config.get("dataset")) for cell in stored if cell.config["kind"] != "client"}

    @property
    def datasets(self) -> tuple[str, ...]:
        """The paper's three, and the digits where they are all that was run."""
        return ("digits",) if self.sets == {"digits"} else PAPER_SETS

    def find(
        self, table: str, dataset: str, wanted: Callable[[Cell], bool], *, preset: str | None = None, options: str = ""
    ) -> Found:
        """The results of the cells of a table that are wanted, of the largest budget that has any."""
        reason = "not run"
        command = f"unsplit reproduce {table} --datasets {dataset}"
        command += (f" --preset {preset}" if preset else "") + options
        for budget in ("full", "short", "smoke"):
            if budget == "smoke" and dataset != "digits":
                continue
            results = []
            for cell in self._cells(table, dataset, preset or "joint", budget):
                if wanted(cell):
                    stored = self._store.get(cell.key)
                    if stored is not None and stored.status == "done":
                        results.append(stored)
                    elif stored is not None:
                        reason = f"failed: {stored.row['error']}"
            if results:
                seeds = ",".join(sorted({str(result.config["seed"]) for result in results}))
                return Found(results, budget, "", f"{command} --seeds {seeds} --budget {budget}")
        return Found([], "full", reason, f"{command} --budget full")

    def scale_free_each(self, found: Found, dataset: str) -> list[float]:
        """The diagnostic that needs the originals: nothing where the data set is not on this machine."""
        if not found.results:
            return []
        try:
            truth = evaluation(dataset).targets.images
        except DataError:
            return []
        return [mse_scale_free_each(self._store.tensors(result)["inputs"], truth) for result in found.results]

    def pictures(self, found: Found) -> Tensor | None:
        """What the first seed's attack made of the targets, shape [n, channels, h, w]; None where nothing was run."""
        if not found.results:
            return None
        first = min(found.results, key=lambda result: int(str(result.config["seed"])))
        return self._store.tensors(first)["inputs"]

    def _cells(self, table: str, dataset: str, preset: str, budget: str) -> list[Cell]:
        key = (table, dataset, preset, budget)
        if key not in self._planned:
            selection = Selection(
                tables=(table,), presets=(preset,), datasets=(dataset,), seeds=self.seeds, budget=budget
            )
            self._planned[key] = self._plan(selection)
        return self._planned[key]
