"""Data with their form: shape, range and classes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from unsplit.data.labels import decided
from unsplit.data.numbers import plain
from unsplit.data.scaling import Scaling, fitting_scale
from unsplit.errors import DataError
from unsplit.ranges import InputRange
from unsplit.tensors import plain as numbers_alone

# What arithmetic leaves of values that were scaled to 0 to 1.
_ROUNDING = 1e-6
# What it leaves of whole numbers that went to 0 to 1 and back.
_FRACTION = 0.05


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """Labelled inputs.

    Args:
        name: name of the set.
        images: values from 0 to 1, shape [n, *input shape]; pictures are [n, channels, height, width], signals
            [n, channels, length], rows of a table [n, features].
        labels: classes by number, shape [n]; or what a regression aims at, floats of shape [n] or [n, outputs].
        classes: names of the classes; none for a regression.
        scaling: what 0 and 1 stand for in the units that the data came in; None where they came so.
        features: names of the columns of a table.
        inputs: name and shape of each input, where several are packed into one vector, in their order.
        tokens: the named parts of an input ("" for all of it) that are whole numbers as they came, not from 0 to 1,
            because the network reads them by an embedding; see `whole`.
        notes: what was decided about the data when they were read, in sentences.

    Raises:
        DataError: no samples, NaN or infinity, values out of range, labels out of range or not one for each input.
    """

    name: str
    images: Float[Tensor, "n ..."]
    labels: Shaped[Tensor, "_ ..."]
    classes: tuple[str, ...]
    scaling: Scaling | None = None
    features: tuple[str, ...] = ()
    inputs: tuple[tuple[str, tuple[int, ...]], ...] = ()
    tokens: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # Subclasses may carry more than numbers, such as the names of the files that they were read from.
        object.__setattr__(self, "images", numbers_alone(self.images))
        object.__setattr__(self, "labels", numbers_alone(self.labels))
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
        if not self.tokens and (low < -_ROUNDING or high > 1 + _ROUNDING):
            raise DataError(
                f"The inputs of the data set '{self.name}' run from {low:g} to {high:g}; scale them to 0 to 1."
            )
        if self.labels.is_floating_point():
            self._check_targets()
            return
        first, last = int(self.labels.min()), int(self.labels.max())
        if first < 0 or last >= len(self.classes):
            raise DataError(
                f"The labels of the data set '{self.name}' run from {first} to {last} for {len(self.classes)} classes; "
                f"they must be from 0 to {len(self.classes) - 1}."
            )

    def _check_targets(self) -> None:
        if self.classes:
            raise DataError(
                f"The labels of the data set '{self.name}' are not whole numbers, although it names classes; give "
                "class numbers, or name no classes for a regression."
            )
        wrong = ~torch.isfinite(self.labels).reshape(len(self), -1).all(1)
        if bool(wrong.any()):
            raise DataError(
                f"Label {int(wrong.nonzero()[0])} of the data set '{self.name}' is NaN or infinity; mend or remove it."
            )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def regression(self) -> bool:
        """Whether labels are numbers to come close to, rather than classes."""
        return self.labels.is_floating_point()

    @property
    def outputs(self) -> int:
        """How many outputs a network for these labels has."""
        if not self.regression:
            return len(self.classes)
        return 1 if self.labels.ndim == 1 else int(self.labels.shape[1])

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return tuple(self.images.shape[1:])

    @property
    def parts(self) -> dict[str, tuple[int, int]]:
        """Where in a flat input each named part lies: the inputs that are packed into it, or the columns of a table."""
        found, begin = {}, 0
        for name, shape in self.inputs or tuple((name, ()) for name in self.features):
            found[name] = (begin, begin + math.prod(shape))
            begin += math.prod(shape)
        return found

    def repacked(self, names: Sequence[str]) -> "Dataset":
        """The same with its named inputs one after another in this order.

        Raises:
            DataError: other names than its own.
        """
        shapes, places = dict(self.inputs), self.parts
        if sorted(names) != sorted(shapes):
            raise DataError(
                f"The data set '{self.name}' has the inputs {', '.join(shapes)}, not {', '.join(names)}; give both the "
                "same names."
            )
        order = torch.cat([torch.arange(*places[name]) for name in names])
        return replace(
            self,
            images=self.images[:, order],
            scaling=None if self.scaling is None else self.scaling.picked(order),
            inputs=tuple((name, shapes[name]) for name in names),
        )

    def whole(self, names: Sequence[str]) -> "Dataset":
        """The same with these parts of the inputs ("" for all) as the whole numbers that they came as: tokens, which an
        embedding reads.

        Raises:
            DataError: they did not come as whole numbers.
        """
        own = self.images if self.scaling is None else self.scaling.to_own(self.images.double())
        images = self.images.clone()
        for name in names:
            begin, end = self.parts[name] if name else (0, images.shape[1])
            part = own[:, begin:end].round()
            if float((part - own[:, begin:end]).abs().max()) > _FRACTION:
                raise DataError(
                    f"The network reads the {f'input {name}' if name else 'inputs'} of the data set '{self.name}' by "
                    "an embedding, and they are not whole numbers; give token numbers."
                )
            images[:, begin:end] = part.float()
        return replace(self, images=images, tokens=tuple(names))

    def subset(self, indices: Int[Tensor, " m"]) -> "Dataset":
        """These samples, in this order."""
        return replace(self, images=self.images[indices], labels=self.labels[indices])

    def one_per_class(self, per_class: int = 1) -> "Dataset":
        """The first `per_class` samples of each class, class by class: with 1, the targets of the paper's tables. Of a
        regression, ten times as many, spread over the range of the first target.

        Raises:
            DataError: a class has fewer.
        """
        if self.regression:
            order = self.labels.reshape(len(self), -1)[:, 0].argsort()
            places = torch.linspace(0, len(self) - 1, min(10 * per_class, len(self))).round().long()
            return self.subset(order[places])
        chosen = []
        for number, name in enumerate(self.classes):
            indices = (self.labels == number).nonzero().flatten()[:per_class]
            if len(indices) < per_class:
                raise DataError(
                    f"The class '{name}' of the data set '{self.name}' has {len(indices)} samples, and {per_class} of "
                    "each class are needed; add some, or leave the class out."
                )
            chosen.append(indices)
        return self.subset(torch.cat(chosen))


@dataclass(frozen=True, kw_only=True, eq=False)
class Splits:
    """What parties train on, and what they never saw.

    Raises:
        DataError: the two differ in shape, in classes or in what is aimed at.
    """

    train: Dataset
    test: Dataset

    def __post_init__(self) -> None:
        if self.train.input_shape != self.test.input_shape or self.train.classes != self.test.classes:
            raise DataError(
                f"Training inputs of shape {self.train.input_shape} in {len(self.train.classes)} classes do not match "
                f"test inputs of shape {self.test.input_shape} in {len(self.test.classes)} classes; give both parts "
                "the same shape and classes."
            )
        if self.train.outputs != self.test.outputs or self.train.inputs != self.test.inputs:
            raise DataError(
                f"The training part of '{self.train.name}' has {self.train.outputs} outputs and the test part "
                f"{self.test.outputs}, or their inputs have other names; make both alike."
            )


def from_tensors(
    images: Shaped[Tensor, "n ..."],
    labels: Shaped[Tensor, "_ ..."],
    *,
    classes: Sequence[str] | None = None,
    name: str = "tensors",
    input_range: InputRange | Sequence[float] | str | None = None,
) -> Dataset:
    """A data set of tensors of any kind of numbers.

    Args:
        images: inputs [n, *input shape]: floating-point numbers from 0 to 1, or whole numbers, whose depth is told by
            their largest (see `fitting_scale`), or any within `input_range`.
        labels: classes [n], [n, 1] or one-hot [n, classes]; or floats [n] or [n, outputs] for a regression. A few whole
            values in floating point are classes.
        classes: names of the classes; "0", "1", ... up to the largest label if left out, none for a regression.
        name: name of the set.
        input_range: lowest and highest value of an input, which become 0 and 1, or these two for each channel.

    Raises:
        DataError: see `Dataset`.
    """
    values, where = plain(images, f"The data set '{name}'"), f"The labels of the data set '{name}'"
    given = None if input_range is None else InputRange.of(input_range)
    scaling, notes = None, tuple[str, ...]()
    if len(values) and (given is not None or not values.is_floating_point()):
        scaling, notes = fitting_scale(values, values, given)
    inputs = values.float() if scaling is None else scaling.to_unit(values)
    numbers = plain(labels, where)
    if numbers.ndim == 1 and not numbers.is_floating_point():
        highest = int(numbers.max()) if len(numbers) else 0
        names = tuple(str(number) for number in range(highest + 1))
        numbers = numbers.long()
    elif len(numbers) == 0 or (numbers.is_floating_point() and (classes == () or not bool(numbers.isfinite().all()))):
        names, numbers = (), numbers.float()
    else:
        (numbers,), names, said = decided(where, [numbers])
        notes += said
    called = names if classes is None else tuple(classes)
    return Dataset(name=name, images=inputs, labels=numbers, classes=called, scaling=scaling, notes=notes)
