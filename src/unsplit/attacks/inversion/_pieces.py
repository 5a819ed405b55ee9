"""Many samples, a few at a time."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_PIXELS = 256 * 32 * 32
"""Number of pixels that pass through a network at a time, in up to 256 pictures."""
_MOST = 256


def in_pieces(samples: Tensor, shape: Sequence[int]) -> list[Tensor]:
    """The samples, so many at a time as a network takes without much memory; none alone if there are others, which
    batch normalisation would refuse.

    Args:
        samples: shape [n, ...].
        shape: shape of the picture (or signal) that belongs to each.
    """
    piece = max(3, min(_MOST, _PIXELS // math.prod(shape[1:])))
    if len(samples) % piece == 1:
        return list(torch.tensor_split(samples, -(-len(samples) // piece)))
    return list(torch.split(samples, piece))
