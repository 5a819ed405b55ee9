"""What every defence is: a value that says what a client does on its side of the border."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar, Literal, TypeVar

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from unsplit.errors import InputError

Hook = Literal["labels", "smashed", "gradients", "penalty", "privacy", "deeper"]
"""Where a defence can act: a method or property of `Defense`."""


@dataclass(frozen=True, kw_only=True)
class Privacy:
    """Settings of DP-SGD for the client's own weights: see `PrivateTraining`.

    Args:
        noise: standard deviation of the noise divided by `clip`.
        clip: largest Euclidean norm that the gradient of one sample may have.
    """

    noise: float
    clip: float


@dataclass(frozen=True, kw_only=True)
class Defense:
    """Base of all defences. A client calls every hook where it belongs; each leaves things as they are unless a
    defence does something there. A server never sees a defence, only what it lets through.

    Attributes:
        name: its name on the command line; `register_defense` sets this and the next two.
        strengths: the defence as text, from mild to strong, as the trade-off tries it.
        usual: whether the trade-off tries it where no defences are named.
        protects: what it protects ("inputs", "labels", "model"), and how, in words.
        knob: the setting that makes it stronger or weaker, and in which direction.
        within_batches: whether it only acts on samples beside others, and does nothing in steps of one sample.
    """

    name: ClassVar[str]
    strengths: ClassVar[tuple[str, ...]] = ()
    usual: ClassVar[bool] = False
    protects: ClassVar[str]
    knob: ClassVar[str]
    within_batches: ClassVar[bool] = False

    def changes(self, hook: Hook) -> bool:
        """Whether it does anything at this hook, or leaves things there as they are."""
        return getattr(type(self), hook) is not getattr(Defense, hook)

    def labels(self, labels: Shaped[Tensor, "n ..."], classes: int, *, generator: torch.Generator) -> Tensor:
        """The labels to train on, in place of the true ones."""
        return labels

    def smashed(self, values: Float[Tensor, "n ..."], *, generator: torch.Generator) -> Float[Tensor, "n ..."]:
        """The smashed data to send, in training and when the network is used. Gradients pass through it."""
        return values

    def gradients(
        self,
        gradients: Float[Tensor, "n ..."],
        labels: Shaped[Tensor, "n ..."],
        *,
        generator: torch.Generator,
    ) -> Float[Tensor, "n ..."]:
        """The cut gradients of a batch to send, one for each sample (setups b and c)."""
        return gradients

    def penalty(self, inputs: Float[Tensor, "n ..."], smashed: Float[Tensor, "n ..."]) -> Tensor | None:
        """What the client minimises beside the loss of the training, or None."""
        return None

    @property
    def privacy(self) -> Privacy | None:
        """How the client's own weights are trained, where that is with differential privacy."""
        return None

    @property
    def deeper(self) -> int:
        """How many modules more the client keeps."""
        return 0

    @property
    def noise(self) -> float:
        """Standard deviation of the noise on smashed data over their root mean square."""
        return 0.0

    def expected(self, values: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
        """What an observer who knows the defence expects to see of smashed data, on average. Differentiable."""
        return values

    def misfit(self, values: Float[Tensor, "n ..."], observed: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
        """How badly smashed data `values` explain what was observed, number by number, for an attacker who knows the
        defence: minus the log-likelihood of what was observed, up to scale and constants.
        """
        return (self.expected(values) - observed).square()

    def packed_bytes(self, sent: Float[Tensor, "n ..."]) -> float:
        """Bytes that these smashed data would take on a wire that packs what this defence leaves out; four for each
        number as a rule. (Ours sends them unpacked.)
        """
        return 4.0 * sent.numel()

    def __str__(self) -> str:
        """The defence as the command line takes it, for example "gaussian:scale=0.5"."""
        settings = ",".join(f"{field.name}={_short(getattr(self, field.name))}" for field in fields(self))
        return f"{self.name}:{settings}" if settings else self.name


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


DEFENSES: dict[str, type[Defense]] = {}
"""The defences by name, in the order in which they were registered."""

_Kind = TypeVar("_Kind", bound=Defense)


def register_defense(
    name: str, *, strengths: Sequence[str] = (), usual: bool = False
) -> Callable[[type[_Kind]], type[_Kind]]:
    """Make a subclass of `Defense` known by a name: to the command line, to files of settings and to the trade-off.

    Args:
        name: its name on the command line.
        strengths: its settings, such as "scale=0.5", at which the trade-off tries it, from mild to strong; none to try
            it with its defaults, where it is named.
        usual: whether the trade-off tries it where no defences are named.

    Returns:
        A decorator of the class, which stands above `@dataclass(frozen=True, kw_only=True)`.

    Raises:
        InputError: the name belongs to another class.
    """

    def register(kind: type[_Kind]) -> type[_Kind]:
        other = DEFENSES.get(name, kind)
        if (other.__module__, other.__qualname__) != (kind.__module__, kind.__qualname__):
            raise InputError(f"The name '{name}' belongs to the defence {other.__qualname__}; choose another name.")
        kind.name, kind.usual = name, usual
        kind.strengths = tuple(f"{name}:{settings}" for settings in strengths)
        DEFENSES[name] = kind
        return kind

    return register
