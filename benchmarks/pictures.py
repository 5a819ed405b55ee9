"""Pictures that come with scikit-image and scikit-learn, photographs and others, cut into pieces of any size."""

from pathlib import Path

import torch
from jaxtyping import Float
from skimage import data as scikit_image
from sklearn.datasets import load_sample_images
from torch import Tensor
from torch.nn import functional


def photographs() -> dict[str, Float[Tensor, "3 h w"]]:
    """The colour photographs, with values from 0 to 1."""
    found = {name: getattr(scikit_image, name)() for name in ("astronaut", "coffee", "chelsea", "rocket")}
    found["motorcycle"] = scikit_image.stereo_motorcycle()[0]
    samples = load_sample_images()
    for path, picture in zip(samples.filenames, samples.images, strict=True):
        found[Path(path).stem] = picture
    return {name: _channels_first(picture) for name, picture in found.items()}


def others() -> dict[str, Float[Tensor, "3 h w"]]:
    """Colour pictures that a camera did not take of the world around us: stained tissue, the back of an eye, the
    deep sky, a wheel of colours.
    """
    names = ("immunohistochemistry", "retina", "hubble_deep_field", "colorwheel")
    return {name: _channels_first(getattr(scikit_image, name)()) for name in names}


def pieces(
    picture: Float[Tensor, "c h w"], size: int, number: int, generator: torch.Generator
) -> Float[Tensor, "n c size size"]:
    """Squares from random places of the picture, of sides from `size` to the whole picture's, made `size` small."""
    height, width = picture.shape[1:]
    longest = min(height, width)
    found = []
    for _ in range(number):
        side = int(torch.randint(min(size, longest), longest + 1, (), generator=generator))
        row = int(torch.randint(height - side + 1, (), generator=generator))
        column = int(torch.randint(width - side + 1, (), generator=generator))
        square = picture[None, :, row : row + side, column : column + side]
        found.append(functional.interpolate(square, (size, size), mode="bilinear", antialias=True))
    return torch.cat(found).clamp(0, 1)


def _channels_first(picture) -> Tensor:
    return torch.from_numpy(picture[:, :, :3].copy()).permute(2, 0, 1).float() / 255
