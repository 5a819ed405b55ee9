"""Running a step many times: eagerly, or on CUDA as a captured graph.

A step of the trainings here is some hundred small kernels, and to launch them one by one takes longer than to compute
them. A CUDA graph launches them all at once. Graphs that are captured on one stream share its workspace of matrix
products, so those that may run at the same time have a stream each, on which they are warmed up, captured and replayed.
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch

_WARM_UP = 3
"""Eager steps before a capture: libraries choose their kernels and optimisers make their state in them."""

Step = Callable[[], None]
"""One step, which reads what it needs from a `Timetable` and nothing from the host."""


@runtime_checkable
class Repeated(Protocol):
    """A step that can be repeated. What is called between `begin` and `end` belongs to it alone."""

    overlaps: bool
    """Whether a call returns before the device has done the work, so that others can be called meanwhile."""

    def begin(self) -> None:
        """Let what comes now see what was computed before."""

    def __call__(self) -> None:
        """Do one step."""

    def end(self) -> None:
        """Let what is computed afterwards see what these steps have done."""


def repeated(step: Step, device: torch.device) -> Repeated:
    """The step as this device runs it best; the numbers are those of eager steps, within rounding.

    Args:
        step: does the same operations, on the same memory, whenever it is called.
        device: where it computes.
    """
    return _Captured(step, device) if device.type == "cuda" else _Eager(step)


class _Eager:
    overlaps = False

    def __init__(self, step: Step) -> None:
        self._step = step

    def begin(self) -> None:
        pass

    def __call__(self) -> None:
        self._step()

    def end(self) -> None:
        pass


class _Captured:
    overlaps = True

    def __init__(self, step: Step, device: torch.device) -> None:
        self._step: Step | None = step
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._graph: torch.cuda.CUDAGraph | None = None
        self._eager_steps: float = _WARM_UP

    def begin(self) -> None:
        self._stream.wait_stream(torch.cuda.current_stream(self._device))

    def __call__(self) -> None:
        with torch.cuda.stream(self._stream):
            if self._step is not None and self._eager_steps == 0:
                self._capture(self._step)
            if self._graph is not None:
                self._graph.replay()
            elif self._step is not None:
                self._step()
                self._eager_steps -= 1

    def end(self) -> None:
        torch.cuda.current_stream(self._device).wait_stream(self._stream)

    def _capture(self, step: Step) -> None:
        """Record the step without doing it; memory of a pool of its own, which other graphs may not write to."""
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads may use the device meanwhile.
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                step()
        except torch.cuda.OutOfMemoryError:
            raise
        except RuntimeError:
            # A client's own layers may ask the host for something, which no graph can: eager steps do.
            torch.cuda.synchronize(self._device)
            self._eager_steps = float("inf")
        else:
            # The graph needs it no more, and what it holds can go as soon as nobody else does.
            self._graph, self._step = graph, None
