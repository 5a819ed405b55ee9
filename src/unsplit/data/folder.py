"""Pictures in a folder: one subfolder for each class, or a labels.csv beside the pictures."""

import csv
import struct
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from unsplit.data.cells import numbers_of
from unsplit.data.dataset import Dataset
from unsplit.data.labels import labels_of
from unsplit.data.memory import check_room
from unsplit.data.scaling import OTHERWISE, depth, fitting_scale
from unsplit.errors import DataError
from unsplit.files import explained
from unsplit.ranges import InputRange

_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}
_GREY, _COLOUR = {"1", "L", "LA"}, {"RGB", "RGBA", "P", "PA", "CMYK", "YCbCr", "LAB", "HSV"}
_DEEP = {"I;16", "I;16B", "I;16L", "I;16N", "I"}
LABELS = "labels.csv"


def read_folder(
    folder: Path, *, image_size: tuple[int, ...] | None = None, input_range: InputRange | None = None
) -> Dataset:
    """Every picture below `folder`, whose subfolders are the classes in alphabetical order; or those that its
    `labels.csv` (file,label) names, by class or, where labels are not a few whole numbers, for a regression.

    Pictures are [channels, height, width] from 0 to 1: one channel if all are grey, three if any has colour (grey ones
    are repeated, transparency is dropped, CMYK is converted; of an animation the first frame counts; they are turned
    as their camera says). Of 16-bit grey, 1 is the largest number of so many bits as these pictures use: 8, 10, 12, 14
    or 16.

    Args:
        folder: folder of the pictures.
        image_size: height and width to bring all to, cut to that shape about the middle; None leaves them as they are,
            and all must be alike.
        input_range: the values of pixels that become 0 and 1, for example 0 and 4095; None to tell by the pictures.

    Raises:
        DataError: no classes, an empty one, a picture that cannot be read, is too large or of another size than the
            first, or a set that does not fit into memory.
    """
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}; name a folder with one subfolder of images for each class.")
    if image_size is not None and (len(image_size) != 2 or min(image_size) < 1):
        raise DataError(f"image_size is {image_size}; give a height and a width in pixels, for example 64,64.")
    with explained(folder):
        labelled = _labelled(folder) if (folder / LABELS).is_file() else _subfolders(folder)
    names = [name for _, name in labelled]
    if (folder / LABELS).is_file():
        labels, classes = labels_of(folder / LABELS, "label", names, numbers_of(names))
    else:
        classes = tuple(sorted(set(names)))
        labels = torch.tensor([classes.index(name) for name in names])
    pictures: list[Tensor] = []
    deep: list[bool] = []
    for file, _ in labelled:
        levels, sixteen = _picture(file, image_size)
        pictures.append(levels)
        deep.append(sixteen)
        if pictures[-1].shape[1:] != pictures[0].shape[1:]:
            height, width = pictures[0].shape[1:]
            raise DataError(
                f"{file} is {pictures[-1].shape[2]} x {pictures[-1].shape[1]} pixels and the first picture "
                f"{width} x {height}; bring all to one size, for example with `image_size=({height}, {width})`."
            )
        if len(pictures) == 1:
            # Read and then put together: twice three channels of four bytes.
            needed = len(labelled) * pictures[0][0].numel() * 24
            check_room(
                folder, needed, "bring pictures to a smaller size with `image_size=(HEIGHT, WIDTH)`, or take fewer."
            )
    channels = max(len(picture) for picture in pictures)
    images = torch.stack([picture.expand(channels, -1, -1) for picture in pictures])
    notes = () if input_range is not None else _to_unit(images, torch.tensor(deep))
    scaling, said = fitting_scale(images, images[:1], input_range)
    return Dataset(
        name=folder.resolve().name,
        images=images if scaling is None else scaling.to_unit(images),
        labels=labels,
        classes=classes,
        scaling=None if input_range is None else scaling,
        notes=(*notes, *said),
    )


def _to_unit(levels: Tensor, deep: Tensor) -> tuple[str, ...]:
    """Bring levels [n, ...] to 0 to 1 in place, those of 16-bit pictures by the depth that they use; says which."""
    levels[~deep] /= 255
    if not bool(deep.any()):
        return ()
    full = depth(float(levels[deep].max()))
    levels[deep] /= full
    return (f"The 16-bit pictures use 0 to {full}, which became 0 to 1 ({OTHERWISE}).",)


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
        files = sorted(file for file in path.rglob("*") if _is_picture(file))
        if not files:
            raise DataError(f"The class folder {path} holds no picture; add some or remove the folder.")
        found += [(file, path.name) for file in files]
    return found


def _is_picture(file: Path) -> bool:
    return file.suffix.lower() in _SUFFIXES and not file.name.startswith(".") and file.is_file()


def _labelled(folder: Path) -> list[tuple[Path, str]]:
    """The pictures that labels.csv names."""
    path = folder / LABELS
    try:
        with path.open(newline="", encoding="utf-8-sig") as text:
            rows = [row for row in csv.reader(text) if row]
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise DataError(f"{path} cannot be read ({error}); save it as CSV in UTF-8.") from error
    found: dict[Path, str] = {}
    for number, row in enumerate(rows, start=1):
        if len(row) != 2:
            raise DataError(f"Row {number} of {path} has {len(row)} values; give each picture's file and its label.")
        file, label = folder / row[0].strip(), row[1].strip()
        if file.is_file() and not label:
            raise DataError(f"Row {number} of {path} names {row[0]} and no label; give it one, or remove the row.")
        if file in found:
            raise DataError(f"Row {number} of {path} names {row[0]} again; give each picture one row.")
        if file.is_file():
            found[file] = label
        elif number > 1:
            raise DataError(f"Row {number} of {path} names {row[0]}, which is not in {folder}; mend or remove the row.")
    if not found:
        raise DataError(f"{path} names no picture; give each picture's file and its label in a row.")
    return list(found.items())


def _picture(file: Path, image_size: tuple[int, ...] | None) -> tuple[Tensor, bool]:
    """The levels of one picture, shape [1 or 3, height, width], and whether they are of 16 bits rather than 8."""
    try:
        with warnings.catch_warnings():
            # Of broken EXIF data, without which a picture can be read.
            warnings.simplefilter("ignore", UserWarning)
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                deep = image.mode in _DEEP
                pixels = _pixels(file, image, image_size)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(
            f"{file} is too large to be opened ({Image.MAX_IMAGE_PIXELS:,} pixels at most); make it smaller."
        ) from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, struct.error, EOFError, MemoryError) as error:
        raise DataError(f"{file} cannot be read as a picture ({error}); mend or remove it.") from error
    tensor = torch.from_numpy(np.array(pixels, order="C"))
    return (tensor.unsqueeze(0) if tensor.ndim == 2 else tensor.permute(2, 0, 1)), deep


def _pixels(file: Path, image: Image.Image, image_size: tuple[int, ...] | None) -> np.ndarray:
    deep = image.mode in _DEEP
    if not deep and image.mode not in _GREY | _COLOUR:
        raise DataError(f"{file} is of the kind '{image.mode}', which has no fixed range; convert it to grey or RGB.")
    turned = ImageOps.exif_transpose(image)
    if deep:
        values = np.asarray(turned, dtype=np.float32)
        if float(values.min()) < 0 or float(values.max()) >= 2**16:
            raise DataError(f"{file} holds values beyond 16 bits; convert it to 8-bit or 16-bit grey.")
        plain = Image.fromarray(values, mode=None)
    else:
        # A palette with degrees of transparency goes by RGBA.
        opened = turned.convert("RGBA") if image.mode in ("P", "PA") else turned
        plain = opened.convert("L" if image.mode in _GREY else "RGB")
    if image_size is not None:
        height, width = image_size
        plain = ImageOps.fit(plain, (width, height), method=Image.Resampling.BILINEAR)
    return np.asarray(plain, dtype=np.float32)
