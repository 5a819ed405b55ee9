"""The network that the loops here train, and the small data set of handwritten digits that scikit-learn brings."""

from collections import OrderedDict

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


def net() -> nn.Sequential:
    """The whole network; the client has its first two modules."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 16, 3),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(16, 16, 3),
            relu2=nn.ReLU(),
            flat=nn.Flatten(),
            fc=nn.Linear(256, 10),
        )
    )


def digits() -> DataLoader[tuple[Tensor, Tensor]]:
    """Batches of 64 pictures of 1x8x8, from 0 to 1, with their labels."""
    pictures, labels = load_digits(return_X_y=True)
    inputs = torch.tensor(pictures / 16, dtype=torch.float32).reshape(-1, 1, 8, 8)
    return DataLoader(TensorDataset(inputs, torch.tensor(labels)), batch_size=64, shuffle=True, drop_last=True)
