"""Fitting what comes before a last ReLU, so that no unit of the clone can die.

Where the smashed value is positive, the value before the ReLU is known: it is the same. Where it is zero, the value
before is only known to be at most zero. Fitting this gives every unit a gradient; fitting the output gives none to a
unit that is off everywhere. ReLU commutes with max pooling and with whatever only changes the form of its output, so
the same holds behind those.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

_FORM = nn.Flatten | nn.Unflatten | nn.Identity
_POOLING = nn.MaxPool1d | nn.MaxPool2d | nn.MaxPool3d
_DROPOUT = nn.Dropout | nn.Dropout1d | nn.Dropout2d | nn.Dropout3d


def without_last_relu(clone: nn.Module) -> nn.Module | None:
    """The same layers without the ReLU that ends them, or that only layers follow with which it commutes (max pooling,
    changes of form, dropout that is off), or None if none does.
    """
    if not isinstance(clone, nn.Sequential):
        return None
    layers = _in_a_row(clone)
    last = len(layers) - 1
    while last > 0 and (isinstance(layers[last], _POOLING | _FORM) or _is_off(layers[last])):
        last -= 1
    if last < 1 or not isinstance(layers[last], nn.ReLU):
        return None
    return nn.Sequential(*layers[:last], *layers[last + 1 :])


def form_only(layer: nn.Module) -> bool:
    """Whether a layer gives out the numbers that it takes in, in their order."""
    return isinstance(layer, _FORM) or _is_off(layer)


def _is_off(layer: nn.Module) -> bool:
    return isinstance(layer, _DROPOUT) and not layer.training


def _in_a_row(layers: nn.Sequential) -> list[nn.Module]:
    """The layers of a sequence, and of those within it."""
    found: list[nn.Module] = []
    for layer in layers:
        found += _in_a_row(layer) if type(layer) is nn.Sequential else [layer]
    return found


class HingeMisfit:
    """The mean squared error of an output and its gradient, in closed form: no graph behind the network's own.

    Args:
        target: the smashed data, shape [n, ...].
        hinge: the output is that of the layers before the ReLU; where the target is zero, only what lies above zero
            counts.
    """

    def __init__(self, target: Float[Tensor, "n ..."], *, hinge: bool) -> None:
        self._target = target
        self._scale = target.var(unbiased=False).clamp_min(torch.finfo(target.dtype).tiny)
        # With a floor of 0 under the output where the target is 0, its excess over the target is the hinge's.
        self._floor = torch.where(target > 0, -torch.inf, 0.0) if hinge else None

    def excess(self, output: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
        """What the output has too much (or too little), elementwise."""
        raised = output if self._floor is None else torch.maximum(output, self._floor)
        return raised - self._target

    def value(self, excess: Float[Tensor, "n ..."]) -> float:
        """The mean squared error relative to the target's variance."""
        return float(excess.square().mean() / self._scale)

    def gradient(self, excess: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
        """The gradient of that value at the output."""
        return excess * (2 / (excess.numel() * self._scale))
