"""What a server has to go by when it is after labels: features it sent, and a head of the known architecture."""

import copy
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from unsplit.attacks.observed import check_finite
from unsplit.errors import InputError
from unsplit.knowledge import HeadArchitecture, HeadWeightGradient, LabelSpace
from unsplit.losses import LossSpec
from unsplit.types import Kind, Message, Transcript

UNDECIDED = -1
"""The label of a sample whose gradient is zero: a saturated head says nothing about it."""


def features_with_gradients(view: Transcript) -> Iterator[tuple[Tensor, Tensor]]:
    """The features and the cut gradients of one step after the other, read as they are needed.

    Raises:
        InputError: there are none, a step has one and not the other or not as many samples, or a value is not finite.
    """
    features, gradients = view.of(Kind.FEATURES), view.of(Kind.FEATURE_GRAD)
    lacking = set(features.steps) ^ set(gradients.steps)
    if lacking:
        step = min(lacking)
        what = "cut gradients" if step in features.steps else "features"
        raise InputError(
            f"The transcript lacks the {what} of step {step}; record features and cut gradients of every step."
        )
    if not len(features):
        raise InputError(
            "The transcript holds no features and no cut gradients; label inference needs a training in setup (b) or "
            "(c)."
        )
    return _paired(features, gradients)


def _paired(features: Transcript, gradients: Transcript) -> Iterator[tuple[Tensor, Tensor]]:
    for sent, answered in zip(features, gradients, strict=True):
        if sent.step != answered.step or sent.tensor.shape != answered.tensor.shape:
            raise InputError(
                f"The features of step {sent.step} have shape {tuple(sent.tensor.shape)} and the cut gradients that "
                f"follow them have shape {tuple(answered.tensor.shape)} and are of step {answered.step}; record both "
                "of every step once."
            )
        check_finite("features", sent.tensor)
        check_finite("cut gradients", answered.tensor)
        yield sent.tensor, answered.tensor


class ByStep:
    """Messages that are found by their step, and read when they are asked for.

    Args:
        view: messages of any number a step, of which the last counts.
    """

    def __init__(self, view: Transcript) -> None:
        self.messages = view.messages
        steps = np.fromiter((header.step for header in view.headers), dtype=np.int64)
        self._order = np.argsort(steps, kind="stable")
        self.steps = steps[self._order]
        """The step of every message, ascending."""

    def places(self, step: int) -> Sequence[int]:
        """The places of a step's messages, in order."""
        first, end = np.searchsorted(self.steps, (step, step + 1))
        return [int(place) for place in self._order[first:end]]

    def __contains__(self, step: int) -> bool:
        return bool(self.places(step))

    def __getitem__(self, step: int) -> Message:
        return self.messages[self.places(step)[-1]]


class Features(ByStep):
    """The features of every step, by its number."""

    def of(self, step: int) -> Tensor:
        """The features of a step, shape [batch, ...].

        Raises:
            InputError: a value is not finite.
        """
        features = self[step].tensor
        check_finite("features", features)
        return features


def features_by_step(view: Transcript) -> Features:
    """The features of every step, by its number.

    Raises:
        InputError: there are none.
    """
    features = view.of(Kind.FEATURES)
    if not len(features):
        raise InputError("The transcript holds no features; label inference needs a training in setup (b) or (c).")
    return Features(features)


def features_of(view: Transcript, gradients: HeadWeightGradient, *, single: str = "", remedy: str = "") -> Features:
    """The features by step, those of every step that there is a gradient for among them.

    Args:
        view: transcript with the features of these steps.
        gradients: gradients of the head's weights.
        single: name of the rule that needs steps of one sample, if there is one.
        remedy: what else to do where a step has several samples, ending in ", or ".

    Raises:
        InputError: no step, or one whose features are missing; several samples for a rule of one.
    """
    features = features_by_step(view)
    if not gradients.steps:
        raise InputError(
            "The weight gradients are empty, of no step; record more steps with weights handed over between them."
        )
    missing = next((step for step in gradients.steps if step not in features), None)
    if missing is not None:
        raise InputError(f"The transcript lacks the features of step {missing}; record features and weights together.")
    sizes = view.of(Kind.FEATURES).sizes if single else ()
    several = next((step for step in gradients.steps if single and sizes[features.places(step)[-1]] != 1), None)
    if several is not None:
        raise InputError(
            f"Step {several} has a batch of {len(features.of(several))} samples, and {single} needs the gradient of "
            f"one; {remedy}record a training with a batch size of 1."
        )
    return features


def checked_head(
    architecture: HeadArchitecture,
    space: LabelSpace,
    features: Tensor,
    generator: torch.Generator,
    *,
    loss: LossSpec | None = None,
) -> nn.Module:
    """A clone head with fresh weights that turns these features into one score for each class; with two classes and a
    `loss` that allows it, into a single one.

    Raises:
        InputError: the architecture does not take the features or has another number of outputs.
    """
    clone = architecture.blueprint.instantiate(generator=generator, device=features.device)
    try:
        with torch.no_grad():
            made = tuple(copy.deepcopy(clone).eval()(features).shape[1:])
    except (RuntimeError, ValueError, IndexError) as error:
        raise InputError(
            f"The head's architecture does not take features of shape {tuple(features.shape[1:])} "
            f"({(str(error).splitlines() or [''])[0]}); name the head that the client has."
        ) from error
    single = made == (1,) and space.classes == 2 and loss is not None and loss.name != "cross_entropy"
    if made != (space.classes,) and not single:
        raise InputError(
            f"The head's architecture has outputs of shape {made} for {space.classes} classes; "
            "name the right number of classes or the right head."
        )
    return clone
