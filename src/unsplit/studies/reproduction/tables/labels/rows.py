"""The rows of the table "labels"."""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from unsplit.studies.grid.rows import ResultRow
from unsplit.studies.reproduction import paper
from unsplit.studies.reproduction.reader import Found, Reader
from unsplit.studies.reproduction.tables.labels.cells import (
    DEFENCES,
    EPOCH,
    FIRST,
    HEADS,
    SETTINGS,
    SHUFFLED,
    CutGradientCell,
    HandedOverCell,
    handed_over,
)

_TABLE = "labels"


SURROGATE = "surrogate"


def label_rows(reader: Reader) -> list[ResultRow]:
    """Accuracies of every attack in every situation that was run, and what the labels are good for."""
    rows = []
    for dataset, head in itertools.product(reader.datasets, HEADS):
        for situation in (FIRST, EPOCH, SHUFFLED, *SETTINGS, *DEFENCES):
            found = reader.find(
                _TABLE,
                dataset,
                lambda cell, head=head, situation=situation: (  # type: ignore[misc]
                    isinstance(cell, CutGradientCell) and (cell.setting.head, cell.situation) == (head, situation)
                ),
                options=f" --depths {head}",
            )
            if found.results:
                rows += _cut_gradients(found, dataset, head, situation)
        rows += _handed_over(reader, dataset, head)
    return rows


def _cut_gradients(found: Found, dataset: str, head: int, situation: str) -> list[ResultRow]:
    names: dict[str, Any] = {"table": _TABLE, "dataset": dataset, "depth": head}
    results = [result.row for result in found.results]
    chance = _mean(float(str(row["chance"])) for row in results)
    rows = []
    for attack, known in dict.fromkeys((each["attack"], each["known"]) for each in _attacks(results)):
        chosen = [each for each in _attacks(results) if (each["attack"], each["known"]) == (attack, known)]
        preset = f"{attack}, {known} known"
        named = [each["accuracy"] for each in chosen]
        if None not in named:
            rows.append(found.row("label_accuracy", named, state=situation, preset=preset, trivial=chance, **names))
        else:
            values = [each["up_to_names"] for each in chosen]
            rows.append(
                found.row("label_accuracy_up_to_names", values, state=situation, preset=preset, trivial=chance, **names)
            )
    single: tuple[tuple[Any, str], ...] = (
        ("task_accuracy", "client"),
        ("clone_accuracy", f"{SURROGATE}, 1 known"),
        ("clone_agreement", f"{SURROGATE}, 1 known"),
    )
    for metric, preset in single:
        if all(metric in row for row in results):
            values = [float(str(row[metric])) for row in results]
            rows.append(found.row(metric, values, state=situation, preset=preset, **names))
    for state, preset, metric, values in _by_steps(results, situation):
        rows.append(found.row(metric, values, state=state, preset=preset, trivial=chance, **names))
    return rows


def _by_steps(results: Sequence[Any], situation: str) -> list[tuple[str, str, Any, list[float]]]:
    """Accuracies on the first so many steps, and in each stretch of an epoch."""
    rows: list[tuple[str, str, Any, list[float]]] = []
    prefixes = [row.get("prefixes", ()) for row in results if situation == FIRST]
    for points in zip(*prefixes, strict=True):
        state = f"first {points[0][0]} steps"
        values = [point[1] for point in points]
        rows.append((state, f"{SURROGATE}, 0 known", "label_accuracy_up_to_names", values))
    curves = [row.get("curve", ()) for row in results if situation == EPOCH]
    for points in zip(*curves, strict=True):
        state = f"from step {points[0][0]:.0f}"
        for column, attack in ((1, SURROGATE), (2, "nearest known sample")):
            rows.append((state, f"{attack}, 1 known", "label_accuracy", [point[column] for point in points]))
    return rows


def _handed_over(reader: Reader, dataset: str, head: int) -> list[ResultRow]:
    rows = []
    for size, _, optimizer in handed_over(dataset, head, 1):
        found = reader.find(
            _TABLE,
            dataset,
            lambda cell, size=size, optimizer=optimizer: (  # type: ignore[misc]
                isinstance(cell, HandedOverCell)
                and (cell.head, cell.batch_size, cell.optimizer) == (head, size, optimizer)
            ),
            options=f" --depths {head}",
        )
        results = [result.row for result in found.results]
        rows += [
            found.row(
                "label_accuracy",
                [each["accuracy"] for each in _attacks(results) if each["attack"] == attack],
                table=_TABLE,
                dataset=dataset,
                depth=head,
                state=f"batch {size}, {optimizer.name}, weights seen",
                preset=attack,
                paper=paper.TABLE3.get(dataset, {}).get(head) if size == 1 else None,
                trivial=_mean(float(str(row["chance"])) for row in results),
            )
            for attack in dict.fromkeys(each["attack"] for each in _attacks(results))
        ]
    return rows


def _attacks(results: Sequence[Any]) -> list[dict[str, Any]]:
    return [attack for row in results for attack in row["attacks"]]


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)
