"""The three networks of the feature-space hijacking attack, sized to the client's inputs and smashed data."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from unsplit.errors import InputError
from unsplit.randomness import draw_seed, seeded

Shape = tuple[int, int, int]


class PlainBlock(nn.Module):
    """Two 3x3 convolutions, each after a ReLU, and a shortcut; no batch norm, which the gradient penalty forbids."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = inputs + self.conv2(functional.relu(self.conv1(functional.relu(inputs))))
        return outputs


def hijacking_networks(
    input_shape: Shape, smashed_shape: Shape, *, generator: torch.Generator, width: int = 256
) -> tuple[nn.Sequential, nn.Sequential, nn.Sequential]:
    """The pilot (inputs to features), the decoder (features to inputs) and the critic (features to one number).

    The pilot halves the picture with convolutions of stride 2 until it has the size of the smashed data, and the
    decoder doubles it back. As in the authors' code, neither has activations but the decoder's last, a tanh.

    Args:
        input_shape: shape of one input, [channels, h, w].
        smashed_shape: shape of one input's smashed data, [channels, h, w].
        generator: draws the weights.
        width: channels of the critic, and of the decoder's first layer; the authors have 256.

    Raises:
        InputError: smashed data that no number of halvings leads to.
    """
    sizes = _halvings(input_shape, smashed_shape)
    channels = smashed_shape[0]
    with seeded(draw_seed(generator)):
        pilot: list[nn.Module] = []
        before = input_shape[0]
        for number in range(len(sizes) - 1):
            pilot.append(nn.Conv2d(before, min(64 * 2**number, 256), 3, stride=2, padding=1))
            before = min(64 * 2**number, 256)
        pilot.append(nn.Conv2d(before, channels, 3, padding=1))

        decoder: list[nn.Module] = []
        before, widths = channels, [width, width // 2]
        for number, (height, tall) in enumerate(sizes[:-1][::-1]):
            after = widths[number] if number < len(widths) else input_shape[0] if number == len(sizes) - 2 else 64
            small = sizes[::-1][number]
            missing = (height - (2 * small[0] - 1), tall - (2 * small[1] - 1))
            decoder.append(nn.ConvTranspose2d(before, after, 3, stride=2, padding=1, output_padding=missing))
            before = after
        if len(sizes) - 1 <= len(widths):
            decoder.append(nn.Conv2d(before, input_shape[0], 3, padding=1))
        decoder.append(nn.Tanh())

        reduced = [-(-size // 2) for size in smashed_shape[1:]]
        critic = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            *(PlainBlock(width) for _ in range(6)),
            nn.Conv2d(width, width, 3, stride=2, padding=1),
            nn.Flatten(),
            nn.Linear(width * reduced[0] * reduced[1], 1),
        )
    return nn.Sequential(*pilot), nn.Sequential(*decoder), critic


def _halvings(input_shape: Shape, smashed_shape: Shape) -> list[tuple[int, int]]:
    """The sizes of the picture from the input to the smashed data."""
    sizes = [(input_shape[1], input_shape[2])]
    while sizes[-1] != smashed_shape[1:]:
        half = (-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2))
        if half == sizes[-1] or half[0] < smashed_shape[1]:
            raise InputError(
                f"Halving pictures of {sizes[0]} never gives smashed data of {smashed_shape[1:]}; the hijacking "
                "attack needs a client that only halves them."
            )
        sizes.append(half)
    return sizes
