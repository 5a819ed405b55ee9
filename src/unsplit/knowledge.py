"""What an attacker may know, as types. An attack that does not list one in its signature cannot have it.

Each class says in `means` what knowing it amounts to; the report's "attacker knows" column is made from these
sentences and the attacks' signatures, never typed by hand.
"""

import copy
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from .errors import InputError
from .losses import LossSpec
from .optim import OptimizerSpec
from .randomness import draw_seed, seeded
from .ranges import InputRange


class Knowledge:
    """Base of all knowledge types."""

    means: ClassVar[str]


class Blueprint:
    """A module's architecture without its weights: instantiating it draws new ones.

    Layers draw their weights by their own `reset_parameters()`. Weights of other layers, such as a vision transformer's
    class token, are drawn by their form and name alone: normal with standard deviation 0.02 if they have two or more
    dimensions above 1, ones for a vector called weight, scale or gamma, zeros for other vectors called bias or beta,
    and else normal as before. How their owner would start them is not in the architecture.

    Buffers of layers that reset themselves (batch norm's running statistics) are reset; other buffers, such as a
    normalisation's constants, belong to the architecture and are kept.
    """

    def __init__(self, module: nn.Module) -> None:
        constants: dict[str, Tensor] = {}
        for name, layer in module.named_modules():
            if _own_reset(layer) is None:
                prefix = f"{name}." if name else ""
                constants |= {prefix + key: value for key, value in layer.named_buffers(recurse=False)}
        # Parameters go to the meta device, which has no storage: what is kept here cannot leak a weight.
        memo: dict[int, Tensor] = {id(value): value.detach().to("meta") for value in module.buffers()}
        for weight in module.parameters():
            memo[id(weight)] = nn.Parameter(weight.detach().to("meta"), requires_grad=weight.requires_grad)
        self._module = copy.deepcopy(module, memo)
        self._constants = {name: value.detach().clone() for name, value in constants.items()}

    def first(self, layers: int) -> "Blueprint":
        """The architecture of the first layers of a sequence."""
        if not isinstance(self._module, nn.Sequential):
            raise InputError(f"A {type(self._module).__name__} is no sequence of layers; give an nn.Sequential.")
        part = copy.copy(self)
        part._module = self._module[:layers]
        held = dict(part._module.named_buffers())
        part._constants = {name: value for name, value in self._constants.items() if name in held}
        return part

    def behind(self, entry: nn.Module) -> "Blueprint":
        """That of the same layers with one in front of them, called "entry", whose tensors are constants. Those of a
        sequence follow it by their own names, and else one called "layers".
        """
        chain = type(self._module).forward is nn.Sequential.forward
        rest = list(self._module.named_children()) if chain else [("layers", self._module)]
        joined = Blueprint(nn.Sequential(OrderedDict([("entry", entry)])))
        joined._module = nn.Sequential(OrderedDict([("entry", joined._module.get_submodule("entry")), *rest]))
        joined._constants |= {name if chain else f"layers.{name}": value for name, value in self._constants.items()}
        return joined

    def instantiate(self, *, generator: torch.Generator, device: torch.device | str = "cpu") -> nn.Module:
        """A copy of the module with freshly drawn weights, on `device`."""
        module = copy.deepcopy(self._module).to_empty(device="cpu")
        with seeded(draw_seed(generator)), torch.no_grad():
            for layer in module.modules():
                reset = _own_reset(layer)
                if reset is not None:
                    reset()
                else:
                    for name, weight in layer.named_parameters(recurse=False):
                        _draw(name, weight)
        buffers = dict(module.named_buffers())
        with torch.no_grad():
            for name, value in self._constants.items():
                buffers[name].copy_(value)
        return module.to(device)


def _own_reset(layer: nn.Module) -> Callable[[], object] | None:
    """How a layer draws its weights anew, if it can; torch's attention has a name of its own for this."""
    for name in ("reset_parameters", "_reset_parameters"):
        reset = getattr(layer, name, None)
        if callable(reset):
            found: Callable[[], object] = reset
            return found
    return None


def _draw(name: str, value: Tensor) -> None:
    vector = sum(size > 1 for size in value.shape) < 2
    if vector and any(word in name for word in ("weight", "scale", "gamma")):
        value.fill_(1)
    elif vector and any(word in name for word in ("bias", "beta")):
        value.zero_()
    else:
        value.normal_(std=0.02)


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
        blueprint: the layers.
        input_shape: shape of one input, for example (1, 28, 28).
        low, high: range of the inputs' values, in the units in which the client's network takes them. Attacks search
            from 0 to 1 and give inputs and clones in these units.
        channels: lowest and highest value of each channel, where these differ; then `low` and `high` span them all.
        zero: where the client's own zero lies in 0 to 1. Attacks set it.
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
        misfit: how badly smashed data explain what was observed, both [n, ...], number by number: minus the
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


@dataclass(frozen=True, kw_only=True)
class LabelSpace(Knowledge):
    """How many classes there are.

    Raises:
        InputError: fewer than two classes.
    """

    means = "the number of classes"

    classes: int

    def __post_init__(self) -> None:
        if self.classes < 2:
            raise InputError(f"A label space of {self.classes} leaves nothing to infer; it needs at least 2 classes.")


@dataclass(frozen=True, kw_only=True, eq=False)
class HeadWeightGradient(Knowledge):
    """The gradient of the loss at the weights of the client's head in single steps, as the server can work it out
    where weights are handed over through it (see `attacks.labels.head_weight_gradients`).

    Args:
        gradients: by parameter name of the head, shape [steps, *parameter shape].
        steps: the training steps they belong to.
    """

    means = (
        "the gradient of the client's last layers' weights in single steps, worked out from the weights handed over "
        "through the server and the client's optimiser"
    )

    gradients: dict[str, Tensor]
    steps: tuple[int, ...]


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
class KnownSamples(Knowledge):
    """The true labels of a few of the observed samples: of those that the server put in itself (in setup (b) the inputs
    are its own), of customers that it shares with the client, or of samples whose outcome became public.

    Args:
        indices: their positions among the observed samples, from 0; at least one.
        labels: their classes.

    Raises:
        InputError: no sample, a negative position, or not one label for each.
    """

    means = "the true labels of a few of the observed samples, put in by itself or shared with the client"

    indices: tuple[int, ...]
    labels: tuple[int, ...]

    def __post_init__(self) -> None:
        _check_positions(self.indices, len(self.labels), "labels")


@dataclass(frozen=True, kw_only=True)
class KnownTargets(Knowledge):
    """What a regression aims at for a few of the observed samples; known as `KnownSamples` are.

    Args:
        indices: their positions among the observed samples, from 0; at least one.
        values: their targets.

    Raises:
        InputError: no sample, a negative position, or not one target for each.
    """

    means = "the true targets of a few of the observed samples, put in by itself or shared with the client"

    indices: tuple[int, ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        _check_positions(self.indices, len(self.values), "targets")


@dataclass(frozen=True, kw_only=True, eq=False)
class KnownRows(Knowledge):
    """A few of the observed rows of a table; known as `KnownSamples` are.

    Args:
        indices: their positions among the observed samples, from 0; at least one.
        rows: their values, shape [rows, columns], in the range of the client's inputs.

    Raises:
        InputError: no row, a negative position, or not one row for each.
    """

    means = "a few of the observed rows, put in by itself or shared with the client"

    indices: tuple[int, ...]
    rows: Float[Tensor, "rows columns"]

    def __post_init__(self) -> None:
        _check_positions(self.indices, len(self.rows), "rows")


@dataclass(frozen=True, kw_only=True, eq=False)
class ColumnStatistics(Knowledge):
    """What is published of a table's columns: how each is distributed, and how they vary together.

    Args:
        quantiles: of each column at equal steps from its lowest value to its highest, shape [quantiles, columns].
        covariance: of the columns, shape [columns, columns].

    Raises:
        InputError: fewer than two quantiles, or a covariance of other columns.
    """

    means = "the name, the distribution and the correlations of a table's columns, as they are published"

    quantiles: Float[Tensor, "quantiles columns"]
    covariance: Float[Tensor, "_ _"]

    def __post_init__(self) -> None:
        columns = self.quantiles.shape[1]
        if len(self.quantiles) < 2 or tuple(self.covariance.shape) != (columns, columns):
            raise InputError(
                f"The statistics have {len(self.quantiles)} quantiles of {columns} columns and a covariance of shape "
                f"{tuple(self.covariance.shape)}; give two quantiles or more, and a covariance of the same columns."
            )

    @classmethod
    def of(cls, rows: Float[Tensor, "n columns"], *, quantiles: int = 21) -> "ColumnStatistics":
        """The statistics of these rows."""
        steps = torch.linspace(0, 1, quantiles, device=rows.device, dtype=rows.dtype)
        return cls(
            quantiles=torch.quantile(rows, steps, dim=0), covariance=torch.cov(rows.T).reshape(rows.shape[1], -1)
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class AuxiliaryData(Knowledge):
    """Data of the attacker's own that resembles the client's.

    Args:
        inputs: shape [n, *input shape].
        labels: their classes, shape [n]; None where the attacker has none.
    """

    means = "data of its own that resembles the client's"

    inputs: Float[Tensor, "n ..."]
    labels: Int[Tensor, " n"] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class OwnTop(Knowledge):
    """The rest of the trained network: the server's own layers, with their weights.

    Args:
        top: from smashed data to [n, classes] logits.
        classes: how many there are.
    """

    means = "its own layers of the trained network"

    top: nn.Module
    classes: int


@dataclass(frozen=True, kw_only=True, eq=False)
class ClientWeights(_Inputs, Knowledge):
    """The client's bottom with its weights: the white box.

    Args:
        bottom: evaluated by the attack, never changed.
        input_shape: shape of one input.
        low, high: range of the inputs' values, in the units in which the bottom takes them.
        channels: lowest and highest value of each channel, where these differ.
    """

    means = "the weights of the client's first layers"

    bottom: nn.Module


class ClientQueries(Knowledge):
    """The client as a black box: it answers inputs of the attacker's choice with its smashed data, up to a number.
    A client that follows the protocol does not, so an attacker who has this is not honest-but-curious.

    Args:
        answer: the client's bottom as a function; the attacker can do nothing with it but ask.
        budget: the most inputs that will be answered.
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
                f"{len(inputs)} queries were asked and {self._left} of {self.budget} are left; raise the budget, or "
                "ask fewer."
            )
        self._left -= len(inputs)
        with torch.no_grad():
            return self._answer(inputs).detach().clone()


def _check_positions(indices: tuple[int, ...], given: int, what: str) -> None:
    if not indices or min(indices) < 0:
        raise InputError(f"The positions {indices} name no known sample; name one or more, counted from 0.")
    if len(indices) != given:
        raise InputError(f"There are {given} {what} for {len(indices)} known samples; give one each.")
