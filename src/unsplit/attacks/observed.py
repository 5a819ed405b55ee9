"""What attacks observe: in the numbers that they compute in, and checked."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from unsplit.errors import InputError
from unsplit.types import Converted, Kind, Message, Payload, Transcript


def readable(view: Transcript) -> Transcript:
    """A view as all attacks read it, whatever number types and layouts crossed: floating-point numbers in single
    precision (half precision is exact in it; doubles are rounded), labels that are whole numbers as 64-bit ones and
    without a last axis of one, and no message of an empty batch. Messages are converted as they are read.
    """
    return replace(view, messages=Converted(view.with_samples(), _converted))


def class_numbers(labels: Tensor) -> Tensor:
    """Labels as the numbers of their classes, shape [n], where their values are such: whole numbers that crossed as
    floating-point ones, as for a binary cross-entropy, and one-hot rows. Others, as of a regression, stay as they are.
    """
    flat = labels.squeeze(-1) if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if not bool(((flat >= 0) & (flat == flat.round())).all()):
        return labels
    if flat.ndim == 1:
        return flat.long()
    one_hot = flat.ndim == 2 and bool((flat.sum(1) == 1).all())
    return flat.argmax(1) if one_hot else labels


def check_positions(what: str, indices: Sequence[int], observed: int) -> None:
    """Check that the positions of what is known are among what was observed.

    Raises:
        InputError: one is beyond it.
    """
    if max(indices) >= observed:
        raise InputError(
            f"The known {what} {max(indices)} is beyond the {observed} {what}s that were observed; count positions "
            "from 0."
        )


def check_finite(what: str, *values: Tensor) -> None:
    """Check that observed values are numbers an attack can work with.

    Raises:
        InputError: NaN or infinity is among them.
    """
    if not all(bool(value.isfinite().all()) for value in values):
        raise InputError(f"The {what} hold NaN or infinity; record a run whose training does not diverge.")


def batches(number: int, size: int, network: nn.Module, generator: torch.Generator) -> list[Tensor]:
    """The positions of so many samples in random order, some `size` at a time. Where the network normalises by the
    batch, which refuses one of a single sample, a last one goes with those before it.
    """
    found = list(torch.split(torch.randperm(number, generator=generator), size))
    if len(found) > 1 and len(found[-1]) == 1 and any(isinstance(layer, _BatchNorm) for layer in network.modules()):
        found[-2:] = [torch.cat(found[-2:])]
    return found


def _converted(message: Message) -> Message:
    payload: Payload
    if isinstance(message.payload, Tensor):
        payload = _numbers(message.payload, message.kind)
        same = payload is message.payload
    else:
        payload = {name: _numbers(value, message.kind) for name, value in message.payload.items()}
        same = all(value is message.payload[name] for name, value in payload.items())
    return message if same else replace(message, payload=payload)


def _numbers(value: Tensor, kind: Kind) -> Tensor:
    """One payload; the same tensor where there is nothing to convert."""
    whole = not value.is_floating_point()
    if kind is Kind.LABELS and whole:
        flat = value.squeeze(-1) if value.ndim == 2 and value.shape[1] == 1 else value
        return flat if flat.dtype is torch.int64 else flat.long()
    if kind is Kind.WEIGHTS and whole:
        return value
    return value.to(torch.float32).contiguous()
