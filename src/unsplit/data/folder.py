"""Pictures in a folder, one subfolder for each class."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from unsplit.data.dataset import Dataset
from unsplit.errors import DataError

_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}
_GREY, _COLOUR = {"1", "L", "LA"}, {"RGB", "RGBA", "P", "CMYK", "YCbCr"}


def read_folder(folder: Path) -> Dataset:
    """Every picture below `folder`, whose subfolders are the classes in alphabetical order.

    Pictures are [channels, height, width] from 0 to 1: one channel if all are grey, three if any has colour (grey
    ones are repeated, transparency is dropped, CMYK is converted; of an animation the first frame counts).

    Raises:
        DataError: no subfolders, an empty one, a picture that cannot be read or of another size than the first, or
            of more than 8 bits a channel.
    """
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}; name a folder with one subfolder of images for each class.")
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(classes) < 2:
        raise DataError(f"{folder} has {len(classes)} subfolders; it needs one for each of two classes or more.")
    pictures: list[Tensor] = []
    labels: list[int] = []
    for number, path in enumerate(classes):
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in _SUFFIXES and file.is_file())
        if not files:
            raise DataError(f"The class folder {path} holds no picture; add some or remove the folder.")
        for file in files:
            pictures.append(_picture(file))
            if pictures[-1].shape[1:] != pictures[0].shape[1:]:
                height, width = pictures[0].shape[1:]
                raise DataError(
                    f"{file} is {pictures[-1].shape[2]} x {pictures[-1].shape[1]} pixels and the first picture "
                    f"{width} x {height}; bring all to one size."
                )
        labels += [number] * len(files)
    channels = max(len(picture) for picture in pictures)
    return Dataset(
        name=folder.resolve().name,
        images=torch.stack([picture.expand(channels, -1, -1) for picture in pictures]),
        labels=torch.tensor(labels),
        classes=tuple(path.name for path in classes),
    )


def _picture(file: Path) -> Tensor:
    """One picture, shape [1 or 3, height, width]."""
    try:
        with Image.open(file) as image:
            mode = image.mode
            if mode not in _GREY | _COLOUR:
                raise DataError(
                    f"{file} is of the kind '{mode}', not 8 bits a channel; convert it to 8-bit grey or RGB."
                )
            pixels = np.asarray(image.convert("L" if mode in _GREY else "RGB"), dtype=np.float32) / 255
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{file} cannot be read as a picture ({error}); mend or remove it.") from error
    tensor = torch.from_numpy(pixels)
    return tensor.unsqueeze(0) if tensor.ndim == 2 else tensor.permute(2, 0, 1)
