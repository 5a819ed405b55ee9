"""Arrays in .npz and .safetensors files: x and y, and x_test and y_test if the test part is apart."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from unsplit.data.dataset import Dataset, Scaling, Splits, standardised, stratified
from unsplit.errors import DataError
from unsplit.files import explained


@dataclass(frozen=True, kw_only=True, eq=False)
class _Part:
    """Inputs by name (one goes by "") and labels."""

    inputs: Mapping[str, Tensor]
    labels: Tensor


def read_arrays(path: Path, *, test_share: float, generator: torch.Generator) -> Splits:
    """The arrays of a file, as training and test data.

    x [n, ...] are the inputs and y [n] or [n, outputs] the labels: whole numbers are classes, others a regression's
    targets. x_NAME instead of x are several inputs, which are packed into one vector in the order of their names in the
    file. x_test (or x_test_NAME) and y_test are the test part; without them the rest is dealt out. Values that are not
    within 0 to 1 are scaled by what the training part of each input spans.

    Args:
        path: .npz or .safetensors.
        test_share: share that is kept for test where there is no test part.
        generator: deals it out.

    Raises:
        DataError: unreadable, no x or y, other lengths, NaN or infinity, or arrays of objects.
    """
    arrays = _load(path)
    train, test = _part(path, arrays, ""), _part(path, arrays, "_test")
    if train is None:
        raise DataError(
            f"{path} has no array x (it has {', '.join(arrays) or 'none'}); name the inputs x and labels y."
        )
    classes = _classes(path, train, test)
    scalings = {name: _scaling(values) for name, values in train.inputs.items()}
    whole = _dataset(path, train, scalings, classes)
    if test is not None:
        return standardised(Splits(train=whole, test=_dataset(path, test, scalings, classes)))
    return standardised(stratified(whole, test_share, generator=generator))


def _load(path: Path) -> dict[str, Tensor]:
    try:
        with explained(path):
            if path.suffix == ".safetensors":
                return load_file(path)
            with np.load(path, allow_pickle=False) as file:
                return {name: _tensor(path, name, file[name]) for name in file.files}
    except (SafetensorError, ValueError, zipfile.BadZipFile, EOFError) as error:
        reason = "it holds Python objects, which are never read" if "pickle" in str(error).lower() else str(error)
        raise DataError(f"{path} cannot be read as arrays ({reason}); save numbers with numpy.savez.") from error


def _tensor(path: Path, name: str, array: np.ndarray) -> Tensor:
    if array.dtype.kind not in "biuf":
        raise DataError(f"The array {name} of {path} is of the kind {array.dtype}; give numbers.")
    return torch.from_numpy(array.astype(np.float64 if array.dtype.kind == "f" else np.int64))


def _part(path: Path, arrays: Mapping[str, Tensor], ending: str) -> _Part | None:
    name = f"x{ending}"
    inputs = {"": arrays[name]} if name in arrays else {}
    for key, values in arrays.items():
        rest = key.removeprefix(f"{name}_")
        if rest != key and not (ending == "" and (key == "x_test" or key.startswith("x_test_"))):
            inputs[rest] = values
    if not inputs:
        return None
    if "" in inputs and len(inputs) > 1:
        raise DataError(f"{path} has both {name} and {name}_NAME; give one input, or a name to each of several.")
    labels = arrays.get(f"y{ending}")
    if labels is None:
        raise DataError(f"{path} has inputs {name} and no labels y{ending}; add one label for each input.")
    for key, values in inputs.items():
        called = name if not key else f"{name}_{key}"
        if values.ndim < 2:
            raise DataError(f"The array {called} of {path} has shape {tuple(values.shape)}; give [samples, ...].")
        if len(values) != len(labels):
            raise DataError(
                f"{path} has {len(values)} inputs {called} and {len(labels)} labels y{ending}; give one label for each."
            )
        wrong = ~torch.isfinite(values.flatten(1)).all(1)
        if bool(wrong.any()):
            row = int(wrong.nonzero()[0])
            raise DataError(f"Sample {row} of the array {called} of {path} holds NaN or infinity; mend or remove it.")
    return _Part(inputs=inputs, labels=labels)


def _classes(path: Path, train: _Part, test: _Part | None) -> tuple[str, ...]:
    """Names of the classes; none for a regression."""
    labels = train.labels
    if labels.is_floating_point():
        return ()
    if labels.ndim != 1 or int(labels.min()) < 0:
        raise DataError(
            f"The labels y of {path} are whole numbers of shape {tuple(labels.shape)} from {int(labels.min())}; give "
            "classes from 0, one for each sample, or floats for a regression."
        )
    highest = int(labels.max()) if test is None else max(int(labels.max()), int(test.labels.max()))
    if highest == 0:
        raise DataError(f"The labels y of {path} are 0 everywhere; it needs two classes or more.")
    return tuple(str(number) for number in range(highest + 1))


def _scaling(values: Tensor) -> Scaling | None:
    """How an input is scaled; not at all where it is within 0 to 1, and each column by itself where it is a table."""
    if not values.is_floating_point() and int(values.min()) >= 0 and 1 < int(values.max()) <= 255:
        return Scaling(low=torch.tensor(0.0), span=torch.tensor(255.0))
    inside = float(values.min()) >= 0 and float(values.max()) <= 1
    return None if inside else Scaling.of(values.double(), each=values.ndim == 2)


def _dataset(path: Path, part: _Part, scalings: Mapping[str, Scaling | None], classes: tuple[str, ...]) -> Dataset:
    scaled = {
        name: (values if (scaling := scalings[name]) is None else scaling.to_unit(values)).float()
        for name, values in part.inputs.items()
    }
    labels = part.labels.float() if part.labels.is_floating_point() else part.labels
    if "" in scaled:
        return Dataset(name=path.stem, images=scaled[""], labels=labels, classes=classes, scaling=scalings[""])
    packed = torch.cat([values.flatten(1) for values in scaled.values()], 1)
    shapes = tuple((name, tuple(values.shape[1:])) for name, values in scaled.items())
    return Dataset(name=path.stem, images=packed, labels=labels, classes=classes, inputs=shapes)
