"""Networks with several named inputs, as networks with one: every party sends one tensor."""

import inspect
import math
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unsplit.errors import InputError


class NamedInputs(nn.Module):
    """A network whose named inputs come in one flat vector for each sample, one after another.

    Args:
        model: network whose forward takes the inputs by name.
        inputs: the shape of one input by its name. They lie in the vector in the order of forward's parameters.

    Raises:
        InputError: forward takes no input of such a name, or needs another.
    """

    def __init__(self, model: nn.Module, inputs: Mapping[str, tuple[int, ...]]) -> None:
        super().__init__()
        parameters = inspect.signature(model.forward).parameters
        needed = [name for name, value in parameters.items() if value.default is value.empty and value.kind < 2]
        taken = [name for name, value in parameters.items() if value.kind in (1, 3)]
        wrong = [*(name for name in inputs if name not in taken), *(name for name in needed if name not in inputs)]
        if wrong or not inputs:
            raise InputError(
                f"The inputs named are {', '.join(inputs) or 'none'}, but the forward of {type(model).__name__} takes "
                f"{', '.join(taken) or 'none by name'}; give the shape of each one that it needs."
            )
        self.model = model
        self.inputs = {name: tuple(inputs[name]) for name in taken if name in inputs}

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one sample's vector."""
        return (sum(math.prod(shape) for shape in self.inputs.values()),)

    def pack(self, values: Mapping[str, Tensor]) -> Float[Tensor, "n total"]:
        """The vectors of named inputs, each of shape [n, *its shape]; whole numbers become floating-point ones.

        Raises:
            InputError: an input is missing, unknown or of another shape.
        """
        shapes = {name: tuple(value.shape[1:]) for name, value in values.items()}
        if shapes != self.inputs or len({len(value) for value in values.values()}) != 1:
            raise InputError(
                f"The inputs have shapes {shapes}; they must be {self.inputs}, with the same number of samples in each."
            )
        return torch.cat([values[name].flatten(1).float() for name in self.inputs], 1)

    def unpack(self, packed: Float[Tensor, "n total"]) -> dict[str, Tensor]:
        """The named inputs, each of shape [n, *its shape]."""
        found, begin = {}, 0
        for name, shape in self.inputs.items():
            end = begin + math.prod(shape)
            found[name] = packed[:, begin:end].reshape(packed.shape[0], *shape)
            begin = end
        return found

    def forward(self, packed: Float[Tensor, "n total"]) -> Tensor:
        output: Tensor = self.model(**self.unpack(packed))
        return output
