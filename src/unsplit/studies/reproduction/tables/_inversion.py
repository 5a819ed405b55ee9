"""UnSplit's inversion of trained and untrained clients: the cells and rows that several tables share."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from unsplit.attacks.inversion import InversionConfig
from unsplit.devices import is_cuda
from unsplit.experiment.inversion import run_inversion
from unsplit.studies.grid.cell import Cell, Tensors, Values
from unsplit.studies.grid.rows import ResultRow
from unsplit.studies.reproduction import paper
from unsplit.studies.reproduction.budget import Budget, ClientConfig
from unsplit.studies.reproduction.clients import ClientAttackCell
from unsplit.studies.reproduction.reader import Results, StoreReader
from unsplit.studies.reproduction.selection import Selection, depths_of
from unsplit.studies.targets import evaluation


@dataclass(frozen=True, kw_only=True)
class InversionCell(ClientAttackCell):
    """UnSplit's inversion and stealing at one depth.

    Args:
        preset: the settings' name.
        settings: the settings of the attack.
        scored_on: score clones on the first so many test samples only; None for all of them.
    """

    kind = "inversion"
    preset: str
    settings: InversionConfig
    scored_on: int | None = None

    @property
    def label(self) -> str:
        return f"{self.dataset}, depth {self.depth}, {self.state} training, {self.preset}, seed {self.seed}"

    @property
    def gives_way(self) -> bool:
        return is_cuda(self.device) and self.settings.gives_way

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


def find_inversion(reader: StoreReader, dataset: str, preset: str, depth: int, state: str) -> Results:
    """The results of Table 2 with this preset, at this depth, before or after training."""
    options = f" --states {state} --depths {depth}"
    return reader.find("table2", dataset, InversionCell, preset=preset, options=options, depth=depth, state=state)


def inversion_rows(found: Results, depth: int, state: str, preset: str, *, printed: bool = True) -> Iterator[ResultRow]:
    """Errors, structural similarity and, of a trained client, the clone's accuracy; beside the paper's if `printed`."""
    before, after, clone = (None,) * 3
    if printed:
        before, after, clone = paper.TABLE2.get(found.dataset, {}).get(depth, (None, None, None))
    constant = [row["guesses"]["best constant"] for row in found.rows]
    names: dict[str, Any] = {"depth": depth, "state": state, "preset": preset}
    yield found.row(
        "mse",
        found.values("mse"),
        paper=before if state == "before" else after,
        trivial=found.mean("mse_best_trivial"),
        **names,
    )
    best = math.fsum(constant) / len(constant) if constant else None
    yield found.row("mse_scale_free", found.values("mse_scale_free"), trivial=best, **names)
    yield found.row("ssim", found.values("ssim"), **names)
    if state == "after" and (not found or "clone_accuracy" in found.rows[0]):
        chance = found.mean("clone_chance") if found and "clone_chance" in found.rows[0] else None
        accuracies = found.values("clone_accuracy")
        yield found.row("clone_accuracy", accuracies, paper=clone, trivial=chance, **names)
