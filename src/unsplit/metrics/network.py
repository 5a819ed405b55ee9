"""How well a network does what it was trained for: accuracy for classes, R² for a regression."""

from typing import Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from unsplit.metrics.classification import accuracy, agreement, chance

Score = Literal["accuracy", "r2"]
"""How a network is scored."""


def r2(outputs: Float[Tensor, "n ..."], targets: Float[Tensor, "n ..."]) -> float:
    """1 - squared error / that of always naming the mean, over all targets: 1 is perfect, 0 no better than the mean."""
    found, true = outputs.reshape(len(targets), -1), targets.to(outputs).reshape(len(targets), -1)
    spread = (true - true.mean(0)).square().sum()
    missed = (found - true).square().sum()
    return float(1 - missed / spread.clamp_min(torch.finfo(true.dtype).tiny))


def score_of(labels: Tensor) -> Score:
    """Which score is meant for these labels."""
    return "r2" if labels.is_floating_point() else "accuracy"


def performance(outputs: Float[Tensor, "n outputs"], labels: Shaped[Tensor, "n ..."]) -> float:
    """Accuracy, or R² where labels are floats."""
    return r2(outputs, labels) if labels.is_floating_point() else accuracy(outputs, labels)


def likeness(outputs: Float[Tensor, "n outputs"], others: Float[Tensor, "n outputs"], labels: Tensor) -> float:
    """How alike two networks are: share of samples on which they name the same class, or R² of one at the other."""
    return r2(outputs, others) if labels.is_floating_point() else agreement(outputs, others)


def baseline(labels: Shaped[Tensor, "n ..."]) -> float:
    """The score of a guess that has seen nothing: of the commonest class, or 0 of the mean."""
    return 0.0 if labels.is_floating_point() else chance(labels)
