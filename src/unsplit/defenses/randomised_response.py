"""Label differential privacy: a client trains on labels of which some are wrong at random."""

import math

import torch
from jaxtyping import Int
from torch import Tensor

from unsplit.errors import InputError


def randomised_response(
    labels: Int[Tensor, " n"], classes: int, epsilon: float, *, generator: torch.Generator
) -> Int[Tensor, " n"]:
    """Labels of which each is kept with probability e^epsilon / (e^epsilon + classes - 1), and is any other one else.

    What the server sees then depends on a sample's label by a factor of at most e^epsilon, whatever the attack.

    Args:
        labels: the true ones, from 0.
        classes: how many there are.
        epsilon: the budget of label differential privacy, above 0; smaller hides more.
        generator: draws what is replaced, and by what.

    Raises:
        InputError: epsilon is not above 0.

    Reference:
        Warner, 1965; Ghazi et al., "Deep learning with label differential privacy", 2021.
    """
    if not epsilon > 0:
        raise InputError(f"The label privacy epsilon is {epsilon}; it must be above 0, for example 1.")
    kept = 1 / (1 + (classes - 1) * math.exp(-epsilon))
    keep = torch.rand(len(labels), generator=generator) < kept
    shift = torch.randint(1, classes, (len(labels),), generator=generator)
    other = (labels.cpu() + shift) % classes
    return torch.where(keep, labels.cpu(), other).to(labels.device)
