"""Arrays in .npz, .safetensors and .npy files: x and y, and x_test and y_test if the test part is apart."""

import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from unsplit.data.dataset import Dataset, Splits
from unsplit.data.dealing import dealt, standardised
from unsplit.data.labels import decided
from unsplit.data.memory import check_room
from unsplit.data.numbers import plain
from unsplit.data.scaling import Scaling, fitting_scale
from unsplit.errors import DataError
from unsplit.files import explained
from unsplit.ranges import InputRange

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


def read_arrays(
    path: Path, *, test_share: float, generator: torch.Generator, input_range: InputRange | None = None
) -> Splits:
    """The arrays of a file, as training and test data.

    x [n, ...] are the inputs and y [n] or [n, outputs] the labels: whole numbers or one-hot rows are classes, and so
    are a few whole values in floating point; others are a regression's targets. x_NAME instead of x are several inputs,
    which are packed into one vector in the order of their names in the file. x_test (or x_test_NAME) and y_test are the
    test part; without them the rest is dealt out. What 0 and 1 stand for is told by the values (see `fitting_scale`).

    Args:
        path: file .npz, .safetensors, or one .npy, beside which the others (x.npy, y.npy, ...) lie.
        test_share: share of the samples that is kept for test where there is no test part, between 0 and 1.
        generator: source of randomness that deals the samples out.
        input_range: lowest and highest value of x, which become 0 and 1; None to infer them from the values.

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
    labels, classes, notes = decided(
        f"The labels y of {path}", [part.labels for part in (train, test) if part is not None]
    )
    train = replace(train, labels=labels[0])
    test = None if test is None else replace(test, labels=labels[1])
    if input_range is not None and "" not in train.inputs:
        raise DataError(f"{path} has several inputs, and one range was given for them; leave `input_range` out.")
    name = path.resolve().parent.name if path.suffix.lower() == ".npy" else path.stem
    if test is None:
        # The scale is that of the training part, so samples are dealt out before they are scaled.
        kept, held = dealt(name, train.labels, classes, test_share, generator=generator)
        train, test = train.picked(kept), train.picked(held)
    scalings: dict[str, Scaling | None] = {}
    for key, values in train.inputs.items():
        scalings[key], said = fitting_scale(values, test.inputs[key], input_range)
        notes += tuple(f"{key}: {note}" if key else note for note in said)
    both = (_dataset(name, part, scalings, classes, notes) for part in (train, test))
    return standardised(Splits(train=next(both), test=next(both)))


def _load(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise DataError(f"There is no file {path}; name a file of arrays, with x and y in it.")
    if path.suffix.lower() == ".npy" and not _named(path.stem):
        raise DataError(
            f"{path} holds one array, and its name does not say whether that is inputs or labels; save the inputs as "
            "x.npy and the labels beside them as y.npy."
        )
    try:
        with explained(path):
            if path.suffix.lower() == ".npy":
                files = sorted(file for file in path.parent.glob("*.npy") if _named(file.stem))
                return {file.stem: plain(_array(file), f"The array {file.stem} of {file}") for file in files}
            if path.suffix.lower() == ".safetensors":
                check_room(path, 2 * path.stat().st_size, _FEWER)
                return {name: plain(value, f"The array {name} of {path}") for name, value in load_file(path).items()}
            with path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
                check_room(path, 2 * sum(member.file_size for member in archive.infolist()), _FEWER)
                stream.seek(0)
                with np.load(stream, allow_pickle=False) as file:
                    return {name: plain(file[name], f"The array {name} of {path}") for name in file.files}
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
        raise DataError(
            f"{path} has both {name} and {name}_NAME; give one input without a name, or a name to every input."
        )
    labels = arrays.get(f"y{ending}")
    if labels is None:
        raise DataError(f"{path} has inputs {name} and no labels y{ending}; add one label for each input.")
    if labels.ndim == 0 or len(labels) == 0:
        raise DataError(
            f"The labels y{ending} of {path} are {'one number' if labels.ndim == 0 else 'empty'}; give one label for "
            "each sample, shape [n]."
        )
    for key, values in inputs.items():
        called = name if not key else f"{name}_{key}"
        if values.ndim < 2 or values[:1].numel() == 0 != len(values):
            raise DataError(
                f"The array {called} of {path} has shape {tuple(values.shape)}; give an array of shape [samples, ...]."
            )
        if len(values) != len(labels):
            raise DataError(
                f"{path} has {len(values)} inputs {called} and {len(labels)} labels y{ending}; give one label for each."
            )
        _check_finite(path, called, values)
    _check_finite(path, f"y{ending}", labels)
    return _Part(inputs=inputs, labels=labels)


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
        raise DataError(
            f"One of the arrays y and y_test of {path} holds whole numbers and the other does not; give both the same "
            "type."
        )


def _listed(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in shapes.items())


def _dataset(
    name: str,
    part: _Part,
    scalings: Mapping[str, Scaling | None],
    classes: tuple[str, ...],
    notes: tuple[str, ...],
) -> Dataset:
    scaled = {
        key: (values if (scaling := scalings[key]) is None else scaling.to_unit(values)).float()
        for key, values in part.inputs.items()
    }
    several = "" not in scaled
    shapes = tuple((key, tuple(values.shape[1:])) for key, values in scaled.items())
    return Dataset(
        name=name,
        images=torch.cat([values.flatten(1) for values in scaled.values()], 1) if several else scaled[""],
        labels=part.labels,
        classes=classes,
        scaling=Scaling.joined((shape, scalings[key]) for key, shape in shapes) if several else scalings[""],
        inputs=shapes if several else (),
        notes=notes,
    )
