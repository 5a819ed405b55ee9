"""Recording what a network computes, operation by operation, while it runs on two sample batches of different size.

The network sees tensors that hold values, so whatever Python does with shapes, types and lists just runs. What differs
between the batches depends on the batch; what reads a tensor's values to decide something is found, and refused.
"""

import builtins
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.fx.node import base_types, map_aggregate
from torch.overrides import TorchFunctionMode, is_tensor_method_or_property

from .ops import Op, Training, following_mode, item_of, out_of_place, tensors, with_item
from .sizes import SAMPLES, Batch, TraceError, merged

_CALL, _LEN, _APPLY = nn.Module.__call__, builtins.len, vars(torch.autograd.Function)["apply"].__func__
_ENTER = torch.autocast.__enter__
_READS = frozenset(
    ("__bool__", "__int__", "__float__", "__index__", "__complex__", "__contains__", "__array__", "allclose", "equal",
     "is_nonzero", "item", "numpy", "tolist")
)  # fmt: skip
_TRACED_THROUGH = (nn.Sequential, nn.TransformerEncoder, nn.TransformerDecoder)


class OperationRecorder(TorchFunctionMode):
    """Records the operations of `model`.

    Args:
        model: network in evaluation mode, on the CPU.
        leaves: paths of modules to take as one operation each.
    """

    def __init__(self, model: nn.Module, leaves: frozenset[str]) -> None:
        super().__init__()
        self.ops: list[Op] = []
        self.ends: dict[str, Op] = {}
        self.failed: str | None = None
        self._model, self._leaves = model, leaves
        self._paths = {id(module): path for path, module in reversed([*model.named_modules(remove_duplicate=False)])}
        self._scope: list[str] = []
        self._paused = False
        # By a tensor's identity: the operation, the tensor (kept alive, so that the identity stays its own), its twin.
        self._known: dict[int, tuple[Op, Tensor, Tensor]] = {}
        for path, module in model.named_modules():
            for name, value in {**vars(module), **module._parameters, **module._buffers}.items():
                if isinstance(value, Tensor) and id(value) not in self._known:
                    op = Op(kind="get_attr", target=f"{path}.{name}".lstrip("."), data=False, shape=tuple(value.shape))
                    op.trained = isinstance(value, nn.Parameter)
                    self._known[id(value)] = (op, value, value)

    def record(self, batches: tuple[Tensor, Tensor]) -> tuple[Op, Op]:
        """The operations of the input and of the output.

        Raises:
            TraceError: the network does what cannot be recorded; `failed` is the innermost module in which.
        """
        start = Op(kind="placeholder", target="inputs", shape=merged(tuple(batches[0].shape), tuple(batches[1].shape)))
        self._known[id(batches[0])] = (start, *batches)
        recorder = self

        def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            return recorder._call(module, args, kwargs)

        def apply(function: type[torch.autograd.Function], *args: Any, **kwargs: Any) -> Any:
            if not recorder._paused:
                raise TraceError("has a gradient of its own (torch.autograd.Function)")
            return _APPLY(function, *args, **kwargs)

        def enter(context: torch.autocast) -> Any:
            if context._enabled and not recorder._paused:
                raise TraceError("switches to reduced precision (torch.autocast)")
            return _ENTER(context)  # type: ignore[no-untyped-call]

        with (
            mock.patch.object(nn.Module, "__call__", call),
            mock.patch.object(torch.autograd.Function, "apply", classmethod(apply)),
            mock.patch.object(builtins, "len", self._len),
            mock.patch.object(torch.autocast, "__enter__", enter),
            self,
        ):
            output = self._model(batches[0])
        return start, self._known[id(output)][0]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self._paused:
            return func(*args, **kwargs)
        with self._pause():
            return self._function(func, args, kwargs)

    @contextmanager
    def _pause(self) -> Iterator[None]:
        before, self._paused = self._paused, True
        try:
            yield
        finally:
            self._paused = before

    def _len(self, value: Any, /) -> int:
        if not self._paused and isinstance(value, Tensor) and value.dim():
            return value.size(0)
        return _LEN(value)

    def _call(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        path = self._paths.get(id(module))
        if self._paused or path is None:
            return _CALL(module, *args, **kwargs)
        if isinstance(module, nn.Identity):
            result = args[0]
        elif path and self._is_leaf(path, module):
            with self._pause():
                result = self._evaluated("call_module", path, lambda *a, **k: _CALL(module, *a, **k), args, kwargs)
        else:
            result = self._through(module, path, args, kwargs)
        given = tensors(result)
        if given:
            self.ends[path] = self._op(given[0])
        return result

    def _through(self, module: nn.Module, path: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._scope.append(path)
        try:
            result = _CALL(module, *args, **kwargs)
            with self._pause():
                for value in tensors(result):
                    self._op(value)
            return result
        except Exception:
            self.failed = path if self.failed is None else self.failed
            raise
        finally:
            self._scope.pop()

    def _is_leaf(self, path: str, module: nn.Module) -> bool:
        if path in self._leaves:
            return True
        if isinstance(module, _TRACED_THROUGH) and not module._forward_hooks and not module._forward_pre_hooks:
            # Other code than torch's own may be in a subclass.
            return type(module).forward not in {kind.forward for kind in _TRACED_THROUGH} and _minds_mode(module)
        own = type(module).__module__
        hooked = module._forward_hooks or module._forward_pre_hooks or isinstance(module, torch.jit.ScriptModule)
        # A layer of the user's that can draw its weights anew is left whole, so that it still can.
        draws = hasattr(module, "reset_parameters") and bool(module._parameters)
        return bool(own.startswith(("torch.nn.", "einops.layers")) or hooked or draws or _minds_mode(module))

    def _function(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name = getattr(func, "__name__", str(func))
        if name in _READS and any(self._op(value).trained for value in tensors((args, kwargs))):
            raise TraceError(f"reads the values of a tensor ({name.strip('_')})")
        if name == "_set_grad_enabled":
            raise TraceError("switches gradients off or on")
        if name == "__setitem__":
            self._evaluated("call_function", with_item, func, args, kwargs)
            return None
        if name == "__get__":
            attribute = func.__self__.__name__
            return self._evaluated("call_function", getattr, lambda value, _: func(value), (args[0], attribute), {})
        args, kwargs = following_mode(func, args, kwargs)
        if is_tensor_method_or_property(func):
            return self._evaluated("call_method", name, func, args, kwargs)
        return self._evaluated("call_function", func, func, args, kwargs)

    def _evaluated(
        self, kind: str, target: Any, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Call `func` on both batches and record it, if it gives tensors."""
        arguments = map_aggregate((args, kwargs), self._argument)
        given = tensors((args, kwargs))
        versions = [value._version for value in given]
        mine, options = map_aggregate((args, kwargs), functools.partial(self._lowered, which=0))
        theirs, other = map_aggregate((args, kwargs), functools.partial(self._lowered, which=1))
        first, second = func(*mine, **options), func(*theirs, **other)
        changed = [value for value, version in zip(given, versions, strict=True) if value._version != version]
        if kind != "call_module" and any(self._op(value).kind == "get_attr" for value in changed):
            raise TraceError("changes a parameter or a buffer in place")
        if not changed and not tensors(first):
            return first if first is None else merged(first, second)
        op = Op(kind=kind, target=target, args=arguments[0], kwargs=arguments[1], scope="".join(self._scope[-1:]))
        op.data, op.trained = (any(getattr(value, kind) for value in op.inputs) for kind in ("data", "trained"))
        if changed and kind != "call_module":
            out_of_place(op, func)
        self.ops.append(op)
        if first is None and changed:
            first, second = changed[0], self._known[id(changed[0])][2]
        return self._registered(op, first, second, changed)

    def _registered(self, op: Op, first: Any, second: Any, changed: list[Tensor]) -> Any:
        """Remember which operation made each tensor of a result; returns the result."""
        if isinstance(first, Tensor):
            if id(first) in self._known and all(first is not value for value in changed):
                first = first.detach()  # a function that gave back what it got: a tensor of its own
            op.shape = merged(tuple(first.shape), tuple(second.shape))
            self._known[id(first)] = (op, first, second)
            return first
        if isinstance(first, dict):
            return type(first)({key: self._item(op, key, first[key], second[key], changed) for key in first})
        if isinstance(first, tuple | list):
            if _LEN(first) != _LEN(second):
                raise TraceError("goes through the batch sample by sample")
            items = [
                self._item(op, index, *pair, changed) for index, pair in enumerate(zip(first, second, strict=True))
            ]
            return first if hasattr(first, "n_fields") or hasattr(first, "_fields") else type(first)(items)
        return first

    def _item(self, op: Op, key: Any, first: Any, second: Any, changed: list[Tensor]) -> Any:
        if not tensors(first):
            return first
        item = Op(
            kind="call_function", target=item_of, args=(op, key), scope=op.scope, data=op.data, trained=op.trained
        )
        self.ops.append(item)
        return self._registered(item, first, second, changed)

    def _op(self, value: Tensor) -> Op:
        if id(value) not in self._known:
            raise TraceError("uses a tensor that is neither its input nor one of its parameters and buffers")
        return self._known[id(value)][0]

    def _argument(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self._op(value)
        if value is not None and value is not Training and not isinstance(value, (*base_types, type(...), range)):
            raise TraceError(f"hands a {type(value).__name__} to a function")
        return value

    def _lowered(self, value: Any, *, which: int) -> Any:
        if isinstance(value, Tensor):
            return self._known[id(value)][1 + which]
        if value is Training:
            return False
        return value.at(SAMPLES[which]) if isinstance(value, Batch) else value


def _minds_mode(module: nn.Module) -> bool:
    """Whether the module asks if it is in training, so that what it does then would not be recorded."""
    return "training" in getattr(type(module).forward, "__code__", _minds_mode.__code__).co_names
