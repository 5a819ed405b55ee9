"""A network of one's own, as `--model small_net:cifar_small` takes it here."""

from collections import OrderedDict

from torch import nn


def cifar_small() -> nn.Sequential:
    """A small convolutional network for pictures of shape [3, 32, 32]; some twenty times cheaper than the paper's."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 16, 5, padding=2),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(16, 32, 5, padding=2),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            dense1=nn.Linear(32 * 8 * 8, 64),
            relu3=nn.ReLU(),
            dense2=nn.Linear(64, 10),
        )
    )
