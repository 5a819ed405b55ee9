"""ReLUs that let something through, so that no unit of a young clone is dead."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Leak(nn.Module):
    """A ReLU that lets through some of what lies below zero, so that no unit of a young clone is dead.

    Args:
        device: where it computes; its `slope` lies there, so that a step can set it without the host.
    """

    slope: Tensor

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.register_buffer("slope", torch.zeros(1, device=device))

    def forward(self, values: Tensor) -> Tensor:
        if self.slope.device.type == "cpu":
            # The same numbers in a sixth of the time, and a number on the processor can be read at no cost.
            return functional.leaky_relu(values, self.slope.item())
        return functional.prelu(values, self.slope)


def leaky(clone: nn.Module, leak: Leak) -> nn.Module:
    """The same layers, sharing their weights, with `leak` for every ReLU that stands in a sequence."""
    if isinstance(clone, nn.ReLU):
        return leak
    if type(clone) is nn.Sequential:
        return nn.Sequential(*(leaky(layer, leak) for layer in clone))
    return clone
