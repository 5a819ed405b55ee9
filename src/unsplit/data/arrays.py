"""Arrays in .npz, .safetensors and .npy files: x and y, and x_test and y_test if the test part is apart."""

import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from unsplit.data.dataset import Dataset, Splits
from unsplit.data.dealing import dealt, standardised
from unsplit.data.memory import check_room
from unsplit.data.scaling import Scaling
from unsplit.errors import DataError
from unsplit.files import explained

ENDINGS = (".npz", ".safetensors", ".npy")
_FEWER = "give fewer samples, or smaller ones."
_DAMAGED = (
    SafetensorError, ValueError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, struct.error,
    SyntaxError, MemoryError, OverflowError,
)  # fmt: skip
"""What the readers raise for files that are cut off, foreign or malicious."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Part:
    """Inputs by name (one goes by "") and labels."""

    inputs: Mapping[str, Tensor]
    labels: Tensor

    def picked(self, places: Tensor) -> "_Part":
        """These samples."""
        return _Part(inputs={name: values[places] for name, values in self.inputs.items()}, labels=self.labels[places])


def read_arrays(path: Path, *, test_share: float, generator: torch.Generator) -> Splits:
    """The arrays of a file, as training and test data.

    x [n, ...] are the inputs and y [n] or [n, outputs] the labels: whole numbers are classes, others a regression's
    targets. x_NAME instead of x are several inputs, which are packed into one vector in the order of their names in the
    file. x_test (or x_test_NAME) and y_test are the test part; without them the rest is dealt out. Values that are not
    within 0 to 1 are scaled by what the training part of each input spans.

    Args:
        path: .npz, .safetensors, or one .npy, beside which the others (x.npy, y.npy, ...) lie.
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
    if test is None and "y_test" in arrays:
        raise DataError(f"{path} has labels y_test and no inputs x_test; add them, or leave y_test out.")
    if test is not None:
        _check_alike(path, train, test)
    classes = _classes(path, train, test)
    name = path.resolve().parent.name if path.suffix == ".npy" else path.stem
    if test is None:
        # The scale is that of the training part, so samples are dealt out before they are scaled.
        kept, held = dealt(name, train.labels, classes, test_share, generator=generator)
        train, test = train.picked(kept), train.picked(held)
    scalings = {key: _scaling(values, test.inputs[key]) for key, values in train.inputs.items()}
    return standardised(
        Splits(train=_dataset(name, train, scalings, classes), test=_dataset(name, test, scalings, classes))
    )


def _load(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise DataError(f"There is no file {path}; name a file of arrays, with x and y in it.")
    if path.suffix == ".npy" and not _named(path.stem):
        raise DataError(f"{path} is one array of unknown part; name the inputs x.npy and the labels, beside it, y.npy.")
    try:
        with explained(path):
            if path.suffix == ".npy":
                files = sorted(file for file in path.parent.glob("*.npy") if _named(file.stem))
                return {file.stem: _tensor(file, file.stem, _array(file)) for file in files}
            if path.suffix == ".safetensors":
                check_room(path, 2 * path.stat().st_size, _FEWER)
                return {name: _tensor(path, name, value) for name, value in load_file(path).items()}
            with path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
                check_room(path, 2 * sum(member.file_size for member in archive.infolist()), _FEWER)
                stream.seek(0)
                with np.load(stream, allow_pickle=False) as file:
                    return {name: _tensor(path, name, file[name]) for name in file.files}
    except _DAMAGED as error:
        reason = "it holds Python objects, which are never read" if "pickle" in str(error).lower() else str(error)
        raise DataError(f"{path} cannot be read as arrays ({reason}); save numbers with numpy.savez.") from error


def _named(name: str) -> bool:
    return name in ("x", "y", "y_test") or name.startswith("x_")


def _array(file: Path) -> np.ndarray:
    check_room(file, 2 * file.stat().st_size, _FEWER)
    with file.open("rb") as stream:
        array: np.ndarray = np.load(stream, allow_pickle=False)
        return array


def _tensor(path: Path, name: str, array: np.ndarray | Tensor) -> Tensor:
    """An array as a tensor of a kind that torch computes with."""
    if isinstance(array, Tensor):
        return array.float() if array.is_floating_point() and array.dtype != torch.float64 else array
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind not in "biuf":
        raise DataError(f"The array {name} of {path} is of the kind {array.dtype}; give numbers.")
    if kind == "u" and size > 1:
        if array.size and int(array.max()) > np.iinfo(np.int64).max:
            raise DataError(f"The array {name} of {path} holds numbers beyond 64 bits with a sign; give smaller ones.")
        return torch.from_numpy(array.astype(np.int64))
    if kind == "f" and size not in (4, 8):
        return torch.from_numpy(array.astype(np.float32 if size < 4 else np.float64))
    return torch.from_numpy(np.asarray(array, dtype=array.dtype.newbyteorder("="), order="C"))


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
    if labels.ndim == 0 or len(labels) == 0:
        raise DataError(
            f"The labels y{ending} of {path} are {'one number' if labels.ndim == 0 else 'empty'}; give [n]."
        )
    for key, values in inputs.items():
        called = name if not key else f"{name}_{key}"
        if values.ndim < 2 or values[:1].numel() == 0 != len(values):
            raise DataError(f"The array {called} of {path} has shape {tuple(values.shape)}; give [samples, ...].")
        if len(values) != len(labels):
            raise DataError(
                f"{path} has {len(values)} inputs {called} and {len(labels)} labels y{ending}; give one label for each."
            )
        _check_finite(path, called, values)
    _check_finite(path, f"y{ending}", labels)
    return _Part(inputs=inputs, labels=labels if labels.is_floating_point() else labels.long())


def _check_finite(path: Path, name: str, values: Tensor) -> None:
    wrong = ~torch.isfinite(values.reshape(len(values), -1)).all(1)
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        raise DataError(f"Sample {row} of the array {name} of {path} holds NaN or infinity; mend or remove it.")


def _check_alike(path: Path, train: _Part, test: _Part) -> None:
    """Check that a test part has the form of the training part."""
    shapes, others = (
        {f"x_{name}" if name else "x": tuple(values.shape[1:]) for name, values in part.inputs.items()}
        for part in (train, test)
    )
    if shapes != others:
        raise DataError(
            f"{path} has inputs {_listed(shapes)} to train on and {_listed(others)} to test with; give both the same "
            "names and shapes."
        )
    if train.labels.is_floating_point() != test.labels.is_floating_point():
        raise DataError(f"Of y and y_test of {path} one is whole numbers and one is not; make both alike.")


def _listed(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in shapes.items())


def _classes(path: Path, train: _Part, test: _Part | None) -> tuple[str, ...]:
    """Names of the classes; none for a regression."""
    if train.labels.is_floating_point():
        return ()
    labels = torch.cat([part.labels.flatten() for part in (train, test) if part is not None])
    if train.labels.ndim != 1 or int(labels.min()) < 0:
        raise DataError(
            f"The labels y of {path} are whole numbers of shape {tuple(train.labels.shape)} from {int(labels.min())}; "
            "give classes from 0, one for each sample, or floats for a regression."
        )
    highest = int(labels.max())
    if highest == 0:
        raise DataError(f"The labels y of {path} are 0 everywhere; it needs two classes or more.")
    if highest >= len(labels):
        raise DataError(
            f"The labels y of {path} go up to {highest} for {len(labels)} samples; number the classes from 0 without "
            "gaps, or give floats for a regression."
        )
    return tuple(str(number) for number in range(highest + 1))


def _scaling(values: Tensor, tested: Tensor) -> Scaling | None:
    """How an input is scaled, by its training values: not at all where all are within 0 to 1, each column by itself
    where it is a table.
    """
    low, high = (
        min(float(part.min()) for part in (values, tested)),
        max(float(part.max()) for part in (values, tested)),
    )
    if low >= 0 and high <= 1:
        return None
    pixels = not values.is_floating_point() and (values.ndim > 2 or values.dtype == torch.uint8)
    if pixels and low >= 0 and high <= 255:
        return Scaling(low=torch.tensor(0.0), span=torch.tensor(255.0))
    return Scaling.of(values.double(), each=values.ndim == 2)


def _dataset(name: str, part: _Part, scalings: Mapping[str, Scaling | None], classes: tuple[str, ...]) -> Dataset:
    scaled = {
        key: (values if (scaling := scalings[key]) is None else scaling.to_unit(values)).float()
        for key, values in part.inputs.items()
    }
    labels = part.labels.float() if part.labels.is_floating_point() else part.labels
    if "" in scaled:
        return Dataset(name=name, images=scaled[""], labels=labels, classes=classes, scaling=scalings[""])
    shapes = tuple((key, tuple(values.shape[1:])) for key, values in scaled.items())
    return Dataset(
        name=name,
        images=torch.cat([values.flatten(1) for values in scaled.values()], 1),
        labels=labels,
        classes=classes,
        scaling=Scaling.joined((shape, scalings[key]) for key, shape in shapes),
        inputs=shapes,
    )
