"""Groups and classes: which group is best called by which class."""

import torch
from jaxtyping import Int
from torch import Tensor


def best_names(
    groups: Int[Tensor, " n"], labels: Int[Tensor, " n"], classes: int
) -> tuple[Int[Tensor, " classes"], int]:
    """The class for each group, no class twice, that agrees with most of these labels (Hungarian assignment), and with
    how many.

    Args:
        groups: group numbers from 0; samples of negative ones (undecided) count for nothing.
        labels: true classes of the samples, from 0, shape [n].
        classes: number of groups, and of classes.
    """
    from scipy.optimize import linear_sum_assignment

    decided = groups >= 0
    counts = torch.zeros(classes, classes, dtype=torch.int64)
    counts.index_put_(
        (groups[decided], labels[decided]), torch.ones(int(decided.sum()), dtype=torch.int64), accumulate=True
    )
    rows, names = linear_sum_assignment(counts.numpy(), maximize=True)
    return torch.as_tensor(names), int(counts[rows, names].sum())
