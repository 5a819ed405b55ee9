"""A decoder from smashed data to pictures or signals, shared by all samples.

Free pictures can explain their smashed data each in its own way. A decoder cannot: it is convolutional, so what it
does at one place and for one sample it does at every place and for all of them.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from unsplit.attacks.inversion._receptive import patches, receptive_centres
from unsplit.attacks.inversion._tokens import tokens_of
from unsplit.errors import InputError

_SLOPE = 0.1
_FROM_FLAT = 32

# Channels that hardly vary are not blown up to the size of the others.
_LEAST_DEVIATION = 0.05


class Decoder(nn.Module):
    """From smashed data [n, ...] to pictures [n, c, h, w] or signals [n, c, length] with values from 0 to 1.

    Args:
        clone: tells which pixels each place of the smashed data looks at.
        samples: smashed data, whose mean and deviation it is normalised by.
        shape: [c, h, w] of a picture, or [c, length] of a signal, which is taken for a picture of one row.
        width: number of channels of the convolutions.
        blocks: number of residual blocks of two convolutions.
        tilt: logit of the first pictures: negative starts dark, positive bright.
        reduced_precision: whether convolutions are computed in bfloat16.

    Attributes:
        shape: of what it makes, as it was asked for.
        period: number of pixels after which the grid of the client's pooling and that of the decoder's own last layer,
            which makes pixels two by two, repeat; 1 for signals and very small pictures.

    The convolutions work at half the picture's resolution; smashed data that is still a map, or a row of tokens that
    stand for patches, is resampled to where its places look, and other smashed data pass through a dense layer first.

    Raises:
        InputError: the inputs are neither pictures nor signals.
    """

    mean: Tensor
    deviation: Tensor
    position: Tensor
    places: Tensor

    def __init__(
        self,
        clone: nn.Module,
        samples: Float[Tensor, "n ..."],
        shape: tuple[int, ...],
        *,
        width: int = 32,
        blocks: int = 2,
        tilt: float = 0.0,
        reduced_precision: bool = False,
    ) -> None:
        super().__init__()
        if len(shape) not in (2, 3):
            raise InputError(
                f"The decoder makes only pictures and signals, and the inputs here have shape {shape}; use the preset "
                "'joint'."
            )
        self.shape = shape
        self._signal = len(shape) == 2
        picture = (shape[0], 1, shape[1]) if self._signal else shape
        if self._signal:
            clone, samples = _OneRow(clone), _lifted(samples)
        self._tokens = None if self._signal else tokens_of(clone, tuple(samples.shape[1:]), picture)
        if self._tokens is not None:
            samples = self._tokens(samples)
        self._picture = picture
        self._half = (-(-picture[1] // 2), -(-picture[2] // 2))
        self._reduced_precision = reduced_precision
        self._spatial = samples.ndim == 4
        over = [0, *range(2, samples.ndim)] if self._spatial else [0]
        deviation = samples.std(over, unbiased=False, keepdim=True)[0]
        self.register_buffer("mean", samples.mean(over, keepdim=True)[0])
        self.register_buffer("deviation", deviation.clamp_min(_LEAST_DEVIATION * float(samples.std())))
        self.period = 1 if self._signal or min(picture[1:]) < 5 else 2
        if self._spatial:
            axes = [
                receptive_centres(clone, picture, axis, samples.shape[2 + axis])
                if self._tokens is None else patches(picture[1 + axis], samples.shape[2 + axis])
                for axis in (0, 1)
            ]  # fmt: skip
            strides = [round(stride) for stride, _ in axes]
            repeated = math.lcm(2, max(1, strides[0]))
            if not self._signal and strides[0] == strides[1] and repeated < min(picture[1:]):
                self.period = repeated
            self.register_buffer("places", _places(axes, samples.shape[2:], self._half).to(samples.device))
            channels = samples.shape[1]
        else:
            coarse = (-(-picture[1] // 4), -(-picture[2] // 4))
            self.dense = nn.Sequential(
                nn.Linear(samples[0].numel(), _FROM_FLAT * coarse[0] * coarse[1]),
                nn.LeakyReLU(_SLOPE),
                nn.Unflatten(1, (_FROM_FLAT, *coarse)),
                nn.UpsamplingBilinear2d(self._half),
            )
            channels = _FROM_FLAT
        rows, columns = (torch.linspace(-1, 1, size) for size in self._half)
        self.register_buffer("position", torch.stack(torch.meshgrid(rows, columns, indexing="ij")))
        self.first = nn.Conv2d(channels + 2, width, 3, padding=1)
        self.blocks = nn.ModuleList(_block(width) for _ in range(blocks))
        # Of the last convolution, the first channels are a smooth picture and the others its four pixels in detail.
        self.last = nn.Conv2d(width, 5 * picture[0], 3, padding=1)
        with torch.no_grad():
            bias: Tensor = self.last.get_parameter("bias")
            bias[: picture[0]] += tilt
        self.to(device=samples.device)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, smashed: Float[Tensor, "n ..."]) -> Float[Tensor, "n c ..."]:
        if self._tokens is not None:
            smashed = self._tokens(smashed)
        smashed = _lifted(smashed) if self._signal else smashed
        with torch.autocast(smashed.device.type, torch.bfloat16, enabled=self._reduced_precision):
            logits = self._logits((smashed - self.mean) / self.deviation)
        channels, height, width = self._picture
        smooth = functional.interpolate(logits[:, :channels].float(), scale_factor=2, mode="bilinear")
        detail = functional.pixel_shuffle(logits[:, channels:].float(), 2)
        pictures = (smooth + detail)[:, :, :height, :width].sigmoid()
        return pictures.squeeze(2) if self._signal else pictures

    def _logits(self, smashed: Tensor) -> Tensor:
        if self._spatial:
            maps = functional.grid_sample(
                smashed, self.places.expand(len(smashed), -1, -1, -1), padding_mode="zeros", align_corners=False
            )
        else:
            maps = self.dense(smashed.flatten(1))
        features = self.first(torch.cat([maps, self.position.expand(len(maps), -1, -1, -1)], 1))
        for block in self.blocks:
            features = features + block(features)
        logits: Tensor = self.last(functional.leaky_relu(features, _SLOPE))
        return logits


class _OneRow(nn.Module):
    """Layers for signals, between pictures of one row."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, pictures: Float[Tensor, "n c 1 length"]) -> Float[Tensor, "n ..."]:
        return _lifted(self.layers(pictures.squeeze(2)))


def _lifted(values: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
    """Maps [n, c, length] as those of pictures of one row; flat ones as they are."""
    return values.unsqueeze(2) if values.ndim == 3 else values


def _block(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LeakyReLU(_SLOPE),
        nn.Conv2d(width, width, 3, padding=1),
        nn.LeakyReLU(_SLOPE),
        nn.Conv2d(width, width, 3, padding=1),
    )


def _places(along: list[tuple[float, float]], size: torch.Size, half: tuple[int, int]) -> Tensor:
    """Where in a map of smashed data to look for each place at half the resolution, as `grid_sample` wants it.

    Args:
        along: stride and start, in pixels, of the map's places along rows and columns.
        size: numbers of rows and columns of the map.
        half: numbers of rows and columns at half the resolution.
    """
    axes = []
    for axis, (stride, start) in enumerate(along):
        pixel = 2 * torch.arange(half[axis]) + 0.5
        axes.append((2 * (pixel - start) / stride + 1) / size[axis] - 1)
    rows, columns = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([columns, rows], -1)
