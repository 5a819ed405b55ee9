"""Data with their form: shape, range and classes."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unsplit.errors import DataError


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """Labelled inputs.

    Args:
        name: of the set.
        images: values from 0 to 1, shape [n, *input shape]; pictures are [n, channels, height, width].
        labels: classes by number, shape [n].
        classes: names of the classes.

    Raises:
        DataError: no samples, NaN or infinity, values out of range, labels out of range or not one for each input.
    """

    name: str
    images: Float[Tensor, "n ..."]
    labels: Int[Tensor, "_"]
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.images) == 0:
            raise DataError(f"The data set '{self.name}' is empty; give it at least one sample.")
        if len(self.images) != len(self.labels):
            raise DataError(
                f"The data set '{self.name}' has {len(self.images)} inputs but {len(self.labels)} labels; "
                "give one label for each input."
            )
        finite = torch.isfinite(self.images).flatten(1).all(1)
        if not bool(finite.all()):
            raise DataError(
                f"Input {int((~finite).nonzero()[0])} of the data set '{self.name}' holds NaN or infinity; "
                "mend or remove it."
            )
        low, high = float(self.images.min()), float(self.images.max())
        if low < 0 or high > 1:
            raise DataError(
                f"The inputs of the data set '{self.name}' run from {low:g} to {high:g}; scale them to 0 to 1."
            )
        first, last = int(self.labels.min()), int(self.labels.max())
        if first < 0 or last >= len(self.classes):
            raise DataError(
                f"The labels of the data set '{self.name}' run from {first} to {last} for {len(self.classes)} classes; "
                f"they must be from 0 to {len(self.classes) - 1}."
            )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return tuple(self.images.shape[1:])

    def subset(self, indices: Int[Tensor, " m"]) -> "Dataset":
        """These samples, in this order."""
        return Dataset(name=self.name, images=self.images[indices], labels=self.labels[indices], classes=self.classes)

    def one_per_class(self, per_class: int = 1) -> "Dataset":
        """The first `per_class` samples of each class, class by class: with 1, the targets of the paper's tables.

        Raises:
            DataError: a class has fewer.
        """
        chosen = []
        for number, name in enumerate(self.classes):
            indices = (self.labels == number).nonzero().flatten()[:per_class]
            if len(indices) < per_class:
                raise DataError(
                    f"The class '{name}' of the data set '{self.name}' has {len(indices)} samples, and {per_class} are "
                    "wanted of each; add some, or leave the class out."
                )
            chosen.append(indices)
        return self.subset(torch.cat(chosen))


@dataclass(frozen=True, kw_only=True, eq=False)
class Splits:
    """What parties train on, and what they never saw.

    Raises:
        DataError: the two differ in shape or classes.
    """

    train: Dataset
    test: Dataset

    def __post_init__(self) -> None:
        if self.train.input_shape != self.test.input_shape or self.train.classes != self.test.classes:
            raise DataError(
                f"Training inputs of shape {self.train.input_shape} in {len(self.train.classes)} classes do not go "
                f"with test inputs of shape {self.test.input_shape} in {len(self.test.classes)}; make both alike."
            )


def from_tensors(
    images: Float[Tensor, "n ..."],
    labels: Int[Tensor, "_"],
    *,
    classes: Sequence[str] | None = None,
    name: str = "tensors",
) -> Dataset:
    """A data set of tensors.

    Args:
        images: values from 0 to 1, shape [n, *input shape].
        labels: shape [n].
        classes: their names; "0", "1", ... up to the largest label if left out.
        name: of the set.

    Raises:
        DataError: see `Dataset`.
    """
    highest = int(labels.max()) if len(labels) else 0
    names = tuple(classes) if classes is not None else tuple(str(number) for number in range(highest + 1))
    return Dataset(name=name, images=images, labels=labels.long(), classes=names)


def stratified(data: Dataset, test_share: float, *, generator: torch.Generator) -> Splits:
    """Deal out `data` so that each class has the same share of its samples in the test part (at least one, and at
    least one left to train on).

    Raises:
        DataError: a class has fewer than two samples, or the share is not between 0 and 1.
    """
    if not 0 < test_share < 1:
        raise DataError(f"A test share of {test_share} leaves one part empty; use one between 0 and 1, such as 0.2.")
    train, test = [], []
    for number, name in enumerate(data.classes):
        indices = (data.labels == number).nonzero().flatten()
        if len(indices) < 2:
            raise DataError(
                f"The class '{name}' of '{data.name}' has {len(indices)} samples; it needs 2 or more, for training "
                "and for test."
            )
        indices = indices[torch.randperm(len(indices), generator=generator)]
        held = min(max(round(test_share * len(indices)), 1), len(indices) - 1)
        test.append(indices[:held])
        train.append(indices[held:])
    return Splits(train=data.subset(_shuffled(train, generator)), test=data.subset(_shuffled(test, generator)))


def _shuffled(parts: list[Tensor], generator: torch.Generator) -> Tensor:
    joined = torch.cat(parts)
    return joined[torch.randperm(len(joined), generator=generator)]
