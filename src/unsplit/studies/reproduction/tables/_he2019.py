"""The attacks of He et al. (2019) on the same clients: the cells that several tables share."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from unsplit.attacks import threat_model
from unsplit.attacks.he2019 import (
    ShadowConfig,
    WhiteBoxConfig,
    invert_by_shadow,
    invert_by_shadow_without_data,
    invert_white_box,
    white_box_reference,
)
from unsplit.data import Dataset
from unsplit.experiment.inversion import Evaluation, observe_inference, picture_scores, without
from unsplit.experiment.server_knowledge import ServerKnowledge
from unsplit.metrics import accuracy
from unsplit.models import build, split
from unsplit.protocol import predicted
from unsplit.randomness import generator
from unsplit.studies.grid.cell import Cell, Tensors, Values
from unsplit.studies.reproduction.budget import Budget
from unsplit.studies.reproduction.clients import ClientAttackCell
from unsplit.studies.reproduction.selection import Selection, depths_of
from unsplit.studies.reproduction.tables._inversion import inversion_cells
from unsplit.studies.targets import evaluation
from unsplit.types import Reconstruction

Collaborative = Literal["white box", "query-free, own data", "query-free, no data"]
_ATTACKS: dict[Collaborative, Callable[..., Reconstruction]] = {
    "white box": invert_white_box,
    "query-free, own data": invert_by_shadow,
    "query-free, no data": invert_by_shadow_without_data,
}
COLLABORATIVE = tuple(_ATTACKS)


@dataclass(frozen=True, kw_only=True)
class CollaborativeCell(ClientAttackCell):
    """He et al.'s white-box or query-free inversion of the same targets as UnSplit's.

    The attacker's own data are `own_samples` of the test set, at most half of it; its shadow's accuracy is measured on
    the others.
    """

    kind = "collaborative"
    attack: Collaborative
    settings: WhiteBoxConfig | ShadowConfig
    own_samples: int = 5000

    @property
    def label(self) -> str:
        return f"{self.dataset}, depth {self.depth}, {self.state} training, {self.attack}, seed {self.seed}"

    def run(self, needed: Mapping[str, Tensor]) -> tuple[Values, Tensors]:
        model, judged = self.attacked(needed), evaluation(self.dataset)
        attack, targets, device = _ATTACKS[self.attack], judged.targets, torch.device(self.device)
        own, others = self._shares(judged)
        view = observe_inference(model, self.depth, targets, device)
        none = (targets.images[:0], targets.images[:0])
        knows = ServerKnowledge(published=model, own=own).of_kinds(
            threat_model(attack).knows, model, self.depth, targets, none, device
        )
        found = attack(view, *knows, self.settings, generator=generator(self.seed))
        pictures = found.inputs.cpu()
        row: Values = {"residual": float(found.residual.mean()), **picture_scores(pictures, judged)}
        if found.clones:
            outputs = predicted(others.images, found.clones[0], split(model, self.depth)[1], device=self.device)
            row["clone_accuracy"] = accuracy(outputs, others.labels)
        return row, {"inputs": pictures}

    def _shares(self, judged: Evaluation) -> tuple[Dataset, Dataset]:
        """The attacker's own data, and the rest."""
        kept = without(judged.test, judged.targets)
        own = min(self.own_samples, len(kept) // 2)
        return kept.subset(torch.arange(own)), kept.subset(torch.arange(own, len(kept)))


def collaborative_cells(selection: Selection, chosen: Budget, dataset: str, seed: int, depth: int) -> list[Cell]:
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


def on_trained_clients(
    selection: Selection, chosen: Budget, depths: Sequence[int] | None, seeds: tuple[int, ...]
) -> Iterator[Cell]:
    """White box, UnSplit and query-free on trained clients."""
    narrowed = replace(selection, depths=None if depths is None else tuple(depths))
    for dataset in selection.chosen_datasets:
        client = chosen.clients[dataset]
        for seed in seeds:
            for name in selection.presets:
                yield from inversion_cells(narrowed, chosen, dataset, seed, name, client.epochs, client)
            for depth in depths or depths_of(dataset):
                if depth in depths_of(dataset):
                    yield from collaborative_cells(selection, chosen, dataset, seed, depth)


def weighted_layers(dataset: str, depth: int) -> int:
    """How many layers with weights the client has at a depth of the paper's network."""
    model = build("cifar-net" if dataset == "cifar-10" else "mnist-net", generator=generator(0))
    return sum(hasattr(layer, "weight") for layer in list(model)[: depth + 1])
