"""How well labels were read, and how well a stolen part of the network does."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unsplit.renaming import best_names


@dataclass(frozen=True, kw_only=True)
class Share:
    """A share of samples with its 95 % Wilson interval, all from 0 to 1."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, hits: int, samples: int) -> "Share":
        """The share `hits` / `samples`."""
        from scipy.stats import binomtest

        interval = binomtest(hits, samples).proportion_ci(confidence_level=0.95, method="wilson")
        return cls(value=hits / samples, low=float(interval.low), high=float(interval.high))


def label_accuracy(labels: Int[Tensor, " n"], truth: Int[Tensor, " n"]) -> Share:
    """Share of labels that are right, names included."""
    return Share.of(int((labels.cpu() == truth.cpu()).sum()), len(truth))


def accuracy_up_to_names(groups: Int[Tensor, " n"], truth: Int[Tensor, " n"], classes: int) -> Share:
    """Share that is right after the renaming of groups into classes that makes it largest (one group a class).

    Args:
        groups: group numbers, shape [n], counted from 0; negative ones (undecided) count as wrong.
        truth: true classes, shape [n], counted from 0.
        classes: number of classes.
    """
    _, hits = best_names(groups.cpu(), truth.cpu(), classes)
    return Share.of(hits, len(truth))


def chance(truth: Int[Tensor, " n"]) -> float:
    """Accuracy of always naming the commonest class."""
    return float(torch.bincount(truth.cpu()).max() / len(truth))


def accuracy(outputs: Float[Tensor, "n classes"], labels: Int[Tensor, " n"]) -> float:
    """Share of samples whose largest output belongs to their label."""
    return float((outputs.argmax(1) == labels.to(outputs.device)).float().mean())


def agreement(outputs: Float[Tensor, "n classes"], others: Float[Tensor, "n classes"]) -> float:
    """Share of samples on which two networks name the same class."""
    return float((outputs.argmax(1) == others.argmax(1)).float().mean())
