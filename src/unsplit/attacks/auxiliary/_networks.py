"""The networks of the passive attacks with auxiliary data, sized to the client's inputs and smashed data."""

from math import ceil, log2, prod

import torch
from torch import Tensor, nn
from torch.nn import functional

from unsplit.attacks.auxiliary._hijack_networks import PlainBlock
from unsplit.errors import InputError

Shape = tuple[int, ...]

WINDOW = 1000
"""Smashed samples beside the targets that an audit lets these attacks learn from."""

_EMBEDDING = 50
_SLOPE = 0.2
_DROPPED = 0.4
_FROM_FLAT = 32

# Discriminators halve their input to this size before their widest convolutions.
_SMALL = 8


class Conditional(nn.Module):
    """A network that may be told the labels: they are embedded as one more channel of its input (of flat inputs, as 50
    more numbers).

    Args:
        layers: the network; its input has one channel (or 50 numbers) more where there are `classes`.
        shape: shape of one of its inputs, [c, h, w] or [c].
        classes: how many there are; None for a network that is not told.
    """

    def __init__(self, layers: nn.Module, shape: Shape, classes: int | None) -> None:
        super().__init__()
        self.layers = layers
        self._plane = (1, *shape[1:]) if len(shape) == 3 else (_EMBEDDING,)
        self.label = (
            None
            if classes is None
            else nn.Sequential(nn.Embedding(classes, _EMBEDDING), nn.Linear(_EMBEDDING, prod(self._plane)))
        )

    def forward(self, values: Tensor, labels: Tensor | None) -> Tensor:
        if self.label is not None:
            plane = self.label(labels).unflatten(1, self._plane)
            values = torch.cat([values, plane], 1)
        outputs: Tensor = self.layers(values)
        return outputs


class CentrePad(nn.Module):
    """Pads with zeros, or crops, to a size around the centre: what convolutions without padding took away."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self._size = size

    def forward(self, values: Tensor) -> Tensor:
        down, right = self._size[0] - values.shape[2], self._size[1] - values.shape[3]
        return functional.pad(values, (right // 2, right - right // 2, down // 2, down - down // 2))


def make_decoder(smashed: Shape, picture: Shape, classes: int | None, *, width: int = 16) -> Conditional:
    """From smashed data to pictures with values from 0 to 1.

    Each doubling of the size is followed by a convolution, and by two more on the way (three at full size), all with
    batch norm and ReLU. A map that no number of doublings brings to the picture's size is padded around its centre.

    Args:
        smashed: shape of one smashed datum: a feature map [c, h, w], or flat [c].
        picture: shape of one input, [c, h, w].
        classes: where it is told the labels.
        width: channels at full size; twice as many at half of it, and so on.

    Raises:
        InputError: shapes of another kind.
    """
    check_shapes(smashed, picture)
    channels, spatial = extra_channels(smashed, classes), smashed
    layers: list[nn.Module] = []
    if len(smashed) == 1:
        spatial = (_FROM_FLAT, ceil(picture[1] / 4), ceil(picture[2] / 4))
        layers += [nn.Linear(channels, prod(spatial)), nn.Unflatten(1, spatial), nn.ReLU()]
        channels = _FROM_FLAT
    for left in range(halvings(spatial, picture), 0, -1):
        layers.append(nn.Upsample(scale_factor=2))
        layers += _normed(channels, width * 2**left)
        channels = width * 2**left
        if left > 1:
            layers += [*_normed(channels, channels // 2), *_normed(channels // 2, channels // 2)]
            channels //= 2
    layers += [CentrePad((picture[1], picture[2])), *_normed(channels, width)]
    layers += [*_normed(width, width), *_normed(width, width)]
    layers += [nn.Conv2d(width, picture[0], 3, padding=1), nn.Sigmoid()]
    return Conditional(nn.Sequential(*layers), smashed, classes)


def make_feature_discriminator(smashed: Shape, classes: int | None, *, width: int = 256) -> Conditional:
    """From smashed data to one logit, positive for the client's: convolutions down to 8 x 8 places, where the widest
    follow; dense layers for flat smashed data.
    """
    channels = extra_channels(smashed, classes)
    if len(smashed) == 1:
        dense: list[nn.Module] = [nn.Linear(channels, width), nn.LeakyReLU(_SLOPE)]
        dense += [nn.Linear(width, width), nn.LeakyReLU(_SLOPE), nn.Dropout(_DROPPED), nn.Linear(width, 1)]
        return Conditional(nn.Sequential(*dense), smashed, classes)
    steps = max(ceil(log2(max(smashed[1:]) / _SMALL)), 0)
    first = max(width // 2 ** (steps + 1), 1)
    layers: list[nn.Module] = [nn.Conv2d(channels, first, 3, padding=1), nn.LeakyReLU(_SLOPE)]
    channels = first
    for step in range(steps):
        layers += _leaky(channels, max(width // 2 ** (steps - step), 1), stride=2)
        channels = max(width // 2 ** (steps - step), 1)
    for _ in range(3):
        layers += _leaky(channels, width, stride=1)
        channels = width
    layers.append(nn.Conv2d(channels, width, 3, stride=2, padding=1))
    size = [ceil(side / 2 ** (steps + 1)) for side in smashed[1:]]
    return Conditional(nn.Sequential(*layers, *_judgement(width * prod(size))), smashed, classes)


def make_picture_discriminator(picture: Shape, classes: int | None, *, width: int = 64) -> Conditional:
    """From pictures to one logit, positive for real ones."""
    layers: list[nn.Module] = [
        nn.Conv2d(extra_channels(picture, classes), width, 3, padding=1), nn.LeakyReLU(_SLOPE),
        *_leaky(width, 2 * width, stride=2), *_leaky(2 * width, 2 * width, stride=2),
        nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1), nn.LeakyReLU(_SLOPE),
    ]  # fmt: skip
    size = [ceil(side / 8) for side in picture[1:]]
    return Conditional(nn.Sequential(*layers, *_judgement(4 * width * prod(size))), picture, classes)


def make_substitute(picture: Shape, smashed: Shape, *, rectified: bool, width: int = 64) -> nn.Sequential:
    """From pictures to smashed data, for an attacker who does not know the client's layers: two convolutions before
    each halving, as in a VGG, and one more (or a dense layer) to the smashed data's channels.

    Args:
        picture: shape of one input, [c, h, w].
        smashed: shape of one smashed datum: a feature map [c, h, w], or flat [c].
        rectified: whether the network ends in ReLU.
        width: channels before the first halving; twice as many before the second, and so on.

    Raises:
        InputError: shapes of another kind.
    """
    check_shapes(smashed, picture)
    steps = halvings(smashed, picture) if len(smashed) == 3 else 2
    layers: list[nn.Module] = []
    before = picture[0]
    for step in range(max(steps, 1)):
        layers += [*_normed(before, width * 2**step), *_normed(width * 2**step, width * 2**step)]
        layers += [nn.MaxPool2d(2)] if steps else []
        before = width * 2**step
    if len(smashed) == 3:
        layers.append(CentrePad((smashed[1], smashed[2])))
        layers += [nn.Conv2d(before, smashed[0], 3, padding=1), nn.BatchNorm2d(smashed[0])]
    else:
        flat = before * (picture[1] // 4) * (picture[2] // 4)
        layers += [nn.Flatten(), nn.Linear(flat, smashed[0]), nn.BatchNorm1d(smashed[0])]
    return nn.Sequential(*layers, *([nn.ReLU()] if rectified else []))


def make_critic(smashed: Shape, *, width: int = 256, blocks: int = 6) -> nn.Sequential:
    """From smashed data to one number, without batch norm, which a gradient penalty forbids: convolutions that halve
    down to 4 x 4 places, residual blocks, a dense layer; dense layers for flat smashed data.
    """
    if len(smashed) == 1:
        return nn.Sequential(
            nn.Linear(smashed[0], width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1)
        )
    steps = max(ceil(log2(max(smashed[1:]) / 4)), 0)
    layers: list[nn.Module] = []
    before = smashed[0]
    for step in range(max(steps, 1)):
        after = max(width // 2 ** (steps - 1 - step), 1) if steps else width
        layers += [nn.ReLU()] if layers else []
        layers.append(nn.Conv2d(before, after, 3, stride=2 if steps else 1, padding=1))
        before = after
    layers += [PlainBlock(width) for _ in range(blocks)]
    layers += [nn.Conv2d(width, width, 3, stride=2, padding=1), nn.Flatten()]
    size = [ceil(side / 2 ** (steps + 1)) for side in smashed[1:]]
    return nn.Sequential(*layers, nn.Linear(width * prod(size), 1))


def halvings(smashed: Shape, picture: Shape) -> int:
    """How often a picture was halved to give a feature map of this size, unpadded convolutions apart."""
    return max(int(log2(min(picture[1] / smashed[1], picture[2] / smashed[2]))), 0)


def extra_channels(shape: Shape, classes: int | None) -> int:
    """The channels of a conditional network's input."""
    told = 0 if classes is None else 1 if len(shape) == 3 else _EMBEDDING
    return shape[0] + told


def check_shapes(smashed: Shape, picture: Shape) -> None:
    """Check that smashed data are feature maps or flat, and inputs pictures.

    Raises:
        InputError: they are not.
    """
    if len(picture) != 3 or len(smashed) not in (1, 3):
        raise InputError(
            "Attacks with auxiliary data turn smashed data of shape [n, c, h, w] or [n, c] into pictures of shape [n, "
            f"c, h, w]; here one sample has smashed data of shape {list(smashed)} and an input of shape "
            f"{list(picture)}; cut the network elsewhere, or use the preset 'joint'."
        )


def _normed(before: int, after: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]


def _leaky(before: int, after: int, *, stride: int) -> list[nn.Module]:
    return [
        nn.Conv2d(before, after, 3, stride=stride, padding=1),
        nn.BatchNorm2d(after),
        nn.LeakyReLU(_SLOPE),
    ]


def _judgement(features: int) -> list[nn.Module]:
    return [nn.Flatten(), nn.Dropout(_DROPPED), nn.Linear(features, 1)]
