"""A network that undoes another's layers, mirrored from their shapes."""

from collections import OrderedDict

import torch
from torch import nn

from unsplit.errors import InputError
from unsplit.randomness import draw_seed, seeded


def mirrored(bottom: nn.Module, input_shape: tuple[int, ...], *, generator: torch.Generator) -> nn.Sequential:
    """A network from smashed data to inputs: a transposed convolution for each convolution, striding where the client
    pools, a dense layer for each dense one, ReLU between them.

    Args:
        bottom: an `nn.Sequential` of convolutions, dense layers, poolings and pointwise activations; only its
            layers' forms are used.
        input_shape: shape of one input.
        generator: draws the weights.

    Raises:
        InputError: another kind of layer.
    """
    shapes = _shapes(bottom, input_shape)
    with seeded(draw_seed(generator)):
        return _mirror(shapes)


def _mirror(shapes: list[tuple[nn.Module, tuple[int, ...], tuple[int, ...]]]) -> nn.Sequential:
    layers: list[nn.Module] = []
    stride = 1
    for layer, before, after in reversed(shapes):
        if isinstance(layer, nn.MaxPool2d | nn.AvgPool2d):
            stride *= layer.stride if isinstance(layer.stride, int) else layer.stride[0]
        elif isinstance(layer, nn.Conv2d):
            layers += [_transposed(layer, before, after, stride), nn.ReLU()]
            stride = 1
        elif isinstance(layer, nn.Linear):
            layers += [nn.Linear(layer.out_features, layer.in_features), nn.ReLU()]
            if len(before) > 1:
                layers.append(nn.Unflatten(1, before))
        elif not isinstance(layer, nn.ReLU | nn.Sigmoid | nn.Tanh | nn.Identity | nn.Dropout):
            raise InputError(
                f"No inverse network can be made for a layer of type {type(layer).__name__}; it takes convolutions, "
                "dense layers, poolings and activations."
            )
    while layers and not isinstance(layers[-1], nn.Linear | nn.ConvTranspose2d):
        layers.pop()
    return nn.Sequential(OrderedDict((str(number), layer) for number, layer in enumerate(layers)))


def _shapes(
    bottom: nn.Module, input_shape: tuple[int, ...]
) -> list[tuple[nn.Module, tuple[int, ...], tuple[int, ...]]]:
    if not isinstance(bottom, nn.Sequential):
        raise InputError(f"The client's layers must be an nn.Sequential to be mirrored, not a {type(bottom).__name__}.")
    found, value = [], torch.zeros(1, *input_shape)
    with torch.no_grad():
        for layer in bottom:
            before = tuple(value.shape[1:])
            value = layer(value)
            found.append((layer, before, tuple(value.shape[1:])))
    return found


def _transposed(layer: nn.Conv2d, before: tuple[int, ...], after: tuple[int, ...], pooled: int) -> nn.ConvTranspose2d:
    """What leads from the pooled output of a convolution back to the size of its input."""
    padding = [0 if isinstance(size, str) else size for size in layer.padding]
    missing = []
    for axis in (0, 1):
        reached = (after[axis + 1] // pooled - 1) * pooled * layer.stride[axis] + layer.kernel_size[axis]
        missing.append(before[axis + 1] - reached + 2 * padding[axis])
    return nn.ConvTranspose2d(
        layer.out_channels,
        layer.in_channels,
        (layer.kernel_size[0], layer.kernel_size[1]),
        (pooled * layer.stride[0], pooled * layer.stride[1]),
        (padding[0], padding[1]),
        (missing[0], missing[1]),
    )
