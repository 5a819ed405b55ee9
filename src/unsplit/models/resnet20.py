"""The ResNet-20 for CIFAR-10 (He et al. 2016), the network of the passive attacks with auxiliary data."""

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm and a shortcut; `stride` 2 halves the picture."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride=stride, bias=False), nn.BatchNorm2d(channels_out)
            )

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = functional.relu(self.norm1(self.conv1(inputs)))
        return functional.relu(self.shortcut(inputs) + self.norm2(self.conv2(hidden)))


def resnet20(channels: int = 3, classes: int = 10, width: int = 16) -> nn.Sequential:
    """ResNet-20 with projecting shortcuts: input [n, channels, h, w], output [n, classes] logits.

    Cut after `block4` to `block7` for the client of Zhu et al. (2025), levels 4 to 7.
    """
    blocks: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=nn.Conv2d(channels, width, 3, padding=1, bias=False), norm1=nn.BatchNorm2d(width), relu1=nn.ReLU()
    )
    before = width
    for number in range(9):
        after = width * 2 ** (number // 3)
        blocks[f"block{number + 1}"] = BasicBlock(before, after, stride=after // before)
        before = after
    return nn.Sequential(
        blocks | OrderedDict(pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), fc=nn.Linear(before, classes))
    )
