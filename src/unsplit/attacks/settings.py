"""What audits and studies ask of an attack's settings, so that nobody has to know of which attack they are."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from unsplit.devices import Precision
from unsplit.types import Reconstruction

Settings = TypeVar("Settings", bound="AttackSettings")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The most work that an inversion may do; None leaves a setting as its preset has it.

    Args:
        rounds: rounds of coordinate descent, at most.
        steps: steps of the joint attack, at most.
        decoder_steps: steps of each restart of the amortised inversion, at most.
        restarts: restarts of the amortised inversion, at most.
        batch: smashed samples a step of the amortised inversion, at most.
    """

    rounds: int | None = None
    steps: int | None = None
    decoder_steps: int | None = None
    restarts: int | None = None
    batch: int | None = None


@dataclass(frozen=True, kw_only=True)
class Assumptions:
    """What attacks may take for granted of inputs, beside what they know.

    Args:
        photographs: that pictures have the colours and the statistics of photographs.
        figures: that pictures of one channel show figures in the middle, brighter than the ground around them.
    """

    photographs: bool = True
    figures: bool = True


NO_ASSUMPTIONS = Assumptions(photographs=False, figures=False)


def at_most(value: int, limit: int | None) -> int:
    """A setting within a limit, where there is one."""
    return value if limit is None else min(value, limit)


class AttackSettings:
    """Base of the settings of attacks that recover inputs; what is here holds for most of them."""

    @property
    def samples_wanted(self) -> int:
        """How many smashed samples beside the targets the attack learns from; 0 for an attack that is given none."""
        return 0

    @property
    def gives_way(self) -> bool:
        """Whether its steps are work for `stepping.perform`, so that several attacks can share a GPU in one process."""
        return False

    def takes(self, input_shape: tuple[int, ...]) -> bool:  # noqa: ARG002
        """Whether the attack can recover inputs of this shape."""
        return True

    def within(self: Settings, limits: Limits) -> Settings:  # noqa: ARG002
        """The same settings with no more work than the limits allow."""
        return self

    def assuming(self: Settings, assumptions: Assumptions) -> Settings:  # noqa: ARG002
        """The same settings, taking no more for granted of inputs than this."""
        return self

    def assumes(self, input_shape: tuple[int, ...]) -> tuple[str, ...]:  # noqa: ARG002
        """What the attack takes for granted of inputs of this shape, beside what it knows, in words."""
        return ()

    def computing(self: Settings, precision: Precision) -> Settings:  # noqa: ARG002
        """The same settings with the convolutions of decoders computed in bfloat16 as `precision` says."""
        return self


class InversionConfig(AttackSettings, ABC):
    """The settings of an inversion that knows the client's architecture alone, which also say which attack."""

    @property
    @abstractmethod
    def attack(self) -> Callable[..., Reconstruction]:
        """The attack that these settings are for."""

    @property
    def adaptive_attack(self) -> Callable[..., Reconstruction] | None:
        """Its form that knows the client's defence; None where it has none."""
        return None
