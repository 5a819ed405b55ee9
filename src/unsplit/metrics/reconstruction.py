"""How close reconstructed inputs come to the truth."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

_SSIM_WINDOW = 11


def mse(inputs: Float[Tensor, "n ..."], truth: Float[Tensor, "n ..."]) -> float:
    """Mean squared error over all targets, in squared units of the data."""
    return float((inputs - truth).square().mean())


def mse_scale_free(inputs: Float[Tensor, "n ..."], truth: Float[Tensor, "n ..."]) -> float:
    """Mean squared error after the best single a * x + b over the whole set: what is left when contrast, brightness
    and sign are ignored. It needs the truth, so it is a diagnostic and never the result of an attack.
    """
    x, y = inputs.flatten().double(), truth.flatten().double()
    x, y = x - x.mean(), y - y.mean()
    spread = x.square().sum()
    slope = (x * y).sum() / spread if spread > 0 else spread
    return float((y - slope * x).square().mean())


def mse_scale_free_each(inputs: Float[Tensor, "n ..."], truth: Float[Tensor, "n ..."]) -> float:
    """As `mse_scale_free`, with an a and b for each target: contrast and sign may then differ between the targets."""
    pairs = zip(inputs, truth, strict=True)
    return sum(mse_scale_free(found[None], true[None]) for found, true in pairs) / len(truth)


def mse_best_of_eight(inputs: Float[Tensor, "n ..."], truth: Float[Tensor, "n ..."]) -> float:
    """Mean squared error after the one of the eight flips and quarter turns that makes it the smallest, the same for
    all square pictures of the set. Behind a dense layer no smashed data tell these eight apart: flipped filters and
    reordered columns of the dense layer give the same. To choose needs the truth; it is three bits for the whole set.

    Args:
        inputs: reconstructions, or a guess at them, shape [n, c, side, side].
        truth: true pictures of the same shape.
    """
    return min(mse(turned, truth) for turned in eight_orientations(inputs))


def eight_orientations(pictures: Float[Tensor, "..."]) -> Iterator[Float[Tensor, "..."]]:
    """The pictures [..., side, side] as they are and in the seven other flips and quarter turns."""
    for mirrored in (pictures, pictures.flip(-1)):
        for turns in range(4):
            yield mirrored.rot90(turns, (-2, -1))


def psnr(inputs: Float[Tensor, "n ..."], truth: Float[Tensor, "n ..."], *, high: float = 1.0) -> float:
    """Peak signal-to-noise ratio in dB over all targets, for data in [0, high]."""
    from torchmetrics.functional.image import peak_signal_noise_ratio

    return float(peak_signal_noise_ratio(inputs, truth, data_range=(0.0, high)))


def ssim(inputs: Float[Tensor, "n c h w"], truth: Float[Tensor, "n c h w"], *, high: float = 1.0) -> float:
    """Mean structural similarity (Wang et al. 2004; Gaussian window of 11 pixels), 1 for identical pictures; NaN for
    pictures smaller than the window.
    """
    if min(inputs.shape[-2:]) < _SSIM_WINDOW:
        return float("nan")
    from torchmetrics.functional.image import structural_similarity_index_measure

    value = structural_similarity_index_measure(inputs, truth, data_range=(0.0, high))
    return float(torch.as_tensor(value))
