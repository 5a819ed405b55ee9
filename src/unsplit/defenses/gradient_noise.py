"""Noise on cut gradients before they leave the client."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unsplit.errors import check_not_negative, unknown_name

SHAPES = ("aligned", "isotropic")


@dataclass(frozen=True, kw_only=True)
class GradientNoise:
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

    scale: float
    shape: str = "aligned"

    def __post_init__(self) -> None:
        check_not_negative(self, "scale")
        if self.shape not in SHAPES:
            raise unknown_name("shape of gradient noise", self.shape, SHAPES)

    def __call__(
        self, gradients: Float[Tensor, "n ..."], labels: Int[Tensor, " n"], *, generator: torch.Generator
    ) -> Float[Tensor, "n ..."]:
        """The gradients of a batch with noise."""
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

    def __str__(self) -> str:
        return f"{self.shape} gradient noise {self.scale:g}"
