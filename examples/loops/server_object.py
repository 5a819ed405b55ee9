"""A server that is an object with a forward and a backward pass, as FedML's `SplitNN_server` is, recorded:
python server_object.py.

The class stands in for FedML's and has its interface: made of a dict with "comm", "model" and "max_rank";
`forward_pass(acts, labels)`, `backward_pass()` which returns the gradient, `active_node` which says whose turn it is.
"""

import torch
from network import digits, net
from torch import Tensor, nn

from unsplit import observe


class SplitNN:
    """Trains the top of the network."""

    def __init__(self, args: dict) -> None:
        self.model: nn.Module = args["model"]
        self.active_node = 1
        self._optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9)

    def forward_pass(self, acts: Tensor, labels: Tensor) -> None:
        """Compute the loss of activations that arrived."""
        self._optimizer.zero_grad()
        self._acts = acts
        self._loss = nn.functional.cross_entropy(self.model(acts), labels)

    def backward_pass(self) -> Tensor:
        """Take a step; returns the gradient to send back."""
        self._loss.backward()
        self._optimizer.step()
        return self._acts.grad


def train(server: SplitNN, bottoms: list[nn.Module]) -> None:
    """The framework's own loop, which knows nothing of a recording: each client trains for one pass in its turn."""
    for number, bottom in enumerate(bottoms, 1):
        server.active_node = number
        optimizer = torch.optim.SGD(bottom.parameters(), lr=0.1, momentum=0.9)
        for inputs, labels in digits():
            optimizer.zero_grad()
            acts = bottom(inputs)
            server.forward_pass(acts.detach().requires_grad_(), labels)
            acts.backward(server.backward_pass())
            optimizer.step()


if __name__ == "__main__":
    torch.manual_seed(0)
    server = SplitNN({"comm": None, "model": net()[2:], "max_rank": 2})
    with observe("runs/object") as traffic:
        traffic.watch(server, client=lambda: f"client{server.active_node}")
        train(server, bottoms=[net()[:2], net()[:2]])
