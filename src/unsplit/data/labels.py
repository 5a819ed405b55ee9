"""Which labels are classes and which a regression's targets, told by their values alike wherever they come from."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from unsplit.errors import DataError

_FEW = 20
"""Whole numbers that may be either are classes if there are at most so many, and five samples of each on average."""


def labels_of(path: Path, name: str, texts: list[str], numbers: Tensor | None) -> tuple[Tensor, tuple[str, ...]]:
    """Labels of a column of texts: the numbers of classes and their names, or a regression's targets and no names.

    Args:
        path: file that the labels come from.
        name: name of the column.
        texts: labels of the rows as texts.
        numbers: labels of the rows as numbers [n]; None if some are none.

    Raises:
        DataError: a single class, or one number in every row.
    """
    if numbers is not None:
        found = whole_classes(numbers)
        if found is None:
            if bool((numbers == numbers[0]).all()):
                raise DataError(f"The label '{name}' of {path} is {texts[0]} in every row; name a label that varies.")
            return numbers.float(), ()
        places, classes = found
    else:
        classes = tuple(sorted(set(texts)))
        positions = {value: number for number, value in enumerate(classes)}
        places = torch.tensor([positions[value] for value in texts])
    if len(classes) < 2:
        raise DataError(f"The label '{name}' of {path} is '{classes[0]}' in every row; it needs two classes or more.")
    return places, classes


def whole_classes(numbers: Tensor) -> tuple[Tensor, tuple[str, ...]] | None:
    """The classes of numbers [n] that are a few whole ones, by number and by name (1 and 1.0 are one class); None for
    any others.
    """
    if bool((numbers != numbers.round()).any()):
        return None
    values, places = torch.unique(numbers, return_inverse=True)
    if len(values) > max(2, min(_FEW, len(numbers) // 5)):
        return None
    return places, tuple(str(int(value)) for value in values.tolist())


def decided(where: str, parts: Sequence[Tensor]) -> tuple[list[Tensor], tuple[str, ...], tuple[str, ...]]:
    """Labels of arrays as classes [n] or targets [n] or [n, outputs], the names of the classes (none for a regression),
    and what was decided, where it could have been decided otherwise.

    Args:
        where: words that begin an error message.
        parts: the labels of training and, where they are apart, of test, each [n] or [n, ...].

    Raises:
        DataError: whole numbers that are no classes, or a single class.
    """
    labels = torch.cat([part.flatten(1) if part.ndim > 1 else part[:, None] for part in parts])
    if labels.shape[1] == 1:
        labels = labels[:, 0]
    floats, notes = labels.is_floating_point(), tuple[str, ...]()
    if labels.ndim == 2 and _one_hot(labels):
        notes = (
            f"Each label has a single 1 among {labels.shape[1]} numbers, and was read as the class at that position "
            "(one-hot).",
        )
        labels = labels.argmax(1)
    elif floats and labels.ndim == 1 and (found := whole_classes(labels)) is not None:
        labels, names = found
        notes = (
            f"The labels are floating-point numbers with {len(names)} values, all whole, and were read as classes.",
        )
        _check_several(where, names)
        return _parted(labels, parts), names, notes
    elif floats:
        if bool((labels == labels.round()).all()):
            notes = (
                "The labels are whole numbers in floating point with too many values to be classes, and were read as "
                "the targets of a regression; give integers if they are classes.",
            )
        return _parted(labels.float(), parts), (), notes
    classes = _numbered(where, labels.long())
    return _parted(labels.long(), parts), classes, notes


def _numbered(where: str, labels: Tensor) -> tuple[str, ...]:
    """The names of classes that are numbered from 0."""
    lowest, highest = int(labels.min()), int(labels.max())
    if labels.ndim != 1 or lowest < 0:
        raise DataError(
            f"{where} are whole numbers of shape {tuple(labels.shape)}, and the lowest is {lowest}; give one class "
            "number (from 0) for each sample, or floats for a regression."
        )
    if highest >= max(len(labels), 2):
        raise DataError(
            f"{where} go up to {highest} for {len(labels)} samples; number the classes from 0 without gaps, or give "
            "floats for a regression."
        )
    names = tuple(str(number) for number in range(highest + 1))
    _check_several(where, names)
    return names


def _check_several(where: str, names: tuple[str, ...]) -> None:
    if len(names) < 2:
        raise DataError(f"{where} are {names[0]} everywhere; two classes or more are needed.")


def _one_hot(labels: Tensor) -> bool:
    known = bool(((labels == 0) | (labels == 1)).all())
    return known and bool((labels.sum(1) == 1).all()) and len(labels) > 1


def _parted(labels: Tensor, parts: Sequence[Tensor]) -> list[Tensor]:
    return list(torch.split(labels, [len(part) for part in parts]))
