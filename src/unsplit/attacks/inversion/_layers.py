"""Layers of several networks side by side, and what they pass back, in closed form.

Each takes values [n, ...] and weights [n, *shape], a row for each network, and may be asked for the gradients of those.
"""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional

Slots = Sequence[Tensor | None]
"""Where the gradients of a layer's weights go, in their order; None for a weight that stays as it is."""


@runtime_checkable
class Layer(Protocol):
    """A layer of all networks, or a part of one."""

    def forward(self, values: Tensor, weights: Sequence[Tensor]) -> tuple[Tensor, Any]:
        """The output, and what `backward` wants to have."""

    def backward(
        self, gradient: Tensor, kept: Any, weights: Sequence[Tensor], slots: Slots, *, further: bool
    ) -> Tensor | None:
        """Fill the slots; gives the gradient of the values if it goes further, else None."""


class Windows:
    """What a convolution looks at: the values of each window, side by side.

    To copy strided views is several times faster than torch's own `unfold`, and two short loops of additions are
    several times faster than its `fold`.
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        self._size, self._stride = layer.kernel_size, layer.stride
        self._padding = (int(layer.padding[0]), int(layer.padding[1]))

    @staticmethod
    def fit(layer: nn.Conv2d) -> bool:
        """Whether this convolution is a product of its weights and its windows."""
        plain = layer.groups == 1 and layer.dilation == (1, 1) and layer.padding_mode == "zeros"
        return plain and not isinstance(layer.padding, str)

    def forward(
        self,
        values: Float[Tensor, "n c h w"],
        weights: Sequence[Tensor],  # noqa: ARG002
    ) -> tuple[Float[Tensor, "n inputs rows columns"], torch.Size]:
        down, right = self._padding
        padded = functional.pad(values, (right, right, down, down)) if down or right else values
        seen = padded.unfold(2, self._size[0], self._stride[0]).unfold(3, self._size[1], self._stride[1])
        return seen.permute(0, 1, 4, 5, 2, 3).flatten(1, 3), padded.shape

    def backward(
        self,
        gradient: Float[Tensor, "n inputs rows columns"],
        kept: torch.Size,
        weights: Sequence[Tensor],  # noqa: ARG002
        slots: Slots,  # noqa: ARG002
        *,
        further: bool,
    ) -> Float[Tensor, "n c h w"] | None:
        if not further:
            return None
        (samples, channels, height, width), (rows, columns) = kept, gradient.shape[2:]
        seen = gradient.view(samples, channels, *self._size, rows, columns)
        lines = gradient.new_zeros(samples, channels, self._size[1], height, columns)
        for row in range(self._size[0]):
            _places(lines, 3, row, self._stride[0], rows).add_(seen.select(2, row))
        whole = gradient.new_zeros(kept)
        for column in range(self._size[1]):
            _places(whole, 3, column, self._stride[1], columns).add_(lines.select(2, column))
        down, right = self._padding
        return whole[:, :, down : height - down, right : width - right] if down or right else whole


def _places(values: Tensor, axis: int, first: int, stride: int, number: int) -> Tensor:
    """So many places along an axis, `stride` apart."""
    if stride == 1:
        return values.narrow(axis, first, number)
    return values.narrow(axis, first, stride * (number - 1) + 1).unfold(axis, 1, stride).squeeze(-1)


class Product:
    """Weights times values along one axis, plus a bias if there is one: a dense layer, or a convolution's windows.

    Args:
        axis: the axis of the values that the weights' inputs lie along, and the outputs then.

    Attributes:
        channels_last: whether the axis is the last one in the memory of what it makes; the same numbers either way.
    """

    def __init__(self, axis: int) -> None:
        self.channels_last = False
        self._axis = axis

    def forward(self, values: Tensor, weights: Sequence[Tensor]) -> tuple[Tensor, tuple[Tensor, torch.Size]]:
        moved = values.movedim(self._axis, 1)
        columns, weight = moved.reshape(*moved.shape[:2], -1), weights[0].flatten(2)
        if self.channels_last:
            made = _added(weights[1].unsqueeze(1) if weights[1:] else None, columns.mT, weight.mT).mT
        else:
            made = _added(weights[1].unsqueeze(2) if weights[1:] else None, weight, columns)
        return made.view(*made.shape[:2], *moved.shape[2:]).movedim(1, self._axis), (columns, moved.shape)

    def backward(
        self,
        gradient: Tensor,
        kept: tuple[Tensor, torch.Size],
        weights: Sequence[Tensor],
        slots: Slots,
        *,
        further: bool,
    ) -> Tensor | None:
        (columns, shape), moved = kept, gradient.movedim(self._axis, 1)
        passed = moved.reshape(*moved.shape[:2], -1)
        if slots[0] is not None:
            torch.bmm(passed, columns.mT, out=slots[0].flatten(2))
        if slots[1:] and slots[1] is not None:
            torch.sum(passed, 2, out=slots[1])
        return torch.bmm(weights[0].flatten(2).mT, passed).view(shape).movedim(1, self._axis) if further else None


def _added(bias: Tensor | None, left: Tensor, right: Tensor) -> Tensor:
    """A product of matrices, with a bias if there is one."""
    return torch.bmm(left, right) if bias is None else torch.baddbmm(bias, left, right)


class Relu:
    """ReLU."""

    def forward(self, values: Tensor, weights: Sequence[Tensor]) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        made = values.relu()
        return made, made

    def backward(
        self,
        gradient: Tensor,
        kept: Tensor,
        weights: Sequence[Tensor],  # noqa: ARG002
        slots: Slots,  # noqa: ARG002
        *,
        further: bool,
    ) -> Tensor | None:
        passed: Tensor = torch.ops.aten.threshold_backward(gradient, kept, 0)
        return passed if further else None


class Other:
    """Any layer, or a whole network, whose gradients autograd finds.

    Args:
        layer: the layer. What it has beside weights (running statistics) is its own, whatever the number of networks.
        names: of its weights, in their order.
        together: whether the layer treats samples apart and the same way, so that one call serves all networks.
    """

    def __init__(self, layer: nn.Module, names: Sequence[str], *, together: bool) -> None:
        self._layer, self._together = layer, together
        number = {id(layer.get_parameter(name)): place for place, name in enumerate(names)}
        # Each place once: a module that `functional_call` meets twice would not be given back its own weights.
        self._places = {
            f"{prefix}.{name}" if prefix else name: number[id(value)]
            for prefix, module in layer.named_modules()
            for name, value in module.named_parameters(recurse=False)
        }

    def forward(self, values: Tensor, weights: Sequence[Tensor]) -> tuple[Tensor, tuple[Tensor, list[Tensor]]]:
        inputs = [value.detach().requires_grad_() for value in (values, *weights)]
        with torch.enable_grad():
            if self._together or len(values) == 1:
                made = self._one(inputs[0], *(value[0] for value in inputs[1:]))
            else:
                made = vmap(lambda value, *own: self._one(value[None], *own)[0])(*inputs)
        return made.detach().contiguous(), (made, inputs)

    def backward(
        self,
        gradient: Tensor,
        kept: tuple[Tensor, list[Tensor]],
        weights: Sequence[Tensor],  # noqa: ARG002
        slots: Slots,
        *,
        further: bool,
    ) -> Tensor | None:
        made, (values, *own) = kept
        moving = [(weight, slot) for weight, slot in zip(own, slots, strict=True) if slot is not None]
        wanted = [weight for weight, _ in moving] + ([values] if further else [])
        found = torch.autograd.grad(made, wanted, gradient, materialize_grads=True) if wanted else ()
        for (_, slot), slope in zip(moving, found, strict=False):
            slot.copy_(slope)
        return found[-1] if further else None

    def _one(self, values: Tensor, *weights: Tensor) -> Tensor:
        given = {place: weights[number] for place, number in self._places.items()}
        output: Tensor = functional_call(self._layer, given, (values,), tie_weights=False)
        return output
