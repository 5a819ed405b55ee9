"""Fitting what comes before a last ReLU, so that no unit of the clone can die.

Where the smashed value is positive, the value before the ReLU is known: it is the same. Where it is zero, the value
before is only known to be at most zero. Fitting this gives every unit a gradient; fitting the output gives none to a
unit that is off everywhere. ReLU and max pooling commute, so the same holds behind a pooling.
"""

import torch
from torch import Tensor, nn


def without_last_relu(clone: nn.Module) -> nn.Module | None:
    """The same layers without the ReLU that ends them (or that only max pooling follows), or None if none does."""
    if not isinstance(clone, nn.Sequential):
        return None
    layers = list(clone)
    last = len(layers) - 1
    while last > 0 and isinstance(layers[last], nn.MaxPool1d | nn.MaxPool2d | nn.MaxPool3d):
        last -= 1
    if last < 1 or not isinstance(layers[last], nn.ReLU):
        return None
    return nn.Sequential(*layers[:last], *layers[last + 1 :])


def hinge_error(before: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of values before a ReLU: against the target where it is positive, above zero elsewhere."""
    return torch.where(target > 0, before - target, before.clamp_min(0)).square().mean()
