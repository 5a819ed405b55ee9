"""Whether a network in stages computes what it does as a whole."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from unsplit.errors import InputError
from unsplit.randomness import generator, seeded


@contextmanager
def as_found(model: nn.Module) -> Iterator[None]:
    """Give modes and buffers back as they were."""
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(value, value.clone()) for value in model.buffers()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        with torch.no_grad():
            for value, before in buffers:
                value.copy_(before)


def check_takes(model: nn.Module, inputs: Tensor) -> None:
    """Check that a network takes inputs [n, *input shape].

    Raises:
        InputError: it does not.
    """
    try:
        with torch.no_grad(), seeded(0):
            model(inputs)
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        raise InputError(
            f"Inputs of shape {tuple(inputs.shape[1:])} do not fit the model, a {type(model).__name__} "
            f"({type(error).__name__}: {first}); use inputs of the size and channels that the model was made for."
        ) from error


def _check_output(model: nn.Module, output: Any) -> None:
    name = type(model).__name__
    if not isinstance(output, Tensor):
        raise InputError(
            f"The model, a {name}, gives a {type(output).__name__} and must give one tensor; wrap it in a module whose "
            "forward picks the tensor to train on, for example `return self.model(inputs)[0]`."
        )
    if output.isnan().any():
        raise InputError(
            f"The model, a {name}, gives NaN for random inputs from 0 to 1, so stages cannot be compared with it; look "
            "at its weights first."
        )


def computed(model: nn.Module, inputs: Tensor, weights: Sequence[Tensor], training: bool) -> list[Tensor | None] | None:
    """The output in a mode, and in training the gradients at inputs and weights; None if the model cannot do this."""
    try:
        with as_found(model), torch.set_grad_enabled(training), seeded(1):
            model.train(training)
            leaf = inputs.clone().requires_grad_(training)
            output = model(leaf.clone())
            _check_output(model, output)
            if not training:
                return [output]
            learned = [leaf, *(value for value in weights if value.requires_grad)]
            return [output.detach(), *torch.autograd.grad(output.square().mean(), learned, allow_unused=True)]
    except InputError:
        raise
    except Exception:
        return None


def compare(model: nn.Module, found: list[Tensor | None] | None, wanted: list[Tensor | None], inputs: Tensor) -> None:
    """Check that stages compute what the whole network does, both as `computed` gives it for these inputs.

    Raises:
        InputError: they do not.
    """
    if found is not None and _all_alike(found, wanted):
        return
    what = "has other outputs or gradients in training mode" if len(wanted) > 1 else "has other outputs"
    raise InputError(
        f"Cut into stages, the model, a {type(model).__name__}, {what} than as a whole, for {len(inputs)} inputs: its "
        "own forward depends on the batch's size, on the mode, on values or on tensors that it changes in place, in a "
        "way that cannot be recorded; move that into one of its modules, or give an nn.Sequential."
    )


def _all_alike(found: Sequence[Tensor | None], wanted: Sequence[Tensor | None]) -> bool:
    """Whether outputs are, and gradients: these up to what is small beside the largest of them all, since one that is
    zero but for rounding (of a bias before a batch norm) has no size of its own.
    """
    output, *gradients = wanted
    sizes = [float(value.abs().max()) for value in gradients if value is not None and value.numel()]
    scales = [0.0 if output is None else float(output.abs().max()), *[max(sizes, default=0.0)] * len(gradients)]
    return all(map(_alike, found, wanted, scales))


def _alike(mine: Tensor | None, other: Tensor | None, scale: float) -> bool:
    if mine is None or other is None:
        return mine is other
    return mine.shape == other.shape and torch.allclose(mine, other, rtol=1e-3, atol=1e-4 * scale)


def gradient_passes_from(stages: nn.Sequential, input_shape: tuple[int, ...]) -> int:
    """The first depth at which a cut gets a gradient from all that follows: 0 unless a later module gives whole numbers
    or detaches what it takes. Modules that refuse such inputs are not judged here.
    """
    first = 0
    values = torch.rand(2, *input_shape, generator=generator(0))
    with as_found(stages), torch.enable_grad(), seeded(0):
        stages.eval()
        for depth, stage in enumerate(stages):
            leaf = values.detach()
            try:
                made = stage(leaf.requires_grad_() if leaf.is_floating_point() else leaf)
            except Exception:
                return 0
            if not isinstance(made, Tensor):
                return 0
            slope = None
            if made.requires_grad and leaf.requires_grad:
                (slope,) = torch.autograd.grad(made.sum(), leaf, allow_unused=True)
            first, values = (first, made) if slope is not None else (depth, made)
    return first
