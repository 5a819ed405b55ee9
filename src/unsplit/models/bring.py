"""Bring your own model: any network as an `nn.Sequential` that can be cut."""

from collections.abc import Mapping

import torch
from torch import nn

from unsplit.errors import InputError

from .comparison import gradient_passes_from
from .named import NamedInputs
from .stages import staged


def sequential_of(
    model: nn.Module, input_shape: tuple[int, ...] | Mapping[str, tuple[int, ...]] | None = None
) -> nn.Sequential:
    """`model` as an `nn.Sequential` of stages between which one tensor crosses, with the same output.

    An `nn.Sequential` of two modules or more is taken as it is, if a gradient passes through all of them. Of any other
    network the operations are recorded while it runs on two small batches, and stages are made of them (`Stages`). The
    stages share the network's parameters. Layers that work in place are set to work out of place.

    Args:
        model: the network; moved to the CPU.
        input_shape: shape of one input, or of each input by name where forward takes several (see `NamedInputs`).

    Raises:
        InputError: it cannot be cut; the message says why and what to do.
    """
    if isinstance(input_shape, Mapping):
        model = NamedInputs(model, input_shape)
        input_shape = None
    shape = model.input_shape if isinstance(model, NamedInputs) else input_shape
    _check_numbers(model)
    if isinstance(model, nn.Sequential) and _taken_as_it_is(model):
        _work_out_of_place(model)
        if shape is None or gradient_passes_from(model.cpu(), tuple(shape)) == 0:
            return model
    if shape is None:
        raise InputError(
            f"The model is a {type(model).__name__} and not an nn.Sequential of two modules or more, so the shape of "
            "one input must be known to cut it; pass input_shape, for example input_shape=(3, 32, 32)."
        )
    return staged(model.cpu(), tuple(shape))


def _taken_as_it_is(model: nn.Sequential) -> bool:
    """Whether it is a chain of two modules or more of which none occurs twice or shares weights with another."""
    if len(model) < 2 or type(model).forward is not nn.Sequential.forward:
        return False
    if model._forward_hooks or model._forward_pre_hooks or len({id(module) for module in model}) < len(model):
        return False
    held = [id(value) for module in model for value in module.parameters()]
    return len(set(held)) == len(held)


def _work_out_of_place(model: nn.Sequential) -> None:
    """Set the layers of a chain, and of chains in it, to work out of place; other modules may rely on it."""
    for module in model:
        if isinstance(module, nn.Sequential):
            _work_out_of_place(module)
        elif type(module).__module__.startswith("torch.nn.") and getattr(module, "inplace", False) is True:
            module.inplace = False  # type: ignore[assignment]


def _check_numbers(model: nn.Module) -> None:
    for name, value in model.named_parameters():
        if value.is_meta:
            raise InputError(
                f"The weight '{name}' is on the meta device and has no values; load the model's weights, or build it "
                "without a meta device."
            )
        if value.is_floating_point() and value.dtype is not torch.float32:
            kind = str(value.dtype).removeprefix("torch.")
            raise InputError(f"The weight '{name}' is in {kind} and must be in float32; call .float() on the model.")
