"""What the smashed data cannot decide, and what can without the truth: scale, offset and sign of the pictures.

If the first layer is affine, f(x) = act(W x + b), then the pictures (x - o) / s with the weights s W and the biases
b + o sum(W) give the same smashed data for every offset o and scale s, negative ones included. Scale and offset are
fixed by the range that pictures are known to fill; the sign by the biases, which the wrong sign must shift by the
sum of the weights, far from where torch's layers start them.

A dense first layer leaves far more open: with any invertible matrix A, the inputs A x and the weights W A^-1 give the
same smashed data. Nothing in them tells one input's numbers from a mixture, so there the sign is never resolved.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unsplit.knowledge import ClientArchitecture
from unsplit.types import Sign

# The share of pixels that may lie outside the range after the stretch: a few stray pixels must not set the scale.
_STRAY = 0.001
# Sorting takes three times the memory of what is sorted: of more values than these, every n-th.
_VALUES = 8_000_000

# The sign is believed if the biases' mean square is within this factor of its expectation at the start of training,
# and that of the other sign is this many times larger.
_DECISIVE = 3.0


@dataclass(frozen=True, kw_only=True)
class FirstLayer:
    """The first layer of a clone, if the symmetries above hold for it."""

    weight: Tensor
    bias: Tensor | None
    padded: bool
    dense: bool

    @property
    def sums(self) -> Tensor:
        """Sum of the weights into each output."""
        return self.weight.flatten(1).sum(1)


def first_layer(clone: nn.Module) -> FirstLayer | None:
    """The clone's first layer if it is a convolution or a dense layer, else None: behind anything else (a
    normalisation, padding, pooling), scaling the inputs is no longer scaling the weights.
    """
    for layer in clone.modules():
        if isinstance(layer, nn.Sequential | nn.Identity | nn.Flatten):
            continue
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            padded = not isinstance(layer, nn.Linear) and (
                layer.padding == "same" or any(value != 0 for value in layer.padding if not isinstance(value, str))
            )
            dense = isinstance(layer, nn.Linear)
            return FirstLayer(weight=layer.weight, bias=layer.bias, padded=padded, dense=dense)
        return None
    return None


def filled(values: Tensor, stray: float) -> tuple[Tensor, Tensor]:
    """The lowest and the highest of some values, shape [n], but for a share `stray` of them at either end."""
    ordered = values[:: max(1, -(-len(values) // _VALUES))].sort().values
    outside = int(stray * len(ordered))
    return ordered[outside], ordered[-1 - outside]


@torch.no_grad()
def stretch(inputs: Tensor, clone: nn.Module, architecture: ClientArchitecture, *, stray: float = _STRAY) -> Tensor:
    """Stretch all pictures by one scale and offset to fill the known range (all but a share `stray` of the pixels at
    either end, which are clipped), and mend the clone's first layer so that
    it still gives the same smashed data. Without biases, or with zero padding (whose zeros would have to move too),
    only the scale is free.

    Args:
        inputs: pictures that the attack found, shape [n, *input shape].
        clone: copy of the client's layers, whose first layer is changed in place.
        architecture: the client's layers and the range of inputs.
        stray: share of the pixels that may lie outside the range, at either end, from 0 to below 0.5.
    """
    layer = first_layer(clone)
    if layer is None or architecture.low != 0.0:
        return inputs
    movable = layer.bias is not None and not layer.padded
    lowest, highest = filled(inputs.flatten(), stray)
    offset = lowest if movable else inputs.new_zeros(())
    scale = (highest - offset) / architecture.high
    if scale <= 0:
        return inputs
    if layer.bias is not None and movable:
        layer.bias.add_(offset * layer.sums)
    layer.weight.mul_(scale)
    return ((inputs - offset) / scale).clamp(architecture.low, architecture.high)


@torch.no_grad()
def mirror(inputs: Tensor, clone: nn.Module, architecture: ClientArchitecture) -> Tensor:
    """The negative of all pictures, with the clone's first layer changed in place so that it still gives the same
    smashed data; the pictures as they are where no layer does (no bias, zero padding, another range or layer).

    Args:
        inputs: pictures in the range, shape [n, *input shape].
        clone: copy of the client's layers.
        architecture: the client's layers and the range of inputs.
    """
    layer = first_layer(clone)
    if layer is None or layer.bias is None or layer.padded or architecture.low != 0.0:
        return inputs
    layer.bias.add_(architecture.high * layer.sums)
    layer.weight.neg_()
    return architecture.high - inputs


@torch.no_grad()
def remix(clone: nn.Module, mixing: Tensor, offset: Tensor) -> None:
    """Change a clone's first layer in place so that it gives for colours mixing @ colour + offset what it gave for
    them before: exactly but near a border that is padded with zeros, and but for the offset where it has no bias. A
    first layer that is no convolution of three channels stays as it is.

    Args:
        clone: copy of the client's layers.
        mixing: invertible matrix, shape [3, 3].
        offset: shape [3].
    """
    layer = first_layer(clone)
    if layer is None or layer.dense or layer.weight.ndim != 4 or layer.weight.shape[1] != len(mixing):
        return
    layer.weight.copy_(torch.einsum("ocij,cd->odij", layer.weight, torch.linalg.inv(mixing)))
    if layer.bias is not None:
        layer.bias.sub_(torch.einsum("odij,d->o", layer.weight, offset))


@torch.no_grad()
def resolve_sign(inputs: Tensor, clone: nn.Module, architecture: ClientArchitecture) -> tuple[Tensor, Sign]:
    """Choose between the pictures and their negative by the first layer's biases, changing the clone along.

    torch starts a layer's biases uniformly within 1 / sqrt(fan-in) of 0, and training moves them little. The sign is
    called resolved only where the evidence is decisive and the clone has a single weighted layer: behind a second
    one, the first layer that an attack finds may be far from the client's although it explains the smashed data.

    Returns:
        The pictures of the likelier sign, and whether it is resolved. Without biases a negative cannot be made, so
        the sign is resolved; where the symmetry does not hold, the pictures stay as they are, ambiguous. Behind a dense
        layer it is ambiguous in any case.
    """
    layer = first_layer(clone)
    if layer is None or architecture.low != 0.0:
        return inputs, Sign.AMBIGUOUS
    if layer.bias is None:
        return inputs, Sign.AMBIGUOUS if layer.dense else Sign.RESOLVED
    negative, moved = layer.bias + architecture.high * layer.sums, architecture.zero * layer.sums
    # Where the client's zero is not the range's low end, its biases may have started small as they are there, or as
    # they are here: a client may well fold its normalisation into its first layer.
    chosen, other = (
        min(value.square().mean() for value in values)
        for values in ((layer.bias, layer.bias + moved), (negative, negative - moved))
    )
    if other < chosen and not layer.padded:
        layer.bias.copy_(negative)
        layer.weight.neg_()
        inputs = architecture.high - inputs
        chosen, other = other, chosen
    expected = 1 / (3 * layer.weight[0].numel())
    weighted = sum(next(part.parameters(recurse=False), None) is not None for part in clone.modules())
    decisive = bool(chosen <= _DECISIVE * expected) and bool(other >= _DECISIVE * chosen)
    resolved = decisive and weighted == 1 and not layer.dense
    return inputs, Sign.RESOLVED if resolved else Sign.AMBIGUOUS
