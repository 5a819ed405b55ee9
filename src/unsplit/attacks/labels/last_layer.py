"""Labels read off the weight gradient of the head's last dense layer, by algebra: no clone and no search.

That gradient is the sum over the batch of r h', with r = p - y the gradient at the outputs and h the layer's inputs.
Cross-entropy, and binary cross-entropy of each output, leave one negative number in r: the label's.
"""

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from unsplit.attacks._threat_model import attack
from unsplit.attacks.labels._observed import UNDECIDED, Features, features_of
from unsplit.attacks.observed import check_finite
from unsplit.errors import InputError
from unsplit.knowledge import HeadWeightGradient, LabelSpace
from unsplit.tensors import gathered
from unsplit.types import InferredLabels, Kind, Transcript

_AT_ONCE = 256
"""Steps whose gradients are judged together."""


@attack(goal="the client's labels", reads=(Kind.FEATURES,))
def infer_by_sign(view: Transcript, gradients: HeadWeightGradient, space: LabelSpace) -> InferredLabels:
    """For each single-sample step, the class whose row of the last layer's weight gradient is negative.

    Exact for a head of any depth whose last layer's inputs are not negative (after ReLU or a sigmoid), since the rows
    are then r times numbers of one sign.

    Threat model:
        An honest-but-curious server of setup (b) or (c) that has the gradient of the head's last layer, which it has
        only where weights are handed over through it. It need not know the architecture.

    Objective:
        y = argmin over classes of u, where G, with the bias as a further column, is u v' (its leading singular vectors)
        with sum(v) > 0.

    Args:
        view: transcript with the features of the steps in `gradients`, to tell that they have one sample each.
        gradients: gradients of the head's weights at single-sample steps, at least those of its last layer.
        space: number of classes of the labels.

    Returns:
        Labels with their names, one for each step of `gradients`; `UNDECIDED` where the gradient is zero or has no
        negative row.

    Raises:
        InputError: a batch of more than one sample, NaN or infinity, no step, or no last layer of so many classes.

    Reference:
        Zhao, Mopuri, Bilen, "iDLG: improved deep leakage from gradients", 2020.

    Departures:
        iDLG takes the sign of products of rows; the leading singular vector uses all entries, which matters where the
        gradient is a small difference of weights.
    """
    features_of(view, gradients, single="the sign rule", remedy="use infer_from_batch_gradients, or ")
    (labels,) = gathered((_by_sign(torch.stack(some)),) for some in _some_at_a_time(_last_layers(gradients, space)))
    return InferredLabels(labels=labels, named=True)


@attack(goal="the client's labels", reads=(Kind.FEATURES,))
def infer_from_batch_gradients(view: Transcript, gradients: HeadWeightGradient, space: LabelSpace) -> InferredLabels:
    """The labels of whole batches from the weight gradient of a head of one dense layer, by least squares.

    With the features H [n, d] of a batch known, the gradient G = R'H gives back R, p - y of every sample, as long as
    the features of the batch are linearly independent, so n <= d (d + 1 with a bias). Beyond that R is the smallest
    that explains G, and the more samples there are, the more labels are lost.

    Threat model:
        An honest-but-curious server of setup (b) or (c) that computed the features and has the gradient of the head's
        one layer, which it has only where weights are handed over through it.

    Objective:
        R = argmin ||R'H - G||^2, the smallest of those; y_i = argmin over classes of R_i.

    Args:
        view: transcript with the features [n, ...] of every step in `gradients`.
        gradients: gradients of the head's weights at steps of any batch size.
        space: number of classes of the labels.

    Returns:
        Labels with their names, of all samples of those steps; `UNDECIDED` where a row of R is zero.

    Raises:
        InputError: NaN or infinity, no step, missing features, or a head of more than one layer.

    Reference:
        Algebra; compare Ma et al., "Instance-wise batch label restoration via gradients in federated learning", 2023.
    """
    (labels,) = gathered(_by_least_squares(features_of(view, gradients), gradients, space))
    return InferredLabels(labels=labels, named=True)


def _by_least_squares(features: Features, gradients: HeadWeightGradient, space: LabelSpace) -> Iterator[tuple[Tensor]]:
    """The labels of one step after the other."""
    for step, gradient in zip(gradients.steps, _last_layers(gradients, space), strict=True):
        known = features.of(step).flatten(1).double()
        if gradient.shape[1] == known.shape[1] + 1:
            known = torch.cat([known, torch.ones(len(known), 1, dtype=known.dtype, device=known.device)], 1)
        if gradient.shape[1] != known.shape[1]:
            raise InputError(
                f"The head's last layer takes {gradient.shape[1]} numbers and the features of step {step} have "
                f"{known.shape[1]}; this attack needs a head of one layer: use infer_from_handed_weights for deeper "
                "heads."
            )
        residuals = torch.linalg.pinv(known.T) @ gradient.double().T
        lowest = residuals.min(1)
        yield (lowest.indices.masked_fill(lowest.values >= 0, UNDECIDED).cpu(),)


def _by_sign(last: Tensor) -> Tensor:
    """The labels of some steps, from their last layers' gradients [steps, classes, inputs]."""
    scaled = last / last.abs().amax((1, 2), keepdim=True).clamp_min(1e-30)
    _, vectors = torch.linalg.eigh((scaled @ scaled.mT).double())
    rows = vectors[:, :, -1]
    rows = rows * torch.sign((rows[:, None] @ scaled.double()).sum((1, 2)))[:, None]
    lowest = rows.min(1)
    undecided = ~scaled.flatten(1).any(1) | (lowest.values >= 0)
    judged: Tensor = lowest.indices.masked_fill(undecided, UNDECIDED)
    return judged.cpu()


def _some_at_a_time(gradients: Iterator[Tensor]) -> Iterator[list[Tensor]]:
    while some := list(itertools.islice(gradients, _AT_ONCE)):
        yield some


def _last_layers(gradients: HeadWeightGradient, space: LabelSpace) -> Iterator[Tensor]:
    """The last layer's gradient of one step after the other, shape [classes, inputs], the bias's as a further column if
    it has one.
    """
    for found in gradients.each():
        dense = [name for name, value in found.items() if name.endswith("weight") and value.ndim == 2]
        if not dense or len(found[dense[-1]]) != space.classes:
            raise InputError(
                f"The gradients are not of a head that ends in a dense layer of {space.classes} outputs; name the "
                "right number of classes."
            )
        weight, bias = found[dense[-1]], found.get(dense[-1].removesuffix("weight") + "bias")
        last = weight if bias is None else torch.cat([weight, bias[:, None]], 1)
        check_finite("weight gradients", last)
        yield last
