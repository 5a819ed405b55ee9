"""The paper's tables and figures as grids of cells."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from unsplit.attacks.collaborative import ShadowConfig, StreamConfig, WhiteBoxConfig, white_box_reference
from unsplit.attacks.hijack import HijackConfig
from unsplit.attacks.unsplit import PRESETS
from unsplit.errors import InputError, unknown_name
from unsplit.experiment.reproduce.budget import RESNET_CLIENT, Budget, ClientConfig, budget
from unsplit.experiment.reproduce.cells import Cell, InversionCell, LabelCell
from unsplit.experiment.reproduce.label_cells import HEADS, label_cells
from unsplit.experiment.reproduce.paper import HE_PSNR
from unsplit.experiment.reproduce.rivals import Collaborative, CollaborativeCell, HijackCell, QueryCell
from unsplit.models import build
from unsplit.optim import OptimizerSpec
from unsplit.randomness import generator

RESNET_CUTS = (4, 5, 6, 7)
"""After each of the client's residual blocks; the hijacking attack's authors cut after the last."""
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
            scored_on=None if name in ("joint", "strong") else chosen.clones_scored_on,
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


def _labels(selection: Selection, chosen: Budget) -> list[Cell]:
    return [
        cell
        for dataset in selection.chosen_datasets
        for seed in selection.chosen_seeds
        for head in selection.depths or HEADS
        if head in HEADS
        for cell in label_cells(dataset, head, seed, selection.device, chosen)
    ]


def _table4(selection: Selection, chosen: Budget) -> list[Cell]:
    """The attacks of He et al. beside UnSplit's, at depth three (or a budget's deepest)."""
    depth = 3 if chosen.depths is None else max(chosen.depths)
    return _after(selection, chosen, [depth], selection.chosen_seeds[:1])


def _table5(selection: Selection, chosen: Budget) -> list[Cell]:
    return [
        QueryCell(
            dataset=dataset,
            seed=selection.chosen_seeds[0],
            device=selection.device,
            depth=depth,
            epoch=chosen.clients[dataset].epochs,
            settings=StreamConfig(),
            queries=chosen.queries,
            pictures=chosen.query_pictures,
            runs=chosen.query_runs,
            training=chosen.clients[dataset],
        )
        for dataset in selection.chosen_datasets
        for depth in selection.depths or chosen.depths or range(1, 7)
        if depth in range(1, 7)
    ]


def _table6(selection: Selection, chosen: Budget) -> list[Cell]:
    """The pictures of Table 2, of one seed."""
    return _table2(replace(selection, seeds=selection.chosen_seeds[:1]), chosen)


def _figure3a(selection: Selection, chosen: Budget) -> list[Cell]:
    return _after(selection, chosen, selection.depths or chosen.depths, selection.chosen_seeds)


def _figure3b(selection: Selection, chosen: Budget) -> list[Cell]:
    """The hijacking attack as it goes on, and UnSplit's joint attack on the same network, trained as usual.

    On MNIST, as in the paper, unless data sets are named.
    """
    seed = selection.chosen_seeds[0]
    cells: list[Cell] = []
    for dataset in selection.datasets or chosen.datasets[:1]:
        cells += [
            HijackCell(
                dataset=dataset,
                seed=seed,
                device=selection.device,
                part=part,
                iterations=chosen.hijack_iterations,
                settings=HijackConfig(width=chosen.hijack_width),
                client_optimizer=OptimizerSpec(lr=1e-5),
            )
            for part in range(chosen.hijack_parts)
        ]
        training = replace(
            RESNET_CLIENT,
            samples=chosen.clients[dataset].samples,
            model="resnet-rgb" if dataset == "cifar-10" else "resnet",
        )
        cells += [
            InversionCell(
                dataset=dataset,
                seed=seed,
                device=selection.device,
                depth=depth,
                epoch=training.epochs,
                preset="joint",
                settings=chosen.settings("joint", depth),
                training=training,
            )
            for depth in (RESNET_CUTS if chosen.depths is None else RESNET_CUTS[:1])
        ]
    return cells


def _after(selection: Selection, chosen: Budget, depths: Sequence[int] | None, seeds: tuple[int, ...]) -> list[Cell]:
    """White box, UnSplit and query-free on trained clients."""
    narrowed = replace(selection, depths=None if depths is None else tuple(depths))
    cells: list[Cell] = []
    for dataset in selection.chosen_datasets:
        client = chosen.clients[dataset]
        for seed in seeds:
            for name in selection.presets:
                cells += _depths(narrowed, chosen, dataset, seed, name, client.epochs, client)
            for depth in depths or depths_of(dataset):
                if depth in depths_of(dataset):
                    cells += _collaborative(selection, chosen, dataset, seed, depth)
    return cells


def _white_box(selection: Selection, chosen: Budget) -> list[Cell]:
    """The white box at the cuts for which its authors print figures."""
    return [
        cell
        for dataset in selection.chosen_datasets
        for seed in selection.chosen_seeds[:1]
        for depth in white_box_depths(dataset)
        for cell in _collaborative(selection, chosen, dataset, seed, depth)[:1]
    ]


def _collaborative(selection: Selection, chosen: Budget, dataset: str, seed: int, depth: int) -> list[Cell]:
    layers = weighted_layers(dataset, depth)
    white_box = white_box_reference(layers, colour=dataset == "cifar-10")
    shadow = ShadowConfig(epochs=chosen.shadow_epochs, noise_samples=chosen.own_samples)
    attacks: list[tuple[Collaborative, WhiteBoxConfig | ShadowConfig]] = [
        ("white box", replace(white_box, steps=min(white_box.steps, chosen.white_box_steps))),
        ("query-free, own data", shadow),
        ("query-free, no data", shadow),
    ]
    return [
        CollaborativeCell(
            dataset=dataset,
            seed=seed,
            device=selection.device,
            depth=depth,
            epoch=chosen.clients[dataset].epochs,
            attack=attack,
            settings=settings,
            own_samples=chosen.own_samples,
            training=chosen.clients[dataset],
        )
        for attack, settings in attacks
    ]


def white_box_depths(dataset: str) -> tuple[int, ...]:
    """The depths of the table white-box."""
    return (0,) if dataset == "digits" else tuple(HE_PSNR.get(dataset, ()))


def weighted_layers(dataset: str, depth: int) -> int:
    """How many layers with weights the client has at a depth of the paper's network."""
    model = build("cifar-net" if dataset == "cifar-10" else "mnist-net", generator=generator(0))
    return sum(hasattr(layer, "weight") for layer in list(model)[: depth + 1])


TABLES: dict[str, Callable[[Selection, Budget], list[Cell]]] = {
    "table2": _table2,
    "table3": _table3,
    "table4": _table4,
    "table5": _table5,
    "table6": _table6,
    "figure2": _figure2,
    "figure3a": _figure3a,
    "figure3b": _figure3b,
    "white-box": _white_box,
    "labels": _labels,
}
"""What can be reproduced, and the cells that it takes: the paper's tables and figures, the white box against what its
own authors print, and label inference beyond the paper's settings."""
