"""Defences of the labels: what a client may do to cut gradients before they leave (setups b and c)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from unsplit.defenses.defense import Defense, register_defense
from unsplit.errors import InputError, check_not_negative, unknown_name

SHAPES = ("aligned", "isotropic")


@register_defense(
    "gradient-noise", strengths=("scale=1,shape=aligned", "scale=2,shape=aligned", "scale=4,shape=aligned"), usual=True
)
@dataclass(frozen=True, kw_only=True)
class GradientNoise(Defense):
    """Gaussian noise on each sample's cut gradient, of a power set by how far apart the classes' gradients are.

    Args:
        scale: standard deviation of the noise divided by that of the classes' mean gradients about their common mean; 0
            or more.
        shape: "aligned" puts all of it in the directions in which the classes differ, in the manner of Marvell;
            "isotropic" spreads the same power over all directions.

    Raises:
        InputError: a negative scale, or an unknown shape.

    Reference:
        Li et al., "Label leakage and protection in two-party split learning", 2022 (Marvell, and its baseline iso).

    Departures:
        Marvell solves for the covariance that hides two classes best under a limit on the power. For many classes there
        is no such solution; noise with the covariance of the class means is its form for two classes of equal size and
        much noise.
    """

    protects: ClassVar[str] = "labels: cut gradients tell classes less well apart"
    knob: ClassVar[str] = "scale: more noise hides more"
    within_batches: ClassVar[bool] = True
    scale: float = 1.0
    shape: str = "aligned"

    def __post_init__(self) -> None:
        check_not_negative(self, "scale")
        if self.shape not in SHAPES:
            raise unknown_name("shape of gradient noise", self.shape, SHAPES)

    def gradients(
        self, gradients: Float[Tensor, "n ..."], labels: Shaped[Tensor, "n ..."], *, generator: torch.Generator
    ) -> Float[Tensor, "n ..."]:
        if labels.ndim != 1 or labels.is_floating_point():
            raise InputError(
                "gradient-noise is shaped by classes, and these labels are those of a regression; take another defence."
            )
        flat = gradients.flatten(1)
        present, counts = torch.unique(labels, return_counts=True)
        means = torch.stack([flat[labels == label].mean(0) for label in present])
        # Weighted so that rows' outer products add up to the covariance of the class means.
        spread = (means - flat.mean(0)) * (counts / len(labels)).sqrt()[:, None]
        if self.shape == "aligned":
            noise = torch.randn(len(flat), len(spread), generator=generator).to(flat) @ spread
        else:
            size = (spread.square().sum() / flat.shape[1]).sqrt()
            noise = torch.randn(flat.shape, generator=generator).to(flat) * size
        noisy: Tensor = flat + self.scale * noise
        return noisy.reshape(gradients.shape)


@register_defense("marvell")
@dataclass(frozen=True, kw_only=True)
class Marvell(Defense):
    """Gaussian noise on cut gradients whose shape hides best, under a limit on its power, which of two classes a sample
    has: each class gets its own noise, more of it along the line between the classes' means.

    Args:
        power: power of the noise divided by the squared distance of the two classes' mean gradients; 0 or more.

    Reference:
        Li et al., "Label leakage and protection in two-party split learning", 2022, section 4 (Marvell).

    Departures:
        - With more than two classes there is no such solution: then `GradientNoise`, aligned, of scale sqrt(power).
        - Their dimension-by-dimension search is a general constrained minimiser here.
    """

    protects: ClassVar[str] = "labels: cut gradients tell classes less well apart"
    knob: ClassVar[str] = "power: more noise hides more"
    within_batches: ClassVar[bool] = True
    power: float = 4.0

    def __post_init__(self) -> None:
        check_not_negative(self, "power")

    def gradients(self, gradients: Tensor, labels: Tensor, *, generator: torch.Generator) -> Tensor:
        present = torch.unique(labels)
        if len(present) != 2 or labels.is_floating_point():
            noise = GradientNoise(scale=self.power**0.5)
            return noise.gradients(gradients, labels, generator=generator)
        flat = gradients.flatten(1)
        groups = [flat[labels == label] for label in present]
        apart = groups[1].mean(0) - groups[0].mean(0)
        squared = float(apart.square().sum())
        if squared == 0 or self.power == 0:
            return gradients
        within = [float((group - group.mean(0)).square().sum(1).mean()) / flat.shape[1] for group in groups]
        share = len(groups[1]) / len(flat)
        along, across = marvell_variances(squared, (within[0], within[1]), share, flat.shape[1], self.power * squared)
        direction = apart / squared**0.5
        which = (labels == present[1]).long()
        line = torch.randn((len(flat), 1), generator=generator).to(flat)
        ball = torch.randn(flat.shape, generator=generator).to(flat)
        isotropic = torch.tensor(across).to(flat)[which][:, None]
        extra = torch.tensor([max(0.0, one - other) for one, other in zip(along, across, strict=True)]).to(flat)
        noise_along = extra[which][:, None].sqrt() * line * direction
        noisy: Tensor = flat + isotropic.sqrt() * ball + noise_along
        return noisy.reshape(gradients.shape)


@register_defense("max-norm", strengths=("scale=0.5", "scale=1", "scale=2"))
@dataclass(frozen=True, kw_only=True)
class MaxNorm(Defense):
    """Noise along each sample's own gradient, so that all gradients of a batch have the same expected length: that of
    the longest.

    Args:
        scale: standard deviation of the noise divided by the one that Li et al. derive, 0 or more; 1 is theirs.

    Reference:
        Li et al., "Label leakage and protection in two-party split learning", 2022, section 4 (max_norm).
    """

    protects: ClassVar[str] = "labels: the length of a cut gradient does not tell rare from common classes"
    knob: ClassVar[str] = "scale: more noise hides more"
    within_batches: ClassVar[bool] = True
    scale: float = 1.0

    def __post_init__(self) -> None:
        check_not_negative(self, "scale")

    def gradients(self, gradients: Tensor, labels: Tensor, *, generator: torch.Generator) -> Tensor:
        flat = gradients.flatten(1)
        squares = flat.square().sum(1, keepdim=True)
        spread = (squares.max() / squares.clamp_min(torch.finfo(flat.dtype).tiny) - 1).clamp_min(0).sqrt()
        noise = torch.randn((len(flat), 1), generator=generator).to(flat)
        # A gradient of zero has no direction to put noise in.
        factor = torch.where(squares > 0, 1 + self.scale * spread * noise, torch.ones_like(spread))
        return (flat * factor).reshape(gradients.shape)


@register_defense("sign")
@dataclass(frozen=True, kw_only=True)
class SignGradients(Defense):
    """Only the signs of cut gradients are sent, times the mean magnitude of the batch.

    Reference:
        Bernstein et al., "signSGD", 2018, at the cut; proposed to send less, and tried against label inference.
    """

    protects: ClassVar[str] = "labels: magnitudes are not sent, and fewer bytes are"
    knob: ClassVar[str] = "none"

    def gradients(self, gradients: Tensor, labels: Tensor, *, generator: torch.Generator) -> Tensor:
        return gradients.sign() * gradients.abs().mean()


def marvell_variances(
    apart: float, within: tuple[float, float], share: float, dimensions: int, power: float
) -> tuple[tuple[float, float], tuple[float, float]]:
    """The variances of the noise of two classes that make their gradients hardest to tell apart.

    Minimises the symmetric Kullback-Leibler divergence of two Gaussians of isotropic variances `within` whose means are
    `apart` (squared distance), each with noise of variance `along` the line between the means and `across` it in every
    other direction, where the mean power of the noise is at most `power`.

    Args:
        apart: squared distance between the two means, above 0.
        within: variance of each class in every direction, for the first and the second class.
        share: share of the samples that have the second class, between 0 and 1.
        dimensions: number of entries of one sample's gradient.
        power: limit on the mean power of the noise, above 0.

    Returns:
        `along` and `across`: two variances each, for the first and the second class.
    """
    from scipy.optimize import minimize

    others = dimensions - 1
    # In units of the power, so that the minimiser's tolerances mean something.
    gap, first, second = apart / power, max(within[0] / power, 1e-9), max(within[1] / power, 1e-9)

    def divergence(values: np.ndarray) -> float:
        one, two = values[0] + first, values[1] + second
        one_across, two_across = values[2] + first, values[3] + second
        line = (one + gap) / two + (two + gap) / one
        return float(line + others * (one_across / two_across + two_across / one_across))

    def left(values: np.ndarray) -> float:
        used = (1 - share) * (values[0] + others * values[2]) + share * (values[1] + others * values[3])
        return float(1 - used)

    even = np.array([1.0, 1.0, 0.0, 0.0])
    starts = [even, np.array([1 / (1 - share), 0.0, 0.0, 0.0]), np.array([0.0, 1 / share, 0.0, 0.0]), even / 2]
    limits = [{"type": "ineq", "fun": left}]
    limits += [{"type": "ineq", "fun": lambda values, at=at: values[at] - values[at + 2]} for at in (0, 1)]
    found = [
        minimize(divergence, start, method="SLSQP", bounds=[(0, None)] * 4, constraints=limits) for start in starts
    ]
    values = min((one.x for one in found), key=lambda one: divergence(np.maximum(one, 0))) * power
    along, across = np.maximum(values[:2], 0), np.maximum(values[2:], 0)
    return (float(along[0]), float(along[1])), (float(across[0]), float(across[1]))
