"""What an attacker may know of the network and of its training."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unsplit.errors import InputError
from unsplit.knowledge._base import Knowledge
from unsplit.knowledge._blueprint import Blueprint
from unsplit.losses import LossSpec
from unsplit.optim import OptimizerSpec
from unsplit.ranges import InputRange


@dataclass(frozen=True, kw_only=True, eq=False)
class _Inputs:
    """The form of the client's inputs.

    Args:
        input_shape: shape of one input, for example (1, 28, 28).
        low, high: range of the inputs' values, in the units in which the client's network takes them.
        channels: lowest and highest value of each channel, where these differ; then `low` and `high` span them all.
    """

    input_shape: tuple[int, ...]
    low: float = 0.0
    high: float = 1.0
    channels: tuple[tuple[float, float], ...] = ()

    @property
    def input_range(self) -> InputRange:
        """The range of the inputs' values."""
        return InputRange(self.channels or ((self.low, self.high),))


@dataclass(frozen=True, kw_only=True, eq=False)
class ClientArchitecture(_Inputs, Knowledge):
    """The layers of the client's bottom and the form of its inputs, without weights.

    Args:
        blueprint: architecture of the layers.
        input_shape: shape of one input, for example (1, 28, 28).
        low, high: range of the inputs' values, in the units in which the client's network takes them. Attacks search
            from 0 to 1 and give inputs and clones in these units.
        channels: lowest and highest value of each channel, where these differ; then `low` and `high` span them all.
        zero: value between 0 and 1 that stands for the client's own zero. Attacks set it.
    """

    means = "the architecture of the client's first layers, and the shape and range of an input"

    blueprint: Blueprint
    zero: float = 0.0

    @classmethod
    def of(
        cls, bottom: nn.Module, input_shape: tuple[int, ...], input_range: InputRange | None = None
    ) -> "ClientArchitecture":
        """The architecture of this bottom, whose weights are not kept, for inputs of this range (0 to 1 if None).

        Raises:
            InputError: a range for another number of channels.
        """
        known = input_range or InputRange()
        known.columns(input_shape)
        return cls(
            blueprint=Blueprint(bottom),
            input_shape=tuple(input_shape),
            low=known.low,
            high=known.high,
            channels=known.bounds if len(known.bounds) > 1 else (),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class KnownDefense(Knowledge):
    """What the client does to its smashed data before they leave: the kind of the defence and its strength, not what it
    drew.

    Args:
        misfit: function that tells how badly smashed data explain observed ones, both [n, ...], by number: minus the
            log-likelihood up to scale and constants.
        noise: standard deviation of the noise that it adds, over the root mean square of the smashed data.
    """

    means = "the client's defence and its strength"

    misfit: Callable[[Tensor, Tensor], Tensor]
    noise: float = 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class HeadArchitecture(Knowledge):
    """The layers of the client's head, without weights."""

    means = "the architecture of the client's last layers"

    blueprint: Blueprint

    @classmethod
    def of(cls, head: nn.Module) -> "HeadArchitecture":
        """The architecture of this head; its weights are not kept."""
        return cls(blueprint=Blueprint(head))


class GradientsByStep(Mapping[str, Tensor]):
    """Gradients of several steps by name of the parameter, shape [steps, *parameter shape] each, of which those of one
    step can be had without the others: a million numbers a step soon fill the memory.
    """

    @abstractmethod
    def each(self) -> Iterator[dict[str, Tensor]]:
        """The gradients of one step after the other, by name of the parameter."""


@dataclass(frozen=True, kw_only=True, eq=False)
class HeadWeightGradient(Knowledge):
    """The gradient of the loss at the weights of the client's head in single steps, as the server can work it out
    where weights are handed over through it (see `attacks.labels.head_weight_gradients`).

    Args:
        gradients: gradients by name of the head's parameter, shape [steps, *parameter shape] each; tensors, or a
            `GradientsByStep`, which attacks read a step at a time.
        steps: numbers of the training steps that the gradients belong to.
    """

    means = (
        "the gradient of the client's last layers' weights in single steps, worked out from the weights handed over "
        "through the server and the client's optimiser"
    )

    gradients: Mapping[str, Tensor]
    steps: tuple[int, ...]

    def each(self) -> Iterator[dict[str, Tensor]]:
        """The gradients of one step after the other, by name of the parameter.

        Raises:
            InputError: a parameter has not as many gradients as there are steps.
        """
        if isinstance(self.gradients, GradientsByStep):
            return self.gradients.each()
        for name, value in self.gradients.items():
            if len(value) != len(self.steps):
                raise InputError(
                    f"There are {len(value)} gradients of '{name}' for {len(self.steps)} steps; give one for each."
                )
        return ({name: value[row] for name, value in self.gradients.items()} for row in range(len(self.steps)))


@dataclass(frozen=True, kw_only=True)
class ClientOptimizer(Knowledge):
    """The client's optimiser and its options, usually part of the agreed protocol."""

    means = "the client's optimiser and learning rate"

    spec: OptimizerSpec


@dataclass(frozen=True, kw_only=True)
class ClientLoss(Knowledge):
    """The client's loss, usually part of the agreed protocol."""

    means = "the client's loss"

    spec: LossSpec = field(default_factory=LossSpec)


@dataclass(frozen=True, kw_only=True, eq=False)
class OwnTop(Knowledge):
    """The rest of the trained network: the server's own layers, with their weights.

    Args:
        top: layers that take smashed data and give logits [n, classes].
        classes: number of classes.
    """

    means = "its own layers of the trained network"

    top: nn.Module
    classes: int


@dataclass(frozen=True, kw_only=True, eq=False)
class ClientWeights(_Inputs, Knowledge):
    """The client's bottom with its weights: the white box.

    Args:
        bottom: the client's first layers, which the attack evaluates and never changes.
        input_shape: shape of one input, without the batch.
        low, high: range of the inputs' values, in the units in which the bottom takes them.
        channels: lowest and highest value of each channel, where these differ.
    """

    means = "the weights of the client's first layers"

    bottom: nn.Module


class ClientQueries(Knowledge):
    """The client as a black box: it answers inputs of the attacker's choice with its smashed data, up to a number.
    A client that follows the protocol does not, so an attacker who has this is not honest-but-curious.

    Args:
        answer: the client's bottom as a function, which the attacker can only ask.
        budget: largest number of inputs that will be answered.
    """

    means = "the client's answers to inputs of its own choice, up to a budget"

    def __init__(self, answer: Callable[[Tensor], Tensor], budget: int) -> None:
        self._answer = answer
        self._left = self.budget = budget

    @property
    def used(self) -> int:
        """How many inputs have been answered."""
        return self.budget - self._left

    def ask(self, inputs: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
        """The smashed data of these inputs.

        Raises:
            InputError: more inputs than the budget has left.
        """
        if len(inputs) > self._left:
            raise InputError(
                f"The attack asked {len(inputs)} queries, and {self._left} of its budget of {self.budget} are left; "
                "raise the budget, or ask fewer queries."
            )
        self._left -= len(inputs)
        with torch.no_grad():
            return self._answer(inputs).detach().clone()
