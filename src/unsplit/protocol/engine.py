"""Split training in one process: the messages that the parties would exchange over a network, carried by hand."""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from unsplit.errors import InputError, unknown_name
from unsplit.protocol.checkpoint import load_checkpoint, save_checkpoint
from unsplit.protocol.client import Client
from unsplit.protocol.parties import SERVER, Server, check_loss
from unsplit.protocol.recorder import Recorder
from unsplit.protocol.schedule import Turns
from unsplit.protocol.segment import Segment, predicted
from unsplit.types import Message, Setup, Transcript, Truth

StepEnded = Callable[[int, int, float], None]
"""Called after each step with the number of steps done, the number in all, and the loss."""


class SplitTraining:
    """A server and its clients, training one step at a time.

    Build one with `split_training`, which also splits the network and the data. The attributes are for the
    experiment that plays all parties (training, evaluation, metrics); an attack gets a `Transcript`, never this.

    Args:
        hand_off: "server" passes weights through the server, "peer" straight from client to client.
        hand_off_optimizer: also hand on the optimiser's state; the paper hands on weights only.
        description: text about all that must be the same where a checkpoint of one run is resumed by another.
    """

    def __init__(
        self,
        *,
        setup: Setup,
        server: Server,
        clients: Sequence[Client],
        turns: Turns,
        hand_off: str = "server",
        hand_off_optimizer: bool = False,
        description: str = "",
    ) -> None:
        if hand_off not in ("server", "peer"):
            raise unknown_name("hand-off of weights", hand_off, ("server", "peer"))
        self.setup = setup
        self.server = server
        self.clients = tuple(clients)
        self.turns = turns
        self.steps_done = 0
        self._hand_off = hand_off
        self._hand_off_optimizer = hand_off_optimizer
        self._description = description
        self._recorders: list[Recorder] = []

    def record(self, recorder: Recorder) -> Recorder:
        """Give `recorder` every message that its observer sends or receives from now on."""
        parties = {SERVER, *(client.name for client in self.clients)}
        if recorder.observer not in parties:
            raise InputError(
                f"There is no party '{recorder.observer}' to record; the parties are {', '.join(sorted(parties))}."
            )
        self._recorders.append(recorder)
        return recorder

    def run(
        self,
        steps: int,
        *,
        progress: StepEnded | None = None,
        checkpoint: Path | None = None,
        checkpoint_every: int = 1000,
    ) -> float:
        """Train until `steps` steps are done in all; returns the mean loss of the steps run now.

        Args:
            steps: the total number of steps; steps done before (or resumed from a checkpoint) count.
            progress: function that is called after each step.
            checkpoint: file that keeps the state, written every `checkpoint_every` steps and at the end.
            checkpoint_every: number of steps between two checkpoints.
        """
        total, ran = 0.0, 0
        while self.steps_done < steps:
            loss = self.step()
            total, ran = total + loss, ran + 1
            if checkpoint is not None and (self.steps_done % checkpoint_every == 0 or self.steps_done == steps):
                self.save(checkpoint)
            if progress is not None:
                progress(self.steps_done, steps, loss)
        return total / ran if ran else float("nan")

    def step(self) -> float:
        """One training step of the client whose turn it is; returns its loss."""
        step = self.steps_done
        if self.turns.hands_off(step):
            self._hand_over(step - 1)
        client = self.active(step)
        self._deliver(self.server.begin(step, client.name) if self.setup is Setup.B else client.begin(step))
        self.steps_done = step + 1
        loss = self.server.last_loss if self.setup is Setup.A else client.last_loss
        check_loss(loss, step)
        return loss

    @property
    def observed(self) -> bool:
        """Whether its messages make a difference: somebody records them, or a client alters or checks them."""
        return bool(self._recorders) or any(client.alters_messages for client in self.clients)

    def active(self, step: int | None = None) -> Client:
        """The client that trains at `step`, or that trained last."""
        return self.clients[self.turns.client(max(self.steps_done - 1, 0) if step is None else step)]

    def infer(self, inputs: Tensor, *, batch_size: int = 256) -> Transcript:
        """The transcript of the server while the trained client sends `inputs` to be classified, in batches.

        Nothing of the training changes.
        """
        client = self.active()
        recorder = Recorder(observer=SERVER)
        for step, batch in enumerate(torch.split(inputs, batch_size)):
            recorder.take(client.infer(batch, step))
        return recorder.transcript()

    def model(self) -> nn.Sequential:
        """The whole network as it stands, with the parts of the client that trained last. Its modules are the
        parties' own, not copies.
        """
        client = self.active()
        parts = [client.bottom, self.server.body, client.head]
        named = [item for part in parts if part is not None for item in part.module.named_children()]
        return nn.Sequential(OrderedDict(named))

    def truth(self, step: int) -> Truth:
        """The inputs and labels of a step's batch: for metrics, never for an attack."""
        client = self.active(step)
        labels, inputs = client.labels_of(step), client.inputs_of(step)
        if inputs is None:
            inputs = self.server.inputs_of(step, client.name)
        return Truth(inputs=inputs, labels=labels)

    def predict(self, inputs: Tensor, *, batch_size: int = 512) -> Tensor:
        """The network's outputs for these inputs when it is used, the clients' defences included: [n, classes]."""
        client = self.active()
        rest = [self.server.body.module, *([] if client.head is None else [client.head.module])]
        if client.bottom is None:
            return predicted(inputs, *rest, batch_size=batch_size)
        batches = enumerate(torch.split(inputs, batch_size))
        return torch.cat([predicted(client.bottom.infer(batch, number=number), *rest) for number, batch in batches])

    def segments(self) -> Mapping[str, Segment]:
        """Every party's parts by "party.role"."""
        parties: Iterable[Client | Server] = (self.server, *self.clients)
        return {f"{party.name}.{role}": segment for party in parties for role, segment in party.segments().items()}

    def save(self, path: Path) -> None:
        """Write a checkpoint; transcripts that stream to disk are brought up to the same step."""
        for recorder in self._recorders:
            recorder.flush()
        save_checkpoint(path, self.segments(), step=self.steps_done, run=self._description, active=self.active().name)

    def resume(self, path: Path) -> int:
        """Go on from a checkpoint; returns the number of steps that were done."""
        self.steps_done = load_checkpoint(path, self.segments(), run=self._description)
        for recorder in self._recorders:
            recorder.forget_from(self.steps_done)
        return self.steps_done

    def _hand_over(self, step: int) -> None:
        giver, taker = self.active(step), self.active(step + 1)
        via_server = self._hand_off == "server"
        message = giver.hand_off(step, SERVER if via_server else taker.name, optimizer=self._hand_off_optimizer)
        self.pass_on(message)
        if via_server:
            message = self.server.relay(message, taker.name)
            self.pass_on(message)
        taker.receive(message)

    def _deliver(self, messages: list[Message]) -> None:
        parties: dict[str, Client | Server] = {client.name: client for client in self.clients}
        parties[SERVER] = self.server
        waiting = deque(messages)
        while waiting:
            message = waiting.popleft()
            self.pass_on(message)
            waiting.extend(parties[message.receiver].receive(message))

    def pass_on(self, message: Message) -> None:
        """Show a message that crosses to those who record."""
        for recorder in self._recorders:
            recorder.take(message)
