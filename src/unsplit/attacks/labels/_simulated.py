"""Cut gradients that a clone head would send, compared with those that the client sent by their direction.

A sample's cut gradient is J'r: r is the gradient of its loss at the head's outputs, J the head's Jacobian at its
features. A loss averaged over a batch, summed or weighted by class multiplies each sample's own by a positive number,
and keeps the samples apart; so attacks compare directions. Only a head that mixes the samples of a batch (batch
normalisation in training mode) makes one sample's gradient depend on the labels of others.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from unsplit.losses import LossSpec

_TINY = 1e-30


def directions(gradients: Float[Tensor, "n ..."]) -> Float[Tensor, "n features"]:
    """Gradients scaled to length 1, however small they are; a zero one stays zero."""
    flat = gradients.flatten(1)
    flat = flat / flat.detach().abs().amax(1, keepdim=True).clamp_min(_TINY)
    scaled: Tensor = flat / (torch.linalg.vector_norm(flat, dim=1, keepdim=True) + 1e-6)
    return scaled


def distinct(observed: Float[Tensor, "n features"]) -> bool:
    """Whether these directions differ at all; where they do not, nothing tells one sample's label from another's."""
    return bool((observed @ observed[0] < 1 - 1e-5).any())


def one_sided(gradients: Float[Tensor, "n features"]) -> bool:
    """Whether all these directions of cut gradients point to one side, that of their mean, as those of one class do.

    A sample's residual p - y is negative at its own class alone. So two samples of a class have residuals at an acute
    angle; and whatever side one takes, with every class present some residual points away from it: that of the class
    whose output this side favours most.
    """
    return not bool((gradients @ gradients.mean(0) <= 0).any())


def simulated(
    clone: nn.Module, features: Float[Tensor, "n ..."], labels: Int[Tensor, " n"], loss: LossSpec
) -> tuple[Float[Tensor, "n features"], Float[Tensor, "n outputs"]]:
    """Directions of the cut gradients at these labels, and the clone's outputs; both can be differentiated."""
    features = features.detach().requires_grad_()
    outputs = clone(features)
    residual = loss.residual(outputs, labels)
    (gradients,) = torch.autograd.grad(outputs, features, grad_outputs=residual, create_graph=True)
    return directions(gradients), outputs


@torch.no_grad()
def simulated_for_each_label(
    clone: nn.Module, features: Float[Tensor, "n ..."], classes: int, loss: LossSpec
) -> Float[Tensor, "classes n features"]:
    """Directions of the cut gradients for every label that the samples might have."""
    features = features.detach()
    layers = [layer for layer in clone.modules() if next(layer.children(), None) is None]
    if len(layers) == 1 and isinstance(layers[0], nn.Linear):
        # A linear head's Jacobian is its weight: (p - y)W, without a backward pass.
        residuals = _residuals(clone(features), classes, loss)
        gradients = residuals @ layers[0].weight
    else:
        outputs, pull_back = torch.func.vjp(clone, features)[:2]
        residuals = _residuals(outputs, classes, loss)
        (gradients,) = torch.func.vmap(pull_back)(residuals)
    return torch.stack([directions(each) for each in gradients])


class Nearest(NamedTuple):
    """For each sample the label whose gradient is the nearest, its cosine, and by how much the next best's is less."""

    labels: Tensor
    cosines: Tensor
    margins: Tensor


def nearest_labels(
    clone: nn.Module,
    features: Float[Tensor, "n ..."],
    observed: Float[Tensor, "n features"],
    classes: int,
    loss: LossSpec,
) -> Nearest:
    """The labels whose simulated gradients point most nearly along the observed directions; each shape [n]."""
    best = (simulated_for_each_label(clone, features, classes, loss) * observed).sum(2).topk(2, dim=0)
    return Nearest(best.indices[0], best.values[0], best.values[0] - best.values[1])


def _residuals(outputs: Tensor, classes: int, loss: LossSpec) -> Float[Tensor, "classes n outputs"]:
    each = torch.arange(classes, device=outputs.device).repeat_interleave(len(outputs))
    return loss.residual(outputs.repeat(classes, 1), each).reshape(classes, len(outputs), -1)
