"""Inputs that a network reads by an embedding: they stay the whole numbers that they came as."""

from torch import nn

from unsplit.data.dataset import Dataset
from unsplit.models.tokens import token_parts


def as_read(model: nn.Module, *sets: Dataset) -> tuple[Dataset, ...]:
    """The data sets as this network reads them: what reaches an embedding as the whole numbers that it came as, the
    rest from 0 to 1.

    Raises:
        DataError: what reaches an embedding did not come as whole numbers.
    """
    first = sets[0]
    names = token_parts(model, first.input_shape, first.parts)
    return tuple(data.whole(names) for data in sets) if names else sets
