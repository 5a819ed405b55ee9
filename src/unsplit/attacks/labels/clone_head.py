"""The clone head trained on inferred labels: a stolen last part of the network."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn import functional

from unsplit.attacks.labels.observed import checked_head
from unsplit.attacks.observed import batches
from unsplit.errors import InputError, check_at_least_one
from unsplit.knowledge import HeadArchitecture, LabelSpace
from unsplit.optim import OptimizerSpec
from unsplit.types import Kind, Transcript


@dataclass(frozen=True, kw_only=True)
class CloneHeadConfig:
    """Settings of the clone's training.

    Args:
        epochs: passes over the observed features, at least 1.
        batch_size: samples a step, at least 1.
        optimizer: the clone's.

    Raises:
        InputError: a number out of its range.
    """

    epochs: int = 30
    batch_size: int = 32
    optimizer: OptimizerSpec = field(default_factory=OptimizerSpec)

    def __post_init__(self) -> None:
        check_at_least_one(self, "epochs", "batch_size")


def train_clone_head(
    view: Transcript,
    labels: Int[Tensor, "_"],
    architecture: HeadArchitecture,
    space: LabelSpace,
    config: CloneHeadConfig,
    *,
    generator: torch.Generator,
) -> nn.Module:
    """Train a head of the client's architecture on the features that the server sent and the labels it inferred.

    Args:
        view: transcript with features [batch, ...], in the order of `labels`.
        labels: inferred, shape [n]; negative ones (undecided) are left out.
        architecture: the client's head.
        space: the number of classes.
        config: the settings.
        generator: draws the clone's first weights and the order of the samples.

    Raises:
        InputError: the numbers of labels and features differ, no label was decided, or the head does not fit.
    """
    features = view.tensor(Kind.FEATURES)
    if len(features) != len(labels):
        raise InputError(f"There are {len(labels)} labels for {len(features)} observed features; they must be as many.")
    decided = labels >= 0
    features, labels = features[decided], labels[decided].to(features.device)
    if len(labels) == 0:
        raise InputError("No label was decided, so there is nothing to train a clone head on; observe more steps.")
    clone = checked_head(architecture, space, features[:1], generator)
    optimizer = config.optimizer.build(list(clone.parameters()))
    for _ in range(config.epochs):
        for batch in batches(len(labels), config.batch_size, clone, generator):
            optimizer.zero_grad()
            torch.autograd.backward(functional.cross_entropy(clone(features[batch]), labels[batch]))
            optimizer.step()
    return clone
