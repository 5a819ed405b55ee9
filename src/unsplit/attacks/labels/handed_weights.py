"""Labels from cut gradients and the head's weights, where these are handed over through the server."""

import torch
from torch import Tensor

from unsplit.attacks._threat_model import attack
from unsplit.attacks.labels._observed import UNDECIDED, checked_head, features_with_gradients
from unsplit.attacks.labels._simulated import directions, nearest_labels
from unsplit.errors import InputError
from unsplit.knowledge import ClientLoss, HeadArchitecture, LabelSpace
from unsplit.randomness import generator
from unsplit.types import InferredLabels, Kind, Message, Transcript


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
    handed = {
        message.step: message  # the last of a step: where clients are averaged, they go on from what is sent back
        for message in view.of(Kind.WEIGHTS)
        if any(name.startswith("head.") for name in message.tensors)
    }
    if not handed:
        raise InputError(
            "The transcript holds no hand-off of a head; record the server of a training with two clients or more that "
            "hand weights over through it."
        )
    steps, first = view.of(Kind.FEATURES).steps, min(handed)
    labels, margins, clone = [], [], None
    for step, (features, gradients) in zip(steps, features_with_gradients(view), strict=True):
        clone = clone or checked_head(architecture, space, features, generator(0), loss=loss.spec).eval()
        if step <= first:
            labels.append(torch.full((len(features),), UNDECIDED))
            margins.append(torch.zeros(len(features)))
            continue
        if step - 1 in handed:
            clone.load_state_dict(_head_of(handed[step - 1]))
        observed = directions(gradients)
        found, zero = nearest_labels(clone, features, observed, space.classes, loss.spec), ~observed.any(1)
        labels.append(found.labels.masked_fill(zero, UNDECIDED).cpu())
        margins.append(found.margins.masked_fill(zero, 0.0).cpu())
    return InferredLabels(labels=torch.cat(labels), named=True, clone=clone, margin=torch.cat(margins))


def _head_of(message: Message) -> dict[str, Tensor]:
    return {name.removeprefix("head."): value for name, value in message.tensors.items() if name.startswith("head.")}
