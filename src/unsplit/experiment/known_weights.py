"""First layers whose weights are public: where they come from, and what is known of them."""

import copy
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from unsplit.errors import InputError
from unsplit.knowledge import ClientWeights
from unsplit.models import read_weights, start_from
from unsplit.ranges import InputRange
from unsplit.types import Kind, Transcript


def known_network(model: nn.Sequential, cuts: Sequence[int | str], path: str) -> str:
    """Put the weights of a file into a network, in place, and say how many of its tensors they are.

    Args:
        model: the whole network.
        cuts: by depth, ascending, or one by name; all layers up to the last must be in the file.
        path: the file of weights.

    Raises:
        UnsplitError: no cut, a file that cannot be read, or one that does not hold these layers.
    """
    if not cuts:
        raise InputError("Known weights are those of the layers up to a cut; name cuts to invert, for example 1.")
    replaced = start_from(model, cuts[-1], read_weights(Path(path)), path)
    return f"{replaced} of the network's {len(model.state_dict())} tensors start as those of {Path(path).name}."


def client_weights(
    bottom: nn.Module, input_shape: tuple[int, ...], input_range: InputRange | None = None, *, training: bool = False
) -> ClientWeights:
    """The knowledge of these layers' weights, for inputs of this range (0 to 1 if None).

    Args:
        bottom: the client's layers, which are copied.
        input_shape: shape of one input.
        input_range: range of the inputs' values; 0 to 1 if None.
        training: whether what is attacked was sent in training, where batch norm takes the batch's own statistics.
    """
    known = copy.deepcopy(bottom).eval()
    for layer in known.modules():
        if training and isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.train()
    for weight in known.parameters():
        weight.requires_grad_(False)
    bounds = input_range or InputRange()
    return ClientWeights(
        bottom=known,
        input_shape=tuple(input_shape),
        low=bounds.low,
        high=bounds.high,
        channels=bounds.bounds if len(bounds.bounds) > 1 else (),
    )


def sent_in_training(view: Transcript) -> bool:
    """Whether a transcript is of a training, and not of a network in use: something was answered."""
    return any(header.kind in (Kind.LABELS, Kind.CUT_GRAD, Kind.FEATURE_GRAD) for header in view.headers)
