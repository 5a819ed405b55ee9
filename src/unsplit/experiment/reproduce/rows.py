"""From the store to the rows that pages are rendered from: the contents of `results.json`."""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, TypeAdapter, ValidationError
from scipy.stats import t

from unsplit.errors import DataError, FormatError
from unsplit.experiment.reproduce import paper
from unsplit.experiment.reproduce.budget import BUDGETS
from unsplit.experiment.reproduce.cells import Cell, InversionCell, LabelCell, evaluation
from unsplit.experiment.reproduce.plan import RESNET_CUT, Selection, depths_of, plan
from unsplit.experiment.reproduce.rivals import CollaborativeCell, HijackCell, QueryCell
from unsplit.experiment.reproduce.store import Store, Stored
from unsplit.experiment.results import Row
from unsplit.files import explained
from unsplit.metrics import mse_scale_free_each

PAPER_SETS = ("mnist", "fashion-mnist", "cifar-10")
PRESETS_SHOWN = ("joint", "paper", "released")
HIJACKING = "feature-space hijacking"

Metric = Literal[
    "mse", "mse_scale_free", "mse_scale_free_each", "ssim", "psnr", "clone_accuracy", "label_accuracy", "queries"
]
Verdict = Literal["reproduced", "better", "undecided", "not reproduced"]


class ResultRow(Row):
    """One number: ours, the paper's, and the best guess that has seen nothing."""

    table: str = Field(description="as the command names it")
    dataset: str
    depth: int | None = Field(description="of the cut, or of the head for labels; null for a mean over depths")
    state: str = Field(description="of the client: before or after training, or after so many epochs or iterations")
    preset: str = Field(description="settings of UnSplit, or the name of another attack")
    metric: Metric
    value: float | None = Field(description="mean over seeds; null if it was not measured")
    low: float | None = Field(description="lower end of the 95 % interval over seeds; null with one seed")
    high: float | None = Field(description="its upper end")
    seeds: int
    paper: float | None = Field(description="what the paper prints (He et al. for the table white-box), if it does")
    trivial: float | None = Field(description="the best guess that has seen no message, where there is one")
    command: str = Field(description="what measures it again")
    note: str = Field(default="", description="a smaller budget than the paper's, or why there is no number")


def verdict(row: ResultRow) -> Verdict | None:
    """How a number compares with the paper's; None where either is missing.

    Reproduced: our mean lies within 10 % of the paper's value (accuracies: two points), or within 25 % (five points)
    with the paper's value in our interval. Undecided: the paper's value is in our interval, and our mean is farther
    off. Better and not reproduced: the interval (of one seed: the value) lies wholly on the side that is better or
    worse for the attacker.
    """
    if row.value is None or row.paper is None:
        return None
    accuracy = row.metric.endswith("accuracy")
    near, far = (0.02, 0.05) if accuracy else (0.1 * row.paper, 0.25 * row.paper)
    off = abs(row.value - row.paper)
    inside = row.low is not None and row.high is not None and row.low <= row.paper <= row.high
    if off <= near or (inside and off <= far):
        return "reproduced"
    if inside:
        return "undecided"
    higher_is_better = accuracy or row.metric in ("ssim", "psnr")
    return "better" if (row.value > row.paper) == higher_is_better else "not reproduced"


def no_better_than_a_guess(row: ResultRow) -> bool:
    """Whether a guess that has seen nothing may be as good: its error or accuracy (with two points to spare) is not
    outside our interval, or beyond the value of a single seed.
    """
    if row.value is None or row.trivial is None or row.metric not in ("mse", "clone_accuracy", "label_accuracy"):
        return False
    if row.metric == "mse":
        return (row.value if row.high is None else row.high) >= row.trivial
    return (row.value if row.low is None else row.low) <= row.trivial + 0.02


def interval(values: Sequence[float]) -> tuple[float, float | None, float | None]:
    """Mean, and the ends of its 95 % interval by Student's t; no ends for a single value."""
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return mean, None, None
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values))
    half = float(t.ppf(0.975, len(values) - 1)) * spread
    return mean, mean - half, mean + half


_BOUNDS = {"clone_accuracy": (0.0, 1.0), "label_accuracy": (0.0, 1.0), "ssim": (-1.0, 1.0)}


class Found:
    """The stored results of cells that differ in their seed only, of the largest budget that was run."""

    def __init__(self, results: Sequence[Stored], budget: str, reason: str, command: str) -> None:
        self.results, self.budget, self.reason, self.command = results, budget, reason, command

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
    """Finds a plan's cells in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
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

    def _cells(self, table: str, dataset: str, preset: str, budget: str) -> list[Cell]:
        key = (table, dataset, preset, budget)
        if key not in self._planned:
            selection = Selection(
                tables=(table,), presets=(preset,), datasets=(dataset,), seeds=self.seeds, budget=budget
            )
            self._planned[key] = plan(selection)
        return self._planned[key]


def collect(store: Store) -> list[ResultRow]:
    """All rows of a store, table by table; what was not run has a row that says so."""
    reader = Reader(store)
    return [
        row
        for table in (_table2, _table3, _figure2, _figure3a, _table5, _figure3b, _white_box)
        for row in table(reader)
    ]


def _is_inversion(preset: str, depth: int, state: str) -> Callable[[Cell], bool]:
    return lambda cell: (
        isinstance(cell, InversionCell) and (cell.preset, cell.depth, cell.state) == (preset, depth, state)
    )


def _table2(reader: Reader) -> list[ResultRow]:
    rows = []
    for dataset in reader.datasets:
        for preset in PRESETS_SHOWN:
            for state in ("before", "after"):
                for depth in depths_of(dataset):
                    options = f" --states {state} --depths {depth}"
                    found = reader.find(
                        "table2", dataset, _is_inversion(preset, depth, state), preset=preset, options=options
                    )
                    # Of the released settings a sample is enough; where there is none, that is not worth a row.
                    if found.results or preset != "released":
                        rows += _inversion_rows(found, "table2", dataset, depth, state, preset)
                        row = found.row(
                            "mse_scale_free_each",
                            reader.scale_free_each(found, dataset),
                            table="table2",
                            dataset=dataset,
                            depth=depth,
                            state=state,
                            preset=preset,
                        )
                        rows += [row] if row.value is not None else []
    return rows


def _inversion_rows(
    found: Found, table: str, dataset: str, depth: int, state: str, preset: str, *, printed: bool = True
) -> list[ResultRow]:
    before, after, clone = paper.TABLE2.get(dataset, {}).get(depth, (None, None, None)) if printed else (None,) * 3
    results = [result.row for result in found.results]
    guess = _mean(results, "mse_best_trivial")
    constant = math.fsum(_guesses(row)["best constant"] for row in results) / len(results) if results else None
    names: dict[str, Any] = {"table": table, "dataset": dataset, "depth": depth, "state": state, "preset": preset}
    rows = [
        found.row("mse", _values(results, "mse"), paper=before if state == "before" else after, trivial=guess, **names),
        found.row("mse_scale_free", _values(results, "mse_scale_free"), trivial=constant, **names),
        found.row("ssim", _values(results, "ssim"), **names),
    ]
    if state == "after" and (not results or "clone_accuracy" in results[0]):
        chance = _mean(results, "clone_chance") if results and "clone_chance" in results[0] else None
        values = _values(results, "clone_accuracy")
        rows.append(found.row("clone_accuracy", values, paper=clone, trivial=chance, **names))
    return rows


def _table3(reader: Reader) -> list[ResultRow]:
    """The paper's attack: gradient matching on the weight gradient, by a clone head that is trained or not."""
    rows = []
    for dataset in reader.datasets:
        for depth in (1, 2):
            for optimizer in ("sgd", "adam"):
                found = reader.find(
                    "table3",
                    dataset,
                    lambda cell, depth=depth, optimizer=optimizer: (  # type: ignore[misc]
                        isinstance(cell, LabelCell) and (cell.depth, cell.optimizer.name) == (depth, optimizer)
                    ),
                    options=f" --depths {depth}",
                )
                for head in ("trained", "untrained"):
                    attacks = [
                        attack
                        for result in found.results
                        for attack in _attacks(result)
                        if (attack["observed"], attack["clone_head"]) == ("weight_grad", head)
                    ]
                    rows.append(
                        found.row(
                            "label_accuracy",
                            [float(attack["accuracy"]) for attack in attacks],
                            table="table3",
                            dataset=dataset,
                            depth=depth,
                            state="before",
                            preset=f"{optimizer}, clone head {head}",
                            paper=paper.TABLE3.get(dataset, {}).get(depth),
                            trivial=attacks[0]["chance"] if attacks else None,
                        )
                    )
    return rows


def _figure2(reader: Reader) -> list[ResultRow]:
    rows = []
    for dataset in reader.datasets:
        for preset in ("joint", "paper"):
            for epoch in range(BUDGETS["full"].clients[dataset].epochs + 1):
                found = reader.find(
                    "figure2",
                    dataset,
                    lambda cell, preset=preset, epoch=epoch: (  # type: ignore[misc]
                        isinstance(cell, InversionCell) and (cell.preset, cell.epoch) == (preset, epoch)
                    ),
                    preset=preset,
                )
                if not found.results and preset != "joint":
                    continue
                first = found.results[:1] and found.results[0].config["seed"]
                results = [result for result in found.results if result.config["seed"] == first]
                depths = sorted({int(str(result.config["depth"])) for result in results})
                errors = [float(str(result.row["mse"])) for result in results]
                note = "" if depths == [*depths_of(dataset)] else "depths " + ", ".join(map(str, depths))
                row = found.row(
                    "mse",
                    [math.fsum(errors) / len(errors)] if errors else [],
                    table="figure2",
                    dataset=dataset,
                    depth=None,
                    state=f"epoch {epoch}",
                    preset=preset,
                    trivial=_mean([result.row for result in results], "mse_best_trivial"),
                    note=note,
                )
                rows.append(row.model_copy(update={"seeds": 1 if errors else 0}))
    return rows


def _figure3a(reader: Reader) -> list[ResultRow]:
    """Every depth of every attack; page and figure take the means."""
    rows = []
    for dataset in reader.datasets:
        for attack in ("white box", "query-free, own data", "query-free, no data"):
            for depth in depths_of(dataset):
                found = reader.find(
                    "figure3a",
                    dataset,
                    lambda cell, attack=attack, depth=depth: (  # type: ignore[misc]
                        isinstance(cell, CollaborativeCell) and (cell.attack, cell.depth) == (attack, depth)
                    ),
                    options=f" --depths {depth}",
                )
                rows += _inversion_rows(found, "figure3a", dataset, depth, "after", attack, printed=False)
    return rows


def _table5(reader: Reader) -> list[ResultRow]:
    """Queries until the mean error over the pictures is UnSplit's: the paper's printed one, or ours."""
    rows = []
    for dataset in reader.datasets:
        for depth in range(1, 7):
            found = reader.find(
                "table5",
                dataset,
                lambda cell, depth=depth: isinstance(cell, QueryCell) and cell.depth == depth,  # type: ignore[misc]
                options=f" --depths {depth}",
            )
            printed = paper.TABLE2.get(dataset, {}).get(depth, (None, None, None))[1]
            thresholds = {"the paper's error": printed}
            for preset in ("joint", "paper"):
                ours = reader.find("table2", dataset, _is_inversion(preset, depth, "after"), preset=preset)
                thresholds[f"our error, {preset}"] = _mean([result.row for result in ours.results], "mse")
            curves: list[list[float]] = [curve for result in found.results for curve in _curves(result)]
            for name, threshold in thresholds.items():
                needed, note = _queries(curves, threshold)
                rows.append(
                    found.row(
                        "queries",
                        needed,
                        table="table5",
                        dataset=dataset,
                        depth=depth,
                        state="after",
                        preset=f"until {name}",
                        paper=paper.TABLE5[dataset][depth - 1] if dataset in paper.TABLE5 else None,
                        note=note,
                    )
                )
    return rows


def _white_box(reader: Reader) -> list[ResultRow]:
    """Beside what its own authors print."""
    return [
        found.row(
            "psnr",
            _values([result.row for result in found.results], "psnr"),
            table="white-box",
            dataset=dataset,
            depth=depth,
            state="after",
            preset="white box",
            paper=paper.HE_PSNR.get(dataset, {}).get(depth),
        )
        for dataset in reader.datasets
        for depth in paper.HE_PSNR.get(dataset, {} if dataset in PAPER_SETS else {0: 0.0})
        for found in [
            reader.find(
                "white-box",
                dataset,
                lambda cell, depth=depth: isinstance(cell, CollaborativeCell) and cell.depth == depth,  # type: ignore[misc]
            )
        ]
    ]


def _queries(curves: list[list[float]], threshold: float | None) -> tuple[list[float], str]:
    """For each run the first number of queries whose error is no larger; a run that never gets there counts as the
    most queries it had.
    """
    if threshold is None or not curves:
        return [], "no error to reach" if curves else ""
    limit = len(curves[0]) - 1
    needed = [next((number for number, error in enumerate(curve) if error <= threshold), None) for curve in curves]
    never = sum(number is None for number in needed)
    note = f"{never} of {len(curves)} runs do not reach it and count as {limit}" if never else ""
    return [float(limit if number is None else number) for number in needed], note


def _figure3b(reader: Reader) -> list[ResultRow]:
    dataset = "digits" if reader.datasets == ("digits",) else "mnist"
    names: dict[str, Any] = {"table": "figure3b", "dataset": dataset, "depth": RESNET_CUT}
    hijack = reader.find("figure3b", dataset, lambda cell: isinstance(cell, HijackCell))
    guess = _mean([result.row for result in hijack.results], "mse_best_trivial")
    rows = []
    points = sorted(
        (int(point["iteration"]), float(point["mse"])) for result in hijack.results for point in _curve(result)
    )
    for iteration, error in points:
        rows.append(
            hijack.row(
                "mse", [error], state=f"iteration {iteration}", preset=HIJACKING, trivial=guess, **names
            ).model_copy(update={"seeds": 1})
        )
    if not points:
        rows.append(hijack.row("mse", [], state="iteration 0", preset=HIJACKING, **names))
    for state in ("before", "after"):
        found = reader.find("figure3b", dataset, _is_inversion("joint", RESNET_CUT, state))
        rows += _inversion_rows(found, "figure3b", dataset, RESNET_CUT, state, "joint", printed=False)
    return rows


def _values(results: Sequence[dict[str, object]], name: str) -> list[float]:
    return [float(str(row[name])) for row in results]


def _mean(results: Sequence[dict[str, object]], name: str) -> float | None:
    values = _values(results, name)
    return math.fsum(values) / len(values) if values else None


def _guesses(row: dict[str, object]) -> dict[str, float]:
    guesses: Any = row["guesses"]
    return dict(guesses)


def _attacks(result: Stored) -> list[dict[str, Any]]:
    attacks: Any = result.row["attacks"]
    return list(attacks)


def _curves(result: Stored) -> list[list[float]]:
    curves: Any = result.row["curves"]
    return list(curves)


def _curve(result: Stored) -> list[dict[str, float]]:
    curve: Any = result.row["curve"]
    return list(curve)


_ROWS = TypeAdapter(list[ResultRow])


def dump_rows(rows: Sequence[ResultRow]) -> str:
    """The text of `results.json`: a list, one row a line, numbers to six digits."""
    lines = [json.dumps(_rounded(row.model_dump())) for row in rows]
    return "[\n" + ",\n".join(lines) + "\n]\n"


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {name: float(f"{value:.6g}") if isinstance(value, float) else value for name, value in row.items()}


def read_rows(path: Path) -> list[ResultRow]:
    """The rows of a `results.json`.

    Raises:
        FormatError: damaged, or not such a file.
        StorageError: it cannot be read.
    """
    with explained(path):
        text = path.read_text(encoding="utf-8")
    try:
        return _ROWS.validate_json(text)
    except ValidationError as error:
        raise FormatError(f"{path} is damaged or no list of results; run `unsplit reproduce report` again.") from error
