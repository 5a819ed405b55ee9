"""What an attacker may know of the client's data and labels."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unsplit.errors import InputError
from unsplit.knowledge._base import Knowledge


@dataclass(frozen=True, kw_only=True)
class LabelSpace(Knowledge):
    """How many classes there are.

    Raises:
        InputError: fewer than two classes.
    """

    means = "the number of classes"

    classes: int

    def __post_init__(self) -> None:
        if self.classes < 2:
            raise InputError(f"A label space of {self.classes} leaves nothing to infer; it needs at least 2 classes.")


@dataclass(frozen=True, kw_only=True, eq=False)
class KnownSamples(Knowledge):
    """The true labels of a few of the observed samples: of those that the server put in itself (in setup (b) the inputs
    are its own), of customers that it shares with the client, or of samples whose outcome became public.

    Args:
        indices: positions of the known samples among the observed ones, counted from 0; at least one.
        labels: classes of the known samples.

    Raises:
        InputError: no sample, a negative position, or not one label for each.
    """

    means = "the true labels of a few of the observed samples, put in by itself or shared with the client"

    indices: tuple[int, ...]
    labels: tuple[int, ...]

    def __post_init__(self) -> None:
        _check_positions(self.indices, len(self.labels), "labels")


@dataclass(frozen=True, kw_only=True)
class KnownTargets(Knowledge):
    """What a regression aims at for a few of the observed samples; known as `KnownSamples` are.

    Args:
        indices: positions of the known samples among the observed ones, counted from 0; at least one.
        values: targets of the known samples.

    Raises:
        InputError: no sample, a negative position, or not one target for each.
    """

    means = "the true targets of a few of the observed samples, put in by itself or shared with the client"

    indices: tuple[int, ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        _check_positions(self.indices, len(self.values), "targets")


@dataclass(frozen=True, kw_only=True, eq=False)
class KnownRows(Knowledge):
    """A few of the observed rows of a table; known as `KnownSamples` are.

    Args:
        indices: positions of the known samples among the observed ones, counted from 0; at least one.
        rows: values of the known rows, shape [rows, columns], in the range of the client's inputs.

    Raises:
        InputError: no row, a negative position, or not one row for each.
    """

    means = "a few of the observed rows, put in by itself or shared with the client"

    indices: tuple[int, ...]
    rows: Float[Tensor, "rows columns"]

    def __post_init__(self) -> None:
        _check_positions(self.indices, len(self.rows), "rows")


@dataclass(frozen=True, kw_only=True, eq=False)
class KnownPictures(Knowledge):
    """A few of the observed pictures; known as `KnownSamples` are.

    Args:
        indices: positions of the known samples among the observed ones, counted from 0; at least one.
        pictures: the known pictures, shape [pictures, *input shape], in the range of the client's inputs.

    Raises:
        InputError: no picture, a negative position, one given twice, or not one picture for each.
    """

    means = "a few of the observed pictures, put in by itself or shared with the client"

    indices: tuple[int, ...]
    pictures: Float[Tensor, "pictures ..."]

    def __post_init__(self) -> None:
        _check_positions(self.indices, len(self.pictures), "pictures")
        if len(set(self.indices)) < len(self.indices):
            raise InputError(f"The positions of the known samples are {self.indices}; give each of them once.")


@dataclass(frozen=True, kw_only=True, eq=False)
class ColumnStatistics(Knowledge):
    """What is published of a table's columns: how each is distributed, and how they vary together.

    Args:
        quantiles: quantiles of each column at equal steps from lowest to highest value, shape [quantiles, columns].
        covariance: covariance matrix of the columns, shape [columns, columns].

    Raises:
        InputError: fewer than two quantiles, or a covariance of other columns.
    """

    means = "the name, the distribution and the correlations of a table's columns, as they are published"

    quantiles: Float[Tensor, "quantiles columns"]
    covariance: Float[Tensor, "_ _"]

    def __post_init__(self) -> None:
        columns = self.quantiles.shape[1]
        if len(self.quantiles) < 2 or tuple(self.covariance.shape) != (columns, columns):
            raise InputError(
                f"The statistics have {len(self.quantiles)} quantiles of {columns} columns and a covariance of shape "
                f"{tuple(self.covariance.shape)}; give two quantiles or more, and a covariance of the same columns."
            )

    @classmethod
    def of(cls, rows: Float[Tensor, "n columns"], *, quantiles: int = 21) -> "ColumnStatistics":
        """The statistics of these rows."""
        steps = torch.linspace(0, 1, quantiles, device=rows.device, dtype=rows.dtype)
        return cls(
            quantiles=torch.quantile(rows, steps, dim=0), covariance=torch.cov(rows.T).reshape(rows.shape[1], -1)
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class AuxiliaryData(Knowledge):
    """Data of the attacker's own that resembles the client's.

    Args:
        inputs: inputs of the attacker's own data, shape [n, *input shape].
        labels: classes of these inputs, shape [n]; None where the attacker has none.
    """

    means = "data of its own that resembles the client's"

    inputs: Float[Tensor, "n ..."]
    labels: Int[Tensor, " n"] | None = None


def _check_positions(indices: tuple[int, ...], given: int, what: str) -> None:
    if not indices or min(indices) < 0:
        raise InputError(f"The positions of the known samples are {indices}; give one or more, counted from 0.")
    if len(indices) != given:
        raise InputError(f"There are {given} {what} for {len(indices)} known samples; give one for each.")
