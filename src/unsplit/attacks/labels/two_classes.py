"""Two classes: labels from the length of a cut gradient, or from which of two directions it has."""

import torch

from unsplit.attacks._threat_model import attack
from unsplit.attacks.labels._observed import UNDECIDED
from unsplit.attacks.labels._simulated import directions, one_sided
from unsplit.attacks.labels.cut_gradient import GroupingConfig, grouped
from unsplit.attacks.observed import check_finite
from unsplit.errors import InputError
from unsplit.knowledge import LabelSpace
from unsplit.randomness import generator
from unsplit.types import InferredLabels, Kind, Transcript


@attack(goal="the client's labels up to their names", reads=(Kind.FEATURE_GRAD,))
def infer_from_gradient_norm(view: Transcript, space: LabelSpace) -> InferredLabels:
    """Two groups of samples: those with short cut gradients and those with long ones.

    Where one of two classes is rare, the client soon assigns every sample to the common class, so the gradients of the
    rare class are the long ones.

    Threat model:
        An honest-but-curious server of setup (b) or (c) that knows there are two classes, one of them rare.

    Objective:
        k-means, in two groups, of log(|g| / median |g| of its step).

    Args:
        view: transcript with cut gradients [batch, ...].
        space: number of classes of the labels, which must be 2.

    Returns:
        Group 0, of short gradients, and 1, of long ones, which is the rare class where there is one; `UNDECIDED` where
        a gradient is zero, and everywhere where all lengths are the same or all gradients point to one side, as where
        there are samples of one class only.

    Raises:
        InputError: no cut gradients, or another number of classes than two.

    Reference:
        Li et al., "Label leakage and protection in two-party split learning", 2022: the norm attack.

    Departures:
        Li et al. report the area under the curve of the norm; here it is cut in two, to have labels.
    """
    _check_two(space)
    norms, sides = [], []
    for message in view.of(Kind.FEATURE_GRAD):
        gradients = message.tensor.flatten(1)
        check_finite("cut gradients", gradients)
        length = gradients.norm(dim=1)
        norms.append(length / length.median().clamp_min(torch.finfo(length.dtype).tiny))
        sides.append(directions(gradients))
    lengths = torch.cat(norms).cpu() if norms else view.tensor(Kind.FEATURE_GRAD)
    labels = torch.full((len(lengths),), UNDECIDED)
    usable = lengths > 0
    logs = lengths[usable].log()[:, None]
    if len(logs) and bool(logs.max() - logs.min() > 1e-4) and not one_sided(torch.cat(sides).cpu()[usable]):
        found = grouped(logs, 2, GroupingConfig(), generator(0))
        longer = int(logs[found == 1].mean() > logs[found == 0].mean())
        labels[usable] = found if longer else 1 - found
    return InferredLabels(labels=labels, named=False)


@attack(goal="the client's labels up to their names", reads=(Kind.FEATURE_GRAD,))
def infer_from_gradient_direction(view: Transcript, space: LabelSpace) -> InferredLabels:
    """Two groups of samples, whose cut gradients point to one side and to the other.

    With one dense layer at the client, r is a single number or a pair of opposite ones, so all gradients lie on one
    line, and its sign is the label.

    Threat model:
        An honest-but-curious server of setup (b) or (c) that knows there are two classes.

    Objective:
        sign(<g, v>), v the leading right singular vector of the gradients scaled to length 1.

    Args:
        view: transcript with cut gradients [batch, ...].
        space: number of classes of the labels, which must be 2.

    Returns:
        Groups 0 and 1, unnamed; `UNDECIDED` where a gradient is zero or all point to the same side.

    Raises:
        InputError: no cut gradients, or another number of classes than two.

    Reference:
        Li et al., "Label leakage and protection in two-party split learning", 2022: the direction attack.

    Departures:
        Li et al. compare with a gradient whose label is known; the axis needs none. For the same with a known sample of
        each class, see `infer_from_known_samples`.
    """
    _check_two(space)
    gradients = view.tensor(Kind.FEATURE_GRAD)
    check_finite("cut gradients", gradients)
    observed = directions(gradients).cpu()
    side = observed @ torch.linalg.svd(observed, full_matrices=False).Vh[0]
    labels = (side > 0).long().masked_fill(side == 0, UNDECIDED)
    if len(set(labels[labels >= 0].tolist())) < 2:
        labels = torch.full_like(labels, UNDECIDED)
    return InferredLabels(labels=labels, named=False)


def _check_two(space: LabelSpace) -> None:
    if space.classes != 2:
        raise InputError(
            f"This attack tells two classes apart, and there are {space.classes}; use infer_by_surrogate or "
            "group_by_cut_gradient."
        )
