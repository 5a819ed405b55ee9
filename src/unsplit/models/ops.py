"""Operations of a recorded network, and the functions that stand for those that change a tensor in place."""

import inspect
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import Tensor

_Kind = TypeVar("_Kind")


class Training:
    """Stands for whether a stage is in training mode, among an operation's arguments."""


@dataclass(eq=False, kw_only=True)
class Op:
    """One operation.

    Args:
        kind: call_module, call_function, call_method, get_attr or placeholder, as in torch.fx.
        target: what is called: path of a module or tensor, function, or name of a method.
        args, kwargs: arguments of the call, with operations in place of tensors.
        scope: path of the module that did it.
        data: whether the operation depends on the network's input.
        trained: whether the operation depends on the network's input or on parameters.
        shape: shape of the output, if that is one tensor; sizes may be `Batch`.
    """

    kind: str
    target: Any
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    scope: str = ""
    data: bool = True
    trained: bool = True
    shape: tuple[Any, ...] | None = None

    @property
    def inputs(self) -> "list[Op]":
        """The operations whose outputs it takes."""
        return found((self.args, self.kwargs), Op)

    @property
    def label(self) -> str:
        """A path: the module's, or the scope with the function's name."""
        if self.kind == "call_module":
            return str(self.target)
        name = self.args[1] if self.target is getattr else getattr(self.target, "__name__", self.target)
        return f"{self.scope}.{str(name).strip('_')}".lstrip(".")


def with_item(tensor: Tensor, index: Any, value: Any) -> Tensor:
    """A copy of `tensor` in which `tensor[index]` is `value`."""
    copy = tensor.clone()
    copy[index] = value
    return copy


def item_of(values: Any, key: Any) -> Any:
    """One of several results."""
    return values[key]


def found(values: Any, kind: type[_Kind]) -> list[_Kind]:
    """All values of a kind in nested tuples, lists, dicts and slices."""
    if isinstance(values, kind):
        return [values]
    if isinstance(values, slice):
        values = (values.start, values.stop, values.step)
    parts = values.values() if isinstance(values, dict) else values if isinstance(values, tuple | list) else ()
    return [value for part in parts for value in found(part, kind)]


def tensors(values: Any) -> list[Tensor]:
    """All tensors in nested tuples, lists and dicts."""
    return found(values, Tensor)


def following_mode(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments with `training=False` replaced by whether the stage is in training."""
    if "dropout" not in getattr(func, "__name__", "") or not inspect.isfunction(func):
        return args, kwargs
    bound = inspect.signature(func).bind(*args, **kwargs)
    if bound.arguments.get("training") is False:
        bound.arguments["training"] = Training
    return bound.args, bound.kwargs


def out_of_place(op: Op, func: Any) -> None:
    """Turn an operation that changes its first argument into one that gives a new tensor."""
    if op.target is with_item:
        return
    if inspect.isfunction(func) and "inplace" in inspect.signature(func).parameters:
        bound = inspect.signature(func).bind(*op.args, **op.kwargs)
        bound.arguments["inplace"] = False
        op.args, op.kwargs = bound.args, bound.kwargs
        return
    name = func.__name__
    plain = name.strip("_").removeprefix("i") if name.startswith("__i") else name.rstrip("_")
    plain = {"truediv": "div"}.get(plain, plain)
    if hasattr(Tensor, plain) and plain not in ("copy", "zero", "fill"):
        op.kind, op.target = "call_method", plain
        return
    op.kind, op.target, op.args = "call_function", changed_copy, (name, *op.args)


def changed_copy(method: str, tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """A copy of `tensor` that one of its methods has changed in place."""
    copy = tensor.clone()
    getattr(copy, method)(*args, **kwargs)
    return copy
