"""What an attack makes of a transcript, and the truth that its metrics compare with that."""

from dataclasses import dataclass
from enum import Enum

from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn


class Sign(str, Enum):
    """Whether an attack could tell a picture from its negative."""

    RESOLVED = "resolved"
    ASSUMED = "assumed"
    """By what is taken for granted about the inputs: nothing in the traffic speaks for it."""
    AMBIGUOUS = "ambiguous"
    UNTESTED = "untested"


class DecidedBy(str, Enum):
    """What decided between the pictures of an attack and their negative."""

    AGREEMENT = "agreement"
    """Restarts found the same."""
    OBJECTIVE = "objective"
    """Restarts found both, and the one explains the smashed data better."""
    REPLAY = "replay"
    """The client's own steps, taken again, explain how the smashed data moved."""
    FIGURES = "figures"
    """Nothing in the traffic: that figures are brighter than the ground they stand on was taken for granted."""
    NOTHING = "nothing"
    """Restarts disagree, and nothing tells which is right."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Reconstruction:
    """What an inversion attack returns. No score: scores need the truth, which an attack never sees.

    Args:
        inputs: reconstructed inputs, shape [n, *input shape], in the range of the client's data. Where restarts of an
            attack disagree, they are the mean of what these found, and the clone goes with one of them.
        clones: working copies of the client's bottom: one shared by all inputs, or one for each input.
        residual: relative squared error of the clone's output against each target, shape [n]; 0 is a perfect fit,
            1 no better than the mean.
        sign: whether the negative of the pictures could be ruled out.
        rounds: number of rounds (coordinate descent) or steps (joint) that each input took.
        agreement: correlation of the pictures of the attack's two best restarts, -1 to 1; None without restarts.
        decided_by: what decided between the pictures and their negative; None where the attack does not say.
        colours_told: whether the sense of the colours, red against blue, could be told; if not, the inputs are grey.
            None where the attack left colours as it found them.
        sure: whether by what the attack sees of itself its error is below half of a blind guess's; None where it does
            not say.
    """

    inputs: Float[Tensor, "n ..."]
    clones: tuple[nn.Module, ...]
    residual: Float[Tensor, " n"]
    sign: Sign = Sign.UNTESTED
    rounds: tuple[int, ...] = ()
    agreement: float | None = None
    decided_by: DecidedBy | None = None
    colours_told: bool | None = None
    sure: bool | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class InferredLabels:
    """What a label attack returns.

    Args:
        labels: class (or group) of every observed sample in transcript order, shape [n].
        named: True if the numbers are class names, False if they are groups whose names are unknown.
        clone: the attacker's copy of the head where the attack trains one, else None.
        margin: how much better the label explains the sample's gradient than the next best does (difference of
            cosines, 0 to 2), shape [n]; None where the attack does not say.
    """

    labels: Int[Tensor, " n"]
    named: bool
    clone: nn.Module | None = None
    margin: Float[Tensor, " n"] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Truth:
    """What the attacker was after. Only metrics may see it.

    Args:
        inputs: the client's inputs, shape [n, *input shape].
        labels: classes of the inputs, shape [n], or targets of a regression, shape [n, ...].
    """

    inputs: Float[Tensor, "n ..."]
    labels: Shaped[Tensor, "n ..."]
