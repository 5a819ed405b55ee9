"""The parties. Each owns its part of the network, its optimiser and its data, and answers messages with messages.

A party never sees another's objects: what it needs arrives in `receive`, what it gives leaves as a `Message`.
Any engine that carries messages between parties in order (in one process, or over a network) trains the network.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

from torch import Tensor

from unsplit.errors import InputError
from unsplit.protocol.schedule import BatchSchedule
from unsplit.protocol.segment import Segment
from unsplit.types import Kind, Message, Setup

Loss = Callable[[Tensor, Tensor], Tensor]
"""Of outputs and labels, a scalar."""
SERVER = "server"
"""The server's name in messages."""


class Party(ABC):
    """What both sides have in common: layers, and an answer to each message."""

    name: str

    @abstractmethod
    def segments(self) -> dict[str, Segment]:
        """The party's parts by role."""

    @abstractmethod
    def answer(self, message: Message) -> list[Message]:
        """As `receive`, with the optimisers' steps left to `settle`, so that the answer can leave first."""

    def receive(self, message: Message) -> list[Message]:
        """Answer a message, and take the optimisers' steps that follow from it."""
        answers = self.answer(message)
        self.settle()
        return answers

    def settle(self) -> None:
        """Take the optimisers' steps that an answer left to do."""
        for segment in self.segments().values():
            segment.settle()

    def _message(self, step: int, receiver: str, kind: Kind, payload: Tensor) -> Message:
        return Message(step=step, sender=self.name, receiver=receiver, kind=kind, payload=payload)

    def _unexpected(self, message: Message) -> InputError:
        return InputError(
            f"{self.name} cannot use a {message.kind.value} message at step {message.step} in this setup; "
            "check that both sides agreed on the same setup."
        )


class Server(Party):
    """The party that computes most of the network, and the honest-but-curious one.

    Args:
        setup: which of the two parties holds inputs, labels and head.
        body: the server's layers (the whole top of the network in setup a).
        loss: function of outputs and labels that gives a scalar; used in setup (a), where the labels arrive.
        inputs: the inputs by client's name, shape [n, *input shape] each; in setup (b) only.
        schedules: which samples each step uses, by client's name; in setup (b) only.
    """

    name = SERVER

    def __init__(
        self,
        *,
        setup: Setup,
        body: Segment,
        loss: Loss,
        inputs: Mapping[str, Tensor] | None = None,
        schedules: Mapping[str, BatchSchedule] | None = None,
    ) -> None:
        self.setup = setup
        self.body = body
        self.last_loss = float("nan")
        self.loss = loss
        self._inputs = inputs or {}
        self._schedules = schedules or {}
        self._smashed: Tensor | None = None

    def begin(self, step: int, client: str) -> list[Message]:
        """Send this client the features of this step's batch (setup b)."""
        features = self.body.forward(self.inputs_of(step, client), step=step, needs_input_gradient=False)
        return [self._message(step, client, Kind.FEATURES, features)]

    def answer(self, message: Message) -> list[Message]:
        """Answer smashed data (with labels) or feature gradients."""
        if message.kind is Kind.SMASHED and self.setup is Setup.A:
            self._smashed = message.tensor
            return []
        if message.kind is Kind.SMASHED and self.setup is Setup.C:
            features = self.body.forward(message.tensor, step=message.step, needs_input_gradient=True)
            return [self._message(message.step, message.sender, Kind.FEATURES, features)]
        if message.kind is Kind.LABELS and self._smashed is not None:
            outputs = self.body.forward(self._smashed, step=message.step, needs_input_gradient=True)
            self._smashed = None
            loss = self.loss(outputs, message.tensor)
            self.last_loss = loss.item()
            return self._cut_gradient(message, self.body.backward(loss=loss))
        if message.kind is Kind.FEATURE_GRAD:
            gradient = self.body.backward(message.tensor)
            return self._cut_gradient(message, gradient) if self.setup is Setup.C else []
        raise self._unexpected(message)

    def forget(self) -> None:
        """Drop a step that was begun."""
        self._smashed = None
        self.body.forget()

    def relay(self, message: Message, receiver: str) -> Message:
        """Pass a client's weights on to the next client."""
        return Message(step=message.step, sender=SERVER, receiver=receiver, kind=Kind.WEIGHTS, payload=message.payload)

    def inputs_of(self, step: int, client: str) -> Tensor:
        """The inputs of a step's batch (setup b)."""
        return self._inputs[client][self._schedules[client].batch(step)]

    def segments(self) -> dict[str, Segment]:
        """The server's parts by role."""
        return {"body": self.body}

    def _cut_gradient(self, message: Message, gradient: Tensor | None) -> list[Message]:
        if gradient is None:
            raise InputError("The loss gives no gradient at the cut; use a loss that depends on the network's output.")
        return [self._message(message.step, message.sender, Kind.CUT_GRAD, gradient)]


class MaliciousServer(Server):
    """A server of setup (a) that answers smashed data with a gradient of its own; its layers stay as they are.

    Args:
        body: layers that the server pretends to train.
        answer: function of smashed data [n, ...] that gives the gradient to send, of the same shape.
    """

    def __init__(self, *, body: Segment, answer: Callable[[Tensor], Tensor], loss: Loss) -> None:
        super().__init__(setup=Setup.A, body=body, loss=loss)
        self.last_loss = 0.0
        self._answer = answer

    def answer(self, message: Message) -> list[Message]:
        """Answer the labels, which complete a client's step, with the forged gradient."""
        if message.kind is Kind.LABELS and self._smashed is not None:
            smashed, self._smashed = self._smashed, None
            return self._cut_gradient(message, self._answer(smashed))
        return super().answer(message)


def check_loss(loss: float, step: int) -> None:
    """Check that the loss of a step is a finite number.

    Raises:
        InputError: it is not.
    """
    if not math.isfinite(loss):
        raise InputError(
            f"The loss became {loss} at step {step}; lower the learning rate, or check the data for extreme values."
        )
