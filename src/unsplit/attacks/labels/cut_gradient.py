"""Labels from the cut gradient, which every server of setups (b) and (c) has, by grouping and by nearest neighbour.

With a last dense layer W at the client, a sample's cut gradient is W'(p - y). The gradients of one class have nearly
the same direction, and each class has another one, so the samples form one group for each class. Gradients do not tell
which group is which class; a few known samples do.
"""

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from unsplit.attacks._threat_model import attack
from unsplit.attacks.labels._observed import UNDECIDED
from unsplit.attacks.labels._simulated import directions, distinct, one_sided
from unsplit.attacks.observed import check_finite
from unsplit.errors import InputError, check_at_least_one, unknown_name
from unsplit.knowledge import KnownSamples, LabelSpace
from unsplit.randomness import draw_seed
from unsplit.types import InferredLabels, Kind, Transcript

METHODS = ("k-means", "spectral")

_APART = 0.75
"""k-means of samples of one class, cut into ten groups, reaches .3 to .5; of groups that are there, nearly 1."""


@dataclass(frozen=True, kw_only=True)
class GroupingConfig:
    """Settings of the grouping.

    Args:
        method: "k-means", or "spectral" (of the graph of nearest neighbours, for up to some thousand samples).
        restarts: number of runs of k-means, of which the tightest counts; at least 1.
        neighbours: number of neighbours of each sample in the graph of the spectral method; at least 1.

    Raises:
        InputError: an unknown method, or a number below 1.
    """

    method: str = "k-means"
    restarts: int = 10
    neighbours: int = 10

    def __post_init__(self) -> None:
        check_at_least_one(self, "restarts", "neighbours")
        if self.method not in METHODS:
            raise unknown_name("grouping", self.method, METHODS)


@attack(goal="the client's labels up to their names", reads=(Kind.FEATURE_GRAD,))
def group_by_cut_gradient(
    view: Transcript, space: LabelSpace, config: GroupingConfig, *, generator: torch.Generator
) -> InferredLabels:
    """Group the observed samples by the direction of their cut gradients, one group a class.

    Threat model:
        An honest-but-curious server of setup (b) or (c) that knows the number of classes. It does not know the
        head's architecture, nor any label.

    Objective:
        k-means, or spectral clustering, of the gradients scaled to length 1.

    Args:
        view: transcript whose cut gradients [batch, ...] are those of the samples to group.
        space: number of classes of the labels, which is also that of the groups.
        config: settings of the grouping.
        generator: draws the first centres.

    Returns:
        Group numbers, unnamed; `UNDECIDED` where a gradient is zero, and everywhere where all are zero or the same, or
        point to one side without standing apart in groups, as where there are samples of one class only.

    Raises:
        InputError: no cut gradients, or fewer samples with one than classes.

    Reference:
        Liu and Lyu, "Clustering label inference attack against practical split learning", 2022.
    """
    observed = _observed_directions(view)
    found = _groups(observed, space, config, generator, "cut gradients")
    usable = found.labels >= 0
    if one_sided(observed[usable]) and (space.classes == 2 or not _apart(observed[usable], found.labels[usable])):
        return InferredLabels(labels=torch.full_like(found.labels, UNDECIDED), named=False)
    return found


@attack(goal="the client's labels up to their names", reads=(Kind.FEATURES,))
def group_by_features(
    view: Transcript, space: LabelSpace, config: GroupingConfig, *, generator: torch.Generator
) -> InferredLabels:
    """Group the observed samples by the direction of their features, without any gradient: what inference alone gives
    away, and the baseline of the attacks that read gradients.

    Threat model:
        An honest-but-curious server of setup (b) or (c) that knows the number of classes and computes the features
        itself. It has no message of the client's head.

    Objective:
        k-means, or spectral clustering, of the features scaled to length 1.

    Args:
        view: transcript whose features [batch, ...] are those of the samples to group.
        space: number of classes of the labels, which is also that of the groups.
        config: settings of the grouping.
        generator: draws the first centres.

    Returns:
        Group numbers, unnamed; `UNDECIDED` where features are zero, and everywhere where all are zero or the same.

    Raises:
        InputError: no features, or fewer samples with some than classes.

    Reference:
        Liu and Lyu, "Clustering label inference attack against practical split learning", 2022.
    """
    features = view.tensor(Kind.FEATURES).flatten(1)
    check_finite("features", features)
    return _groups(directions(features), space, config, generator, "features")


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
    observed = _observed_directions(view)
    usable = observed.any(1)
    indices = torch.tensor(known.indices)
    if bool((indices >= len(observed)).any()) or not bool(usable[indices].all()):
        raise InputError(
            f"A known sample is not among the {len(observed)} observed samples, or its gradient is zero; name other "
            "samples."
        )
    nearest = (observed @ observed[indices].T).argmax(1)
    labels = torch.tensor(known.labels)[nearest]
    labels[~usable] = UNDECIDED
    return InferredLabels(labels=labels, named=True)


def grouped(observed: Tensor, classes: int, config: GroupingConfig, generator: torch.Generator) -> Tensor:
    """The group of each direction, shape [n]."""
    from sklearn.cluster import KMeans, SpectralClustering
    from sklearn.exceptions import ConvergenceWarning

    seed = draw_seed(generator) % 2**32
    rows = observed.cpu().numpy()
    with warnings.catch_warnings():
        # Fewer distinct directions than classes, and a graph in several parts, are findings, not faults.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", UserWarning)
        if config.method == "k-means":
            found = KMeans(classes, n_init=config.restarts, random_state=seed).fit_predict(rows)
        else:
            found = SpectralClustering(
                classes,
                affinity="nearest_neighbors",
                n_neighbors=min(config.neighbours, len(rows) - 1),
                random_state=seed,
            ).fit_predict(rows)
    return torch.as_tensor(found, dtype=torch.int64, device=observed.device)


def _groups(
    observed: Tensor, space: LabelSpace, config: GroupingConfig, generator: torch.Generator, what: str
) -> InferredLabels:
    usable = observed.any(1)
    labels = torch.full((len(usable),), UNDECIDED)
    if len(usable) < space.classes or 0 < int(usable.sum()) < space.classes:
        raise InputError(
            f"Only {int(usable.sum())} samples have {what} that are not zero, too few for {space.classes} groups; "
            "record more steps."
        )
    if bool(usable.any()) and distinct(observed[usable]):
        labels[usable] = grouped(observed[usable], space.classes, config, generator)
    return InferredLabels(labels=labels, named=False)


def _apart(observed: Tensor, labels: Tensor) -> bool:
    """Whether the groups stand well apart: the mean simplified silhouette is above `_APART`."""
    groups = torch.unique(labels)
    if len(groups) < 2:
        return False
    distances = torch.cdist(observed, torch.stack([observed[labels == group].mean(0) for group in groups.tolist()]))
    nearest = distances.topk(2, dim=1, largest=False).values
    return bool((1 - nearest[:, 0] / nearest[:, 1].clamp_min(1e-12)).mean() > _APART)


def _observed_directions(view: Transcript) -> Tensor:
    """Gradients scaled to length 1, shape [n, features]."""
    gradients = view.tensor(Kind.FEATURE_GRAD).flatten(1).cpu()
    check_finite("cut gradients", gradients)
    return directions(gradients)
