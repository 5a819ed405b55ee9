"""The cells of the grids: values that say what to do, and how each is done from its inputs alone.

A cell runs in any process of any machine: it reads a data set by name, takes the weights of the client that it
attacks from the cell that trained it, and gives back a row and tensors. It neither reads nor writes a store.
"""

import functools
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from unsplit.attacks.unsplit import InversionConfig
from unsplit.data import Splits, load
from unsplit.experiment.inversion import Evaluation, more_inputs, run_inversion
from unsplit.experiment.labels import run_labels
from unsplit.experiment.provenance import versions
from unsplit.experiment.reproduce.budget import ClientConfig
from unsplit.metrics import accuracy
from unsplit.models import build_for
from unsplit.optim import OptimizerSpec
from unsplit.protocol import SplitConfig, predicted, split_training
from unsplit.randomness import generator

REVISION = 2
"""Raised when a change of the code changes numbers, so that older cells are no longer taken for the new ones."""

Row = dict[str, object]
Tensors = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Cell(ABC):
    """Base of all cells.

    Args:
        dataset: by name.
        seed: of everything random.
        device: where to compute.
    """

    kind: ClassVar[str]
    dataset: str
    seed: int
    device: str = "cpu"

    @property
    def config(self) -> dict[str, object]:
        """All that determines the result, as plain values."""
        code = {"unsplit": versions()["unsplit"], "torch": versions()["torch"], "revision": REVISION}
        return {"kind": self.kind, "code": code, **json.loads(json.dumps(asdict(self)))}

    @property
    def key(self) -> str:
        """A hash of the configuration."""
        return hashlib.sha256(json.dumps(self.config, sort_keys=True).encode()).hexdigest()

    @property
    @abstractmethod
    def label(self) -> str:
        """The cell in a few words."""

    @property
    def needs(self) -> "Cell | None":
        """The cell that must have ended before this one, for its tensors: as a rule the client that is attacked."""
        return None

    def select(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Those of the needed cell's tensors that this one reads."""
        return tensors

    @abstractmethod
    def run(self, needed: Mapping[str, Tensor]) -> tuple[Row, Tensors]:
        """Do the work.

        Args:
            needed: the selected tensors of the cell that this one needs.
        """


@dataclass(frozen=True, kw_only=True)
class ClientCell(Cell):
    """Train a client's network; keeps its weights after every epoch as "epoch/parameter"."""

    kind = "client"
    training: ClientConfig

    @property
    def label(self) -> str:
        return f"training {self.dataset}, seed {self.seed}"

    def run(self, needed: Mapping[str, Tensor]) -> tuple[Row, Tensors]:  # noqa: ARG002
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
        training = split_training(
            model, train.images, train.labels, config, generator=generator(self.seed), device=self.device
        )
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

    def run(self, needed: Mapping[str, Tensor]) -> tuple[Row, Tensors]:
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


@dataclass(frozen=True, kw_only=True)
class LabelCell(Cell):
    """Label inference in setup (b), from a first step on untrained weights."""

    kind = "labels"
    depth: int
    steps: int
    optimizer: OptimizerSpec

    @property
    def label(self) -> str:
        return f"labels of {self.dataset}, head of {self.depth}, seed {self.seed}"

    def run(self, needed: Mapping[str, Tensor]) -> tuple[Row, Tensors]:  # noqa: ARG002
        splits = data(self.dataset)
        rows = run_labels(
            network(splits, self.seed),
            splits,
            setup="b",
            head=self.depth,
            samples=self.steps,
            optimizer=self.optimizer,
            seed=self.seed,
            device=torch.device(self.device),
        )
        return {"attacks": [row.model_dump() for row in rows]}, {}


@functools.lru_cache(maxsize=1)
def data(name: str) -> Splits:
    """The data set, kept while a process works on cells of it."""
    return load(name)


@functools.lru_cache(maxsize=1)
def evaluation(name: str) -> Evaluation:
    """The ten targets, one of each class of the test set, and what scores an attack on them."""
    splits = data(name)
    return Evaluation(
        targets=splits.test.one_per_class(),
        test=splits.test,
        mean_input=splits.train.images.mean(0),
        others=more_inputs(splits.train),
    )


def network(splits: Splits, seed: int, model: str | None = None) -> nn.Sequential:
    """A network for these data before training: the paper's, or another of the registry."""
    return build_for(model, splits.train.input_shape, len(splits.train.classes), generator=generator(seed))[0]


def weights(client: Mapping[str, Tensor], epoch: int) -> Tensors:
    """The weights after an epoch, from the tensors of a client's cell."""
    prefix = f"{epoch}/"
    return {name.removeprefix(prefix): value for name, value in client.items() if name.startswith(prefix)}


def _named(epoch: int, model: nn.Module) -> Tensors:
    return {f"{epoch}/{name}": value.detach().cpu().clone() for name, value in model.state_dict().items()}
