"""Where in a picture the places of a feature map look, measured by gradients."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unsplit.randomness import generator as seeded_generator

_NOISE = 64 * 32 * 32
"""Number of noise pixels by which it is measured where a map looks, in up to 64 pictures."""


def noise_for(layers: nn.Module, picture: tuple[int, ...], number: int) -> Float[Tensor, "n c h w"]:
    """So many pictures of noise for these layers, always the same, that take a gradient."""
    device = next((value.device for value in layers.parameters()), torch.device("cpu"))
    return torch.rand((number, *picture), generator=seeded_generator(0)).to(device).requires_grad_()


def looked_at(
    maps: Float[Tensor, "n k rows columns"], noise: Float[Tensor, "n c h w"], axis: int, places: Sequence[int]
) -> list[float]:
    """The centres, in pixels along an axis, of what some places of maps look at.

    Args:
        maps: what some layers make of the noise.
        noise: pictures that take a gradient.
        axis: 0 for rows, 1 for columns.
        places: positions in the maps along that axis.
    """
    pixels = torch.arange(noise.shape[2 + axis], device=noise.device)
    centres = []
    for place in places:
        (gradient,) = torch.autograd.grad(maps.select(2 + axis, place).square().sum(), noise, retain_graph=True)
        weight = gradient.square().sum((0, 1, 3 - axis))
        centres.append(float((weight * pixels).sum() / weight.sum().clamp_min(1e-30)))
    return centres


def patches(pixels: int, size: int) -> tuple[float, float]:
    """Stride and start of so many patches side by side, in pixels."""
    stride = pixels / size
    return stride, (stride - 1) / 2


def receptive_centres(clone: nn.Module, picture: tuple[int, ...], axis: int, size: int) -> tuple[float, float]:
    """The pixel that each place of a feature map looks at, measured by its gradient: place i at start + i * stride.

    Args:
        clone: any layers that turn a picture into a map.
        picture: shape [c, h, w] of a picture.
        axis: 0 for rows, 1 for columns.
        size: number of places of the feature map along that axis.

    Returns:
        Stride and start, in pixels.
    """
    pixels = picture[1 + axis]
    if size < 2:
        return patches(pixels, 1)
    noise = noise_for(clone, picture, min(64, max(2, _NOISE // math.prod(picture[1:]))))
    maps = clone(noise)
    # Away from the border, where part of what a place looks at is padding.
    places = (size // 4, max(size - 1 - size // 4, size // 4 + 1))
    centres = looked_at(maps, noise, axis, places)
    stride = (centres[1] - centres[0]) / (places[1] - places[0])
    if not stride > 0:
        return patches(pixels, size)
    return stride, centres[0] - stride * places[0]
