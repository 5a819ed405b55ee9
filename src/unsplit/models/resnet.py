"""A small residual network whose first blocks serve as a client, as in the hijacking attacks' experiments
(Pasquini et al. 2021 split a ResNet after its first blocks).
"""

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch norm and a shortcut (He et al. 2015); `stride` 2 halves the picture."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride=stride, bias=False), nn.BatchNorm2d(channels_out)
            )

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = functional.relu(self.norm1(self.conv1(inputs)))
        return functional.relu(self.norm2(self.conv2(hidden)) + self.shortcut(inputs))


def resnet(channels: int = 1, classes: int = 10) -> nn.Sequential:
    """A ResNet for small pictures of any size: input [n, channels, h, w], output [n, classes] logits.

    Cut after `block1` to `block4` for a client of one to four residual blocks.
    """
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            conv1=nn.Conv2d(channels, 64, 3, padding=1, bias=False),
            norm1=nn.BatchNorm2d(64),
            relu1=nn.ReLU(),
            block1=ResidualBlock(64, 64),
            block2=ResidualBlock(64, 128, stride=2),
            block3=ResidualBlock(128, 128),
            block4=ResidualBlock(128, 256, stride=2),
            block5=ResidualBlock(256, 256),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            fc=nn.Linear(256, classes),
        )
    )
