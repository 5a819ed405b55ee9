"""CIFAR-10's "binary version" (https://www.cs.toronto.edu/~kriz/cifar.html)."""

from pathlib import Path

import numpy as np
import torch

from unsplit.data.dataset import Dataset
from unsplit.errors import DataError

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_RECORD = 1 + 3 * 32 * 32
_FILES = {"train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)), "test": ("test_batch.bin",)}


def cifar_files(part: str) -> tuple[str, ...]:
    """Names of the files of "train" or "test"."""
    return _FILES[part]


def read_cifar(folder: Path, part: str) -> Dataset:
    """The "train" or "test" part: pictures [n, 3, 32, 32].

    Raises:
        DataError: a file is missing, truncated or not of this format.
    """
    records = np.concatenate([_records(folder / name) for name in _FILES[part]])
    images = records[:, 1:].reshape(-1, 3, 32, 32)
    return Dataset(
        name="cifar-10",
        images=torch.from_numpy(images).float().div_(255),
        labels=torch.from_numpy(records[:, 0]).long(),
        classes=CLASSES,
    )


def _records(path: Path) -> np.ndarray:
    if not path.is_file():
        raise DataError(f"{path.parent} has no {path.name}; fetch the set again or name another folder.")
    data = np.fromfile(path, dtype=np.uint8)
    if len(data) == 0 or len(data) % _RECORD:
        raise DataError(
            f"{path} holds {len(data)} bytes, not a multiple of {_RECORD}; it is truncated or not CIFAR-10's binary "
            "version: fetch it again."
        )
    records = data.reshape(-1, _RECORD)
    if int(records[:, 0].max()) >= len(CLASSES):
        raise DataError(f"{path} has labels above 9, so it is damaged or not CIFAR-10; fetch it again.")
    return records
