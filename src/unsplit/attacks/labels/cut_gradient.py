"""Labels from the cut gradient, which every server of setups (b) and (c) has.

With a last dense layer W at the client, a sample's cut gradient is W'(p - y): the samples of a class point the same
way, and each class another way. So the samples fall into one group a class. Which group is which class, no gradient
can tell; a known sample of each class can.
"""

import warnings
from dataclasses import dataclass

import torch
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from unsplit.attacks.labels.observed import UNDECIDED
from unsplit.attacks.observed import check_finite
from unsplit.attacks.threat_model import attack
from unsplit.errors import InputError, check_at_least_one
from unsplit.knowledge import KnownSamples, LabelSpace
from unsplit.randomness import draw_seed
from unsplit.types import InferredLabels, Kind, Transcript


@dataclass(frozen=True, kw_only=True)
class GroupingConfig:
    """Settings of the grouping.

    Args:
        restarts: runs of k-means, of which the tightest counts; at least 1.

    Raises:
        InputError: no restart.
    """

    restarts: int = 10

    def __post_init__(self) -> None:
        check_at_least_one(self, "restarts")


@attack(goal="the client's labels up to their names", reads=(Kind.FEATURE_GRAD,))
def group_by_cut_gradient(
    view: Transcript, space: LabelSpace, config: GroupingConfig, *, generator: torch.Generator
) -> InferredLabels:
    """Group the observed samples by the direction of their cut gradients, one group a class.

    Threat model:
        An honest-but-curious server of setup (b) or (c) that knows the number of classes. It does not know the
        head's architecture, nor any label.

    Objective:
        k-means of the gradients scaled to length 1.

    Args:
        view: transcript whose cut gradients [batch, ...] are those of the samples to group.
        space: the number of classes, and so of groups.
        config: the settings.
        generator: draws the first centres.

    Returns:
        Group numbers, unnamed; `UNDECIDED` where a gradient is zero.

    Raises:
        InputError: no cut gradients, or fewer samples with one than classes.

    Reference:
        Liu and Lyu, "Clustering label inference attack against practical split learning", 2022.
    """
    directions, usable = _directions(view)
    if int(usable.sum()) < space.classes:
        raise InputError(
            f"Only {int(usable.sum())} samples have a cut gradient, too few for {space.classes} groups; "
            "record more steps."
        )
    seed = draw_seed(generator) % 2**32
    with warnings.catch_warnings():
        # Fewer distinct directions than classes is a finding (some groups stay empty), not a fault.
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = KMeans(space.classes, n_init=config.restarts, random_state=seed).fit_predict(directions[usable].numpy())
    labels = torch.full((len(usable),), UNDECIDED)
    labels[usable] = torch.as_tensor(found, dtype=torch.int64)
    return InferredLabels(labels=labels, named=False)


@attack(goal="the client's labels", reads=(Kind.FEATURE_GRAD,))
def infer_from_known_samples(view: Transcript, known: KnownSamples) -> InferredLabels:
    """Give each observed sample the label of the known sample whose cut gradient points most nearly the same way.

    Threat model:
        An honest-but-curious server of setup (b) or (c) that knows the true labels of a few of the samples.

    Objective:
        y = label of argmax over known samples k of cos(g, g_k).

    Args:
        view: transcript whose cut gradients [batch, ...] are those of the samples to judge.
        known: positions of the known samples in the transcript's order, and their labels.

    Returns:
        Labels with their names for all samples, the known ones included; `UNDECIDED` where a gradient is zero.

    Raises:
        InputError: no cut gradients, or a known sample outside the transcript or with a zero gradient.

    Reference:
        Liu and Lyu, 2022; Fu et al., "Label inference attacks against vertical federated learning", 2022.
    """
    directions, usable = _directions(view)
    indices = torch.tensor(known.indices)
    if bool((indices >= len(directions)).any()) or not bool(usable[indices].all()):
        raise InputError(
            f"A known sample is not among the {len(directions)} observed ones, or its gradient is zero; name others."
        )
    nearest = (directions @ directions[indices].T).argmax(1)
    labels = torch.tensor(known.labels)[nearest]
    labels[~usable] = UNDECIDED
    return InferredLabels(labels=labels, named=True)


def _directions(view: Transcript) -> tuple[Tensor, Tensor]:
    """Gradients scaled to length 1, shape [n, features], and which of them are not zero."""
    gradients = view.tensor(Kind.FEATURE_GRAD).flatten(1).cpu()
    check_finite("cut gradients", gradients)
    lengths = gradients.norm(dim=1, keepdim=True)
    return gradients / lengths.clamp_min(torch.finfo(gradients.dtype).tiny), lengths.squeeze(1) > 0
