"""Attacks on tables by a server that knows some of the rows, or what is published of the columns."""

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from unsplit.attacks import Progress, silent
from unsplit.attacks.rows import RowsConfig, invert_from_known_rows, invert_from_statistics
from unsplit.data import Dataset
from unsplit.defenses import Defense
from unsplit.experiment.auditing.config import AuditConfig
from unsplit.experiment.inversion import Evaluation, observe_inference, scored
from unsplit.knowledge import ClientArchitecture, ColumnStatistics, KnownRows
from unsplit.models import split
from unsplit.randomness import generator
from unsplit.results import InversionRow
from unsplit.types import Reconstruction

ATTACKS: dict[str, Callable[..., Reconstruction]] = {
    "known-rows": invert_from_known_rows,
    "statistics": invert_from_statistics,
}
"""The attacks by the name that stands for a preset in reports."""

MOST_COLUMNS = 128
"""The time of a search by statistics grows with the cube of the columns."""


def fitting_rows(config: AuditConfig, train: Dataset) -> tuple[AuditConfig, tuple[str, ...]]:
    """The configuration with the attacks on tables that these data allow, and what there is to say of them."""
    if len(train.input_shape) != 1 or train.inputs or not (config.cuts and config.states):
        return replace(config, row_knowledge=()), ()
    columns, names = train.input_shape[0], config.row_knowledge
    number = min(config.known_rows, len(train))
    notes = [
        f"Behind a first dense layer the smashed data of rows are the same for every affine map of the {columns} "
        "columns that the layer's weights undo, so rows are not identifiable from smashed data and the architecture: "
        "'joint' finds them up to such a map at best. "
        + (
            f"{' and '.join(_told(name, number) for name in names)} were used to find the map."
            if names
            else "Nothing that could find the map was tried (--row-knowledge)."
        )
    ]
    if "statistics" in names and columns > MOST_COLUMNS:
        names = tuple(name for name in names if name != "statistics")
        notes = [
            f"The search by the columns' statistics takes up to {MOST_COLUMNS} columns and there are {columns}; it was "
            "left out."
        ]
    return replace(config, row_knowledge=names, known_rows=number), tuple(notes)


def _told(name: str, rows: int) -> str:
    return f"{rows} known rows" if name == "known-rows" else "the columns' published statistics"


def run_on_rows(
    model: nn.Sequential,
    depth: int,
    name: str,
    evaluation: Evaluation,
    *,
    state: Literal["before", "after"],
    known_rows: int,
    seed: int,
    device: torch.device,
    settings: RowsConfig | None = None,
    defenses: Sequence[Defense] = (),
    progress: Progress = silent,
) -> tuple[InversionRow, Tensor]:
    """Attack `model` cut at `depth`; returns the scores and the rows [n, columns] of the targets.

    The rows that are known, and those that statistics are of, are training rows, none of them a target.

    Args:
        model: the whole network.
        depth: of the cut.
        name: one of `ATTACKS`.
        evaluation: the targets and the client's other rows.
        state: of the client.
        known_rows: how many rows are known.
        seed: of the attack.
        device: where it computes.
        settings: of the attack.
        defenses: the client's, of which the attack knows nothing.
        progress: follows it.
    """
    chosen, bottom = settings or RowsConfig(), split(model, depth)[0]
    everything = evaluation.targets.images[:0] if evaluation.others is None else evaluation.others
    others, first = everything[: chosen.samples], len(evaluation.targets)
    view = observe_inference(model, depth, evaluation.targets, device, others, defenses=defenses, seed=seed)
    architecture = ClientArchitecture.of(bottom, evaluation.targets.input_shape)
    if name == "known-rows":
        indices = tuple(range(first, first + min(known_rows, len(others))))
        known = KnownRows(indices=indices, rows=others[: len(indices)].to(device))
        attack = functools.partial(invert_from_known_rows, view, architecture, known)
    else:
        statistics = ColumnStatistics.of(everything.to(device))
        attack = functools.partial(invert_from_statistics, view, architecture, statistics)
    started = time.perf_counter()
    found = attack(chosen, generator=generator(seed), progress=progress)
    seconds = time.perf_counter() - started
    return scored(found, model, depth, name, evaluation, state=state, seconds=seconds, device=device)
