"""From stored cells to points: what a defence costs and what still leaks, with intervals over seeds."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from unsplit.studies.grid.cell import REVISION, Values
from unsplit.studies.grid.rows import ResultRow, interval
from unsplit.studies.grid.store import Store
from unsplit.studies.tradeoff.cell import TradeoffCell

TABLE = "tradeoff"
ATTACKS = ("unaware", "aware")
STRONGER = "stronger"
"""What stands for whichever of the attacks gets more with a seed."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A mean over seeds with its 95 % interval (None with one seed)."""

    value: float
    low: float | None
    high: float | None
    seeds: int


@dataclass(frozen=True, kw_only=True)
class Point:
    """One defence at one strength on one data set.

    Args:
        dataset: the data set's name.
        defense: the defence as text; "none" for none.
        depth: the depth of the cut.
        measures: what was measured, by (metric, attack); the attack is "" where none is meant.
        guess: share of labels that always naming the commonest class gets right.
    """

    dataset: str
    defense: str
    depth: int
    measures: dict[tuple[str, str], Measure]
    guess: float | None = None

    @property
    def family(self) -> str:
        """The defence without its strength."""
        return " + ".join(part.partition(":")[0] for part in self.defense.split(" + "))

    def get(self, metric: str, attack: str = "") -> Measure | None:
        """One measure."""
        return self.measures.get((metric, attack))

    def leak(self, metric: str) -> Measure | None:
        """What the attack that gets more gets, seed by seed; an attack that does worse than a guess gets nothing."""
        return self.get(metric, STRONGER)


_SHARES = ("skill", "task_accuracy", "clone_accuracy", "label_accuracy_up_to_names")
"""What cannot be above 1, and where below 0 means no more than 0."""
_METRICS = ("skill", "mse", "ssim", "clone_accuracy")


def tradeoff_rows(store: Store, cells: Sequence[TradeoffCell], command: str) -> list[ResultRow]:
    """The rows of `results.json` of the cells that are stored.

    Args:
        store: the store that has the results.
        cells: the cells of a plan.
        command: the command that measures them again, without its defences.
    """
    groups: dict[tuple[str, str], list[Values]] = {}
    for cell in cells:
        stored = store.get(cell.key)
        if stored is not None and stored.status == "done":
            groups.setdefault((cell.dataset, cell.defense), []).append(stored.row)
    rows = []
    for (dataset, defense), found in groups.items():
        for (metric, attack), values, trivial in _values(found):
            mean, low, high = interval(values, (0.0, 1.0) if metric in _SHARES else (-math.inf, math.inf))
            rows.append(
                ResultRow.model_validate(
                    {
                        "table": TABLE,
                        "dataset": dataset,
                        "depth": found[0]["depth"],
                        "state": "after",
                        "preset": attack,
                        "metric": metric,
                        "value": mean,
                        "low": low,
                        "high": high,
                        "seeds": len(values),
                        "paper": None,
                        "trivial": trivial,
                        "command": command,
                        "defense": defense,
                        "device": found[0].get("device"),
                        "revision": REVISION,
                    }
                )
            )
    return rows


def _values(rows: Sequence[Values]) -> Iterable[tuple[tuple[str, str], list[float], float | None]]:
    chance = _mean(rows, "chance")
    yield ("task_accuracy", ""), _all(rows, "accuracy"), chance
    yield ("seconds", ""), _all(rows, "seconds"), None
    yield ("bytes", ""), _all(rows, "bytes"), None
    for attack in ATTACKS:
        inner = [row[attack] for row in rows]
        trivial = {"skill": 0.0, "mse": _mean(inner, "mse_best_trivial"), "clone_accuracy": chance}
        for metric in _METRICS:
            if all(part[metric] is not None for part in inner):  # only pictures have a structural similarity
                yield (metric, attack), _all(inner, metric), trivial.get(metric)
        shares = [row["labels"][attack] for row in rows]
        yield ("label_accuracy_up_to_names", attack), shares, _mean(rows, "label_chance")
    yield ("skill", STRONGER), [max(0.0, *(row[attack]["skill"] for attack in ATTACKS)) for row in rows], 0.0
    read = [max(row["labels"][attack] for attack in ATTACKS) for row in rows]
    yield ("label_accuracy_up_to_names", STRONGER), read, _mean(rows, "label_chance")


def _all(rows: Iterable[Values], name: str) -> list[float]:
    return [row[name] for row in rows]


def _mean(rows: Sequence[Values], name: str) -> float:
    values = _all(rows, name)
    return math.fsum(values) / len(values)


def points(rows: Iterable[ResultRow]) -> list[Point]:
    """The points that rows tell of, in their order."""
    rows, found = list(rows), dict[tuple[str, str], Point]()
    labels = [row for row in rows if row.table == TABLE and row.metric == "label_accuracy_up_to_names"]
    chances = {(row.dataset, row.defense): row.trivial for row in labels}
    for row in rows:
        if row.table != TABLE or row.defense is None or row.value is None:
            continue
        point = found.setdefault(
            (row.dataset, row.defense),
            Point(
                dataset=row.dataset,
                defense=row.defense,
                depth=row.depth or 0,
                measures={},
                guess=chances.get((row.dataset, row.defense)),
            ),
        )
        point.measures[row.metric, row.preset] = Measure(value=row.value, low=row.low, high=row.high, seeds=row.seeds)
    return list(found.values())
