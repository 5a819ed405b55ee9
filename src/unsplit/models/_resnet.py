"""The residual network of the hijacking attacks' experiments, whose first blocks serve as a client."""

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, each after a ReLU, and a shortcut; `stride` 2 halves the picture."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1:
            self.shortcut = nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.shortcut(inputs) + self.conv2(functional.relu(self.conv1(functional.relu(inputs))))
        return outputs


def resnet(channels: int = 1, classes: int = 10) -> nn.Sequential:
    """A ResNet for small pictures of any size: input [n, channels, h, w], output [n, classes] logits.

    Cut after `block1` to `block4` for a client of one to four residual blocks: these are the client's networks of
    Pasquini et al. (2021), levels 1 to 4. `block5` and what follows is ours; their server never has a task to learn.
    """
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            conv1=nn.Conv2d(channels, 64, 3, padding=1),
            norm1=nn.BatchNorm2d(64),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            block1=ResidualBlock(64, 64),
            block2=ResidualBlock(64, 128, stride=2),
            block3=ResidualBlock(128, 128),
            block4=ResidualBlock(128, 256, stride=2),
            block5=ResidualBlock(256, 256),
            relu2=nn.ReLU(),
            pool2=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            fc=nn.Linear(256, classes),
        )
    )
