"""Any network as an `nn.Sequential` of stages: what lies between two places where exactly one tensor crosses."""

import copy
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn

from unsplit.errors import InputError
from unsplit.randomness import generator, seeded

from .comparison import as_found, check_takes, compare, computed, gradient_passes_from
from .layers import changes_form_only, layer_of
from .named import NamedInputs
from .ops import Op, Training
from .sizes import Batch
from .tracing import Trace, trace


class Stages(nn.Sequential):
    """A network in stages. They are named after the modules that end them, with "-" for the dots of a path.

    Args:
        places: by path of a module of the network: the depth of the last cut up to its end, and None if that is the cut
            after it, else why there is none.
        origins: name in the network of each weight and buffer, given by its identity and kept by its name here.
    """

    places: dict[str, tuple[int, str | None]]
    origins: dict[str, str]

    def __init__(
        self,
        named: dict[str, nn.Module],
        places: dict[str, tuple[int, str | None]],
        origins: Mapping[int, str] | None = None,
    ) -> None:
        super().__init__()
        for name, module in named.items():
            self.add_module(name, module)
        self.places = places
        held, known = self.state_dict(keep_vars=True), origins or {}
        self.origins = {name: known[id(value)] for name, value in held.items() if id(value) in known}


def batch_size(tensor: Tensor, dim: int, times: int) -> int:
    """How many samples are at hand, where this dimension has so many for each."""
    return tensor.shape[dim] // times


def staged(model: nn.Module, input_shape: tuple[int, ...]) -> Stages:
    """The stages of a network. They share its parameters, buffers and layers; layers that work in place are set to
    work out of place, as what crosses a cut must not be changed.

    Args:
        model: network on the CPU, in float32.
        input_shape: shape of one input, without the batch.

    Raises:
        InputError: it cannot be cut, or does in stages something else than as a whole.
    """
    source = generator(0)
    with as_found(model):
        model.eval()
        check_takes(model, torch.rand(2, *input_shape, generator=source))
        weights = list(model.parameters())
        checks = [(torch.rand(size, *input_shape, generator=source), size == 4) for size in (2, 1, 4)]
        expected = [computed(model, inputs, weights, training) for inputs, training in checks]
        with seeded(0), _without_words_of_fx():
            found = trace(model.eval(), input_shape, source)
            for module in model.modules():
                if getattr(module, "inplace", False) is True:
                    module.inplace = False  # type: ignore[assignment]
            obstacles = found.obstacles()
        stages, ends = _stages(model, found, obstacles)
        closed = gradient_passes_from(stages, input_shape)
        if closed:
            for end in ends[:closed]:
                obstacles[end] = "no gradient passes back through what follows"
            stages, _ = _stages(model, found, obstacles)
        for wanted, (inputs, training) in zip(expected, checks, strict=True):
            if wanted is not None:
                compare(model, computed(stages, inputs, weights, training), wanted, inputs)
    own = {id(module) for module in model.modules()}
    for module in stages.modules():
        if id(module) not in own:
            module.training = model.training
    return stages


@contextmanager
def _without_words_of_fx() -> Iterator[None]:
    """Keep torch.fx from warning of what is checked here anyway: a user reads one sentence if it goes wrong."""
    log = logging.getLogger("torch.fx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"torch\.fx\.")
            warnings.filterwarnings("ignore", message=r".*(torch\.fx|Graph\.create_node|owning GraphModule)")
            yield
    finally:
        log.setLevel(before)


def _stages(model: nn.Module, found: Trace, obstacles: Sequence[str | None]) -> tuple[Stages, list[int]]:
    """The stages between operations without obstacles, and the operations that end them."""
    ends = [*found.boundaries(obstacles), len(found.ops) - 1]
    if len(ends) < 2:
        reasons = sorted({obstacle for obstacle in obstacles if obstacle}, key=len)
        raise InputError(
            f"The model, a {type(model).__name__}, cannot be cut: there is no place between its layers where exactly "
            f"one tensor crosses{f' (for example, {reasons[0]})' if reasons else ''}; a cut needs a place that all "
            "paths through the network pass."
        )
    paths = {path.replace(".", "-") for path, _ in model.named_modules()}
    named: dict[str, nn.Module] = {}
    used: set[int] = set()
    for begin, end in zip([-1, *ends], ends, strict=False):
        source = found.start if begin < 0 else found.ops[begin]
        module = _stage(model, source, found.ops[begin + 1 : end + 1])
        if id(module) in used:
            module = copy.deepcopy(module)  # a layer without weights that is used twice
        used.add(id(module))
        last = _named_after(found.ops[begin + 1 : end + 1])
        name = _own_path(model, last.label).replace(".", "-")
        named[_free_name(name, {*named, *(() if last.kind == "call_module" else paths)})] = module
    places = {_own_path(model, path): place for path, place in _places(model, found, obstacles, ends).items()}
    held = model.state_dict(keep_vars=True)
    return Stages(named, places, {id(value): _own_path(model, path) for path, value in held.items()}), ends


def _own_path(model: nn.Module, path: str) -> str:
    """The path in the user's network, whether or not named inputs are in front of it."""
    return path.removeprefix("model.") if isinstance(model, NamedInputs) else path


def _places(
    model: nn.Module, found: Trace, obstacles: Sequence[str | None], ends: Sequence[int]
) -> dict[str, tuple[int, str | None]]:
    index = {id(op): number for number, op in enumerate(found.ops)}
    places: dict[str, tuple[int, str | None]] = {}
    ends_of = {path: index[id(op)] for path, op in found.ends.items() if path and id(op) in index}
    for path, _ in model.named_modules():
        # A list of modules is never called itself: it ends with the last of its modules.
        inside = [number for other, number in ends_of.items() if other.startswith(f"{path}.")]
        number = ends_of.get(path, max(inside, default=-1))
        if not path or number < 0:
            continue
        depth = sum(end <= number for end in ends[:-1]) - 1
        last = "nothing is left after it" if number == len(found.ops) - 1 else None
        places[path] = depth, last or obstacles[number]
    return places


def _named_after(ops: Sequence[Op]) -> Op:
    """The last operation that does more than change a tensor's form, if there is one."""
    return next((op for op in reversed(ops) if not changes_form_only(op)), ops[-1])


def _free_name(name: str, taken: set[str]) -> str:
    number, free, empty = 0, name, Stages({}, {})
    while free in taken or hasattr(empty, free):
        number += 1
        free = f"{name}_{number}"
    return free


def _stage(model: nn.Module, source: Op, ops: Sequence[Op]) -> nn.Module:
    """The module for these operations, whose only input is what `source` gave."""
    if len(ops) == 1:
        (op,) = ops
        if op.kind == "call_module" and op.args == (source,) and not op.kwargs:
            return model.get_submodule(op.target)
        layer = layer_of(op)
        if layer is not None:
            return layer
    graph = fx.Graph()
    writer = _Writer(graph, source)
    for op in ops:
        writer.write(op)
    graph.output(writer.write(ops[-1]))
    return fx.GraphModule(model, graph, class_name="Stage")


class _Writer:
    """Writes operations into a graph of torch.fx, with what they need that does not depend on the input."""

    def __init__(self, graph: fx.Graph, source: Op) -> None:
        self._graph, self._source = graph, source
        self._input = graph.placeholder("inputs")
        self._written: dict[Any, fx.Node] = {id(source): self._input}

    def write(self, op: Op) -> fx.Node:
        """The node of an operation."""
        if id(op) not in self._written:
            args, kwargs = fx.node.map_aggregate((op.args, op.kwargs), self._argument)
            self._written[id(op)] = self._graph.create_node(op.kind, op.target, args, kwargs)
        return self._written[id(op)]

    def _argument(self, value: Any) -> Any:
        if isinstance(value, Op):
            return self.write(value)
        if value is Training:
            return self._once("training", "get_attr", "training", ())
        return self._size(value) if isinstance(value, Batch) else value

    def _size(self, size: Batch) -> fx.Node:
        shape = self._source.shape or ()
        dim = next(at for at, known in enumerate(shape) if isinstance(known, Batch) and known.plus == 0)
        node = self._once("batch", "call_function", batch_size, (self._input, dim, shape[dim].times))
        if (size.times, size.plus) == (1, 0):
            return node
        return self._once((size.times, size.plus), "call_function", affine, (node, size.times, size.plus))

    def _once(self, key: Any, kind: str, target: Any, args: tuple[Any, ...]) -> fx.Node:
        if key not in self._written:
            self._written[key] = self._graph.create_node(kind, target, args, {})
        return self._written[key]


def affine(samples: int, times: int, plus: int) -> int:
    """A size that depends on the batch."""
    return samples * times + plus
