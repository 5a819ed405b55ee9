"""Labels from cut gradients and the head's weights, where these are handed over through the server."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from unsplit.attacks._threat_model import attack
from unsplit.attacks.labels._observed import UNDECIDED, ByStep, checked_head, features_with_gradients
from unsplit.attacks.labels._simulated import directions, nearest_labels
from unsplit.errors import InputError
from unsplit.knowledge import ClientLoss, HeadArchitecture, LabelSpace
from unsplit.randomness import generator
from unsplit.tensors import gathered
from unsplit.types import InferredLabels, Kind, Transcript


@attack(goal="the client's labels", reads=(Kind.FEATURES, Kind.FEATURE_GRAD, Kind.WEIGHTS))
def infer_from_handed_weights(
    view: Transcript, architecture: HeadArchitecture, space: LabelSpace, loss: ClientLoss
) -> InferredLabels:
    """For each sample, the label whose cut gradient at the head's own weights is the one observed.

    Threat model:
        An honest-but-curious server of setup (b) or (c) through which clients hand over their weights, and which knows
        the head's architecture, the number of classes and the loss.

    Objective:
        y = argmax over labels of cos(dL(f_w(h), y)/dh, observed dL/dh), w handed over last.

    Args:
        view: transcript with features and cut gradients [batch, ...] and hand-offs, of any batch size and any length
            of turns.
        architecture: layers of the client's head.
        space: number of classes of the labels.
        loss: loss that the client minimises.

    Returns:
        Labels with their names, of all samples in transcript order; `UNDECIDED` before the first hand-off and where a
        gradient is zero. They are exact in the first step of a turn; later ones are judged by weights that have grown
        old by as many steps.

    Raises:
        InputError: no hand-off of a head, messages that are missing or not finite, or a head that does not fit.

    Reference:
        None: all but the label is known, so the label follows. UnSplit (section 4.3) does so from weight gradients.
    """
    handed = _Heads(view.of(Kind.WEIGHTS))
    first = handed.first()
    if first is None:
        raise InputError(
            "The transcript holds no hand-off of a head; record the server of a training with two clients or more that "
            "hand weights over through it."
        )
    clone = checked_head(architecture, space, next(features_with_gradients(view))[0], generator(0), loss=loss.spec)
    labels, margins = gathered(_judged(view, handed, first, clone.eval(), space, loss))
    return InferredLabels(labels=labels, named=True, clone=clone, margin=margins)


def _judged(
    view: Transcript, handed: "_Heads", first: int, clone: nn.Module, space: LabelSpace, loss: ClientLoss
) -> Iterator[tuple[Tensor, Tensor]]:
    """The labels and margins of one step after the other; the clone has the weights that were handed over last."""
    steps = view.of(Kind.FEATURES).steps
    for step, (features, gradients) in zip(steps, features_with_gradients(view), strict=True):
        if step <= first:
            yield torch.full((len(features),), UNDECIDED), torch.zeros(len(features))
            continue
        head = handed.after(step - 1)
        if head is not None:
            clone.load_state_dict(head)
        observed = directions(gradients)
        found, zero = nearest_labels(clone, features, observed, space.classes, loss.spec), ~observed.any(1)
        yield found.labels.masked_fill(zero, UNDECIDED).cpu(), found.margins.masked_fill(zero, 0.0).cpu()


class _Heads(ByStep):
    """Hand-offs of heads among those of weights, read when they are asked for."""

    def first(self) -> int | None:
        """The first step with one; None where there is none."""
        return next((step for step in np.unique(self.steps).tolist() if self.after(step) is not None), None)

    def after(self, step: int) -> dict[str, Tensor] | None:
        """The head that was handed over last after a step: where clients are averaged, they go on from what is sent
        back. None where none was.
        """
        for place in reversed(self.places(step)):
            tensors = self.messages[place].tensors
            head = {name.removeprefix("head."): value for name, value in tensors.items() if name.startswith("head.")}
            if head:
                return head
        return None
