"""A CUDA device pretended on the processor, where none is at hand: which tensors would be on it, and which mix."""

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

CUDA = torch.device("cuda", 0)

_INDEXING = ("__getitem__", "__setitem__")
_MOVING = ("copy_", "set_", "to", "type", "swap_tensors", "_has_compatible_shallow_copy_type")


class PretendedCuda(TorchFunctionMode):
    """Within it "cuda" is a device that tensors can be on, say that they are on, and may not be mixed with others.

    As on a real one, a processor's tensor of one number may stand for that number, indices may be on the processor,
    and `copy_` and `to` carry numbers over. It sees what Python calls, not the backward passes.
    """

    def __enter__(self):
        self._copy = nn.Parameter.__deepcopy__
        nn.Parameter.__deepcopy__ = lambda value, memo: _marked(self._copy(value, memo), _is_there(value))
        return super().__enter__()

    def __exit__(self, *error):
        nn.Parameter.__deepcopy__ = self._copy
        return super().__exit__(*error)

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs, name = kwargs or {}, getattr(function, "__name__", "")
        if function == torch.Tensor.device.__get__:
            return CUDA if _is_there(args[0]) else function(*args)
        if function is torch.device or name == "_parse_to":
            return function(*args, **kwargs)
        if function == torch.Tensor.data.__set__:
            function(*args)
            _marked(args[0], _is_there(args[1]))
            return None
        asked, (args, kwargs) = _on_the_processor(args, kwargs)
        given = [value for value in tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)]
        if name in _MOVING:
            made = function(*args, **kwargs)
            if name == "to":
                there = _is_there(given[-1]) if asked is None else asked  # of itself, or of the tensor to be like
                made = made.clone() if there != _is_there(given[0]) and made is given[0] else made
                return _marked(made, there)
            return made
        if name == "cpu":
            return _marked(function(*args, **kwargs).clone(), False)
        there = any(map(_is_there, given)) if asked is None else asked
        self._check(name, given, kwargs, there=there)
        made = function(*args, **kwargs)
        for value in tree_leaves(made):
            if isinstance(value, torch.Tensor):
                _marked(value, there)
        return made

    def _check(self, name, given, kwargs, *, there):
        counted = [value for value in given if value.ndim or _is_there(value)]
        if name in _INDEXING:
            counted = [value for value in counted if value is given[0] or value.dtype not in (torch.long, torch.bool)]
        if len({_is_there(value) for value in counted}) > 1:
            raise RuntimeError(f"Expected all tensors to be on the same device in {name}")
        if there and (name in ("numpy", "__array__") or isinstance(kwargs.get("generator"), torch.Generator)):
            raise RuntimeError(f"{name} is the processor's, and the tensor is on the device")


def _is_there(value):
    return value.__dict__.get("pretended", False)


def _marked(value, there):
    value.__dict__["pretended"] = there
    return value


def _on_the_processor(args, kwargs):
    """Whether the pretended device is asked for, None if none is; and the arguments with the processor in its place."""
    asked = []

    def replaced(leaf):
        if isinstance(leaf, torch.device) or (isinstance(leaf, str) and leaf.partition(":")[0] in ("cpu", "cuda")):
            asked.append(torch.device(leaf).type == "cuda")
            return torch.device("cpu")
        return leaf

    changed = tree_map(replaced, (args, kwargs))
    return (asked[-1] if asked else None), changed
