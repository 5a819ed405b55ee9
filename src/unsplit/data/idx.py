"""MNIST's IDX files, gzipped or not (http://yann.lecun.com/exdb/mnist)."""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
import torch

from unsplit.data.dataset import Dataset
from unsplit.errors import DataError

_IMAGES, _LABELS = 2051, 2049
_PARTS = {"train": "train", "test": "t10k"}


def idx_files(part: str) -> tuple[str, str]:
    """Names of the image file and the label file of "train" or "test", without the .gz."""
    return f"{_PARTS[part]}-images-idx3-ubyte", f"{_PARTS[part]}-labels-idx1-ubyte"


def read_idx_set(folder: Path, part: str, *, name: str, classes: tuple[str, ...]) -> Dataset:
    """The "train" or "test" part of a set of 28x28 pictures.

    Raises:
        DataError: a file is missing, truncated, damaged or not IDX, or the two do not go together.
    """
    images_name, labels_name = idx_files(part)
    images = _array(folder, images_name, _IMAGES, 3)
    labels = _array(folder, labels_name, _LABELS, 1)
    if len(images) != len(labels):
        raise DataError(
            f"{folder / images_name} holds {len(images)} pictures and {labels_name} {len(labels)} labels; "
            "they are not of the same set: fetch them again."
        )
    return Dataset(
        name=name,
        images=torch.from_numpy(images).unsqueeze(1).float().div_(255),
        labels=torch.from_numpy(labels).long(),
        classes=classes,
    )


def contents(path: Path) -> bytes:
    """The bytes of a file, unpacked if it is gzipped.

    Raises:
        DataError: it cannot be read or unpacked.
    """
    try:
        raw = path.read_bytes()
        return gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read or is damaged ({error}); fetch it again.") from error


def find(folder: Path, name: str) -> Path | None:
    """The file of this name in a folder, gzipped or not."""
    return next((path for path in (folder / f"{name}.gz", folder / name) if path.is_file()), None)


def _array(folder: Path, name: str, magic: int, dimensions: int) -> np.ndarray:
    path = find(folder, name)
    if path is None:
        raise DataError(f"{folder} has no {name}.gz; fetch the set again or name another folder.")
    data = contents(path)
    header = 4 + 4 * dimensions
    if len(data) < header or struct.unpack(">i", data[:4])[0] != magic:
        raise DataError(f"{path} is not an IDX file of {dimensions}-dimensional bytes; fetch it again.")
    shape = struct.unpack(f">{dimensions}i", data[4:header])
    if len(data) - header != int(np.prod(shape)):
        raise DataError(
            f"{path} announces {int(np.prod(shape))} bytes but holds {len(data) - header}; it is truncated or damaged: "
            "fetch it again."
        )
    return np.frombuffer(bytearray(data[header:]), dtype=np.uint8).reshape(shape)
