"""UnSplit's inversion of trained and untrained clients: the cells and rows that several tables share."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from unsplit.attacks.inversion import InversionConfig
from unsplit.experiment.inversion import run_inversion
from unsplit.studies.grid.cell import Cell, Tensors, Values
from unsplit.studies.grid.rows import ResultRow
from unsplit.studies.reproduction import paper
from unsplit.studies.reproduction.budget import Budget, ClientConfig
from unsplit.studies.reproduction.clients import ClientAttackCell
from unsplit.studies.reproduction.reader import Found
from unsplit.studies.reproduction.selection import Selection, depths_of
from unsplit.studies.targets import evaluation


@dataclass(frozen=True, kw_only=True)
class InversionCell(ClientAttackCell):
    """UnSplit's inversion and stealing at one depth.

    Args:
        preset: the settings' name.
        settings: of the attack.
        scored_on: score clones on the first so many test samples only; None for all of them.
    """

    kind = "inversion"
    preset: str
    settings: InversionConfig
    scored_on: int | None = None

    @property
    def label(self) -> str:
        return f"{self.dataset}, depth {self.depth}, {self.state} training, {self.preset}, seed {self.seed}"

    def run(self, needed: Mapping[str, Tensor]) -> tuple[Values, Tensors]:
        judged = evaluation(self.dataset)
        if self.scored_on is not None:
            few = judged.test.subset(torch.arange(min(self.scored_on, len(judged.test))))
            judged = replace(judged, test=few)
        row, pictures = run_inversion(
            self.attacked(needed),
            self.depth,
            self.preset,
            judged,
            settings=self.settings,
            state=self.state,
            seed=self.seed,
            device=torch.device(self.device),
        )
        # Times are kept in a column of their own: a row is the same whenever it is made.
        return row.model_dump(exclude={"seconds_per_image", "pictures"}), {"inputs": pictures}


def inversion_cells(
    selection: Selection, chosen: Budget, dataset: str, seed: int, name: str, epoch: int, client: ClientConfig
) -> Sequence[Cell]:
    wanted = selection.depths or chosen.depths or depths_of(dataset)
    return [
        InversionCell(
            dataset=dataset,
            seed=seed,
            device=selection.device,
            depth=depth,
            epoch=epoch,
            preset=name,
            settings=chosen.settings(name, depth),
            scored_on=None if name in ("joint", "strong") else chosen.clones_scored_on,
            training=client,
        )
        for depth in wanted
        if depth in depths_of(dataset)
    ]


def is_inversion(preset: str, depth: int, state: str) -> Callable[[Cell], bool]:
    """Whether a cell is UnSplit's inversion with this preset, at this depth, before or after training."""
    return lambda cell: (
        isinstance(cell, InversionCell) and (cell.preset, cell.depth, cell.state) == (preset, depth, state)
    )


def inversion_rows(
    found: Found, table: str, dataset: str, depth: int, state: str, preset: str, *, printed: bool = True
) -> list[ResultRow]:
    before, after, clone = paper.TABLE2.get(dataset, {}).get(depth, (None, None, None)) if printed else (None,) * 3
    results = [result.row for result in found.results]
    guess = mean_of(results, "mse_best_trivial")
    constant = math.fsum(_guesses(row)["best constant"] for row in results) / len(results) if results else None
    names: dict[str, Any] = {"table": table, "dataset": dataset, "depth": depth, "state": state, "preset": preset}
    rows = [
        found.row(
            "mse", values_of(results, "mse"), paper=before if state == "before" else after, trivial=guess, **names
        ),
        found.row("mse_scale_free", values_of(results, "mse_scale_free"), trivial=constant, **names),
        found.row("ssim", values_of(results, "ssim"), **names),
    ]
    if state == "after" and (not results or "clone_accuracy" in results[0]):
        chance = mean_of(results, "clone_chance") if results and "clone_chance" in results[0] else None
        values = values_of(results, "clone_accuracy")
        rows.append(found.row("clone_accuracy", values, paper=clone, trivial=chance, **names))
    return rows


def values_of(results: Sequence[dict[str, object]], name: str) -> list[float]:
    return [float(str(row[name])) for row in results]


def mean_of(results: Sequence[dict[str, object]], name: str) -> float | None:
    values = values_of(results, name)
    return math.fsum(values) / len(values) if values else None


def _guesses(row: dict[str, object]) -> dict[str, float]:
    guesses: Any = row["guesses"]
    return dict(guesses)
