"""From the units that data came in to 0 to 1, and back."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from unsplit.ranges import InputRange


@dataclass(frozen=True, kw_only=True, eq=False)
class Scaling:
    """From values between 0 and 1 back to the units that data came in: value * span + low.

    Args:
        low, span: lowest value and span, of shapes that broadcast against one input.
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
        return ((values - self.low) / self.span).clamp(0, 1).float()

    def to_own(self, values: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
        """Values between 0 and 1 in the units that the data came in."""
        return values * self.span + self.low


SMALL_PART = 1 / 8
"""Values that fill less of their range would be lost in it, and are scaled by what they span."""
_DEPTHS = (8, 10, 12, 14, 16)
OTHERWISE = "`input_range` sets another range"


def fitting_scale(
    values: Shaped[Tensor, "n ..."], tested: Shaped[Tensor, "m ..."], given: InputRange | None = None
) -> tuple[Scaling | None, tuple[str, ...]]:
    """How an input is scaled (None for not at all), and what there is to say of it.

    Pictures and the like (two axes or more beside the samples, or bytes) of whole numbers have a depth: the fewest of
    8, 10, 12, 14 and 16 bits that hold the largest. What is within 0 to 1 already stays. All else, and what would fill
    less than an eighth of its range, is scaled by what the training values span: tables each column by itself.

    Args:
        values: inputs of the training part [n, ...], as `plain` gives them.
        tested: inputs of the test part [m, ...], from which only the depth is inferred.
        given: values that the user wants to become 0 and 1; None to infer them.

    Raises:
        InputError: values beyond the range that was given.
    """
    if given is not None:
        given.check(torch.cat([values, tested]), "The inputs")
        begin, span = given.columns(values.shape[1:])
        return (None if given.unit else Scaling(low=begin, span=span)), ()
    low, high = min(float(values.min()), float(tested.min())), max(float(values.max()), float(tested.max()))
    table = values.ndim == 2 and values.dtype != torch.uint8
    full, said = _full(values, tested, low, high), tuple[str, ...]()
    if full > 255:
        said = (f"The inputs are whole numbers up to {high:g}, so 0 to {full} became 0 to 1 ({OTHERWISE}).",)
    if full and not table and 0 < high - low <= SMALL_PART * full:
        return Scaling.of(values.double(), each=False), (
            f"The inputs fill only {low:g} to {high:g}, a small part of 0 to {full}, so {low:g} to {high:g} became "
            f"0 to 1 ({OTHERWISE}).",
        )
    if full:
        scale = None if full == 1 else Scaling(low=torch.tensor(0.0), span=torch.tensor(float(full)))
        return scale, said
    said = () if table else (f"The inputs run from {low:g} to {high:g}, which became 0 to 1 ({OTHERWISE}).",)
    # Whole numbers may be tokens, of which none must be lost: their scale is that of both parts.
    spanned = values if values.is_floating_point() else torch.cat([values, tested])
    return Scaling.of(spanned.double(), each=values.ndim == 2), said


def depth(highest: float) -> int:
    """The largest number of the fewest of 8, 10, 12, 14 and 16 bits that hold this one; 0 if none does."""
    return next((2**bits - 1 for bits in _DEPTHS if highest < 2**bits), 0)


def _full(values: Tensor, tested: Tensor, low: float, high: float) -> int:
    """The largest value that inputs like these can have; 0 where that is not known."""
    if low >= 0 and high <= 1:
        return 1
    pixels = values.ndim > 2 or values.dtype == torch.uint8
    if low < 0 or not pixels or not all(_whole(part) for part in (values, tested)):
        return 0
    return depth(high)


def _whole(values: Tensor) -> bool:
    return not values.is_floating_point() or bool((values == values.round()).all())
