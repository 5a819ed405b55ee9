"""From the units that data came in to 0 to 1, and back."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Scaling:
    """From values between 0 and 1 back to the units that data came in: value * span + low.

    Args:
        low, span: shapes that broadcast against one input.
    """

    low: Float[Tensor, "..."]
    span: Float[Tensor, "..."]

    @classmethod
    def of(cls, values: Float[Tensor, "n ..."], *, each: bool) -> "Scaling":
        """What takes these values to 0 to 1: `each` number by itself (columns of a table), or all alike."""
        low, high = (values.amin(0), values.amax(0)) if each else (values.min(), values.max())
        span = torch.where(high > low, high - low, torch.ones_like(high))
        return cls(low=low, span=span)

    @classmethod
    def joined(cls, parts: Iterable[tuple[tuple[int, ...], "Scaling | None"]]) -> "Scaling":
        """That of inputs packed into one vector, from the shape and scaling (None for as it is) of each."""
        lows, spans = [], []
        for shape, scaling in parts:
            known = scaling or cls(low=torch.tensor(0.0), span=torch.tensor(1.0))
            lows.append(known.low.broadcast_to(shape).flatten().double())
            spans.append(known.span.broadcast_to(shape).flatten().double())
        return cls(low=torch.cat(lows), span=torch.cat(spans))

    def picked(self, places: Int[Tensor, " m"]) -> "Scaling":
        """That of these numbers of a flat input."""
        return Scaling(low=self.low[places], span=self.span[places])

    def to_unit(self, values: Shaped[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
        """The values between 0 and 1; those beyond what was seen when it was made are clipped."""
        return ((values - self.low) / self.span).clamp(0, 1)

    def to_own(self, values: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
        """Values between 0 and 1 in the units that the data came in."""
        return values * self.span + self.low
