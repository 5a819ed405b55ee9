"""A module's architecture on the meta device, which has no weights to leak."""

import copy
from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn

from unsplit.errors import InputError
from unsplit.randomness import draw_seed, seeded


class Blueprint:
    """A module's architecture without its weights: instantiating it draws new ones.

    Layers draw their weights by their own `reset_parameters()`. Weights of other layers, such as a vision transformer's
    class token, are drawn by their form and name alone: normal with standard deviation 0.02 if they have two or more
    dimensions above 1, ones for a vector called weight, scale or gamma, zeros for other vectors called bias or beta,
    and else normal as before. How their owner would start them is not in the architecture.

    Buffers of layers that reset themselves (batch norm's running statistics) are reset; other buffers, such as a
    normalisation's constants, belong to the architecture and are kept.
    """

    def __init__(self, module: nn.Module) -> None:
        constants: dict[str, Tensor] = {}
        for name, layer in module.named_modules():
            if _own_reset(layer) is None:
                prefix = f"{name}." if name else ""
                constants |= {prefix + key: value for key, value in layer.named_buffers(recurse=False)}
        # Parameters go to the meta device, which has no storage: what is kept here cannot leak a weight.
        memo: dict[int, Tensor] = {id(value): value.detach().to("meta") for value in module.buffers()}
        for weight in module.parameters():
            memo[id(weight)] = nn.Parameter(weight.detach().to("meta"), requires_grad=weight.requires_grad)
        self._module = copy.deepcopy(module, memo)
        self._constants = {name: value.detach().clone() for name, value in constants.items()}

    def first(self, layers: int) -> "Blueprint":
        """The architecture of the first layers of a sequence."""
        if not isinstance(self._module, nn.Sequential):
            raise InputError(f"A {type(self._module).__name__} is no sequence of layers; give an nn.Sequential.")
        part = copy.copy(self)
        part._module = self._module[:layers]
        held = dict(part._module.named_buffers())
        part._constants = {name: value for name, value in self._constants.items() if name in held}
        return part

    def behind(self, entry: nn.Module) -> "Blueprint":
        """That of the same layers with one in front of them, called "entry", whose tensors are constants. Those of a
        sequence follow it by their own names, and else one called "layers".
        """
        chain = type(self._module).forward is nn.Sequential.forward
        rest = list(self._module.named_children()) if chain else [("layers", self._module)]
        joined = Blueprint(nn.Sequential(OrderedDict([("entry", entry)])))
        joined._module = nn.Sequential(OrderedDict([("entry", joined._module.get_submodule("entry")), *rest]))
        joined._constants |= {name if chain else f"layers.{name}": value for name, value in self._constants.items()}
        return joined

    def instantiate(self, *, generator: torch.Generator, device: torch.device | str = "cpu") -> nn.Module:
        """A copy of the module with freshly drawn weights, on `device`."""
        module = copy.deepcopy(self._module).to_empty(device="cpu")
        with seeded(draw_seed(generator)), torch.no_grad():
            for layer in module.modules():
                reset = _own_reset(layer)
                if reset is not None:
                    reset()
                else:
                    for name, weight in layer.named_parameters(recurse=False):
                        _draw(name, weight)
        buffers = dict(module.named_buffers())
        with torch.no_grad():
            for name, value in self._constants.items():
                buffers[name].copy_(value)
        return module.to(device)


def _own_reset(layer: nn.Module) -> Callable[[], object] | None:
    """How a layer draws its weights anew, if it can; torch's attention has a name of its own for this."""
    for name in ("reset_parameters", "_reset_parameters"):
        reset = getattr(layer, name, None)
        if callable(reset):
            found: Callable[[], object] = reset
            return found
    return None


def _draw(name: str, value: Tensor) -> None:
    vector = sum(size > 1 for size in value.shape) < 2
    if vector and any(word in name for word in ("weight", "scale", "gamma")):
        value.fill_(1)
    elif vector and any(word in name for word in ("bias", "beta")):
        value.zero_()
    else:
        value.normal_(std=0.02)
