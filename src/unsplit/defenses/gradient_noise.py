"""Noise on cut gradients before they leave the client."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from unsplit.defenses.defense import Defense
from unsplit.errors import InputError, check_not_negative, unknown_name

SHAPES = ("aligned", "isotropic")


@dataclass(frozen=True, kw_only=True)
class GradientNoise(Defense):
    """Gaussian noise on each sample's cut gradient, of a power set by how far apart the classes' gradients are.

    Args:
        scale: standard deviation of the noise over that of the classes' mean gradients about their common mean; 0 or
            more.
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

    name: ClassVar[str] = "gradient-noise"
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
