"""Functions that torch.nn also has as layers, and functions that only change a tensor's form."""

import math
from collections.abc import Callable
from typing import Any

from torch import nn

from .ops import Op, Training
from .sizes import Batch

_POOL = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
# By a function's name: the layer, and the function's parameters after the tensor.
_LAYERS: dict[str, tuple[Callable[..., nn.Module], tuple[str, ...]]] = {
    "relu": (nn.ReLU, ("inplace",)),
    "sigmoid": (nn.Sigmoid, ()),
    "tanh": (nn.Tanh, ()),
    "gelu": (nn.GELU, ("approximate",)),
    "silu": (nn.SiLU, ("inplace",)),
    "elu": (nn.ELU, ("alpha", "inplace")),
    "leaky_relu": (nn.LeakyReLU, ("negative_slope", "inplace")),
    "max_pool1d": (nn.MaxPool1d, _POOL),
    "max_pool2d": (nn.MaxPool2d, _POOL),
    "avg_pool2d": (
        nn.AvgPool2d, ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")
    ),
    "adaptive_avg_pool2d": (nn.AdaptiveAvgPool2d, ("output_size",)),
    "dropout": (nn.Dropout, ("p", "training", "inplace")),
}  # fmt: skip
_FORM = frozenset(
    ("T", "mT", "chunk", "clone", "contiguous", "detach", "expand", "expand_as", "flatten", "float", "getitem",
     "item_of",
     "movedim", "permute", "reshape", "split", "squeeze", "swapaxes", "to", "transpose", "type", "type_as", "unbind",
     "unflatten", "unsqueeze", "view")
)  # fmt: skip
_SCALING = frozenset(("add", "div", "mul", "rsub", "sub", "truediv"))


def layer_of(op: Op) -> nn.Module | None:
    """The layer of torch.nn that does the same as this function, if there is one that needs no more than the function
    got.
    """
    if op.kind not in ("call_function", "call_method") or len(op.inputs) != 1:
        return None
    name = _name(op)
    if name in ("flatten", "view", "reshape") and _flattens(op):
        return nn.Flatten()
    if name not in _LAYERS:
        return None
    layer, parameters = _LAYERS[name]
    options: dict[str, Any] = {**dict(zip(parameters, op.args[1:], strict=False)), **op.kwargs}
    if len(op.args) > len(parameters) + 1 or not set(options) <= set(parameters):
        return None
    if options.pop("return_indices", False) or options.pop("training", Training) is not Training:
        return None
    options = {key: value for key, value in options.items() if value is not None and key != "inplace"}
    if any(isinstance(value, Batch | Op) for value in options.values()):
        return None
    return layer(**{key: tuple(value) if isinstance(value, list) else value for key, value in options.items()})


def _name(op: Op) -> str:
    return op.label.rpartition(".")[2]


def changes_form_only(op: Op) -> bool:
    """Whether the function moves or scales numbers and does nothing else, so that a cut behind it is one before it."""
    name = _name(op)
    return op.kind != "call_module" and len(op.inputs) == 1 and (name in _FORM or name in _SCALING)


def _flattens(op: Op) -> bool:
    """Whether [n, ...] becomes [n, numbers of a sample]."""
    before, after = op.inputs[0].shape, op.shape
    if not before or not after or len(after) != 2:
        return False
    if not all(isinstance(size, Batch) and (size.times, size.plus) == (1, 0) for size in (before[0], after[0])):
        return False
    return bool(after[1] == math.prod(before[1:]))
