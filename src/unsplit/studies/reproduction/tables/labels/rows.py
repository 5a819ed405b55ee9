"""The rows of the table "labels"."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from unsplit.optim import OptimizerSpec
from unsplit.studies.grid.rows import Metric, ResultRow
from unsplit.studies.reproduction import paper
from unsplit.studies.reproduction.reader import Results, StoreReader
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


def label_rows(reader: StoreReader) -> Iterator[ResultRow]:
    """Accuracies of every attack in every situation that was run, and what the labels are good for."""
    for dataset, head in itertools.product(reader.datasets, HEADS):
        options = f" --depths {head}"
        for situation in (FIRST, EPOCH, SHUFFLED, *SETTINGS, *DEFENCES):
            found = reader.find(_TABLE, dataset, CutGradientCell, options=options, head=head, situation=situation)
            if found:
                yield from _cut_gradients(found, head, situation)
        for size, _, optimizer in handed_over(dataset, head, 1):
            found = reader.find(
                _TABLE, dataset, HandedOverCell, options=options, head=head, batch_size=size, optimizer=optimizer
            )
            yield from _handed_over(found, head, size, optimizer)


def _cut_gradients(found: Results, head: int, situation: str) -> Iterator[ResultRow]:
    names: dict[str, Any] = {"depth": head, "trivial": found.mean("chance")}
    attacks = found.parts("attacks")
    for attack, known in dict.fromkeys((each["attack"], each["known"]) for each in attacks):
        chosen = [each for each in attacks if (each["attack"], each["known"]) == (attack, known)]
        named = None not in [each["accuracy"] for each in chosen]
        metric: Metric = "label_accuracy" if named else "label_accuracy_up_to_names"
        values = [each["accuracy" if named else "up_to_names"] for each in chosen]
        yield found.row(metric, values, state=situation, preset=f"{attack}, {known} known", **names)
    single: tuple[tuple[Metric, str], ...] = (
        ("task_accuracy", "client"),
        ("clone_accuracy", f"{SURROGATE}, 1 known"),
        ("clone_agreement", f"{SURROGATE}, 1 known"),
    )
    for metric, preset in single:
        if all(metric in row for row in found.rows):
            yield found.row(metric, found.values(metric), depth=head, state=situation, preset=preset)
    for state, preset, metric, values in _by_steps(found.rows, situation):
        yield found.row(metric, values, state=state, preset=preset, **names)


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


def _handed_over(found: Results, head: int, size: int, optimizer: OptimizerSpec) -> list[ResultRow]:
    attacks = found.parts("attacks")
    return [
        found.row(
            "label_accuracy",
            [each["accuracy"] for each in attacks if each["attack"] == attack],
            depth=head,
            state=f"batch {size}, {optimizer.name}, weights seen",
            preset=attack,
            paper=paper.TABLE3.get(found.dataset, {}).get(head) if size == 1 else None,
            trivial=found.mean("chance"),
        )
        for attack in dict.fromkeys(each["attack"] for each in attacks)
    ]
