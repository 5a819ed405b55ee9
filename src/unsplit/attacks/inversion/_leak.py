"""ReLUs that let something through, so that no unit of a young clone is dead."""

from torch import Tensor, nn
from torch.nn import functional


class Leak(nn.Module):
    """A ReLU that lets through some of what lies below zero, so that no unit of a young clone is dead."""

    slope: float = 0.0

    def forward(self, values: Tensor) -> Tensor:
        leaked: Tensor = functional.leaky_relu(values, self.slope)
        return leaked


def leaky(clone: nn.Module, leak: Leak) -> nn.Module:
    """The same layers, sharing their weights, with `leak` for every ReLU that stands in a sequence."""
    if isinstance(clone, nn.ReLU):
        return leak
    if type(clone) is nn.Sequential:
        return nn.Sequential(*(leaky(layer, leak) for layer in clone))
    return clone
