"""Dealing a set out into what is trained on and what is kept for test."""

from dataclasses import replace

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from unsplit.data.dataset import Dataset, Splits
from unsplit.errors import DataError


def dealt(
    name: str,
    labels: Shaped[Tensor, "n ..."],
    classes: tuple[str, ...],
    test_share: float,
    *,
    generator: torch.Generator,
) -> tuple[Int[Tensor, " train"], Int[Tensor, " test"]]:
    """The places of training and test samples: each class has the same share of its samples in the test part (at least
    one, and at least one left to train on).

    Raises:
        DataError: a class has fewer than two samples, or the share is not between 0 and 1.
    """
    if not 0 < test_share < 1:
        raise DataError(f"A test share of {test_share} leaves one part empty; use one between 0 and 1, such as 0.2.")
    if labels.is_floating_point():
        if len(labels) < 2:
            raise DataError(f"'{name}' has one sample; it needs 2 or more, for training and for test.")
        order = torch.randperm(len(labels), generator=generator)
        held = min(max(round(test_share * len(labels)), 1), len(labels) - 1)
        return order[held:], order[:held]
    train, test = [], []
    for number, called in enumerate(classes):
        indices = (labels == number).nonzero().flatten()
        if len(indices) < 2:
            raise DataError(
                f"The class '{called}' of '{name}' has {len(indices)} samples; it needs 2 or more, for training "
                "and for test."
            )
        indices = indices[torch.randperm(len(indices), generator=generator)]
        held = min(max(round(test_share * len(indices)), 1), len(indices) - 1)
        test.append(indices[:held])
        train.append(indices[held:])
    return _shuffled(train, generator), _shuffled(test, generator)


def stratified(data: Dataset, test_share: float, *, generator: torch.Generator) -> Splits:
    """`data` dealt out into training and test; see `dealt`.

    Raises:
        DataError: a class has fewer than two samples, or the share is not between 0 and 1.
    """
    train, test = dealt(data.name, data.labels, data.classes, test_share, generator=generator)
    return Splits(train=data.subset(train), test=data.subset(test))


def standardised(splits: Splits) -> Splits:
    """The same with a regression's targets at mean 0 and deviation 1 over the training part, so that usual learning
    rates suit them; classes stay as they are.
    """
    if not splits.train.regression:
        return splits
    labels = splits.train.labels
    mean, deviation = labels.mean(0), labels.std(0, unbiased=False)
    if bool((labels == labels[0]).all()):
        raise DataError(
            f"The labels of '{splits.train.name}' are {float(labels.flatten()[0]):g} in every training sample, so "
            "there is nothing to learn; name another label."
        )
    deviation = torch.where(deviation > 0, deviation, torch.ones_like(deviation))
    train, test = (replace(part, labels=(part.labels - mean) / deviation) for part in (splits.train, splits.test))
    return Splits(train=train, test=test)


def _shuffled(parts: list[Tensor], generator: torch.Generator) -> Tensor:
    joined = torch.cat(parts)
    return joined[torch.randperm(len(joined), generator=generator)]
