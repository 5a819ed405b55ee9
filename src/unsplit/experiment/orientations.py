"""Where no data can tell a set of pictures from its flips and quarter turns, and the error with these forgiven."""

import copy
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

from unsplit.knowledge import AuxiliaryData, ClientQueries, ClientWeights, Knowledge, KnownPictures
from unsplit.metrics import mse_best_of_eight, trivial_guesses

# Each of these says which side of a picture is up.
_UPRIGHT = {AuxiliaryData, ClientQueries, ClientWeights, KnownPictures}


def scores_of_orientations(
    pictures: Tensor, truth: Tensor, mean_input: Tensor, bottom: nn.Module, kinds: Collection[type[Knowledge]]
) -> dict[str, Any]:
    """The error under the best of eight flips and quarter turns, beside that of the best guess scored in the same way,
    by their names in `InversionRow`; nothing where they are no symmetry of the attack.

    Args:
        pictures: reconstructions, shape [n, *input shape].
        truth: the true inputs, of the same shape.
        mean_input: mean of the training inputs, a trivial guess, shape [*input shape].
        bottom: the client's layers.
        kinds: what the attack knows.
    """
    square = truth.ndim == 4 and truth.shape[-1] == truth.shape[-2]
    if not square or not _UPRIGHT.isdisjoint(kinds) or not ends_dense(bottom, truth[:1]):
        return {}
    guesses = trivial_guesses(truth, mean_input)
    guesses["mean picture"] = mse_best_of_eight(mean_input.expand_as(truth), truth)
    return {
        "mse_best_of_eight": mse_best_of_eight(pictures, truth),
        "mse_best_of_eight_best_trivial": min(guesses.values()),
    }


@torch.no_grad()
def ends_dense(bottom: nn.Module, inputs: Tensor) -> bool:
    """Whether the last layer with weights that these inputs pass through is a dense one, which puts out numbers that
    have no place in a picture.
    """
    layers, passed = copy.deepcopy(bottom).eval(), list[nn.Module]()
    for layer in layers.modules():
        if any(value.ndim > 1 for value in layer.parameters(recurse=False)):
            layer.register_forward_hook(lambda one, *_: passed.append(one))
    device = next((value.device for value in layers.parameters()), inputs.device)
    flat = layers(inputs.to(device)).ndim == 2
    return flat and bool(passed) and isinstance(passed[-1], nn.Linear)
