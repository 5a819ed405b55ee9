"""The clients that are attacked: their trainings as cells, and the base of the cells that attack them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from unsplit.devices import is_cuda
from unsplit.metrics import accuracy
from unsplit.protocol import SplitConfig, WholeTraining, predicted, split_training
from unsplit.randomness import generator
from unsplit.studies.grid.cell import Cell, Tensors, Values
from unsplit.studies.reproduction.budget import ClientConfig
from unsplit.studies.targets import data, network
from unsplit.tensors import under


@dataclass(frozen=True, kw_only=True)
class ClientCell(Cell):
    """Train a client's network; keeps its weights after every epoch as "epoch/parameter"."""

    kind = "client"
    training: ClientConfig

    @property
    def label(self) -> str:
        return f"training {self.dataset}, seed {self.seed}"

    @property
    def gives_way(self) -> bool:
        return is_cuda(self.device)

    def run(self, needed: Mapping[str, Tensor]) -> tuple[Values, Tensors]:  # noqa: ARG002
        splits, wanted = data(self.dataset), self.training
        train = splits.train
        if wanted.samples is not None:
            train = train.subset(torch.arange(min(wanted.samples, len(train))))
        model = network(splits, self.seed, wanted.model)
        config = SplitConfig(
            cut=0,
            batch_size=wanted.batch_size,
            client_optimizer=wanted.optimizer,
            server_optimizer=wanted.optimizer,
        )
        split = split_training(
            model, train.images, train.labels, config, generator=generator(self.seed), device=self.device
        )
        # The weights are the same; on CUDA its steps are graphs, many times faster than messages.
        training = WholeTraining(split) if is_cuda(self.device) else split
        tensors = _named(0, model)
        losses = []
        for epoch in range(1, wanted.epochs + 1):
            losses.append(training.run(epoch * -(-len(train) // wanted.batch_size)))
            tensors |= _named(epoch, training.model())
        outputs = predicted(splits.test.images, training.model(), device=self.device)
        return {"losses": losses, "accuracy": accuracy(outputs, splits.test.labels)}, tensors


@dataclass(frozen=True, kw_only=True)
class ClientAttackCell(Cell):
    """Base of the cells that attack a client as it was after some epoch, at one depth."""

    depth: int
    epoch: int
    training: ClientConfig

    @property
    def needs(self) -> ClientCell:
        return ClientCell(dataset=self.dataset, seed=self.seed, device=self.device, training=self.training)

    def select(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return {name: value for name, value in tensors.items() if name.startswith(f"{self.epoch}/")}

    @property
    def state(self) -> Literal["before", "after"]:
        """Before training, or after some of it."""
        return "after" if self.epoch else "before"

    def attacked(self, needed: Mapping[str, Tensor]) -> nn.Sequential:
        """The whole network that this cell attacks, on the device."""
        model = network(data(self.dataset), self.seed, self.training.model)
        model.load_state_dict(weights(needed, self.epoch))
        return model.to(self.device)


def weights(client: Mapping[str, Tensor], epoch: int) -> Tensors:
    """The weights after an epoch, from the tensors of a client's cell."""
    return under(f"{epoch}/", client)


def _named(epoch: int, model: nn.Module) -> Tensors:
    return {f"{epoch}/{name}": value.detach().cpu().clone() for name, value in model.state_dict().items()}
