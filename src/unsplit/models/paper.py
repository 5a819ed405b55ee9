"""The two networks of the paper (its appendix A, after He et al. 2019), as flat lists of modules.

A split's depth counts these modules: depth d leaves modules 0 to d with the client, as in the released code.
The paper's text puts pooling before ReLU and its code ReLU before pooling; the two commute, and we follow the code.
"""

from collections import OrderedDict

from torch import Tensor, nn


class FlatLinear(nn.Linear):
    """A dense layer that flattens what it is given, so that flattening does not count as a depth of its own."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs.flatten(1))


def mnist_net() -> nn.Sequential:
    """The net for MNIST and Fashion-MNIST: input [n, 1, 28, 28], output [n, 10] logits.

    The softmax of the paper's appendix is part of the cross-entropy loss here.
    """
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            conv1=nn.Conv2d(1, 8, 5),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(8, 16, 5),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            fc1=FlatLinear(16 * 4 * 4, 120),
            relu3=nn.ReLU(),
            fc2=nn.Linear(120, 84),
            relu4=nn.ReLU(),
            fc3=nn.Linear(84, 10),
        )
    )


def cifar_net() -> nn.Sequential:
    """The net for CIFAR-10: input [n, 3, 32, 32], output [n, 10] logits."""
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            conv1=nn.Conv2d(3, 64, 3, padding=1),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(64, 64, 3, padding=1),
            relu2=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv3=nn.Conv2d(64, 128, 3, padding=1),
            relu3=nn.ReLU(),
            conv4=nn.Conv2d(128, 128, 3, padding=1),
            relu4=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            conv5=nn.Conv2d(128, 128, 3, padding=1),
            relu5=nn.ReLU(),
            conv6=nn.Conv2d(128, 128, 3, padding=1),
            relu6=nn.ReLU(),
            pool3=nn.MaxPool2d(2),
            fc1=FlatLinear(4 * 4 * 128, 512),
            sigmoid=nn.Sigmoid(),
            fc2=nn.Linear(512, 10),
        )
    )
