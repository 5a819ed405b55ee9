"""What attackers share that train networks of their own: steps, a penalty, and a state to go on from."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from unsplit.optim import load_state_tensors, state_tensors
from unsplit.tensors import under

Part = tuple[nn.Module, torch.optim.Optimizer]
"""A network and the optimiser that moves it."""


class Resumable(ABC):
    """An attacker that learns step by step, and can go on where another like it stopped."""

    @abstractmethod
    def parts(self) -> dict[str, Part]:
        """All networks that it trains, by name."""

    def state(self) -> dict[str, Tensor]:
        """All that learning changes, the generator apart."""
        parts = self.parts().items()
        tensors = {f"{part}/{name}": value for part, (net, _) in parts for name, value in net.state_dict().items()}
        tensors |= {
            f"{part}.optimizer/{name}": value
            for part, (_, optimizer) in parts
            for name, value in state_tensors(optimizer).items()
        }
        return {name: value.detach().clone() for name, value in tensors.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state."""
        for part, (network, optimizer) in self.parts().items():
            network.load_state_dict(under(f"{part}/", state))
            load_state_tensors(optimizer, under(f"{part}.optimizer/", state))


def step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """Move what the optimiser moves down the gradient of a loss."""
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    optimizer.step()


def gradient_penalty(
    critic: nn.Module, real: Tensor, made: Tensor, generator: torch.Generator, *, by_channel: bool = False
) -> Tensor:
    """How far the critic's slope is from 1 between real features and made ones, both [n, ...]: mean (|dc| - 1)^2, the
    norm over a sample's features, or over the pixels of each channel.
    """
    count = min(len(real), len(made))
    share = torch.rand(count, *[1] * (real.dim() - 1), generator=generator).to(real.device)
    between = (share * real[:count] + (1 - share) * made[:count]).requires_grad_()
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    # The norm has no derivative at zero, where a channel of the critic is dead.
    norm: Tensor = (slope.flatten(2 if by_channel else 1).square().sum(-1) + 1e-12).sqrt()
    return (norm - 1).square().mean()
