"""The range of a client's inputs in its own units, such as 0 to 255, and the way from there to 0 to 1 and back."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from .errors import InputError

# Beyond the range by so much of its span is still within it: what rounding leaves.
_ROUNDING = 1e-3


@dataclass(frozen=True)
class InputRange:
    """What 0 and 1 stand for in the units in which a client's network takes its inputs.

    Args:
        bounds: lowest and highest value, of all numbers of an input; or of each of its channels (the first axis of an
            input's shape), where they are normalised each by itself.

    Raises:
        InputError: no bounds, or a lowest value that is not below the highest.
    """

    bounds: tuple[tuple[float, float], ...] = ((0.0, 1.0),)

    def __post_init__(self) -> None:
        if not self.bounds or not all(math.isfinite(low) and low < high < math.inf for low, high in self.bounds):
            raise InputError(
                f"The range of inputs is {self}; give the lowest and the highest value, for example 0,255, or these "
                "two for each channel."
            )

    @classmethod
    def of(cls, value: Any) -> "InputRange":
        """The range that a text such as "0,255" or a list of numbers means: lowest and highest, or these two for each
        channel, one after another.

        Raises:
            InputError: it means none.
        """
        if isinstance(value, cls):
            return value
        try:
            parts = value.split(",") if isinstance(value, str) else np.ravel(value).tolist()
            flat = [float(part) for part in parts]
        except (TypeError, ValueError):
            flat = []
        if len(flat) < 2 or len(flat) % 2:
            raise InputError(
                f"The input range {value!r} cannot be read; give the lowest and the highest value, for example 0,255, "
                "or these two for each channel."
            )
        return cls(tuple(zip(flat[::2], flat[1::2], strict=True)))

    @property
    def unit(self) -> bool:
        """Whether it is 0 to 1."""
        return self.bounds == ((0.0, 1.0),)

    @property
    def low(self) -> float:
        """The lowest value of all channels."""
        return min(low for low, _ in self.bounds)

    @property
    def high(self) -> float:
        """The highest value of all channels."""
        return max(high for _, high in self.bounds)

    def columns(self, input_shape: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Lowest value and span, of shapes that broadcast against inputs of this shape.

        Raises:
            InputError: bounds for another number of channels.
        """
        if len(self.bounds) > 1 and (not input_shape or len(self.bounds) != input_shape[0]):
            raise InputError(
                f"The input range has bounds for {len(self.bounds)} channels, and inputs have the shape "
                f"{tuple(input_shape)}; give one pair of numbers, or one for each channel."
            )
        axes = (len(self.bounds), *(1 for _ in input_shape[1:]))
        low, high = (torch.tensor(ends).reshape(axes) for ends in zip(*self.bounds, strict=True))
        return low, high - low

    def to_unit(self, inputs: Shaped[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
        """Inputs [n, *input shape] in the client's units, brought to 0 to 1; themselves where that is their range."""
        if self.unit:
            return inputs
        low, span = (part.to(inputs.device) for part in self.columns(inputs.shape[1:]))
        return (inputs - low) / span

    def to_own(self, inputs: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
        """Inputs [n, *input shape] between 0 and 1 in the client's units."""
        if self.unit:
            return inputs
        low, span = (part.to(inputs.device) for part in self.columns(inputs.shape[1:]))
        return inputs * span + low

    def check(self, inputs: Shaped[Tensor, "n ..."], what: str) -> None:
        """Check that inputs [n, *input shape] lie within the range.

        Raises:
            InputError: they do not; the sentence begins with `what` and says what to do.
        """
        unit = self.to_unit(inputs)
        low, high = float(unit.min()), float(unit.max())
        if low < -_ROUNDING or high > 1 + _ROUNDING:
            least, most = float(inputs.min()), float(inputs.max())
            raise InputError(
                f"{what} run from {least:g} to {most:g}, beyond the range {self} that is assumed; give the range in "
                f"which the network takes them, for example `input_range=({_likely(least, most)})`."
            )

    def __str__(self) -> str:
        return ", ".join(f"{low:g} to {high:g}" for low, high in self.bounds)


UNIT = InputRange()
"""0 to 1."""


def _likely(low: float, high: float) -> str:
    """A range that would hold these values."""
    if low >= 0 and high > 1:
        for bits in (8, 10, 12, 14, 16):
            if high <= 2**bits - 1:
                return f"0, {2**bits - 1}"
    return f"{math.floor(low * 100) / 100:g}, {math.ceil(high * 100) / 100:g}"
