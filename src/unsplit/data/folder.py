"""Pictures in a folder: one subfolder for each class, or a labels.csv beside the pictures."""

import csv
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from unsplit.data.dataset import Dataset
from unsplit.errors import DataError

_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}
_GREY, _COLOUR = {"1", "L", "LA"}, {"RGB", "RGBA", "P", "PA", "CMYK", "YCbCr", "LAB", "HSV"}
_DEEP = {"I;16", "I;16B", "I;16L", "I;16N", "I"}
_SIXTEEN_BITS = 65535.0
LABELS = "labels.csv"

_LARGEST = 8 * 2**30
"""Bytes of pictures above which a set is refused rather than the machine brought to a halt."""


def read_folder(folder: Path, *, image_size: tuple[int, ...] | None = None) -> Dataset:
    """Every picture below `folder`, whose subfolders are the classes in alphabetical order; or those that its
    `labels.csv` (file,label) names.

    Pictures are [channels, height, width] from 0 to 1: one channel if all are grey, three if any has colour (grey ones
    are repeated, transparency is dropped, CMYK is converted; of an animation the first frame counts; 16-bit grey keeps
    its depth; they are turned as their camera says).

    Args:
        folder: of the pictures.
        image_size: height and width to bring all to, cut to that shape about the middle; None leaves them as they are,
            and all must be alike.

    Raises:
        DataError: no classes, an empty one, a picture that cannot be read, is too large or of another size than the
            first, or a set that does not fit into memory.
    """
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}; name a folder with one subfolder of images for each class.")
    labelled = _labelled(folder) if (folder / LABELS).is_file() else _subfolders(folder)
    classes = sorted({name for _, name in labelled})
    if len(classes) < 2:
        raise DataError(f"{folder} has pictures of {len(classes)} class; it needs two classes or more.")
    pictures: list[Tensor] = []
    for file, _ in labelled:
        pictures.append(_picture(file, image_size))
        if pictures[-1].shape[1:] != pictures[0].shape[1:]:
            height, width = pictures[0].shape[1:]
            raise DataError(
                f"{file} is {pictures[-1].shape[2]} x {pictures[-1].shape[1]} pixels and the first picture "
                f"{width} x {height}; bring all to one size, for example with --image-size {height},{width}."
            )
        if len(pictures) == 1:
            _check_memory(folder, pictures[0], len(labelled))
    channels = max(len(picture) for picture in pictures)
    return Dataset(
        name=folder.resolve().name,
        images=torch.stack([picture.expand(channels, -1, -1) for picture in pictures]),
        labels=torch.tensor([classes.index(name) for _, name in labelled]),
        classes=tuple(classes),
    )


def _subfolders(folder: Path) -> list[tuple[Path, str]]:
    """The pictures with the names of their classes."""
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(classes) < 2:
        raise DataError(
            f"{folder} has {len(classes)} subfolders; it needs one for each of two classes or more, or a {LABELS} with "
            "the columns file and label."
        )
    found = []
    for path in classes:
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in _SUFFIXES and file.is_file())
        if not files:
            raise DataError(f"The class folder {path} holds no picture; add some or remove the folder.")
        found += [(file, path.name) for file in files]
    return found


def _labelled(folder: Path) -> list[tuple[Path, str]]:
    """The pictures that labels.csv names."""
    path = folder / LABELS
    try:
        with path.open(newline="", encoding="utf-8-sig") as text:
            rows = [row for row in csv.reader(text) if row]
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise DataError(f"{path} cannot be read ({error}); save it as CSV in UTF-8.") from error
    found = []
    for number, row in enumerate(rows, start=1):
        if len(row) != 2:
            raise DataError(f"Row {number} of {path} has {len(row)} values; give each picture's file and its label.")
        file = folder / row[0].strip()
        if file.is_file():
            found.append((file, row[1].strip()))
        elif number > 1:
            raise DataError(f"Row {number} of {path} names {row[0]}, which is not in {folder}; mend or remove the row.")
    if not found:
        raise DataError(f"{path} names no picture; give each picture's file and its label in a row.")
    return found


def _picture(file: Path, image_size: tuple[int, ...] | None) -> Tensor:
    """One picture, shape [1 or 3, height, width]."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                pixels = _pixels(file, image, image_size)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(
            f"{file} is too large to be opened ({Image.MAX_IMAGE_PIXELS:,} pixels at most); make it smaller."
        ) from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{file} cannot be read as a picture ({error}); mend or remove it.") from error
    tensor = torch.from_numpy(np.ascontiguousarray(pixels))
    return tensor.unsqueeze(0) if tensor.ndim == 2 else tensor.permute(2, 0, 1)


def _pixels(file: Path, image: Image.Image, image_size: tuple[int, ...] | None) -> np.ndarray:
    deep = image.mode in _DEEP
    if not deep and image.mode not in _GREY | _COLOUR:
        raise DataError(f"{file} is of the kind '{image.mode}', which has no fixed range; convert it to grey or RGB.")
    turned = ImageOps.exif_transpose(image)
    if deep:
        values = np.asarray(turned, dtype=np.float32) / _SIXTEEN_BITS
        if float(values.min()) < 0 or float(values.max()) > 1:
            raise DataError(f"{file} holds values beyond 16 bits; convert it to 8-bit or 16-bit grey.")
        plain = Image.fromarray(values, mode=None)
    else:
        plain = turned.convert("L" if image.mode in _GREY else "RGB")
    if image_size is not None:
        height, width = image_size
        plain = ImageOps.fit(plain, (width, height), method=Image.Resampling.BILINEAR)
    return np.asarray(plain, dtype=np.float32) / (1.0 if deep else 255.0)


def _check_memory(folder: Path, picture: Tensor, number: int) -> None:
    needed = number * 3 * picture[0].numel() * 4
    if needed > _LARGEST:
        raise DataError(
            f"The {number} pictures of {folder} take up to {needed / 2**30:.0f} GiB as numbers; bring them to a "
            "smaller size with --image-size HEIGHT,WIDTH, or take fewer."
        )
