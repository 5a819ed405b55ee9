"""Gradient scrutiny: gradients of samples with the same label are alike where a server trains for the labels."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from unsplit.defenses.detection.guard import Guard, GuardConfig, Verdict, register_guard
from unsplit.errors import InputError, check_at_least_one, check_not_negative, check_positive


@dataclass(frozen=True, kw_only=True)
class ScrutinyConfig(GuardConfig):
    """Settings of gradient scrutiny. The numbers of the score are the authors'; `start`, `window`, `votes` and
    `threshold` come from exploratory runs (`docs/detection.md`).

    Args:
        start: number of steps before the first verdict, 0 or more.
        interval: number of steps between two scores, over which the likenesses are averaged; at least 1.
        history: number of the newest steps that the curves are fitted to, more than `degree`.
        degree: degree of the polynomials that are fitted, 0 or more.
        fit_weight: factor of the fitting error in the score, 0 or more.
        gap_exponent: the gap counts to the power of 1 - gap_exponent; 0 or more and below 1.
        shift, slope: the score is sigmoid(slope * (product of the three parts - shift)); 0 or more, and above 0.
        window: number of the newest scores that vote, at least 1.
        votes: number of these scores that must be below the threshold for an alarm, from 1 to `window`.
        threshold: score below which a server is suspected, from 0 to 1.

    Raises:
        InputError: a number out of its range.
    """

    start: int = 20
    interval: int = 10
    history: int = 200
    degree: int = 2
    fit_weight: float = 7.0
    gap_exponent: float = 0.6
    shift: float = 0.7
    slope: float = 5.0
    window: int = 3
    votes: int = 3
    threshold: float = 0.25

    def __post_init__(self) -> None:
        check_at_least_one(self, "interval", "history", "window", "votes")
        check_not_negative(self, "start", "degree", "fit_weight", "shift")
        check_positive(self, "slope")
        if not 0 <= self.gap_exponent < 1:
            raise InputError(f"gap_exponent is {self.gap_exponent}; it must be from 0 to below 1.")
        if self.votes > self.window:
            raise InputError(f"votes is {self.votes} and window is {self.window}; votes can be at most window.")
        if self.history <= self.degree:
            raise InputError(f"history is {self.history}; a polynomial of degree {self.degree} needs more steps.")
        if not 0 <= self.threshold <= 1:
            raise InputError(f"threshold is {self.threshold}; it must be from 0 to 1.")

    def guard(self, *, classes: int, generator: torch.Generator) -> "Scrutinizer":
        """A scrutinizer for one client; it draws nothing."""
        return Scrutinizer(self)


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """Cosine similarities of pairs of samples' gradients, moved to 0 to 1: mean and standard deviation over the pairs
    of the same label, and over those of different labels.
    """

    same: float
    same_spread: float
    other: float
    other_spread: float

    @property
    def gap(self) -> float:
        """How much more alike gradients of the same label are: (same - other) / (same + other), from -1 to 1."""
        total = self.same + self.other
        return (self.same - self.other) / total if total else 0.0

    @property
    def overlap(self) -> float:
        """Length of the intersection over that of the union of the two ranges mean +- spread; 1 where both are the
        same point.
        """
        low = (self.same - self.same_spread, self.other - self.other_spread)
        high = (self.same + self.same_spread, self.other + self.other_spread)
        union = max(high) - min(low)
        return max(0.0, min(high) - max(low)) / union if union else 1.0


def likeness(gradient: Float[Tensor, "n ..."], labels: Int[Tensor, " n"]) -> Likeness | None:
    """The likeness of a batch's gradients; None where it has no pair of one of the two sorts.

    Gradients of length zero are like nothing: their cosine is 0, which counts as 1/2.
    """
    unit = functional.normalize(gradient.flatten(1).double(), dim=1)
    rows, columns = torch.triu_indices(len(unit), len(unit), offset=1)
    alike = (unit @ unit.T)[rows, columns].cpu() / 2 + 0.5
    equal = (labels[rows] == labels[columns]).cpu()
    same, other = alike[equal], alike[~equal]
    if not len(same) or not len(other):
        return None
    return Likeness(
        same=float(same.mean()),
        same_spread=float(same.std(correction=0)),
        other=float(other.mean()),
        other_spread=float(other.std(correction=0)),
    )


def fitting_error(values: Sequence[float], degree: int = 2) -> float:
    """Root mean square distance of a series from the polynomial of this degree that fits it best."""
    if len(values) <= degree + 1:
        return 0.0
    places = np.linspace(-1.0, 1.0, len(values))
    fitted = np.polynomial.polynomial.polyfit(places, np.asarray(values), degree)
    return float(np.sqrt(np.mean((np.polynomial.polynomial.polyval(places, fitted) - values) ** 2)))


def scrutiny_score(gap: float, error: float, overlap: float, config: ScrutinyConfig | None = None) -> float:
    """From 0 to 1: sigmoid(slope * (g * e * o - shift)) with g = sign(gap) |gap|^(1 - gap_exponent),
    e = -ln(fit_weight * error + 1/e^2), o = -ln(overlap + 1/e), the last two at least 0.
    """
    config = config or ScrutinyConfig()
    wide = math.copysign(abs(gap) ** (1 - config.gap_exponent), gap)
    smooth = max(0.0, -math.log(config.fit_weight * error + math.exp(-2)))
    apart = max(0.0, -math.log(overlap + math.exp(-1)))
    return 1 / (1 + math.exp(-config.slope * (wide * smooth * apart - config.shift)))


@register_guard("scrutiny", ScrutinyConfig)
class Scrutinizer(Guard):
    """The guard of one client. It changes nothing in the training.

    Reference:
        Fu, Ma, Zhu, Hu, Zhao, Jia, Xu, Jin, Zhang: Focusing on Pinocchio's nose: a gradients scrutinizer to thwart
        split-learning hijacking attacks using intrinsic attributes, NDSS 2023, and the authors' code.

    Departures:
        - Likenesses are averaged over the steps since the last score, not those of one step in 50.
        - The parts e and o of the score are at least 0: two negative ones would multiply to a good score.
        - The authors' script measures an honest server's overlap with another formula than the attacker's (a minimum
          for a maximum); here it is the intersection for both.
        - Curves are fitted to the newest `history` steps, so that the work for a step does not grow.
    """

    def __init__(self, config: ScrutinyConfig) -> None:
        super().__init__()
        self.config = config
        self._seen: deque[Likeness] = deque(maxlen=max(config.history, config.interval))
        self._count = 0

    def _observe(self, step: int, gradient: Tensor, weights: Tensor, labels: Tensor) -> Verdict | None:
        found = likeness(gradient, labels)
        if found is None:
            return None
        self._seen.append(found)
        self._count += 1
        config = self.config
        if self._count < config.start or self._count % config.interval:
            return None
        newest = list(self._seen)[-config.interval :]
        mean = Likeness(**{
            part: sum(getattr(one, part) for one in newest) / len(newest)
            for part in ("same", "same_spread", "other", "other_spread")
        })  # fmt: skip
        history = list(self._seen)[-config.history :]
        error = sum(fitting_error([getattr(one, part) for one in history], config.degree) for part in ("same", "other"))
        score = scrutiny_score(mean.gap, error / 2, mean.overlap, config)
        alarm = sum(one < config.threshold for one in self._newest(score, config.window)) >= config.votes
        return self._verdict(step, score, alarm=alarm)
