"""What a server has to go by when it is after labels: features it sent, and a head of the known architecture."""

import torch
from torch import Tensor, nn

from unsplit.attacks.observed import check_finite
from unsplit.errors import InputError
from unsplit.knowledge import HeadArchitecture, LabelSpace
from unsplit.types import Kind, Transcript

FeatureBatches = dict[int, Tensor]

UNDECIDED = -1
"""The label of a sample whose gradient is zero: a saturated head says nothing about it."""


def features_by_step(view: Transcript) -> FeatureBatches:
    """The features of every step, by its number.

    Raises:
        InputError: there are none, or a value is not finite.
    """
    features = {message.step: message.tensor for message in view.of(Kind.FEATURES)}
    if not features:
        raise InputError("The transcript holds no features; label inference needs a training in setup (b) or (c).")
    check_finite("features", *features.values())
    return features


def checked_head(
    architecture: HeadArchitecture, space: LabelSpace, features: Tensor, generator: torch.Generator
) -> nn.Module:
    """A clone head with fresh weights that turns these features into one score for each class.

    Raises:
        InputError: the architecture does not take the features or has another number of outputs.
    """
    clone = architecture.blueprint.instantiate(generator=generator, device=features.device)
    try:
        with torch.no_grad():
            made = tuple(clone(features).shape[1:])
    except RuntimeError as error:
        raise InputError(
            f"The head's architecture does not take features of shape {tuple(features.shape[1:])} "
            f"({str(error).splitlines()[0]}); name the head that the client has."
        ) from error
    if made != (space.classes,):
        raise InputError(
            f"The head's architecture has outputs of shape {made} for {space.classes} classes; "
            "name the right number of classes or the right head."
        )
    return clone
