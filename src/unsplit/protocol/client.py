"""The party that has the data: it owns the first layers, the last ones, or both."""

from collections.abc import Mapping

from torch import Tensor

from unsplit.defenses import Defense
from unsplit.defenses.detection import Guard, HijackSuspected
from unsplit.errors import InputError
from unsplit.protocol.parties import SERVER, Loss, Party
from unsplit.protocol.schedule import BatchSchedule
from unsplit.protocol.segment import Segment, load_optimizer_tensors, optimizer_tensors
from unsplit.randomness import generator, numbered_seed
from unsplit.tensors import under
from unsplit.types import Kind, Message


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
    def data(self) -> tuple[Tensor | None, Tensor]:
        """The inputs, where the client has them, and the labels that it trains on, of all its samples."""
        return self._inputs, self._taught

    @property
    def batch_size(self) -> int:
        """How many samples a step uses, but perhaps for the last of an epoch."""
        return self._schedule.batch_size

    @property
    def alters_messages(self) -> bool:
        """Whether a defence or a guard may make the training another one than that of the bare layers."""
        return self._defense is not None or self._guard is not None

    @property
    def steps_an_epoch(self) -> int:
        """Steps until each sample was visited once."""
        return self._schedule.steps_an_epoch

    def batch_of(self, step: int) -> Tensor:
        """The indices of the samples of a step's batch."""
        return self._schedule.batch(step)

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
