"""Originals above reconstructions, as PNG."""

import functools
import io
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn import functional

_COLUMNS = 10
_GAP = 2
_WIDTH = 84


@dataclass(frozen=True, kw_only=True, eq=False)
class Pictures:
    """What the report shows.

    Args:
        originals: the targets, shape [n, *input shape], values 0 to 1.
        reconstructions: for each inversion row in order, the same shape.
        whole: of the attack on the U-shape, the same shape, if it was run.
        whole_aware: of the one that knows the client's defences.
    """

    originals: Float[Tensor, "n ..."]
    reconstructions: tuple[Float[Tensor, "n ..."], ...]
    whole: Float[Tensor, "n ..."] | None = None
    whole_aware: Float[Tensor, "n ..."] | None = None

    @property
    def drawable(self) -> bool:
        """Whether the inputs are pictures (one or three channels)."""
        return drawable(self.originals)

    @functools.cached_property
    def comparisons(self) -> tuple[bytes, ...]:
        """For each reconstruction the PNG of `comparison`, drawn once; none where the inputs are not pictures."""
        return tuple(comparison(self.originals, inputs) for inputs in self.reconstructions) if self.drawable else ()

    @functools.cached_property
    def whole_comparisons(self) -> tuple[bytes, ...]:
        """The same of the attacks on the U-shape."""
        tried = [inputs for inputs in (self.whole, self.whole_aware) if inputs is not None]
        return tuple(comparison(self.originals, inputs) for inputs in tried) if self.drawable else ()


def comparison(originals: Float[Tensor, "n c h w"], reconstructions: Float[Tensor, "n c h w"]) -> bytes:
    """A PNG with rows of originals, each row above its reconstructions; see `drawn`."""
    return drawn(originals, reconstructions)


def drawable(inputs: Tensor) -> bool:
    """Whether inputs are pictures (one or three channels)."""
    return inputs.ndim == 4 and inputs.shape[1] in (1, 3)


def drawn(*sets: Float[Tensor, "n c h w"]) -> bytes:
    """A PNG with one row of each set in turn; values outside 0 to 1 are clipped, and small pictures enlarged without
    smoothing.
    """
    columns, starts = min(_COLUMNS, len(sets[0])), range(0, len(sets[0]), _COLUMNS)
    rows = [_strip(images[start : start + columns], columns) for start in starts for images in sets]
    pixels = (torch.cat(rows, 1).clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    image = Image.fromarray(np.ascontiguousarray(pixels))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _strip(images: Tensor, columns: int) -> Tensor:
    """Pictures side by side on a mid-grey ground, as wide as so many columns: shape [3, height, width]."""
    images = images.detach().cpu().expand(-1, 3, -1, -1)
    scale = max(1, _WIDTH // images.shape[-1])
    images = images.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    framed = functional.pad(images, (_GAP, _GAP, _GAP, _GAP), value=0.5)
    missing = columns - len(images)
    framed = torch.cat([framed, framed.new_full((missing, *framed.shape[1:]), 0.5)])
    return torch.cat(list(framed), 2)
