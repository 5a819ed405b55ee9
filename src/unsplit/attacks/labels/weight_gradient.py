"""UnSplit's label inference from the gradient of the client's weights: the paper's Algorithm 2."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from unsplit.attacks._threat_model import attack
from unsplit.attacks.labels._observed import UNDECIDED, checked_head, features_of
from unsplit.attacks.observed import check_finite
from unsplit.errors import InputError
from unsplit.knowledge import HeadArchitecture, HeadWeightGradient, LabelSpace
from unsplit.optim import OptimizerSpec
from unsplit.types import InferredLabels, Kind, Transcript


@dataclass(frozen=True, kw_only=True)
class MatchingConfig:
    """Settings of the gradient matching.

    Args:
        train_clone: whether to train the clone head along on the labels inferred so far. The paper trains it after the
            attack; an untrained clone misjudges samples of which a trained client is confident, whose gradients vanish.
        clone_optimizer: optimiser of the clone head's weights, where it is trained along.
    """

    train_clone: bool = True
    clone_optimizer: OptimizerSpec = field(default_factory=OptimizerSpec)


@attack(goal="the client's labels", reads=(Kind.FEATURES,))
def infer_from_weight_gradients(
    view: Transcript,
    gradients: HeadWeightGradient,
    architecture: HeadArchitecture,
    space: LabelSpace,
    config: MatchingConfig,
    *,
    generator: torch.Generator,
) -> InferredLabels:
    """For each single-sample step, the label whose gradient on a clone head is closest to the observed one.

    Threat model:
        An honest-but-curious server that computed the features, knows the head's architecture and the number of
        classes, and has the gradient of the head's weights, which it has only where weights are handed over
        through it.

    Objective:
        y = argmin over labels of MSE(dL(f(h), y)/dw on the clone, observed dL/dw on the client) (Equation 3).

    Args:
        view: transcript with the features [1, ...] of every step in `gradients`.
        gradients: gradients of the head's weights at single-sample steps, see `head_weight_gradients`.
        architecture: layers of the client's head.
        space: number of classes of the labels.
        config: whether, and how, the clone is trained along.
        generator: draws the clone's first weights.

    Returns:
        Labels with their names, one for each step of `gradients` (`UNDECIDED` where it is zero), and the clone.

    Raises:
        InputError: a batch of more than one sample, NaN or infinity, no step, or a head, features and gradients that
            do not fit together.

    Reference:
        Erdoğan, Küpçü, Çiçek: UnSplit, section 4.3, Equation 3, Algorithm 2.

    Departures:
        With `train_clone` the clone learns along the way rather than after the attack. The released code takes the
        gradient out of the client, of one chosen parameter; here it follows from messages and all parameters count,
        each with equal weight by element.
    """
    features = features_of(view, gradients, single="the paper's rule")
    clone = checked_head(architecture, space, features.of(gradients.steps[0]), generator)
    optimizer = config.clone_optimizer.build(list(clone.parameters()))
    labels = []
    for step, found in zip(gradients.steps, gradients.each(), strict=True):
        batch, observed = features.of(step), _flat(clone, found)
        if not bool(observed.any()):
            labels.append(UNDECIDED)
            continue
        label = (_gradient_of_each_label(clone, batch, space.classes) - observed).square().mean(1).argmin()
        labels.append(int(label))
        if config.train_clone:
            optimizer.zero_grad()
            torch.autograd.backward(functional.cross_entropy(clone(batch), label[None]))
            optimizer.step()
    inferred = torch.tensor(labels, device=next(clone.parameters()).device)
    return InferredLabels(labels=inferred, named=True, clone=clone if config.train_clone else None)


def _flat(clone: nn.Module, gradients: Mapping[str, Tensor]) -> Tensor:
    """The observed gradients of one step in the order of the clone's parameters, shape [parameters]."""
    parts = []
    for name, parameter in clone.named_parameters():
        observed = gradients.get(name)
        if observed is None or observed.shape != parameter.shape:
            raise InputError(
                f"The head's architecture has a parameter '{name}' of shape {tuple(parameter.shape)} that the "
                "observed gradients lack; name the head that the client has."
            )
        parts.append(observed.flatten())
    check_finite("weight gradients", *parts)
    return torch.cat(parts)


def _gradient_of_each_label(clone: nn.Module, features: Tensor, classes: int) -> Tensor:
    """Gradient of the loss at the clone's weights for each label: shape [classes, parameters], without a loop."""
    outputs = clone(features)
    scores = outputs.detach().expand(classes, -1).requires_grad_()
    loss = functional.cross_entropy(scores, torch.arange(classes, device=scores.device), reduction="sum")
    (at_outputs,) = torch.autograd.grad(loss, scores)
    gradients = torch.autograd.grad(
        outputs, list(clone.parameters()), grad_outputs=at_outputs[:, None], is_grads_batched=True
    )
    return torch.cat([gradient.flatten(1) for gradient in gradients], 1)
