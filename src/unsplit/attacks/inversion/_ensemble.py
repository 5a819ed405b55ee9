"""Pictures of several restarts as one: averaged where they agree, and their mean, as far as it can be believed, where
they do not.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unsplit.attacks.inversion._candidate import Candidate
from unsplit.knowledge import ClientArchitecture

AGREEMENT = 0.5
"""Finalists whose pictures correlate less than this do not agree."""
_SCALE = 0.05
"""Relative excess of the objective at which a finalist counts exp(-1) times as much as the best."""


def correlation(one: Tensor, other: Tensor) -> float:
    """The correlation of two sets of pictures: 1 for the same, negative for negatives, 0 where one is constant."""
    pair = torch.stack([one.flatten(), other.flatten()])
    return float(torch.nan_to_num(torch.corrcoef(pair)[0, 1]))


@dataclass(frozen=True, kw_only=True, eq=False)
class Finalist:
    """What a restart ended with.

    Args:
        candidate: the restart, whose clone goes with the pictures.
        pictures: the pictures of all targets, stretched to the range that they are known to fill.
        colours_told: whether their colours are those of photographs, in a sense that could be told; None where colours
            were left as they were found.
    """

    candidate: Candidate
    pictures: Tensor
    colours_told: bool | None = None

    def like(self, other: "Finalist") -> float:
        """The correlation of its pictures with another's."""
        return correlation(self.pictures, other.pictures)


def _weight(other: Finalist, best: Finalist) -> float:
    """How much a finalist counts if the best counts 1."""
    lowest = best.candidate.objective
    return math.exp(-max(0.0, other.candidate.objective / lowest - 1) / _SCALE) if lowest > 0 else 1.0


def averaged(best: Finalist, agreed: Sequence[Finalist], architecture: ClientArchitecture) -> Tensor:
    """The mean of the best and of those that agree with it, brought onto it by the affine map of least squares:
    contrast, brightness, sign, and the mixture of colours.
    """
    total, weights = best.pictures.clone(), 1.0
    for other in agreed:
        weight = _weight(other, best)
        total.add_(aligned(other.pictures, best.pictures), alpha=weight)
        weights += weight
    return (total / weights).clamp(architecture.low, architecture.high)


def aligned(pictures: Tensor, onto: Tensor) -> Tensor:
    """Pictures [n, c, ...] after the affine map of their channels' values that brings them nearest to others of that
    shape.
    """
    channels = pictures.shape[1]
    values, wanted = (part.transpose(0, 1).reshape(channels, -1).double() for part in (pictures, onto))
    mean, goal = values.mean(1, keepdim=True), wanted.mean(1, keepdim=True)
    values, wanted = values - mean, wanted - goal
    mixing = torch.linalg.lstsq(values @ values.T, values @ wanted.T, driver="gelsd").solution.T
    moved: Tensor = mixing @ values + goal
    return moved.reshape(channels, len(pictures), *pictures.shape[2:]).transpose(0, 1).to(pictures)


def hedged(best: Finalist, doubts: Sequence[Finalist]) -> Tensor:
    """The mean of finalists that disagree, and of it as much as their agreement allows.

    Were each finalist the truth and noise of its own, in shares of a and 1 - a, two would correlate by a, and of their
    weighted mean the share a / (a + (1 - a) sum of squared weights) is to be believed (Spearman and Brown's formula,
    for equal weights). A finalist that the objective speaks against says less of how far to trust the best.
    """
    alike = [best.like(other) for other in doubts]
    # Behind a dense layer wrong pictures explain the smashed data as well as right ones (docs/attack.md).
    dense = any(isinstance(layer, nn.Linear) for layer in best.candidate.clone.modules())
    counts = [1.0]
    for one, other in zip(alike, doubts, strict=True):
        # Nor does a negative that nothing rules out count less: no sign is preferred.
        counts.append(1.0 if dense or one <= -AGREEMENT else _weight(other, best))
    doubt = max(count * (1 - min(1.0, abs(one))) for count, one in zip(counts[1:], alike, strict=True))
    weights = torch.tensor(counts)
    weights = weights / weights.sum()
    mean = torch.zeros_like(best.pictures)
    for finalist, weight in zip((best, *doubts), weights.tolist(), strict=True):
        mean.add_(finalist.pictures, alpha=weight)
    believed = (1 - doubt) / (1 - doubt + doubt * float(weights.square().sum()))
    middle = mean.mean()
    return middle + believed * (mean - middle)
