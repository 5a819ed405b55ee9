"""Copies of a network side by side, each with weights and inputs of its own, and their gradients in closed form.

A step of coordinate descent computes little. What it costs is the number of operations, and the graph that autograd
keeps of them. So a convolution is one batched product of matrices for all copies, and the layers of the paper's
networks pass their gradients back without a graph.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from unsplit.attacks.hinge import form_only
from unsplit.attacks.inversion._layers import Layer, Other, Product, Relu, Windows

# These treat samples apart and have nothing of their own.
_STATELESS = (
    nn.MaxPool2d | nn.AvgPool2d | nn.LeakyReLU | nn.Sigmoid | nn.Tanh | nn.ELU | nn.GELU | nn.SiLU | nn.Softplus
)


class Trace(NamedTuple):
    """An output [n, ...] of `Copies`, and what its gradients need."""

    output: Tensor
    first: int
    kept: list[Any]


class Copies:
    """Copies of a network.

    Args:
        network: the network; its weights count by their names only. What it has beside weights is the same for all
            copies, so one that changes itself as it runs can have a single copy only.
    """

    def __init__(self, network: nn.Module) -> None:
        self._parts = _parts(network)
        # Running statistics change with every pass, whoever needs its output.
        self._still = next(network.buffers(), None) is None

    def first_with(self, names: Mapping[str, object]) -> int:
        """Number of the first part that has one of these weights: what reaches it does not depend on them."""
        having = (number for number, (_, own) in enumerate(self._parts) if not names.keys().isdisjoint(own))
        return next(having) if self._still else 0

    def before(self, part: int, inputs: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        """What reaches the part of this number, shape [n, ...]."""
        values = inputs
        for layer, names in self._parts[:part]:
            values, _ = layer.forward(values, [weights[name] for name in names])
        return values

    def run(self, values: Tensor, weights: Mapping[str, Tensor], first: int = 0) -> Trace:
        """The output, from what reaches the part of number `first` on.

        Args:
            values: inputs [n, ...], or what `before` gave.
            weights: by the network's names, each [n, *its shape].
            first: number of the first part to run.
        """
        kept = []
        for layer, names in self._parts[first:]:
            values, needed = layer.forward(values, [weights[name] for name in names])
            kept.append(needed)
        return Trace(output=values, first=first, kept=kept)

    def gradients(
        self, trace: Trace, gradient: Tensor, weights: Mapping[str, Tensor], into: Mapping[str, Tensor], *, inputs: bool
    ) -> Tensor | None:
        """Write the gradients of some weights where they go; gives that of the inputs if it is asked for.

        Args:
            trace: of `run`; of all parts, where the inputs' gradient is asked for.
            gradient: at the output, shape [n, ...].
            weights: those that `run` had.
            into: by the weights' names, where their gradients go, each [n, *its shape].
            inputs: whether the gradient of the inputs is asked for.
        """
        passed: Tensor | None = gradient
        down_to = 0 if inputs else max(trace.first, self.first_with(into))
        for number in reversed(range(down_to, len(self._parts))):
            layer, names = self._parts[number]
            kept, further = trace.kept[number - trace.first], inputs or number > down_to
            own, slots = [weights[name] for name in names], [into.get(name) for name in names]
            if passed is not None:
                passed = layer.backward(passed, kept, own, slots, further=further)
        return passed


def _parts(network: nn.Module) -> list[tuple[Layer, tuple[str, ...]]]:
    """The layers in their order, or parts of them, each with the names of its weights."""
    names = [name for name, _ in network.named_parameters()]
    if len(list(network.named_parameters(remove_duplicate=False))) > len(names):
        # Layers that share weights are left to autograd as a whole.
        return [(Other(network, names, together=False), tuple(names))]
    parts: list[tuple[Layer, tuple[str, ...]]] = []
    product: Product | None = None
    for prefix, layer in _in_a_row(network, ""):
        own = [name for name, _ in layer.named_parameters()]
        whole = tuple(prefix + name for name in own)
        plain = not (layer._forward_hooks or layer._forward_pre_hooks)
        if plain and type(layer) is nn.Conv2d and Windows.fit(layer):
            product = Product(axis=1)
            parts += [(Windows(layer), ()), (product, whole)]
        elif plain and type(layer) is nn.Linear:
            product = None
            parts.append((Product(axis=-1), whole))
        elif plain and type(layer) is nn.ReLU:
            parts.append((Relu(), ()))
        else:
            if isinstance(layer, nn.MaxPool2d) and product is not None:
                # The processor pools faster where channels are the last axis in memory.
                product.channels_last = True
            product = None
            parts.append((Other(layer, own, together=plain and _treats_samples_apart(layer)), whole))
    return parts


def _treats_samples_apart(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Flatten | nn.Unflatten):
        return (layer.start_dim if isinstance(layer, nn.Flatten) else layer.dim) == 1
    return form_only(layer) or type(layer) in _STATELESS.__args__


def _in_a_row(layer: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    """The layers of a sequence and of those within it, each with what goes before the names of its weights."""
    if type(layer) is not nn.Sequential:
        yield prefix, layer
        return
    for name, inner in layer.named_children():
        yield from _in_a_row(inner, f"{prefix}{name}.")
