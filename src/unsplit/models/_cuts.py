"""Where a network can be cut, and the parts that a cut makes."""

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import nn

from unsplit.errors import InputError

from .stages import Stages

MOST_LISTED = 20
"""The most cuts that an error lists."""


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
            except Exception as error:
                said = (str(error).splitlines() or [""])[0]
                if isinstance(module, nn.Embedding | nn.EmbeddingBag):
                    raise InputError(
                        f"The model's module {depth} '{name}' ({type(module).__name__}) reads whole numbers, and "
                        "parties send floating-point ones; let a module of your own call it with inputs.long()."
                    ) from error
                raise InputError(
                    f"Inputs of shape {tuple(input_shape)} do not fit the model: its module {depth} '{name}' "
                    f"({type(module).__name__}) refuses shape {tuple(value.shape[1:])} ({said}); "
                    "use inputs of the size and channels that the model was made for."
                ) from error
            found.append(Cut(depth=depth, name=name, shape=tuple(value.shape[1:])))
    finally:
        model.train(training)
    return tuple(found[:-1])


def depth_of(model: nn.Sequential, cut: int | str) -> int:
    """The depth of a cut given by depth, by the name of the last module before it, or, for a network in stages, by the
    path of a module in the network as it was ("layer2", "features.stage1"): the cut after that module.

    Raises:
        InputError: there is no such cut; the message lists those that exist, or the nearest of many.
    """
    names = [name for name, _ in sequential(model).named_children()]
    depth, obstacle = _place(model, names, cut)
    if obstacle is not None or not 0 <= depth < len(names) - 1:
        why = f" ({obstacle})" if obstacle else ""
        if isinstance(cut, int) or cut.lstrip("-").isdigit():
            why = "; depth counts from 0, so that cut 1 leaves two modules with the client"
        raise InputError(
            f"The model has no cut {cut!r}{why}; cut it after one of its modules: {_existing(names[:-1], depth)}."
        )
    return depth


def _place(model: nn.Sequential, names: list[str], cut: int | str) -> tuple[int, str | None]:
    """The depth of a cut and None; or of the one nearest before it, and what is in the way ("" if there is no such)."""
    if isinstance(cut, str) and cut in names:
        return names.index(cut), None
    if isinstance(cut, int) or cut.lstrip("-").isdigit():
        return int(cut), None
    if isinstance(model, Stages):
        return model.places.get(cut) or model.places.get(cut.replace("-", "."), (len(names) // 2, ""))
    inside = [at for at, name in enumerate(names) if name.replace("-", ".").startswith(f"{cut.replace('-', '.')}.")]
    return (inside[-1], None) if inside else (len(names) // 2, "")


def _existing(names: list[str], near: int) -> str:
    """The cuts as "depth (name)": all of a few, else those nearest to a depth."""
    listed = [f"{index} ({name})" for index, name in enumerate(names)]
    if len(listed) <= MOST_LISTED:
        return ", ".join(listed)
    begin = max(min(near - MOST_LISTED // 4, len(names) - MOST_LISTED // 2), 0)
    shown = listed[begin : begin + MOST_LISTED // 2]
    return f"{', '.join(shown)}, and {len(listed) - len(shown)} more from {listed[0]} to {listed[-1]}"


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
            f"The model is a {type(model).__name__}; to be cut it must be an nn.Sequential of two modules or more; "
            "unsplit.models.sequential_of makes one of any network."
        )
    return model


def _part(model: nn.Sequential, start: int, end: int) -> nn.Sequential:
    return nn.Sequential(OrderedDict(list(model.named_children())[start:end]))
