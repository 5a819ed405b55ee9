"""Where a network can be cut, and the parts that a cut makes."""

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import nn

from unsplit.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A place to cut: after module `depth` (counted from 0), called `name`; `shape` is one sample's smashed data."""

    depth: int
    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Parts:
    """A network in parts. Two-part setups have no head (a) or no bottom (b); the U-shape has all three.

    Args:
        bottom: the client's first layers, None where the server has the inputs.
        body: the server's layers (the "top" in setup a).
        head: the client's last layers, None where the client sends its labels.
    """

    bottom: nn.Sequential | None
    body: nn.Sequential
    head: nn.Sequential | None


def cuts(model: nn.Sequential, input_shape: tuple[int, ...]) -> tuple[Cut, ...]:
    """Every cut of `model` that leaves something on both sides, with the shape that would cross.

    Raises:
        InputError: `model` is not an `nn.Sequential`, or does not accept inputs of this shape.
    """
    sequential(model)
    training = model.training
    model.eval()
    value = torch.zeros(1, *input_shape)
    found = []
    try:
        for depth, (name, module) in enumerate(model.named_children()):
            try:
                value = module(value)
            except RuntimeError as error:
                raise InputError(
                    f"Inputs of shape {tuple(input_shape)} do not fit the model: its module {depth} '{name}' "
                    f"({type(module).__name__}) refuses shape {tuple(value.shape[1:])} ({str(error).splitlines()[0]}); "
                    "use inputs of the size and channels that the model was made for."
                ) from error
            found.append(Cut(depth=depth, name=name, shape=tuple(value.shape[1:])))
    finally:
        model.train(training)
    return tuple(found[:-1])


def depth_of(model: nn.Sequential, cut: int | str) -> int:
    """The depth of a cut given by depth or by the name of the last module before it.

    Raises:
        InputError: there is no such cut; the message lists those that exist.
    """
    names = [name for name, _ in sequential(model).named_children()]
    depth = names.index(cut) if isinstance(cut, str) and cut in names else cut
    if isinstance(depth, str) and depth.lstrip("-").isdigit():
        depth = int(depth)
    if isinstance(depth, str) or not 0 <= depth < len(names) - 1:
        existing = ", ".join(f"{index} ({name})" for index, name in enumerate(names[:-1]))
        raise InputError(f"The model has no cut {cut!r}; cut it after one of its modules: {existing}.")
    return depth


def split(model: nn.Sequential, cut: int | str) -> tuple[nn.Sequential, nn.Sequential]:
    """The bottom (modules 0 to the cut) and the top. They share the model's modules; nothing is copied."""
    depth = depth_of(model, cut)
    return _part(model, 0, depth + 1), _part(model, depth + 1, len(model))


def head_start(model: nn.Sequential, layers: int) -> int:
    """The index of the first module of a head with `layers` weighted layers: depth 1 is the last dense layer,
    depth 2 the last two with the activation between them, as in the paper's Table 3.

    Raises:
        InputError: the model has no such head with something left before it.
    """
    weighted = [index for index, module in enumerate(sequential(model)) if next(module.parameters(), None) is not None]
    if not 1 <= layers < len(weighted):
        raise InputError(
            f"The model has no head of {layers} layers; it has {len(weighted)} layers with weights, so a head can "
            f"have 1 to {len(weighted) - 1}."
        )
    return weighted[-layers]


def split_head(model: nn.Sequential, layers: int) -> tuple[nn.Sequential, nn.Sequential]:
    """The body and the head of `layers` weighted layers."""
    start = head_start(model, layers)
    return _part(model, 0, start), _part(model, start, len(model))


def split_u(model: nn.Sequential, cut: int | str, layers: int) -> Parts:
    """Bottom, body and head of the U-shape.

    Raises:
        InputError: no module is left for the server between the cut and the head.
    """
    depth, start = depth_of(model, cut), head_start(model, layers)
    if depth + 1 >= start:
        raise InputError(
            f"A cut at depth {depth} and a head of {layers} layers leave nothing for the server; cut before depth "
            f"{start - 1} or take a shorter head."
        )
    return Parts(
        bottom=_part(model, 0, depth + 1),
        body=_part(model, depth + 1, start),
        head=_part(model, start, len(model)),
    )


def sequential(model: nn.Module) -> nn.Sequential:
    """`model` itself if it is an `nn.Sequential` of at least two modules.

    Raises:
        InputError: it is something else.
    """
    if not isinstance(model, nn.Sequential) or len(model) < 2:
        raise InputError(
            f"The model is a {type(model).__name__}; to be cut it must be an nn.Sequential of two modules or more."
        )
    return model


def _part(model: nn.Sequential, start: int, end: int) -> nn.Sequential:
    return nn.Sequential(OrderedDict(list(model.named_children())[start:end]))
