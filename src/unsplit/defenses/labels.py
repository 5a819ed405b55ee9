"""Label differential privacy: a client trains on labels of which some are wrong at random."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Int
from torch import Tensor

from unsplit.defenses.defense import Defense, register_defense
from unsplit.errors import InputError


@register_defense("label-dp", strengths=("epsilon=4", "epsilon=2", "epsilon=1"), usual=True)
@dataclass(frozen=True, kw_only=True)
class LabelDP(Defense):
    """The client trains on labels of which some are wrong at random: see `randomised_response`.

    Args:
        epsilon: budget of label differential privacy, above 0; a smaller one hides more.

    Reference:
        Warner, 1965; Ghazi et al., "Deep learning with label differential privacy", 2021.
    """

    protects: ClassVar[str] = "labels: what leaves depends on a sample's label by a factor of at most e^epsilon"
    knob: ClassVar[str] = "epsilon: a smaller one hides more"
    epsilon: float = 1.0

    def __post_init__(self) -> None:
        _check_epsilon(self.epsilon)

    def labels(self, labels: Tensor, classes: int, *, generator: torch.Generator) -> Tensor:
        if labels.is_floating_point():
            raise InputError(
                "label-dp replaces classes, and these labels are numbers of a regression; take another defence."
            )
        return randomised_response(labels, classes, self.epsilon, generator=generator)


def randomised_response(
    labels: Int[Tensor, " n"], classes: int, epsilon: float, *, generator: torch.Generator
) -> Int[Tensor, " n"]:
    """Labels with errors at random: each is kept with probability e^epsilon / (e^epsilon + classes - 1), and otherwise
    replaced by any other class.

    What the server sees then depends on a sample's label by a factor of at most e^epsilon, whatever the attack.

    Args:
        labels: true labels, shape [n], counted from 0.
        classes: number of classes, 2 or more.
        epsilon: budget of label differential privacy, above 0; a smaller one hides more.
        generator: draws which labels are replaced, and by which.

    Raises:
        InputError: epsilon is not above 0.

    Reference:
        Warner, 1965; Ghazi et al., "Deep learning with label differential privacy", 2021.
    """
    _check_epsilon(epsilon)
    kept = 1 / (1 + (classes - 1) * math.exp(-epsilon))
    keep = torch.rand(len(labels), generator=generator) < kept
    shift = torch.randint(1, classes, (len(labels),), generator=generator)
    other = (labels.cpu() + shift) % classes
    return torch.where(keep, labels.cpu(), other).to(labels.device)


def _check_epsilon(epsilon: float) -> None:
    if not epsilon > 0:
        raise InputError(f"The label privacy epsilon is {epsilon}; it must be above 0, for example 1.")
