"""SplitGuard: sometimes the client sends wrong labels, and only a server that trains for the labels reacts to them."""

import math
from collections import deque
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from unsplit.defenses.detection.guard import Guard, GuardConfig, Verdict, register_guard
from unsplit.errors import InputError, check_at_least_one, check_not_negative, check_positive, unknown_name
from unsplit.randomness import draw_seed, generator, numbered_seed

POLICIES = ("fast", "mean", "voting")
REGULAR = ("neighbours", "halves")


@dataclass(frozen=True, kw_only=True)
class SplitGuardConfig(GuardConfig):
    """Settings of SplitGuard. `fake_share`, `randomised`, `start`, `alpha` and `beta` are those of the authors' code;
    the others come from exploratory runs (`docs/detection.md`).

    Args:
        fake_share: probability that a step's labels are wrong on purpose, above 0 and below 1.
        randomised: share of a fake batch's labels that are wrong, above 0 and at most 1.
        start: number of steps before the first fake batch, and before anything is kept; 0 or more.
        regular: what fake batches are compared with: "neighbours" are the regular steps right before and right after
            each of the last `memory` fake ones, "halves" (the authors') all regular steps, dealt out at random.
        memory: number of the newest fake batches that count, with "neighbours"; at least 1.
        alpha, beta: the score is sigmoid(alpha * distance) ^ beta; both above 0.
        policy: "fast" judges by the newest score, "mean" by the mean of the last `window`, "voting" by the majority
            of the last `window`.
        window: number of the newest scores that "mean" and "voting" use, at least 1.
        patience: number of fake batches before a verdict may be an alarm, at least 1.
        threshold: score below which a server is suspected, from 0 to 1.

    Raises:
        InputError: a number out of its range, or an unknown name.
    """

    fake_share: float = 0.1
    randomised: float = 1.0
    start: int = 20
    regular: str = "neighbours"
    memory: int = 10
    alpha: float = 5.0
    beta: float = 2.0
    policy: str = "mean"
    window: int = 3
    patience: int = 5
    threshold: float = 0.6

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise unknown_name("policy", self.policy, POLICIES)
        if self.regular not in REGULAR:
            raise unknown_name("choice of regular batches", self.regular, REGULAR)
        if not 0 < self.fake_share < 1:
            raise InputError(f"fake_share is {self.fake_share}; it must be between 0 and 1, for example 0.1.")
        if not 0 < self.randomised <= 1:
            raise InputError(f"randomised is {self.randomised}; it must be above 0 and at most 1.")
        check_not_negative(self, "start")
        check_positive(self, "alpha", "beta")
        check_at_least_one(self, "memory", "window", "patience")
        if not 0 <= self.threshold <= 1:
            raise InputError(f"threshold is {self.threshold}; it must be from 0 to 1.")

    def guard(self, *, classes: int, generator: torch.Generator) -> "SplitGuard":
        """SplitGuard for one client."""
        return SplitGuard(self, classes, generator=generator)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A set of gradients: their mean, and the mean of their lengths."""

    vector: Float[Tensor, " d"]
    length: float


def angle(first: Float[Tensor, " d"], second: Float[Tensor, " d"]) -> float:
    """The angle between two vectors, from 0 to pi; 0 where one of them is zero."""
    lengths = float(first.norm()) * float(second.norm())
    if lengths == 0:
        return 0.0
    return math.acos(max(-1.0, min(1.0, float(first @ second) / lengths)))


def splitguard_distance(fakes: Summary, first: Summary, second: Summary) -> float:
    """How much further the gradients of fake batches are from regular ones than regular ones from each other.

    With F the fake and R the regular gradients, R1 and R2 two random halves of R, angle the angle of the means and d
    the difference of the mean lengths, it is (angle(F, R) d(F, R) - angle(R1, R2) d(R1, R2)) / (d(F, R) + d(R1, R2)):
    from -pi to pi; 0 where all lengths agree.
    """
    regular = (first.vector + second.vector) / 2
    apart = abs(fakes.length - (first.length + second.length) / 2)
    spread = abs(first.length - second.length)
    if apart + spread == 0:
        return 0.0
    between = angle(fakes.vector, regular) * apart - angle(first.vector, second.vector) * spread
    return between / (apart + spread)


def splitguard_score(distance: float, *, alpha: float, beta: float) -> float:
    """The distance squashed to 0 to 1: sigmoid(alpha * distance) ^ beta. Gradients that ignore the labels score about
    0.5 ^ beta.
    """
    return float((1 / (1 + math.exp(-alpha * distance))) ** beta)


class _Halves:
    """Fake gradients, and regular ones in two random halves: sums over all steps."""

    def __init__(self) -> None:
        self._sums: list[Tensor | float] = [0.0, 0.0, 0.0]
        self._lengths = [0.0, 0.0, 0.0]
        self._counts = [0, 0, 0]

    def add(self, gradient: Tensor, *, fake: bool, half: int) -> bool:
        """Take in a gradient; returns whether there is something new to judge."""
        number = 2 if fake else half
        self._sums[number] = self._sums[number] + gradient
        self._lengths[number] += float(gradient.norm())
        self._counts[number] += 1
        return fake and all(self._counts)

    def sets(self) -> tuple[Summary, Summary, Summary]:
        """The fakes and the two halves."""
        fakes, first, second = (
            Summary(vector=torch.as_tensor(self._sums[number]) / self._counts[number],
                    length=self._lengths[number] / self._counts[number])
            for number in (2, 0, 1)
        )  # fmt: skip
        return fakes, first, second


class _Neighbours:
    """Fake gradients, each with the regular ones right before and after it: the newest few."""

    def __init__(self, memory: int) -> None:
        self._kept: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=memory)
        self._waiting: list[tuple[Tensor, Tensor]] = []
        self._before: Tensor | None = None

    def add(self, gradient: Tensor, *, fake: bool, half: int) -> bool:
        """Take in a gradient; returns whether there is something new to judge."""
        if fake:
            if self._before is not None:
                self._waiting.append((gradient.clone(), self._before))
            return False
        complete = bool(self._waiting)
        self._kept.extend((waiting, before, gradient.clone()) for waiting, before in self._waiting)
        self._waiting, self._before = [], gradient.clone()
        return complete

    def sets(self) -> tuple[Summary, Summary, Summary]:
        """The fakes, those before and those after."""
        fakes, before, after = (
            Summary(vector=torch.stack(parts).mean(0), length=float(torch.stack(parts).norm(dim=1).mean()))
            for parts in zip(*self._kept, strict=True)
        )
        return fakes, before, after


@register_guard("splitguard", SplitGuardConfig)
class SplitGuard(Guard):
    """The guard of one client.

    Which steps are fake, and with which labels, follows from the seed and the step's number.

    Reference:
        Erdoğan, Küpçü, Çiçek: SplitGuard: detecting and mitigating training-hijacking attacks in split learning, WPES
        2022, and the authors' code.

    Departures:
        - Over a few hundred steps the gradients of a hijacker change so much that fakes and random halves of all other
          steps are far apart for their times alone. By default each fake is compared with its neighbours in time.
        - The authors' code shifts all labels of a fake batch by the same number, which a server can guess from one
          sample. Here each label is replaced by any other class at random.
        - Lengths that all agree give a distance of 0, where the code divides by zero.
        - The policies are named after the paper's; their details and numbers are ours.
    """

    def __init__(self, config: SplitGuardConfig, classes: int, *, generator: torch.Generator) -> None:
        super().__init__()
        if classes < 2:
            raise InputError(f"SplitGuard sends wrong labels, for which it needs 2 classes or more, not {classes}.")
        self.config = config
        self._classes = classes
        self._seed = draw_seed(generator)
        self._seen = 0
        self._fakes: set[int] = set()
        self._sets = _Halves() if config.regular == "halves" else _Neighbours(config.memory)

    def trains(self, step: int) -> bool:
        """Not on a fake batch."""
        return step not in self._fakes

    def _labels(self, step: int, labels: Tensor) -> Tensor:
        drawn = self._drawn(step)
        chance, shift, which = (
            torch.rand((), generator=drawn),
            torch.randint(1, self._classes, labels.shape, generator=drawn),
            torch.randperm(len(labels), generator=drawn),
        )
        if step > self._last and self._seen >= self.config.start and float(chance) < self.config.fake_share:
            self._fakes.add(step)
        if step not in self._fakes:
            return labels
        wrong = which < max(1, round(self.config.randomised * len(labels)))
        return torch.where(wrong, (labels.cpu() + shift) % self._classes, labels.cpu()).to(labels.device)

    def _observe(self, step: int, gradient: Tensor, weights: Tensor, labels: Tensor) -> Verdict | None:
        self._seen += 1
        if self._seen <= self.config.start:
            return None
        half = int(torch.randint(2, (), generator=self._drawn(-1 - step)))
        if not self._sets.add(weights, fake=step in self._fakes, half=half):
            return None
        distance = splitguard_distance(*self._sets.sets())
        score = splitguard_score(distance, alpha=self.config.alpha, beta=self.config.beta)
        return self._verdict(step, score, alarm=self._alarm(score))

    def _alarm(self, score: float) -> bool:
        config = self.config
        if len(self._fakes) < config.patience:
            return False
        if config.policy == "fast":
            return score < config.threshold
        scores = self._newest(score, config.window)
        if config.policy == "mean":
            return sum(scores) / len(scores) < config.threshold
        return 2 * sum(one < config.threshold for one in scores) > len(scores)

    def _drawn(self, number: int) -> torch.Generator:
        return generator(numbered_seed(self._seed, number))
