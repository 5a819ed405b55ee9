"""Where the client's inputs are not from 0 to 1: attacks search there all the same, and give what they find in the
client's units.

So the rates, weights of priors and first guesses of attacks mean the same in all units, and what is recovered does not
depend on them. An affine first layer takes up the units in its weights, as the client's own has; where it cannot, a
layer in front of the clone brings inputs back to them.
"""

import copy
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from unsplit.knowledge import (
    AuxiliaryData,
    ClientArchitecture,
    ClientQueries,
    ClientWeights,
    ColumnStatistics,
    KnownPictures,
    KnownRows,
)
from unsplit.randomness import generator, seeded
from unsplit.ranges import InputRange
from unsplit.types import Reconstruction

_SAME = 1e-3
"""Relative difference up to which two forms of a network are the same function."""


class ToOwn(nn.Module):
    """Inputs between 0 and 1, or shifted ones, in the units of the layers behind: inputs * span + low.

    Args:
        low, span: shapes that broadcast against one input.
    """

    low: Tensor
    span: Tensor

    def __init__(self, low: Tensor, span: Tensor) -> None:
        super().__init__()
        self.register_buffer("low", low)
        self.register_buffer("span", span)

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * self.span + self.low


class Units:
    """The way of one attack from the client's units to 0 to 1, and back.

    Args:
        given: the attack's arguments by name.
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        form = next((value for value in given.values() if isinstance(value, ClientArchitecture | ClientWeights)), None)
        asks = any(isinstance(value, ClientQueries) for value in given.values())
        self._form = form
        # A client that is asked answers inputs in its own units, and no weights are searched for.
        self._range = InputRange() if form is None or asks else form.input_range
        self._folded = True

    def entered(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The attack's arguments, from 0 to 1."""
        return dict(given) if self._range.unit else {name: self._inside(value) for name, value in given.items()}

    def left(self, found: Any) -> Any:
        """What the attack found, in the client's units."""
        if self._range.unit or not isinstance(found, Reconstruction):
            return found
        if isinstance(self._form, ClientWeights):
            clones: tuple[nn.Module, ...] = (self._form.bottom,) * len(found.clones)
        else:
            clones = tuple(self._own(clone) for clone in found.clones)
        return replace(found, inputs=self._range.to_own(found.inputs), clones=clones)

    def _inside(self, value: Any) -> Any:
        if isinstance(value, AuxiliaryData):
            return replace(value, inputs=self._range.to_unit(value.inputs))
        if isinstance(value, KnownPictures):
            return replace(value, pictures=self._range.to_unit(value.pictures))
        if isinstance(value, KnownRows):
            return replace(value, rows=self._range.to_unit(value.rows))
        if isinstance(value, ColumnStatistics):
            span = self._range.columns(value.quantiles.shape[1:])[1].to(value.covariance).expand(len(value.covariance))
            quantiles = self._range.to_unit(value.quantiles)
            return replace(value, quantiles=quantiles, covariance=value.covariance / torch.outer(span, span))
        if isinstance(value, ClientWeights):
            low, span = self._range.columns(value.input_shape)
            device = next((weight.device for weight in value.bottom.parameters()), torch.device("cpu"))
            bottom = nn.Sequential(ToOwn(low, span).to(device), value.bottom)
            return replace(value, bottom=bottom, low=0.0, high=1.0, channels=())
        if isinstance(value, ClientArchitecture):
            return self._inside_of(value)
        return value

    def _inside_of(self, architecture: ClientArchitecture) -> ClientArchitecture:
        """The architecture with inputs from 0 to 1: as much of the units as can be in its first layer's weights."""
        shape = architecture.input_shape
        low, span = self._range.columns(shape)
        still = torch.zeros_like(low)
        blueprint = architecture.blueprint
        if not _takes_up(architecture, span, low, still):
            # Padding with the client's zeros, or no bias to shift: then only the scale is taken up, and zeros stay.
            self._folded = _takes_up(architecture, span, still, low)
            entry = ToOwn(low / span, torch.ones_like(span)) if self._folded else ToOwn(low, span)
            blueprint = blueprint.behind(entry)
        zero = float((-low / span).mean())
        return replace(architecture, blueprint=blueprint, low=0.0, high=1.0, channels=(), zero=zero)

    @torch.no_grad()
    def _own(self, clone: nn.Module) -> nn.Module:
        """A clone of the architecture inside, as a clone of the client's."""
        layers = clone
        if isinstance(clone, nn.Sequential) and isinstance(clone[0], ToOwn):
            layers = getattr(clone, "layers", clone[1:])
        if self._folded and self._form is not None:
            low, span = self._range.columns(self._form.input_shape)
            shift = -low / span if layers is clone else torch.zeros_like(low)
            _take_up(layers, self._form.input_shape, 1 / span, shift)
        return layers


@torch.no_grad()
def _takes_up(architecture: ClientArchitecture, span: Tensor, low: Tensor, before: Tensor) -> bool:
    """Whether the first layer can do what `inputs * span + low` does in front of it, tried with inputs that `before`
    was added to, both as the layers are in training and as they are in use.
    """
    shape, draws = architecture.input_shape, generator(0)
    own = architecture.blueprint.instantiate(generator=draws)
    taking = copy.deepcopy(own)
    if not _take_up(taking, shape, span, low):
        return False
    inputs = torch.rand((4, *shape), generator=draws)
    for training in (True, False):
        with seeded(0):
            wanted = own.train(training)(inputs * span + low + before)
        with seeded(0):
            made = taking.train(training)(inputs + before / span)
        if float((made - wanted).abs().max()) > _SAME * float(wanted.abs().max()):
            return False
    return True


def _take_up(layers: nn.Module, shape: tuple[int, ...], scale: Tensor, shift: Tensor) -> bool:
    """Change the first layer of affine kind in place, so that it gives for x what it gave for x * scale + shift; says
    whether there is one that can.
    """
    kinds = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
    first = next((layer for layer in layers.modules() if isinstance(layer, kinds)), None)
    if first is None or (bool(shift.any()) and first.bias is None):
        return False
    columns = first.weight.shape[1] * getattr(first, "groups", 1)
    ways = [
        value.expand(shape).flatten() if columns == math.prod(shape) else value.flatten() for value in (scale, shift)
    ]
    if any(len(way) not in (1, columns) for way in ways):
        return False
    factor, offset = (_by_weight(way.to(first.weight), first) for way in ways)
    if first.bias is not None:
        first.bias.add_((first.weight * offset).flatten(1).sum(1))
    first.weight.mul_(factor)
    return True


def _by_weight(values: Tensor, layer: nn.Module) -> Tensor:
    """Values of a layer's inputs, shape [inputs] or [1], as they meet its weights."""
    weight, groups = layer.get_parameter("weight"), int(getattr(layer, "groups", 1))
    met = values.expand(weight.shape[1] * groups).reshape(groups, -1).repeat_interleave(len(weight) // groups, 0)
    return met.reshape(*weight.shape[:2], *(1 for _ in weight.shape[2:]))
