"""The truth that the client of somebody else's training loop keeps, for those who score attacks on a recording."""

from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor

from unsplit.errors import InputError
from unsplit.files import writable_folder, write_tensors
from unsplit.protocol.foreign_step import copied
from unsplit.ranges import InputRange


def keep_truth(
    path: Path | str,
    *,
    last: int = 16,
    first_step: int = 0,
    input_range: InputRange | Sequence[float] | str | None = None,
) -> "KeptTruth":
    """Keep the inputs and labels of a training's last steps in a file that `audit --truth` takes.

        with keep_truth("runs/truth.safetensors") as kept:
            for inputs, labels in loader:
                ...
                kept.step(inputs, labels)

    Args:
        path: a safetensors file, which is written when the context ends; one that is there is replaced.
        last: number of steps that are kept; they are in memory until then.
        first_step: number of the first step.
        input_range: lowest and highest value that the network takes, such as (0, 255), or these two for each channel,
            one after another; written into the file, so that audits know what errors are to be measured by. Without it
            they assume 0 to 1, or are told.

    Raises:
        InputError: `last` below 1, `first_step` below 0, or no such range.
        StorageError: the place cannot be written.
    """
    known = None if input_range is None else InputRange.of(input_range)
    return KeptTruth(Path(path), last=last, first_step=first_step, input_range=known)


class KeptTruth:
    """The client's side of what `observe` records; made by `keep_truth`. Call `step` once for each complete step."""

    def __init__(self, path: Path, *, last: int, first_step: int, input_range: InputRange | None = None) -> None:
        if last < 1 or first_step < 0:
            raise InputError(
                f"last is {last} and first_step is {first_step}; last must be at least 1, and first_step at least 0."
            )
        writable_folder(path.parent)
        self.steps = first_step
        """The number of the next step."""
        self._path, self._range = path, input_range
        self._kept: deque[dict[str, Tensor]] = deque(maxlen=last)

    def step(self, inputs: Tensor | None, labels: Tensor, *, number: int | None = None) -> None:
        """Keep a batch, in the order in which it went through the network.

        Args:
            inputs: inputs of the batch, shape [n, *input shape]; None where the client has none (setup b).
            labels: labels of the batch, shape [n], or [n, ...] for a regression's targets.
            number: number of the step in the recording, if it is not the one after the last: each of several clients
                counts only its own steps.

        Raises:
            InputError: another number of inputs than of labels, or inputs that are no floating-point numbers or beyond
                the range that was given.
        """
        number = self.steps if number is None else number
        kept = {"labels": copied(labels, "the labels")}
        kept["steps"] = torch.full((len(kept["labels"]),), number)
        if inputs is not None:
            kept["inputs"] = copied(inputs, "the inputs")
            if len(inputs) != len(labels):
                raise InputError(f"There are {len(inputs)} inputs and {len(labels)} labels; keep those of one batch.")
            if not inputs.is_floating_point():
                raise InputError(
                    f"The inputs are of the type {inputs.dtype}; keep them in floating point, as the network takes "
                    "them."
                )
            if self._range is not None:
                self._range.check(kept["inputs"], "The inputs")
        if self._kept and self._kept[-1].keys() != kept.keys():
            raise InputError("Some steps have inputs and some have none; keep them of all steps or of none.")
        self._kept.append(kept)
        self.steps = number + 1

    def close(self) -> None:
        """Write what was kept, if there is anything."""
        if self._kept:
            tensors = {name: torch.cat([kept[name] for kept in self._kept]) for name in self._kept[0]}
            if self._range is not None:
                tensors["input_range"] = torch.tensor(self._range.bounds, dtype=torch.float64)
            write_tensors(self._path, tensors)

    def __enter__(self) -> "KeptTruth":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
