"""Defences in how a client trains, and in how much of the network it keeps."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from unsplit.defenses.defense import Defense, Privacy
from unsplit.defenses.randomised_response import randomised_response
from unsplit.errors import InputError, check_at_least_one, check_not_negative, check_positive


@dataclass(frozen=True, kw_only=True)
class LabelDP(Defense):
    """The client trains on labels of which some are wrong at random: see `randomised_response`.

    Args:
        epsilon: the budget of label differential privacy, above 0.

    Reference:
        Warner, 1965; Ghazi et al., "Deep learning with label differential privacy", 2021.
    """

    name: ClassVar[str] = "label-dp"
    protects: ClassVar[str] = "labels: what leaves depends on a sample's label by a factor of at most e^epsilon"
    knob: ClassVar[str] = "epsilon: a smaller one hides more"
    epsilon: float = 1.0

    def __post_init__(self) -> None:
        if not self.epsilon > 0:
            raise InputError(f"The label privacy epsilon is {self.epsilon}; it must be above 0, for example 1.")

    def labels(self, labels: Tensor, classes: int, *, generator: torch.Generator) -> Tensor:
        if labels.is_floating_point():
            raise InputError(
                "label-dp replaces classes, and these labels are numbers of a regression; take another defence."
            )
        return randomised_response(labels, classes, self.epsilon, generator=generator)


@dataclass(frozen=True, kw_only=True)
class NoPeek(Defense):
    """The client also minimises the distance correlation of its inputs and its smashed data.

    Args:
        weight: of the distance correlation beside the loss, 0 or more.

    Reference:
        Vepakomma, Singh, Gupta, Raskar, "NoPeek: information leakage reduction to share activations in distributed
        deep learning", 2020.
    """

    name: ClassVar[str] = "nopeek"
    protects: ClassVar[str] = "inputs: smashed data depend less on them"
    knob: ClassVar[str] = "weight: more hides more"
    within_batches: ClassVar[bool] = True
    weight: float = 1.0

    def __post_init__(self) -> None:
        check_not_negative(self, "weight")

    def penalty(self, inputs: Tensor, smashed: Tensor) -> Tensor | None:
        return self.weight * distance_correlation(inputs, smashed)


@dataclass(frozen=True, kw_only=True)
class PrivateTraining(Defense):
    """DP-SGD of the client's own weights, by Opacus: each sample's gradient is clipped and noise added to their sum.

    It bounds what the weights say about any one sample. It hides nothing in smashed data, which is what inversion
    reads; against model stealing it does nothing.

    Args:
        noise: standard deviation of the noise over `clip`, 0 or more.
        clip: the longest that a sample's gradient may be, above 0.

    Reference:
        Abadi et al., "Deep learning with differential privacy", 2016; Yousefpour et al., "Opacus", 2021.
    """

    name: ClassVar[str] = "dp-sgd"
    protects: ClassVar[str] = "membership: the client's weights depend little on any one sample"
    knob: ClassVar[str] = "noise: more hides more"
    noise: float = 1.0
    clip: float = 1.0

    def __post_init__(self) -> None:
        check_not_negative(self, "noise")
        check_positive(self, "clip")

    @property
    def privacy(self) -> Privacy | None:
        return Privacy(noise=self.noise, clip=self.clip)


@dataclass(frozen=True, kw_only=True)
class DeeperCut(Defense):
    """The client keeps more of the network, and the server gets less.

    Args:
        modules: how many more modules it keeps, 1 or more.

    Reference:
        The depth of the cut is what UnSplit's Table 2 varies.
    """

    name: ClassVar[str] = "deeper-cut"
    protects: ClassVar[str] = "inputs and model: there is more to undo"
    knob: ClassVar[str] = "modules: more hide more, and the client computes more"
    modules: int = 1

    def __post_init__(self) -> None:
        check_at_least_one(self, "modules")

    @property
    def deeper(self) -> int:
        return self.modules


def distance_correlation(one: Float[Tensor, "n ..."], other: Float[Tensor, "n ..."]) -> Tensor:
    """The distance correlation of two samples, 0 for independence (in the limit) to 1 for a similarity map.

    Args:
        one, other: n observations each.

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
