"""UnSplit's label inference from the gradient of the client's weights: the paper's Algorithm 2."""

import itertools
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from unsplit.attacks._threat_model import attack
from unsplit.attacks.labels._observed import UNDECIDED, checked_head, features_of
from unsplit.attacks.observed import check_finite, readable
from unsplit.errors import InputError
from unsplit.knowledge import ClientOptimizer, HeadArchitecture, HeadWeightGradient, LabelSpace
from unsplit.optim import OptimizerSpec
from unsplit.types import InferredLabels, Kind, Message, Transcript


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


def head_weight_gradients(transcript: Transcript, optimizer: ClientOptimizer) -> HeadWeightGradient:
    """The gradients of the head's weights that follow from weights handed over through the server after every step.

    Under SGD without momentum, the gradient is the change of the weights over the learning rate. Other optimisers
    mix in earlier gradients; where their state is handed over with the weights, the first moment's change gives the
    gradient.

    Args:
        transcript: transcript of the server, of a training in turns of one step; its first hand-off is only the start.
        optimizer: optimiser with which the client trains its head.

    Returns:
        The gradients of the steps that lie between two hand-offs and had samples. They are of single samples if batches
        are.

    Raises:
        InputError: no hand-off of a head, hand-offs further than a step apart, or a moment that was not handed over.
    """
    weights = readable(transcript.of(Kind.WEIGHTS))
    received = [message for message in weights if message.receiver == transcript.observer]
    features = transcript.of(Kind.FEATURES)
    empty = {header.step for header, size in zip(features.headers, features.sizes, strict=True) if not size}
    pairs = [(a, b) for a, b in itertools.pairwise(received) if b.step == a.step + 1 and b.step not in empty]
    names = [name for name in received[0].tensors if name.startswith("head.")] if received else []
    if not pairs or not names:
        raise InputError(
            "The transcript holds no two hand-offs of a head one step apart; record the server of a training with "
            "two clients or more that hand weights over through it after every step (turn=1)."
        )
    return HeadWeightGradient(
        gradients={
            name.removeprefix("head."): torch.stack(
                [_gradient(before, after, name, optimizer.spec) for before, after in pairs]
            )
            for name in names
        },
        steps=tuple(after.step for _, after in pairs),
    )


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
    clone = checked_head(architecture, space, features[gradients.steps[0]], generator)
    observed = _flat(clone, gradients)
    optimizer = config.clone_optimizer.build(list(clone.parameters()))
    labels = []
    for row, step in enumerate(gradients.steps):
        batch = features[step]
        if not bool(observed[row].any()):
            labels.append(torch.tensor(UNDECIDED, device=batch.device))
            continue
        label = (_gradient_of_each_label(clone, batch, space.classes) - observed[row]).square().mean(1).argmin()
        labels.append(label)
        if config.train_clone:
            optimizer.zero_grad()
            torch.autograd.backward(functional.cross_entropy(clone(batch), label[None]))
            optimizer.step()
    return InferredLabels(labels=torch.stack(labels), named=True, clone=clone if config.train_clone else None)


# Which optimisers average gradients in "exp_avg", and whether weight decay is added to the gradient before that.
_DECAY_IN_AVERAGE = {"adam": True, "nadam": True, "radam": True, "adamax": True, "adamw": False}


def _gradient(before: Message, after: Message, name: str, spec: OptimizerSpec) -> Tensor:
    """The gradient of one parameter between two hand-offs, from what the optimiser made of it."""
    old, new = before.tensors[name], after.tensors[name]
    kind, options = spec.name.lower(), spec.options
    decays = kind == "sgd" or (_DECAY_IN_AVERAGE.get(kind, False) and not options.get("decoupled_weight_decay"))
    if kind == "sgd" and not options.get("momentum"):
        taken_in = (old - new) / spec.lr
    elif kind == "sgd":
        moments = _moments(before, after, name, "momentum_buffer", spec)
        taken_in = (moments[1] - float(options["momentum"]) * moments[0]) / (1 - float(options.get("dampening", 0.0)))
    elif kind in _DECAY_IN_AVERAGE:
        beta = float(options.get("betas", (0.9, 0.999))[0])
        moments = _moments(before, after, name, "exp_avg", spec)
        taken_in = (moments[1] - beta * moments[0]) / (1 - beta)
    else:
        raise _no_moment(spec)
    gradient = taken_in - float(options.get("weight_decay", 0.0)) * old if decays else taken_in
    return -gradient if options.get("maximize") else gradient


def _moments(before: Message, after: Message, name: str, key: str, spec: OptimizerSpec) -> tuple[Tensor, Tensor]:
    """An optimiser's average of a parameter's gradients at both hand-offs."""
    state = f"optimizer.{name}/{key}"
    if state not in before.tensors or state not in after.tensors:
        raise _no_moment(spec)
    return before.tensors[state], after.tensors[state]


def _no_moment(spec: OptimizerSpec) -> InputError:
    return InputError(
        f"The weights alone do not give the gradient under {spec}: its steps mix in earlier gradients and the hand-off "
        "holds no first moment; record a training under Adam or SGD that hands over the optimiser's state too, or "
        "under plain SGD."
    )


def _flat(clone: nn.Module, gradients: HeadWeightGradient) -> Tensor:
    """The observed gradients in the order of the clone's parameters, shape [steps, parameters]."""
    rows = []
    for name, parameter in clone.named_parameters():
        observed = gradients.gradients.get(name)
        if observed is None or observed.shape[1:] != parameter.shape:
            raise InputError(
                f"The head's architecture has a parameter '{name}' of shape {tuple(parameter.shape)} that the "
                "observed gradients lack; name the head that the client has."
            )
        if len(observed) != len(gradients.steps):
            raise InputError(
                f"There are {len(observed)} gradients of '{name}' for {len(gradients.steps)} steps; give one for each."
            )
        rows.append(observed.flatten(1))
    check_finite("weight gradients", *rows)
    return torch.cat(rows, 1)


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
