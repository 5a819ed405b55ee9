"""From any network to the list of its operations and the places between them where it can be cut."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unsplit.errors import InputError

from .layers import changes_form_only, layer_of
from .ops import Op
from .recording import OperationRecorder
from .sizes import SAMPLES, Batch, TraceError


@dataclass(frozen=True, kw_only=True, eq=False)
class Trace:
    """What a network does, as a list of operations that depend on its input, in the order in which it does them.

    Args:
        start: the operation that stands for the input.
        ops: operations that the output needs; the last one gives it.
        ends: operation that gave the output of a module, by the module's path.
        weights: names of the parameters and buffers that each operation in `ops` uses.
    """

    start: Op
    ops: tuple[Op, ...]
    ends: dict[str, Op]
    weights: tuple[frozenset[str], ...]

    def alive(self) -> list[list[Op]]:
        """What is needed later, after each operation."""
        last = {id(self.start): -1}
        for index, op in enumerate(self.ops):
            last |= {id(value): index for value in op.inputs if value.data}
        last[id(self.ops[-1])] = len(self.ops)
        made = [self.start, *self.ops]
        return [[op for op in made[: index + 2] if last[id(op)] > index] for index in range(len(self.ops))]

    def tied(self) -> list[frozenset[str]]:
        """The parameters and buffers used both up to and after each operation."""
        found, before = [], frozenset[str]()
        after = [frozenset[str]()]
        for names in reversed(self.weights[1:]):
            after.append(after[-1] | names)
        for names, later in zip(self.weights, reversed(after), strict=True):
            before |= names
            found.append(before & later)
        return found

    def obstacles(self) -> list[str | None]:
        """For each operation but the last: None where the network can be cut after it, else what is in the way."""
        found: list[str | None] = []
        for op, alive, tied in zip(self.ops[:-1], self.alive(), self.tied(), strict=False):
            if len(alive) > 1 or alive[0] is not op:
                found.append(f"{len(alive)} tensors cross there, {_described(alive)}")
            elif op.shape is None or not any(isinstance(size, Batch) and size.plus == 0 for size in op.shape):
                found.append("what crosses there is not one tensor of a batch")
            elif tied:
                found.append(f"the weights {_listed(sorted(tied))} are used on both sides")
            else:
                found.append(None)
        return found

    def boundaries(self, obstacles: Sequence[str | None]) -> list[int]:
        """The operations after which a stage ends: where the network can be cut, a layer or a module ends, or the next
        layer begins. Functions that only change a tensor's form do not end a stage of their own otherwise.
        """
        ends = {id(op) for op in self.ends.values()}
        layers = [op.kind == "call_module" or layer_of(op) is not None for op in self.ops]
        found = []
        for index, (op, obstacle) in enumerate(zip(self.ops, obstacles, strict=False)):
            by_itself = layers[index] or layers[index + 1] or id(op) in ends or not changes_form_only(op)
            if obstacle is None and by_itself:
                found.append(index)
        return found


def trace(model: nn.Module, input_shape: tuple[int, ...], source: torch.Generator) -> Trace:
    """The operations of `model`, which must be in evaluation mode. Modules inside which something cannot be recorded
    are taken as one operation.

    Raises:
        InputError: something cannot be recorded outside of any module but the whole.
    """
    leaves: frozenset[str] = frozenset()
    while True:
        recorder = OperationRecorder(model, leaves)
        batches = [torch.rand(size, *input_shape, generator=source) for size in SAMPLES]
        try:
            with torch.no_grad():
                start, output = recorder.record((batches[0], batches[1]))
            break
        except Exception as error:
            if not recorder.failed:
                raise _refusal(model, error) from error
            leaves |= {recorder.failed}
    return _needed(model, recorder, start, output)


def _refusal(model: nn.Module, error: Exception) -> InputError:
    what = str(error).splitlines()[0] if isinstance(error, TraceError) else f"fails while recorded ({_first(error)})"
    children = ", ".join(name for name, _ in list(model.named_children())[:6]) or "none"
    return InputError(
        f"The forward method of the model, a {type(model).__name__}, {what}, so the model cannot be cut; move that "
        f"into one of its modules, each of which can be taken whole ({children}), or give an nn.Sequential."
    )


def _first(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def _needed(model: nn.Module, recorder: OperationRecorder, start: Op, output: Op) -> Trace:
    """The trace without operations that the output does not need."""
    needed, waiting = {id(output)}, [output]
    while waiting:
        for value in waiting.pop().inputs:
            if id(value) not in needed:
                needed.add(id(value))
                waiting.append(value)
    ops = tuple(op for op in recorder.ops if op.data and id(op) in needed)
    if id(start) not in needed or not ops:
        raise InputError(f"The output of the model ({type(model).__name__}) does not depend on its input.")
    names = _names(model)
    weights = tuple(frozenset(_weights(op, model, names)) for op in ops)
    return Trace(start=start, ops=ops, ends=recorder.ends, weights=weights)


def _names(model: nn.Module) -> dict[int, str]:
    """The first name of each parameter and buffer, by identity."""
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    return {id(value): name for name, value in reversed(named)}


def _weights(op: Op, model: nn.Module, names: dict[int, str]) -> list[str]:
    values: list[Tensor] = []
    if op.kind == "call_module":
        module = model.get_submodule(op.target)
        values = [*module.parameters(), *module.buffers()]
    elif op.kind == "get_attr":
        owner, _, name = op.target.rpartition(".")
        values = [getattr(model.get_submodule(owner), name)]
    found = [names[id(value)] for value in values if id(value) in names]
    return found + [name for value in op.inputs if not value.data for name in _weights(value, model, names)]


def _described(ops: Sequence[Op]) -> str:
    shown = [f"{op.label or 'the input'}{_shown(op)}" for op in ops[:4]]
    return _listed(shown) + (" and more" if len(ops) > 4 else "")


def _shown(op: Op) -> str:
    return "" if op.shape is None else f" {tuple(int(size) for size in op.shape[1:])}"


def _listed(names: Sequence[str]) -> str:
    shown = list(names[:4]) + ([f"{len(names) - 4} more"] if len(names) > 4 else [])
    return shown[0] if len(shown) == 1 else ", ".join(shown[:-1]) + " and " + shown[-1]
