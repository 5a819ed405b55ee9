"""What every guard is: something a client asks which labels to send, and shows the gradients that come back."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unsplit.errors import UnsplitError


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a guard concludes at a step.

    Args:
        guard: name of the guard.
        step: number of the step whose gradient was the last that the guard saw.
        score: from 0 (as from a server with another objective) to 1 (as from one that trains for these labels).
        alarm: whether the guard's policy calls it an attack.
    """

    guard: str
    step: int
    score: float
    alarm: bool


class HijackSuspected(UnsplitError):  # noqa: N818 - an outcome that a caller handles, not a fault
    """A client stops because its guard thinks that the server does not train for the task.

    Attributes:
        verdict: the last verdict of the guard.
    """

    def __init__(self, client: str, verdict: Verdict) -> None:
        super().__init__(
            f"{client} stopped at step {verdict.step}: the gradients that the server sends do not look like those of "
            f"the agreed task ({verdict.guard} scores them {verdict.score:.2f} of 1); ask what the server trains for "
            "before you send it more data."
        )
        self.verdict = verdict


class Guard(ABC):
    """One client's guard, step by step.

    For each step in order the client calls `labels`, then `observe` once the cut gradient has come, and does not
    train on a step where `trains` says no. A step that is done again, after a fault, changes nothing.

    Attributes:
        name: its name on the command line; `register_guard` sets it.
        verdicts: all verdicts so far, in the order of the steps.
    """

    name: ClassVar[str]

    def __init__(self) -> None:
        self.verdicts: list[Verdict] = []
        self._sent: tuple[int, Tensor] | None = None
        self._last = -1

    def labels(self, step: int, labels: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
        """The labels to send for a step's batch."""
        sent = self._labels(step, labels)
        self._sent = (step, sent)
        return sent

    def trains(self, step: int) -> bool:
        """Whether the client may train on this step's gradient."""
        return True

    def observe(self, step: int, gradient: Float[Tensor, "n ..."], *, weights: Float[Tensor, "..."]) -> Verdict | None:
        """Take in what came back.

        Args:
            step: number of the step.
            gradient: cut gradient of the step's batch, shape [n, ...], one row for each sample.
            weights: gradient of the client's first weights that follows from it, in the shape of these weights.

        Returns:
            A verdict, where this step gave rise to one.
        """
        if self._sent is None or self._sent[0] != step:
            raise RuntimeError(f"observe of step {step} without its labels")
        if step <= self._last:
            return None
        self._last = step
        verdict = self._observe(step, gradient.detach(), weights.detach().flatten(), self._sent[1])
        if verdict is not None:
            self.verdicts.append(verdict)
        return verdict

    def _labels(self, step: int, labels: Tensor) -> Tensor:
        return labels

    @abstractmethod
    def _observe(self, step: int, gradient: Tensor, weights: Tensor, labels: Tensor) -> Verdict | None: ...

    def _newest(self, score: float, window: int) -> list[float]:
        """The scores of the newest verdicts and this one: at most `window` of them."""
        return [*(verdict.score for verdict in self.verdicts), score][-window:]

    def _verdict(self, step: int, score: float, *, alarm: bool) -> Verdict:
        return Verdict(guard=self.name, step=step, score=score, alarm=alarm)


class GuardConfig(ABC):
    """Settings of a guard: a plain value."""

    @abstractmethod
    def guard(self, *, classes: int, generator: torch.Generator) -> Guard:
        """A guard that has seen nothing yet, for one client.

        Args:
            classes: number of classes of the labels.
            generator: draws what is random in the guard.
        """


GUARDS: dict[str, type[GuardConfig]] = {}
"""The settings of the guards by the names of the guards."""

_Kind = TypeVar("_Kind", bound=Guard)


def register_guard(name: str, settings: type[GuardConfig]) -> Callable[[type[_Kind]], type[_Kind]]:
    """Make a subclass of `Guard` known to the command line by a name.

    Args:
        name: its name on the command line.
        settings: its settings; without arguments they are those that the command line uses.

    Returns:
        A decorator of the class.
    """

    def register(kind: type[_Kind]) -> type[_Kind]:
        kind.name = name
        GUARDS[name] = settings
        return kind

    return register
