"""A client's side of the conversation: its turns, the states it keeps, and where it goes on after a fault."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from unsplit.errors import InputError
from unsplit.files import write_tensors
from unsplit.protocol.checkpoint import restore_segments, segment_tensors
from unsplit.protocol.client import Client
from unsplit.protocol.parties import SERVER
from unsplit.protocol.remote import wire_pb2 as wire
from unsplit.protocol.remote.codec import WireError
from unsplit.protocol.remote.layouts import SEALED, batch_layouts, weights_layout
from unsplit.protocol.remote.plan import Plan
from unsplit.protocol.remote.security import Seal
from unsplit.protocol.remote.states import States
from unsplit.protocol.remote.stream import FrameStream
from unsplit.protocol.remote.telemetry import Telemetry
from unsplit.protocol.segment import placed
from unsplit.types import Kind, Message, Setup


class Stopped(Exception):  # noqa: N818 - not an error: somebody asked for it
    """The client was asked to stop, and has kept its state."""


class Participant:
    """A client with the states that it keeps.

    Args:
        plan: the plan of the training.
        client: the client's party.
        states: the states on disk, from which the client can go on.
        seal: encryption of weights from client to client, for the hand-off "peer"; None for other hand-offs.
        truth: file for the inputs and labels of the last step of each turn, to score attacks with; None for none.
        telemetry: receives a count of every step.
    """

    def __init__(
        self,
        plan: Plan,
        client: Client,
        *,
        states: States,
        telemetry: Telemetry,
        seal: Seal | None = None,
        truth: Path | None = None,
    ) -> None:
        if plan.config.hand_off == "peer" and seal is None and len(plan.config.clients) > 1:
            raise InputError("Weights go from peer to peer here; give the clients' shared key with `seal`.")
        self.plan = plan
        self.client = client
        self.steps_done = 0
        self.stop_asked = False
        self.training = False
        self._states = states
        self._seal = seal
        self._truth = truth
        self.telemetry = telemetry
        self._layouts = batch_layouts(plan)
        self._weights = {Kind.WEIGHTS: weights_layout(plan, sealed=plan.config.hand_off == "peer")}
        self._modules = [segment.module for segment in client.segments().values()]
        self._turn: wire.Turn | None = None
        self._unanswered: list[wire.Frame | Message] = []
        self._begun = False
        if not states.stamps():
            states.save(0, segment_tensors(client.segments()))

    def hello(self, version: int) -> wire.Frame:
        """Who this is, and from where it can go on."""
        live = None if self._turn is None else self.steps_done
        return wire.Frame(
            hello=wire.Hello(
                version=version,
                name=self.client.name,
                digest=self.plan.config.digest(),
                samples=self.client.samples,
                live=live,
                turn=0 if self._turn is None else self._turn.first,
                begun=self._begun,
                stored=self._states.stamps(),
            )
        )

    async def take_part(self, stream: FrameStream) -> None:
        """Train whenever the server says so, until the training is over.

        Raises:
            Closed: the server ended the connection.
            Stopped: the client was asked to stop.
            WireError: the server sent what cannot be used.
        """
        await stream.frame()
        while (frame := await stream.frame()).WhichOneof("content") != "finished":
            if frame.WhichOneof("content") != "turn":
                raise WireError(f"a {frame.WhichOneof('content')} frame came where a turn was expected")
            weights = None
            if frame.turn.weights:
                weights = await stream.message(await stream.frame(), self._weights)
            self._enter(frame.turn, weights)
            self.training = True
            try:
                await self._train(stream, frame.turn)
            finally:
                self.training = False
        self.steps_done = frame.finished.steps

    def _enter(self, turn: wire.Turn, weights: Message | None) -> None:
        """Put the party into the state from which the server wants the turn to go on."""
        if not turn.first <= turn.resume <= turn.end:
            raise WireError(f"a turn from {turn.first} to {turn.end} cannot go on from {turn.resume}")
        if turn.live and (self._turn is None or (self._turn.first, self.steps_done) != (turn.first, turn.resume)):
            raise WireError(f"the state of step {turn.resume} is not in memory")
        self._turn = turn
        if turn.live:
            return
        self._unanswered, self._begun = [], False
        if turn.resume > turn.first:
            self._load(turn.resume)
        else:
            self._load(turn.base)
            if weights is not None:
                self.client.take_over(self._opened(weights))
        self.steps_done = turn.resume
        # A turn that is open counts those before it as done: only what it may go back to is still of use.
        self._states.keep(turn.base, *(stamp for stamp in self._states.stamps() if turn.first < stamp <= turn.resume))

    async def _train(self, stream: FrameStream, turn: wire.Turn) -> None:
        while self.steps_done < turn.end:
            if self.stop_asked and not self._unanswered:
                self._save()
                raise Stopped
            await self._step(stream, self.steps_done)
            if self.steps_done % self.plan.config.checkpoint_every == 0 or self.steps_done == turn.end:
                self._save()
        self._write_truth(turn.end - 1)
        if turn.hand_off:
            await stream.send(self._handed(turn.end - 1))
        await stream.send(wire.Frame(over=wire.Over(step=turn.end)))
        answer = await stream.frame()
        if answer.WhichOneof("content") != "over" or answer.over.step != turn.end:
            raise WireError("the server does not say that the turn is over")

    async def _step(self, stream: FrameStream, step: int) -> None:
        """One step; what was sent and not answered before a fault is sent again first."""
        if not self._unanswered:
            begin = wire.Frame(begin=wire.Begin(step=step))
            self._unanswered = [begin] if self.client.bottom is None else list(self.client.begin(step))
        await stream.send(*self._unanswered)
        while self._unanswered:
            answer = await self._answer(stream, step)
            if answer is None:
                self._unanswered = []
                continue
            answers: list[wire.Frame | Message] = list(self.client.answer(placed(answer, *self._modules)))
            self._unanswered, self._begun = answers, bool(answers)
            await stream.send_while(self.client.settle, *answers)
        self._begun = False
        self.steps_done = step + 1
        self.telemetry.step(self.client.name, step, self.client.last_loss)

    async def _answer(self, stream: FrameStream, step: int) -> Message | None:
        """The server's next message of this step; None where it only says that the step is done (setup b)."""
        frame = await stream.frame()
        if frame.WhichOneof("content") == "done" and self.plan.config.setup is Setup.B and frame.done.step == step:
            return None
        message = await stream.message(frame, self._layouts)
        ours = message.sender == SERVER and message.receiver == self.client.name and message.step == step
        if not ours or message.kind not in (Kind.FEATURES, Kind.CUT_GRAD):
            raise WireError(f"a {message.kind.value} message of step {message.step} came in step {step}")
        if len(message.tensor) != self.client.batch_at(step):
            raise WireError(f"the server answers {len(message.tensor)} samples, not {self.client.batch_at(step)}")
        return message

    def _write_truth(self, step: int) -> None:
        if self._truth is not None:
            labels, inputs = self.client.labels_of(step), self.client.inputs_of(step)
            tensors = {"labels": labels, "steps": torch.full((len(labels),), step)}
            write_tensors(self._truth, tensors if inputs is None else {**tensors, "inputs": inputs})

    def _handed(self, step: int) -> Message:
        message = self.client.hand_off(step, SERVER, optimizer=self.plan.config.hand_off_optimizer)
        if self._seal is None or self.plan.config.hand_off != "peer":
            return message
        sealed = self._seal.seal(message.tensors, context=self._context(step))
        payload: Mapping[str, Tensor] = {SEALED: torch.frombuffer(bytearray(sealed), dtype=torch.uint8)}
        return Message(step=step, sender=message.sender, receiver=SERVER, kind=Kind.WEIGHTS, payload=payload)

    def _opened(self, weights: Message) -> Mapping[str, Tensor]:
        if self._seal is None or self.plan.config.hand_off != "peer":
            return weights.tensors
        sealed = weights.tensors[SEALED].numpy().tobytes()
        opened = self._seal.open(sealed, context=self._context(weights.step))
        weights_layout(self.plan, sealed=False).check({name: (v.dtype, tuple(v.shape)) for name, v in opened.items()})
        return opened

    def _context(self, step: int) -> bytes:
        """What sealed weights are bound to: the training and the step that they are the outcome of. Who takes them is
        not known when they are sealed, because turns may be skipped.
        """
        return f"{self.plan.config.digest()} {step}".encode()

    def _save(self) -> None:
        self._states.save(self.steps_done, segment_tensors(self.client.segments()))
        if self._turn is not None:
            recent = [stamp for stamp in self._states.stamps() if stamp > self._turn.first][-2:]
            self._states.keep(self._turn.base, *recent)

    def _load(self, stamp: int) -> None:
        if stamp not in self._states.stamps():
            raise InputError(
                f"{self._states.folder} has no state of step {stamp}, from which the training goes on; use the folder "
                "that this client used before, or start the training anew."
            )
        restore_segments(self.client.segments(), self._states.load(stamp)[0])
