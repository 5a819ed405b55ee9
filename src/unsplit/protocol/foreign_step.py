"""One step of a server in somebody else's training loop, as it is noted."""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from unsplit.errors import InputError
from unsplit.tensors import plain
from unsplit.types import Kind, Message, Payload

_FROM_CLIENT = (Kind.SMASHED, Kind.LABELS, Kind.FEATURE_GRAD, Kind.WEIGHTS)


class ForeignStep:
    """What crosses in one step: a context around the server's part of it, made by `Observation.step`.

    In a U-shape (setup c), and where the server has the inputs (setup b), note inside the block what it sends on and
    what comes back:

        with server.step(received) as step:
            sent = body(received)
            step.features(sent)
            gradient = ...  # from the client
            step.feature_gradient(gradient)
            sent.backward(gradient)
    """

    def __init__(
        self,
        received: Any,
        labels: Any,
        *,
        gradient: bool,
        take: Callable[[Sequence[tuple[Kind, Tensor]]], None],
        carry: Callable[[Kind, object], None] = lambda _kind, _value: None,
    ) -> None:
        self._received, self._gradient, self._take, self._carry = received, gradient, take, carry
        self._noted: dict[Kind, Tensor] = {}
        if received is not None:
            self._note(Kind.SMASHED, received)
        if labels is not None:
            self._note(Kind.LABELS, labels)

    def features(self, features: Tensor) -> None:
        """What the server sends to the client's head, shape [n, ...].

        Raises:
            InputError: something else than one tensor, or labels that went to the server as well.
        """
        if Kind.LABELS in self._noted:
            raise InputError(
                "Labels and features are both noted; where the client has the head, its labels stay with it: leave "
                "labels= out, and keep them as truth."
            )
        self._note(Kind.FEATURES, features)

    def feature_gradient(self, gradient: Tensor) -> None:
        """What comes back from the client's head, shaped like the features.

        Raises:
            InputError: something else than one tensor, or not of that shape.
        """
        self._answer(Kind.FEATURES, Kind.FEATURE_GRAD, gradient)

    def complete(self, cut_gradient: Any = None) -> None:
        """Note what goes back at the cut, and that the step is over; the context does so at its end.

        Args:
            cut_gradient: if it is no tensor, the `grad` of the smashed data that were received.

        Raises:
            InputError: nothing goes back, or half of what crosses was not noted.
        """
        if not self._noted:
            raise InputError(
                "Nothing crossed in this step; hand its smashed data to step(), or note features where the server has "
                "the inputs."
            )
        if self._gradient and Kind.FEATURES in self._noted and Kind.FEATURE_GRAD not in self._noted:
            raise InputError(
                "Features are noted without their gradient; call feature_gradient() inside the block with what the "
                "client sends back."
            )
        if self._gradient and self._received is not None:
            answer = cut_gradient if isinstance(cut_gradient, Tensor) else _gradient_at(self._received)
            self._answer(Kind.SMASHED, Kind.CUT_GRAD, answer)
        self._take(list(self._noted.items()))

    def __enter__(self) -> "ForeignStep":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self.complete()

    def _answer(self, asked: Kind, kind: Kind, gradient: Tensor) -> None:
        self._note(kind, gradient)
        shape = self._noted[asked].shape if asked in self._noted else None
        if gradient.shape != shape:
            raise InputError(
                f"The {kind.value} has the shape {tuple(gradient.shape)} and the {asked.value} "
                f"{'is not noted' if shape is None else f'has {tuple(shape)}'}; note both sides of one crossing."
            )

    def _note(self, kind: Kind, value: Any) -> None:
        tensor = copied(value, f"the {kind.value}")
        self._carry(kind, value)
        if tensor.ndim == 0:
            raise InputError(f"The {kind.value} is a single number; expected one entry for each sample of the batch.")
        sizes = {len(tensor), *map(len, self._noted.values())}
        if len(sizes) > 1:
            raise InputError(
                f"The {kind.value} has {len(tensor)} samples, and not all that was noted in this step has as many "
                f"(sizes {sorted(sizes)}); note what crosses for one batch."
            )
        self._noted[kind] = tensor


def check_client(client: str, observer: str) -> None:
    """Check that a client has a name of its own.

    Raises:
        InputError: it has not.
    """
    if client in ("", observer):
        raise InputError(
            f"The client's name is '{client}'; give a name that is not empty and not that of the {observer}."
        )


def crossing(step: int, kind: Kind, payload: Payload, *, client: str, observer: str) -> Message:
    """What crosses between a client and the observer, in the direction that belongs to its kind."""
    sender, receiver = (client, observer) if kind in _FROM_CLIENT else (observer, client)
    return Message(step=step, sender=sender, receiver=receiver, kind=kind, payload=payload)


def copied(value: Any, name: str) -> Tensor:
    """A copy as transcripts hold them: numbers alone (`tensors.plain`), on the processor, floating-point ones in single
    precision, in which attacks compute (half precision is exact in it; doubles are rounded), small and unsigned whole
    ones as 64-bit ones.

    Raises:
        InputError: not a tensor, one of complex numbers, or one that is not plain numbers.
    """
    if not isinstance(value, Tensor):
        raise InputError(
            f"The value noted for {name} is a {type(value).__name__}, and one tensor is expected; note the tensor that "
            "is to be attacked, or cut the network where one tensor crosses."
        )
    if value.is_complex():
        raise InputError(f"The value noted for {name} holds complex numbers; real numbers are expected.")
    numbers = plain(value)
    dtype = torch.float32 if numbers.is_floating_point() else torch.int64
    return numbers.to("cpu", dtype, copy=True)


def _gradient_at(received: Tensor) -> Tensor:
    if not (received.is_leaf or received.retains_grad):
        raise InputError(
            "The smashed data that the server received are still part of the client's autograd graph, and keep no "
            "gradient; write received = smashed.detach().requires_grad_(), and smashed.backward(received.grad) after "
            "the block."
        )
    if received.grad is None:
        raise InputError(
            "No gradient has reached the smashed data; call loss.backward() inside the block, on a loss computed from "
            "what was handed to step(), or pass gradient=False where nothing is trained."
        )
    return received.grad
