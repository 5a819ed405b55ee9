"""The gradients of a client's head that follow from its weights, where these are handed over through the server."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from unsplit.attacks.observed import readable
from unsplit.errors import InputError
from unsplit.knowledge import ClientOptimizer, GradientsByStep, HeadWeightGradient
from unsplit.optim import OptimizerSpec
from unsplit.types import Kind, Message, Messages, Transcript


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
        are. Each is worked out when it is read, and none is kept: a transcript on disk stays there.

    Raises:
        InputError: no hand-off of a head, hand-offs further than a step apart, or a moment that was not handed over.
    """
    weights = readable(transcript.of(Kind.WEIGHTS))
    received = weights.where(lambda header: header.receiver == transcript.observer)
    features = transcript.of(Kind.FEATURES)
    empty = {header.step for header, size in zip(features.headers, features.sizes, strict=True) if not size}
    steps = [header.step for header in received.headers]
    befores = [place for place, step in enumerate(steps[:-1]) if steps[place + 1] == step + 1 and step + 1 not in empty]
    names = _parameters(received.messages[0].tensors) if steps else []
    if not befores or not names:
        raise InputError(
            "The transcript holds no two hand-offs of a head one step apart; record the server of a training with "
            "two clients or more that hand weights over through it after every step (turn=1)."
        )
    gradients = _BetweenHandOffs(received.messages, befores, names, optimizer.spec)
    next(gradients.each())  # Where the hand-offs do not give it, that is said now.
    return HeadWeightGradient(gradients=gradients, steps=tuple(steps[place + 1] for place in befores))


class _BetweenHandOffs(GradientsByStep):
    """Gradients that are worked out from two hand-offs when they are asked for.

    Args:
        received: the hand-offs.
        befores: the place of the one before each of the steps; that after it is the next.
        names: names of the head's parameters.
        spec: the client's optimiser.
    """

    def __init__(self, received: Messages, befores: Sequence[int], names: Sequence[str], spec: OptimizerSpec) -> None:
        self._received, self._befores, self._names, self._spec = received, befores, names, spec

    def each(self) -> Iterator[dict[str, Tensor]]:
        last: tuple[int, Message] | None = None
        for place in self._befores:
            before = last[1] if last is not None and last[0] == place else self._received[place]
            after = self._received[place + 1]
            last = place + 1, after
            yield {name: _gradient(before, after, name, self._spec) for name in self._names}

    def __getitem__(self, name: str) -> Tensor:
        """All gradients of one parameter, in memory."""
        if name not in self._names:
            raise KeyError(name)
        return torch.stack([found[name] for found in self.each()])

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


# Which optimisers average gradients in "exp_avg", and whether weight decay is added to the gradient before that.
_DECAY_IN_AVERAGE = {"adam": True, "nadam": True, "radam": True, "adamax": True, "adamw": False}


def gives_gradient(name: str, spec: OptimizerSpec) -> bool:
    """Whether a tensor of this name in a hand-off is one that `head_weight_gradients` reads; of an optimiser that hides
    the gradient, the head's weights.
    """
    try:
        moment = _moment(spec)
    except InputError:
        return name.startswith("head.")
    if name.startswith("head."):
        return moment is None or _decays(spec)
    return moment is not None and name.startswith("optimizer.head.") and name.endswith(f"/{moment}")


def _moment(spec: OptimizerSpec) -> str | None:
    """The name of the optimiser's average of gradients; None where its steps are of the newest gradient alone.

    Raises:
        InputError: it keeps no average of gradients, and mixes earlier ones in.
    """
    kind = spec.name.lower()
    if kind == "sgd":
        return "momentum_buffer" if spec.options.get("momentum") else None
    if kind not in _DECAY_IN_AVERAGE:
        raise _no_moment(spec)
    return "exp_avg"


def _decays(spec: OptimizerSpec) -> bool:
    """Whether the weights' decay is a part of what the optimiser takes for the gradient."""
    kind, options = spec.name.lower(), spec.options
    within = kind == "sgd" or (_DECAY_IN_AVERAGE.get(kind, False) and not options.get("decoupled_weight_decay"))
    return within and bool(options.get("weight_decay"))


def _parameters(handed: Mapping[str, Tensor]) -> list[str]:
    """The names of the head's parameters in a hand-off of its weights, or of its optimiser's state alone."""
    weights = [name.removeprefix("head.") for name in handed if name.startswith("head.")]
    state = [name.removeprefix("optimizer.head.").rpartition("/")[0] for name in handed if "optimizer.head." in name]
    return weights or list(dict.fromkeys(state))


def _gradient(before: Message, after: Message, name: str, spec: OptimizerSpec) -> Tensor:
    """The gradient of one parameter between two hand-offs, from what the optimiser made of it."""
    moment, options, weight = _moment(spec), spec.options, f"head.{name}"
    if moment is None:
        taken_in = (before.tensors[weight] - after.tensors[weight]) / spec.lr
    else:
        state = f"optimizer.head.{name}/{moment}"
        if state not in before.tensors or state not in after.tensors:
            raise _no_moment(spec)
        old, new = before.tensors[state], after.tensors[state]
        if moment == "momentum_buffer":
            kept, share = float(options["momentum"]), 1 - float(options.get("dampening", 0.0))
        else:
            kept = float(options.get("betas", (0.9, 0.999))[0])
            share = 1 - kept
        taken_in = (new - kept * old) / share
    gradient = taken_in - float(options["weight_decay"]) * before.tensors[weight] if _decays(spec) else taken_in
    return -gradient if options.get("maximize") else gradient


def _no_moment(spec: OptimizerSpec) -> InputError:
    return InputError(
        f"The weights alone do not give the gradient under {spec}: its steps mix in earlier gradients and the hand-off "
        "holds no first moment; record a training under Adam or SGD that hands over the optimiser's state too, or "
        "under plain SGD."
    )
