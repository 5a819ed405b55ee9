"""Originals above reconstructions, as PNG."""

import base64
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
        originals: the targets, shape [n, *input shape], values 0 to 1; None where they are not known.
        reconstructions: reconstructions of the targets, for each inversion row in order, each of the same shape.
        whole: reconstructions by the attack on the U-shape, of the same shape, if it was run.
        whole_aware: reconstructions by the attack on the U-shape that knows the client's defences, if it was run.
    """

    originals: Float[Tensor, "n ..."] | None
    reconstructions: tuple[Float[Tensor, "n ..."], ...]
    whole: Float[Tensor, "n ..."] | None = None
    whole_aware: Float[Tensor, "n ..."] | None = None

    @property
    def targets(self) -> int | None:
        """The number of targets whose originals are known; None where they are not."""
        return None if self.originals is None else len(self.originals)

    @property
    def drawable(self) -> bool:
        """Whether the inputs are pictures (one or three channels)."""
        return any(drawable(inputs) for inputs in (self.originals, *self.reconstructions[:1]) if inputs is not None)

    @functools.cached_property
    def comparisons(self) -> tuple[bytes, ...]:
        """For each reconstruction a PNG of it, below the originals where they are known, drawn once; none where the
        inputs are not pictures.
        """
        return self._drawn(*self.reconstructions)

    @functools.cached_property
    def whole_comparisons(self) -> tuple[bytes, ...]:
        """The same of the attacks on the U-shape."""
        return self._drawn(*(inputs for inputs in (self.whole, self.whole_aware) if inputs is not None))

    def _drawn(self, *tried: Tensor) -> tuple[bytes, ...]:
        known = [] if self.originals is None else [self.originals]
        return tuple(drawn(*known, inputs) for inputs in tried) if self.drawable else ()


def comparison(originals: Float[Tensor, "n c h w"], reconstructions: Float[Tensor, "n c h w"]) -> bytes:
    """A PNG with rows of originals, each row above its reconstructions; see `drawn`."""
    return drawn(originals, reconstructions)


def inline(png: bytes) -> str:
    """A PNG as the address of a picture that is within the page; nothing for no picture."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}" if png else ""


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
