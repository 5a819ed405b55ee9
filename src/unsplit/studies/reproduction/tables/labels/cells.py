"""The cells of the table "labels": label inference beyond the paper's settings."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from unsplit.defenses import GradientNoise
from unsplit.experiment.auditing.label_watch import HandOffs
from unsplit.experiment.auditing.labels import run_handed_over
from unsplit.losses import LossSpec
from unsplit.optim import OptimizerSpec
from unsplit.studies.grid.cell import Cell, Tensors, Values
from unsplit.studies.reproduction.budget import Budget
from unsplit.studies.reproduction.selection import Selection
from unsplit.studies.reproduction.tables.labels.family import LabelSetting, run_label_family
from unsplit.studies.targets import data, network

HEADS = (1, 2, 3)


@dataclass(frozen=True, kw_only=True)
class CutGradientCell(Cell):
    """Label inference from cut gradients alone.

    Args:
        setting: the training that is watched.
        situation: what is special about the setting, in the report's words.
        rivals: also run the other attacks, as `run_label_family` says.
    """

    kind = "cut gradients"
    setting: LabelSetting
    situation: str
    rivals: bool

    @property
    def head(self) -> int:
        """Layers with weights in the client's head."""
        return self.setting.head

    @property
    def label(self) -> str:
        return f"labels of {self.dataset}, head of {self.head}, {self.situation}, seed {self.seed}"

    def run(self, needed: Mapping[str, Tensor]) -> tuple[Values, Tensors]:  # noqa: ARG002
        splits = data(self.dataset)
        model, device = network(splits, self.seed), torch.device(self.device)
        scores = run_label_family(model, splits, self.setting, rivals=self.rivals, seed=self.seed, device=device)
        return scores, {}


@dataclass(frozen=True, kw_only=True)
class HandedOverCell(Cell):
    """Label inference where weights pass through the server after every step.

    Args:
        head: layers with weights in the client's head.
        steps: the number of steps whose labels are judged.
        batch_size: samples a step.
        optimizer: the optimiser of both parties.
    """

    kind = "handed over"
    head: int
    steps: int
    batch_size: int
    optimizer: OptimizerSpec

    @property
    def situation(self) -> str:
        """As the report has it."""
        return f"batch {self.batch_size}, {self.optimizer.name}"

    @property
    def label(self) -> str:
        return f"labels of {self.dataset} from weights, head of {self.head}, {self.situation}, seed {self.seed}"

    def run(self, needed: Mapping[str, Tensor]) -> tuple[Values, Tensors]:  # noqa: ARG002
        splits = data(self.dataset)
        how = HandOffs(
            head=self.head,
            samples=self.steps * self.batch_size,
            batch_size=self.batch_size,
            optimizer=self.optimizer,
            seed=self.seed,
            device=torch.device(self.device),
        )
        return run_handed_over(network(splits, self.seed), splits, how), {}


FIRST = "first 50 steps"

EPOCH = "first epoch"

SHUFFLED = "shuffled labels"


def settings(head: int, optimizer: OptimizerSpec, samples: int) -> Iterator[tuple[str, LabelSetting]]:
    """Other settings than batches of 64 under Adam, watched for so many samples, by what is different."""
    plain = LabelSetting(head=head, optimizer=optimizer, steps=samples // 64)
    for size in (1, 8, 256):
        yield f"batch {size}", replace(plain, batch_size=size, steps=samples // size)
    momentum = OptimizerSpec(name="sgd", lr=0.05, options={"momentum": 0.9})
    yield "SGD with momentum", replace(plain, optimizer=momentum)
    yield "BCE loss", replace(plain, loss=LossSpec(name="bce"))
    yield "squared error", replace(plain, loss=LossSpec(name="mse"))
    yield "label smoothing 0.1", replace(plain, loss=LossSpec(label_smoothing=0.1))
    yield "rarest class a tenth", replace(plain, rarest=0.1)


def handed_over(dataset: str, head: int, steps: int) -> Iterator[tuple[int, int, OptimizerSpec]]:
    """Batch sizes, steps and optimisers: single samples under both optimisers, and with the shallowest head batches as
    wide as the features and wider.
    """
    # The heads of the CIFAR-10 net have a million weights, which pass with their moments twice a step.
    singles = min(steps, 50) if dataset == "cifar-10" else steps
    yield 1, singles, OptimizerSpec(name="sgd", lr=0.01)
    yield 1, singles, OptimizerSpec(name="adam")
    width = 512 if dataset == "cifar-10" else 84
    for size in (8, 64, width, 2 * width) if head == 1 else ():
        yield size, min(steps, 50), OptimizerSpec(name="adam")


def defences(head: int, optimizer: OptimizerSpec, steps: int | None) -> Iterator[tuple[str, LabelSetting]]:
    """The client's defences, by their name and strength."""
    plain = LabelSetting(head=head, optimizer=optimizer, steps=steps)
    yield "no defence", plain
    for epsilon in (4.0, 2.0, 1.0):
        yield f"label DP, epsilon {epsilon:g}", replace(plain, label_epsilon=epsilon)
    for shape in ("aligned", "isotropic"):
        for scale in (0.5, 1.0, 2.0, 4.0):
            noise = GradientNoise(scale=scale, shape=shape)
            yield f"{shape} noise {scale:g}", replace(plain, gradient_noise=noise)


SETTINGS = tuple(name for name, _ in settings(1, OptimizerSpec(), 6400))
DEFENCES = tuple(name for name, _ in defences(1, OptimizerSpec(), None))
"""The names of all settings and defences, in the order of the report."""


def label_cells(dataset: str, head: int, seed: int, device: str, chosen: Budget) -> list[Cell]:
    """Label inference on one data set and head, from cut gradients of batches and from weights handed over.

    Defences and other settings are tried on the MNIST sets, the defences with the head that leaks most.
    """
    optimizer, colour = chosen.clients[dataset].optimizer, dataset == "cifar-10"
    plain = LabelSetting(head=head, optimizer=optimizer)
    watched = [(FIRST, plain), (SHUFFLED, replace(plain, shuffled=True))]
    if chosen.label_epoch:
        watched.append((EPOCH, replace(plain, steps=None)))
    if not colour:
        watched += settings(head, optimizer, chosen.label_samples)
    if not colour and head == 1:
        watched += defences(head, optimizer, None if chosen.label_epoch else plain.steps)
    cut_gradients = partial(CutGradientCell, dataset=dataset, seed=seed, device=device)
    weights = partial(HandedOverCell, dataset=dataset, seed=seed, device=device, head=head)
    return [
        *(
            cut_gradients(setting=setting, situation=situation, rivals=situation in (FIRST, SHUFFLED))
            for situation, setting in watched
        ),
        *(
            weights(steps=steps, batch_size=size, optimizer=rule)
            for size, steps, rule in handed_over(dataset, head, chosen.label_steps)
        ),
    ]


def cells(selection: Selection, chosen: Budget) -> list[Cell]:
    return [
        cell
        for dataset in selection.chosen_datasets
        for seed in selection.chosen_seeds
        for head in selection.depths or HEADS
        if head in HEADS
        for cell in label_cells(dataset, head, seed, selection.device, chosen)
    ]
