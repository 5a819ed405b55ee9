"""CUDA graphs as they behave, played on the processor: what is captured is operations on memory, and no Python."""

from contextlib import contextmanager

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class PlayedGraph:
    """Operations that are recorded once and done again, on the same memory, at every replay.

    The processor cannot record an operation without doing it, so the first replay, which comes right after the
    capture, has been done already.
    """

    def __init__(self):
        self.operations, self.replays = [], 0

    @torch.no_grad()
    def replay(self):
        self.replays += 1
        if self.replays == 1:
            return
        # A graph knows nothing of what Python pretends meanwhile.
        with torch._C.DisableTorchFunction():
            self._do_again()

    def _do_again(self):
        for operation, arguments, named, made in self.operations:
            again = operation(*arguments, **named)
            if operation.is_view:
                continue
            for old, new in zip(tree_leaves(made), tree_leaves(again), strict=True):
                if isinstance(old, torch.Tensor) and old is not new:
                    old.copy_(new)


# Reads a number to the host; brings one from there.
_OF_THE_HOST = (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.lift_fresh.default)


class _Recording(TorchDispatchMode):
    def __init__(self, graph):
        super().__init__()
        self._graph = graph

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        if operation in _OF_THE_HOST:
            raise RuntimeError("operation not permitted when stream is capturing")
        made = operation(*args, **(kwargs or {}))
        self._graph.operations.append((operation, args, kwargs or {}, made))
        return made


class _Stream:
    def __init__(self, device=None):
        pass

    def wait_stream(self, stream):
        pass


@contextmanager
def _nothing(_):
    yield


@contextmanager
def _captured(graph, stream=None, capture_error_mode="global"):  # noqa: ARG001
    with _Recording(graph):
        yield


def play_cuda(monkeypatch):
    """Let what is captured be captured by `PlayedGraph`; tensors stay on the processor. Gives all graphs made."""
    made = []

    def graph():
        made.append(PlayedGraph())
        return made[-1]

    monkeypatch.setattr(torch.cuda, "CUDAGraph", graph)
    monkeypatch.setattr(torch.cuda, "Stream", _Stream)
    monkeypatch.setattr(torch.cuda, "graph", _captured)
    monkeypatch.setattr(torch.cuda, "stream", _nothing)
    monkeypatch.setattr(torch.cuda, "current_stream", _Stream)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device=None: None)  # noqa: ARG005
    return made
