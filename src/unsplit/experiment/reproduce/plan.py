"""The paper's tables and figures as grids of cells."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from unsplit.attacks.unsplit import PRESETS
from unsplit.errors import InputError, unknown_name
from unsplit.experiment.reproduce.budget import Budget, ClientConfig, budget
from unsplit.experiment.reproduce.cells import Cell, InversionCell, LabelCell
from unsplit.optim import OptimizerSpec

DATASETS = ("digits", "mnist", "fashion-mnist", "cifar-10")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What to reproduce.

    Args:
        tables: names in `TABLES`.
        presets: of UnSplit's inversion.
        datasets: by name; None for those of the budget.
        depths: None for those of the paper's table.
        states: "before" and "after" training.
        seeds: None for those of the budget.
        budget: by name.
        device: where to compute.

    Raises:
        InputError: an unknown name, or a depth that the paper's table does not have.
    """

    tables: tuple[str, ...]
    presets: tuple[str, ...] = ("joint",)
    datasets: tuple[str, ...] | None = None
    depths: tuple[int, ...] | None = None
    states: tuple[str, ...] = ("before", "after")
    seeds: tuple[int, ...] | None = None
    budget: str = "short"
    device: str = "cpu"

    def __post_init__(self) -> None:
        for what, names, known in (
            ("table", self.tables, TABLES),
            ("preset", self.presets, PRESETS),
            ("data set", self.datasets or (), DATASETS),
            ("state", self.states, ("before", "after")),
        ):
            for name in names:
                if name not in known:
                    raise unknown_name(what, name, known)
        budget(self.budget)
        for depth in self.depths or ():
            if not any(depth in depths_of(name) for name in self.chosen_datasets):
                raise InputError(
                    f"There is no depth {depth} in the paper's tables; they have 1 to 6 for the MNIST sets and 1 to 8 "
                    "for CIFAR-10 (and 1 and 2 for labels)."
                )

    @property
    def chosen_datasets(self) -> tuple[str, ...]:
        """Those named, or the budget's."""
        return self.datasets or budget(self.budget).datasets

    @property
    def chosen_seeds(self) -> tuple[int, ...]:
        """Those named, or the budget's."""
        return self.seeds if self.seeds is not None else budget(self.budget).seeds


def depths_of(dataset: str) -> tuple[int, ...]:
    """The depths of the paper's Table 2 for a data set."""
    return tuple(range(1, 9 if dataset == "cifar-10" else 7))


def plan(selection: Selection) -> list[Cell]:
    """The cells of these tables, each once, cheap data sets first."""
    chosen = budget(selection.budget)
    cells = [cell for name in selection.tables for cell in TABLES[name](selection, chosen)]
    return list({cell.key: cell for cell in cells}.values())


def _table2(selection: Selection, chosen: Budget) -> list[Cell]:
    cells: list[Cell] = []
    for dataset in selection.chosen_datasets:
        client = chosen.clients[dataset]
        for seed in selection.chosen_seeds:
            for name in selection.presets:
                for state in selection.states:
                    epoch = client.epochs if state == "after" else 0
                    cells += _depths(selection, chosen, dataset, seed, name, epoch, client)
    return cells


def _figure2(selection: Selection, chosen: Budget) -> list[Cell]:
    cells: list[Cell] = []
    for dataset in selection.chosen_datasets:
        client = chosen.clients[dataset]
        for seed in selection.chosen_seeds[:1]:
            for name in selection.presets:
                for epoch in range(client.epochs + 1):
                    cells += _depths(selection, chosen, dataset, seed, name, epoch, client)
    return cells


def _depths(
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
            training=client,
        )
        for depth in wanted
        if depth in depths_of(dataset)
    ]


def _table3(selection: Selection, chosen: Budget) -> list[Cell]:
    return [
        LabelCell(
            dataset=dataset,
            seed=seed,
            device=selection.device,
            depth=depth,
            steps=chosen.label_steps,
            optimizer=optimizer,
        )
        for dataset in selection.chosen_datasets
        for seed in selection.chosen_seeds
        for depth in (selection.depths or (1, 2))
        if depth in (1, 2)
        for optimizer in (OptimizerSpec(name="sgd", lr=0.01), OptimizerSpec(name="adam"))
    ]


TABLES: dict[str, Callable[[Selection, Budget], list[Cell]]] = {
    "table2": _table2,
    "table3": _table3,
    "figure2": _figure2,
}
"""What can be reproduced, and the cells that it takes."""
