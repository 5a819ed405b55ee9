"""A defence of the inputs in how a client trains: smashed data that depend less on them."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from unsplit.defenses.defense import Defense, register_defense
from unsplit.errors import check_not_negative


@register_defense("nopeek", strengths=("weight=1", "weight=5", "weight=20"), usual=True)
@dataclass(frozen=True, kw_only=True)
class NoPeek(Defense):
    """The client also minimises the distance correlation of its inputs and its smashed data.

    Args:
        weight: factor of the distance correlation in the sum with the loss, 0 or more.

    Reference:
        Vepakomma, Singh, Gupta, Raskar, "NoPeek: information leakage reduction to share activations in distributed
        deep learning", 2020.
    """

    protects: ClassVar[str] = "inputs: smashed data depend less on them"
    knob: ClassVar[str] = "weight: more hides more"
    within_batches: ClassVar[bool] = True
    weight: float = 1.0

    def __post_init__(self) -> None:
        check_not_negative(self, "weight")

    def penalty(self, inputs: Tensor, smashed: Tensor) -> Tensor | None:
        return self.weight * distance_correlation(inputs, smashed)


def distance_correlation(one: Float[Tensor, "n ..."], other: Float[Tensor, "n ..."]) -> Tensor:
    """The distance correlation of two samples, 0 for independence (in the limit) to 1 for a similarity map.

    Args:
        one, other: n observations each, of any shapes: [n, ...].

    Returns:
        A scalar with a gradient.

    Reference:
        Székely, Rizzo, Bakirov, "Measuring and testing dependence by correlation of distances", 2007.
    """
    first, second = _centred_distances(one), _centred_distances(other)
    tiny = torch.finfo(first.dtype).tiny
    covariance = (first * second).mean().clamp_min(0)
    variances = first.square().mean() * second.square().mean()
    # The root of a square root is steep at 0: both are kept off it.
    return (covariance + 1e-12).sqrt() / (variances + tiny).sqrt().clamp_min(1e-12).sqrt()


def _centred_distances(values: Tensor) -> Tensor:
    flat = values.flatten(1)
    squares = (flat.unsqueeze(1) - flat.unsqueeze(0)).square().sum(-1) if len(flat) <= 16 else _square_distances(flat)
    distances = (squares.clamp_min(0) + 1e-12).sqrt()
    return distances - distances.mean(0, keepdim=True) - distances.mean(1, keepdim=True) + distances.mean()


def _square_distances(flat: Tensor) -> Tensor:
    lengths = flat.square().sum(1)
    return lengths[:, None] + lengths[None] - 2 * flat @ flat.T
