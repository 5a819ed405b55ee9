"""What one optimiser moves: tensors of several searches, a row for each search."""

from collections.abc import Mapping

import torch
from torch import Tensor

from unsplit.optim import OptimizerSpec

_ELEMENTWISE = {"adam", "adamw", "adamax", "nadam", "radam", "sgd", "rmsprop", "adagrad", "adadelta", "rprop"}


def elementwise(spec: OptimizerSpec) -> bool:
    """Whether an optimiser treats every number by itself, so that tensors in one row stay independent."""
    return spec.name.lower() in _ELEMENTWISE


class Rows:
    """Tensors [n, ...] by name as one matrix [n, numbers of a search], so that a step of their optimiser is one of a
    single tensor. An optimiser that looks at more than one number at a time gets the tensors as they are, of a single
    search.

    Args:
        tensors: first values, of which it makes copies.
        spec: the optimiser.

    Attributes:
        values: the tensors, which a step changes.
        gradients: where the gradients of each go before a step.
        in_a_graph: whether what its steps change lies on the device, so that a CUDA graph of them does what they do.
    """

    values: dict[str, Tensor]
    gradients: dict[str, Tensor]

    def __init__(self, tensors: Mapping[str, Tensor], spec: OptimizerSpec) -> None:
        self._shapes = {name: value.shape[1:] for name, value in tensors.items()}
        apart = not elementwise(spec)
        self._leaves = (
            [value[0].detach().clone() for value in tensors.values()]
            if apart
            else [torch.cat([value.detach().flatten(1) for value in tensors.values()], 1)]
        )
        self._apart = apart
        device = self._leaves[0].device
        self._optimizer = spec.fastest(device).build(self._leaves)
        group = self._optimizer.param_groups[0]
        self.in_a_graph = bool(group.get("capturable")) or spec.name.lower() == "sgd"
        self._lay_out()

    def step(self) -> None:
        """Take one step down the gradients."""
        self._optimizer.step()

    def keep(self, going: Tensor) -> None:
        """Go on with the rows where this mask [n] is true."""
        for leaf in self._leaves:
            for key, state in self._optimizer.state[leaf].items():
                if isinstance(state, Tensor) and state.shape == leaf.shape:
                    self._optimizer.state[leaf][key] = state[going]
            leaf.grad = None
            leaf.data = leaf.data[going]
        self._lay_out()

    def _lay_out(self) -> None:
        for leaf in self._leaves:
            leaf.grad = torch.zeros_like(leaf)
        self.values = self._named(self._leaves)
        self.gradients = self._named([leaf.grad for leaf in self._leaves if leaf.grad is not None])

    def _named(self, leaves: list[Tensor]) -> dict[str, Tensor]:
        sizes = [shape.numel() for shape in self._shapes.values()]
        parts = [leaf[None] for leaf in leaves] if self._apart else torch.split(leaves[0], sizes, 1)
        named = zip(self._shapes.items(), parts, strict=True)
        return {name: part.view(len(part), *shape) for (name, shape), part in named}
