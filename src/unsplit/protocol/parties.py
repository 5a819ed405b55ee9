"""The parties. Each owns its part of the network, its optimiser and its data, and answers messages with messages.

A party never sees another's objects: what it needs arrives in `receive`, what it gives leaves as a `Message`.
Any engine that carries messages between parties in order (in one process, or over a network) trains the network.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

from torch import Tensor

from unsplit.defenses import Defense
from unsplit.defenses.detection import Guard, HijackSuspected
from unsplit.errors import InputError
from unsplit.protocol.schedule import BatchSchedule
from unsplit.protocol.segment import Segment, load_optimizer_tensors, optimizer_tensors
from unsplit.randomness import generator, numbered_seed
from unsplit.tensors import under
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


class Client(Party):
    """A data holder.

    Args:
        name: the name by which messages call this client.
        bottom: the client's first layers; None where the server has the inputs (setup b).
        head: the client's last layers; None where it sends its labels (setup a).
        inputs: the client's inputs, shape [n, *input shape]; None in setup b.
        labels: the true labels, shape [n], or [n, ...] for regression.
        schedule: which of the samples each step uses.
        loss: function of the network's outputs and the labels that gives a scalar; unused in setup a.
        taught: labels that the client trains on, where they are not the true ones (label differential privacy).
        defense: what the client does to gradients before they leave; the bottom has its own for smashed data.
        noise_seed: seed of what the defence draws for cut gradients; its step n draws from (noise_seed, n).
        guard: checks the gradients that come back in setup (a), and stops the client on suspicion of a hijacker.
    """

    def __init__(
        self,
        *,
        name: str,
        bottom: Segment | None,
        head: Segment | None,
        inputs: Tensor | None,
        labels: Tensor,
        schedule: BatchSchedule,
        loss: Loss,
        taught: Tensor | None = None,
        defense: Defense | None = None,
        noise_seed: int = 0,
        guard: Guard | None = None,
    ) -> None:
        self.name = name
        self.bottom = bottom
        self.head = head
        self.last_loss = float("nan")
        self._inputs = inputs
        self._labels = labels
        self._taught = labels if taught is None else taught
        self._schedule = schedule
        self._loss = loss
        self._defense = defense
        self._noise_seed = noise_seed
        self._guard = guard

    def begin(self, step: int) -> list[Message]:
        """Send the smashed data of this step's batch, and in setup (a) its labels."""
        inputs = self.inputs_of(step)
        if self.bottom is None or inputs is None:
            raise RuntimeError(f"{self.name} has no inputs to begin a step with")
        smashed = self.bottom.forward(inputs, step=step, needs_input_gradient=False)
        messages = [self._message(step, SERVER, Kind.SMASHED, smashed)]
        if self.head is None:
            labels = self._taught[self._schedule.batch(step)]
            sent = labels if self._guard is None else self._guard.labels(step, labels)
            messages.append(self._message(step, SERVER, Kind.LABELS, sent))
        return messages

    def answer(self, message: Message) -> list[Message]:
        """Answer features with their gradient; end a step on a cut gradient; take over handed-on weights."""
        if message.kind is Kind.FEATURES and self.head is not None:
            outputs = self.head.forward(message.tensor, step=message.step, needs_input_gradient=True)
            taught = self._taught[self._schedule.batch(message.step)]
            loss = self._loss(outputs, taught)
            self.last_loss = loss.item()
            gradient = self.head.backward(loss=loss)
            if gradient is None:
                raise InputError("The loss gives no gradient at the head's input; use a loss that depends on it.")
            if self._defense is not None:
                drawn = generator(numbered_seed(self._noise_seed, message.step))
                gradient = self._defense.gradients(gradient, taught, generator=drawn)
            return [self._message(message.step, SERVER, Kind.FEATURE_GRAD, gradient)]
        if message.kind is Kind.CUT_GRAD and self.bottom is not None:
            self.bottom.backward(message.tensor)
            if self._guard is not None and self.head is None:
                self._look_at(message, self._guard, self.bottom)
            return []
        if message.kind is Kind.WEIGHTS:
            self.take_over(message.tensors)
            return []
        raise self._unexpected(message)

    def _look_at(self, message: Message, guard: Guard, bottom: Segment) -> None:
        """Show the guard what came back; train on it only if it says so.

        Raises:
            HijackSuspected: the guard gives an alarm.
        """
        first = next(value.grad for value in bottom.module.parameters() if value.grad is not None)
        verdict = guard.observe(message.step, message.tensor, weights=first)
        alarm = verdict is not None and verdict.alarm
        if alarm or not guard.trains(message.step):
            bottom.forget()
        if verdict is not None and alarm:
            raise HijackSuspected(self.name, verdict)

    def inputs_of(self, step: int) -> Tensor | None:
        """The inputs of a step's batch, where the client has inputs."""
        return None if self._inputs is None else self._inputs[self._schedule.batch(step)]

    @property
    def samples(self) -> int:
        """How many samples it has."""
        return len(self._labels)

    def batch_at(self, step: int) -> int:
        """How many samples a step uses."""
        return len(self._schedule.batch(step))

    def labels_of(self, step: int) -> Tensor:
        """The true labels of a step's batch."""
        return self._labels[self._schedule.batch(step)]

    def segments(self) -> dict[str, Segment]:
        """The client's parts by role."""
        parts = {"bottom": self.bottom, "head": self.head}
        return {role: segment for role, segment in parts.items() if segment is not None}

    def hand_off(self, step: int, receiver: str, *, optimizer: bool) -> Message:
        """The client's weights as a message, named "bottom.…" and "head.…".

        With `optimizer`, its optimiser's state goes along as "optimizer.ROLE.PARAMETER/KEY".
        """
        tensors = {
            f"{role}.{name}": value
            for role, segment in self.segments().items()
            for name, value in segment.module.state_dict().items()
        }
        if optimizer:
            tensors |= optimizer_tensors(self.segments())
        return Message(step=step, sender=self.name, receiver=receiver, kind=Kind.WEIGHTS, payload=tensors)

    def take_over(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from another client's weights, and its optimiser's state where it was handed on."""
        for role, segment in self.segments().items():
            segment.module.load_state_dict(under(f"{role}.", tensors))
            load_optimizer_tensors(segment, role, tensors)

    def infer(self, inputs: Tensor, step: int) -> Message:
        """The smashed data of these inputs, as the client would send them when the network is used, not trained."""
        if self.bottom is None:
            raise InputError("In setup (b) the client has no inputs, so there is no smashed data to send.")
        return self._message(step, SERVER, Kind.SMASHED, self.bottom.infer(inputs, number=step))


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
        self._loss = loss
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
            loss = self._loss(outputs, message.tensor)
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
