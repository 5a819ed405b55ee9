"""The truth of recorded traffic, as a client leaves it for those who score attacks, and the form of its inputs."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from jaxtyping import Float, Int, Shaped
from safetensors import SafetensorError, safe_open
from torch import Tensor

from unsplit.data.scaling import SMALL_PART
from unsplit.errors import FormatError, InputError
from unsplit.files import explained
from unsplit.ranges import UNIT, InputRange
from unsplit.types import Transcript

Told = TypeVar("Told")


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordedTruth:
    """The samples of some steps in the order of their batches. Only metrics may see it.

    Args:
        steps: the step of each sample, shape [n].
        labels: their classes, shape [n], or what a regression aims at.
        inputs: shape [n, *input shape]; None where the client has none (setup b).
        input_range: the range of inputs, where the client said so.
    """

    steps: Int[Tensor, " n"]
    labels: Shaped[Tensor, "n ..."]
    inputs: Float[Tensor, "n ..."] | None
    input_range: InputRange | None = None

    def last_step(self, view: Transcript) -> int:
        """The last of its steps that a transcript has.

        Raises:
            InputError: there is none.
        """
        shared = set(self.steps.tolist()) & set(view.steps)
        if not shared:
            raise InputError(
                f"The truth covers steps {int(self.steps.min())} to {int(self.steps.max())}, and the recorded messages "
                f"to attack cover {_range(view.steps)}; name the truth that a client of this same training wrote."
            )
        return int(max(shared))

    def of_step(self, step: int, samples: int) -> Tensor:
        """Where the samples of a step are, shape [samples].

        Raises:
            InputError: it has another number of them.
        """
        places = (self.steps == step).nonzero().flatten()
        if len(places) != samples:
            raise InputError(
                f"The truth has {len(places)} samples of step {step} and the recording {samples}; name the truth that "
                "a client of this same training wrote."
            )
        return places

    def judged(self, view: Transcript, samples: int) -> tuple[Tensor, Tensor]:
        """Which of the `samples` samples of a transcript (of one message a step) have a true label, and these labels.

        Raises:
            InputError: none, or a step with another number of samples.
        """
        self.last_step(view)
        first = int(self.steps.min())
        judged = view.where(lambda header: header.step >= first)
        start = samples - sum(judged.sizes)
        known, places, labels = set(self.steps.tolist()), [], []
        for step, size in zip((header.step for header in judged.headers), judged.sizes, strict=True):
            if step in known:
                places.append(torch.arange(start, start + size))
                labels.append(self.labels[self.of_step(step, size)])
            start += size
        return torch.cat(places), torch.cat(labels)


def read_truth(path: Path) -> RecordedTruth:
    """Read the file that a client wrote: tensors `steps`, `labels` and, where it has inputs, `inputs` and perhaps their
    `input_range`, shape [1 or channels, 2].

    Raises:
        FormatError: it is missing, damaged, or holds something else.
    """
    if not path.is_file():
        raise FormatError(f"There is no truth file {path}; name a file that a client wrote, or leave the truth out.")
    try:
        with explained(path), safe_open(path, framework="pt") as stream:
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - not a mapping
        steps, labels, inputs = tensors["steps"], tensors["labels"], tensors.get("inputs")
        span = tensors.get("input_range")
    except (SafetensorError, KeyError) as error:
        raise _no_truth(path, "it is damaged or lacks steps or labels") from error
    given = [value for value in (steps, labels, inputs) if value is not None]
    if steps.dtype is not torch.int64 or steps.ndim != 1 or len(steps) == 0:
        raise _no_truth(path, "its steps must be whole numbers, one for each sample")
    if not all(value.ndim and len(value) == len(steps) for value in given):
        raise _no_truth(path, "it must have as many inputs and labels as steps")
    if not all(bool(torch.isfinite(value).all()) for value in given):
        raise _no_truth(path, "it holds NaN or infinity")
    if labels.ndim > 1 and labels[0].numel() == 1:
        labels = labels.flatten()
    if not labels.is_floating_point():
        labels = labels.long()
    if inputs is not None and not inputs.is_floating_point():
        raise _no_truth(path, "its inputs must be floating-point numbers, as the client trains on")
    known = None if span is None else InputRange.of(span)
    inputs = None if inputs is None else inputs.float()
    return RecordedTruth(steps=steps, labels=labels, inputs=inputs, input_range=known)


def _no_truth(path: Path, why: str) -> FormatError:
    return FormatError(f"{path} is not a truth file: {why}; name another file.")


def shape_of(given: tuple[int, ...] | None, truth: RecordedTruth | None) -> tuple[int, ...] | None:
    """The shape of one input, as the truth has it or else as it is given; None where neither tells.

    Raises:
        InputError: the truth has another shape than the one that is given.
    """
    known = None if truth is None or truth.inputs is None else tuple(truth.inputs.shape[1:])
    return _one_of(known, given, "inputs of shape", "input_shape")


def range_of(given: InputRange | None, truth: RecordedTruth | None, shape: tuple[int, ...]) -> InputRange:
    """The range of the client's inputs, within which the truth is; 0 to 1 if nobody says another.

    Raises:
        InputError: two ranges, one for another number of channels, or a truth beyond it.
    """
    known = None if truth is None else truth.input_range
    found = _one_of(known, given, "the input range", "input_range") or UNIT
    found.columns(shape)
    if truth is not None and truth.inputs is not None:
        found.check(truth.inputs, "The truth's inputs")
    return found


def _one_of(known: Told | None, given: Told | None, what: str, setting: str) -> Told | None:
    if known is not None and given is not None and known != given:
        raise InputError(f"The truth has {what} {known}, and `{setting}` says {given}; leave `{setting}` out.")
    return known or given


def about_the_range(truth: RecordedTruth | None, units: InputRange) -> tuple[str, ...]:
    """What there is to say of a truth that fills a small part of the range, if it does."""
    if truth is None or truth.inputs is None:
        return ()
    unit = units.to_unit(truth.inputs)
    if not 0 < float(unit.max() - unit.min()) <= SMALL_PART:
        return ()
    low, high = float(truth.inputs.min()), float(truth.inputs.max())
    return (
        f"The truth fills only {low:g} to {high:g}, a small part of the range {units}, and attacks expect inputs to "
        "fill it; give the range that the client's inputs really fill (`input_range`).",
    )


def _range(steps: tuple[int, ...]) -> str:
    return f"steps {steps[0]} to {steps[-1]}" if steps else "none"
