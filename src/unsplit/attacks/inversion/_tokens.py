"""Smashed data that are a row of tokens, as a map of the patches that the tokens stand for.

A transformer cuts a picture into patches and makes a token of each, sometimes with class tokens before them. Its
smashed data [n, tokens, channels] (or [n, channels, tokens]) are a map that was rolled out. Taken for a flat vector,
they would want a dense layer from all numbers to all pixels: half a gigabyte for pictures of 128 pixels.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from unsplit.attacks.inversion._receptive import looked_at, noise_for

_EXTRA = 2
"""A class token, and at most one more (distillation), before those of the patches."""
_LOOKS = 0.3
"""Attention lets a token look at the whole picture. A token whose weight still moves by this share of the way to the
next patch, from one to the next, stands for its patch."""
_SAMPLES = 8


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """How a row of tokens is a map.

    Args:
        first: whether tokens come before channels.
        extra: number of tokens before those of the patches.
        grid: numbers of rows and columns of patches.
    """

    first: bool
    extra: int
    grid: tuple[int, int]

    def __call__(self, smashed: Float[Tensor, "n a b"]) -> Float[Tensor, "n c rows columns"]:
        channels_first = smashed.transpose(1, 2) if self.first else smashed
        return channels_first[:, :, self.extra :].reshape(*channels_first.shape[:2], *self.grid)


def tokens_of(clone: nn.Module, shape: tuple[int, ...], picture: tuple[int, ...]) -> Tokens | None:
    """How the smashed data of these layers are a map of patches; None where they are not.

    Args:
        clone: layers that turn pictures into smashed data.
        shape: shape of one sample's smashed data.
        picture: shape [c, h, w] of a picture.
    """
    if len(shape) != 2:
        return None
    ways = [
        Tokens(first=first, extra=extra, grid=grid)
        for first, number in ((True, shape[0]), (False, shape[1]))
        for extra, grid in _grids(number, picture)
    ]
    return next((way for way in ways if _stand_for_patches(clone, way, picture)), None)


def _grids(number: int, picture: tuple[int, ...]) -> Iterator[tuple[int, tuple[int, int]]]:
    """Numbers of extra tokens with the grid of square patches that the others make."""
    height, width = picture[1:]
    for extra in range(_EXTRA + 1):
        rows = round(math.sqrt((number - extra) * height / width)) if number > extra else 0
        if rows > 1 and (number - extra) % rows == 0:
            columns = (number - extra) // rows
            if columns > 1 and rows * width == columns * height:
                yield extra, (rows, columns)


def _stand_for_patches(clone: nn.Module, way: Tokens, picture: tuple[int, ...]) -> bool:
    """Whether what a token looks at moves along with its place in the grid, in both directions."""
    noise = noise_for(clone, picture, _SAMPLES)
    maps = way(clone(noise))
    for axis in (0, 1):
        pixels, size = picture[1 + axis], way.grid[axis]
        centres = looked_at(maps, noise, axis, (0, size - 1))
        if not centres[1] - centres[0] > _LOOKS * pixels * (size - 1) / size:
            return False
    return True
