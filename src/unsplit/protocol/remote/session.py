"""The server's side of the steps: each is taken once, however often a message about it comes."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from unsplit.protocol.checkpoint import restore_segments, segment_tensors
from unsplit.protocol.parties import Server
from unsplit.protocol.recorder import Recorder
from unsplit.protocol.remote.codec import WireError, is_finite
from unsplit.protocol.remote.states import States
from unsplit.protocol.segment import placed
from unsplit.types import Kind, Message, Setup

# What the server is told in a step, in this order; None is the client's wish to begin (it has nothing to send yet).
_ORDER: dict[Setup, tuple[Kind | None, ...]] = {
    Setup.A: (Kind.SMASHED, Kind.LABELS),
    Setup.B: (None, Kind.FEATURE_GRAD),
    Setup.C: (Kind.SMASHED, Kind.FEATURE_GRAD),
}


@dataclass(frozen=True, kw_only=True)
class ResumePoints:
    """From where a client can go on.

    Args:
        live: number of steps done in the state in the client's memory; None where it has none.
        turn: first step of the turn that this state is in.
        begun: whether that state has gone into the next step, past what a message sent again would repeat.
        stored: numbers of steps done in the states on the client's disk.
    """

    live: int | None = None
    turn: int = 0
    begun: bool = False
    stored: Sequence[int] = ()


class Session:
    """A server party and the turn that is open on it.

    Args:
        server: the server's party.
        states: the states that are kept on disk during a turn.
        recorder: recorder of the server's transcript.
        checkpoint_every: number of steps between two states.
    """

    def __init__(self, server: Server, *, states: States, recorder: Recorder, checkpoint_every: int) -> None:
        self.server = server
        self.recorder = recorder
        self.client = ""
        self.first = self.end = self.steps_done = self._saved = 0
        self._states = states
        self._every = checkpoint_every
        self._order = _ORDER[server.setup]
        self._stage = self._batch = 0
        self._answers: dict[tuple[int, Kind | None], list[Message]] = {}
        self._start: dict[str, Tensor] = {}
        self._handed: tuple[Message, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether all steps of the turn are done."""
        return self.steps_done == self.end

    def open(
        self, client: str, first: int, end: int, *, handed: Sequence[Message] = (), after_restart: bool = False
    ) -> None:
        """Begin a turn from the present state.

        Args:
            client: name of the client whose turn it is.
            first: first step of the turn.
            end: the step after the last of the turn.
            handed: the messages by which weights changed hands before it.
            after_restart: whether to go on from the newest state of this turn that is on disk, if there is one.
        """
        self.settle()
        self.client, self.first, self.end, self._handed = client, first, end, tuple(handed)
        self._start = {name: value.clone() for name, value in segment_tensors(self.server.segments()).items()}
        stamps = self._kept_up_to(end) if after_restart else []
        if stamps:
            self._restore(stamps[-1])
        else:
            self._set_out()

    def undo(self) -> None:
        """Go back to the beginning of the turn."""
        restore_segments(self.server.segments(), self._start)
        self._set_out()

    def receive(self, message: Message) -> list[Message]:
        """Answer a message of the client whose turn it is; one that was answered before gets the same answer.

        Raises:
            WireError: another client's turn, another step, or not what comes next in this step.
        """
        return self._once(message.step, message.kind, message.sender, message)

    def begin(self, client: str, step: int) -> list[Message]:
        """The features of a step (setup b).

        Raises:
            WireError: see `receive`.
        """
        return self._once(step, None, client, None)

    def settle(self) -> None:
        """What is left to do once an answer has been sent: the optimiser's step, and a state every so often."""
        self.server.settle()
        if self.steps_done % self._every == 0 or self.complete:
            self.save()

    def save(self) -> None:
        """Keep the present state, if it stands between two steps."""
        self.server.settle()
        if self._stage == 0 and self.first < self.steps_done != self._saved:
            self.recorder.flush()
            self._states.save(self.steps_done, segment_tensors(self.server.segments()))
            self._saved = self.steps_done
            self._states.keep(*self._states.stamps()[-2:])

    def agree(self, resume_points: ResumePoints) -> tuple[int, bool]:
        """The step from which both sides can go on, where this side goes to, and whether the client's memory serves.

        That is where they are, if nothing was lost but the connection; else the newest state that both have kept, and
        at worst the beginning of the turn, which the client can always rebuild.
        """
        self.settle()
        live = resume_points.live
        if (
            live is not None
            and resume_points.turn == self.first
            and (
                (live == self.steps_done and (self._stage > 0 or not resume_points.begun))
                or (live == self.steps_done - 1 and any(step == live for step, _ in self._answers))
            )
        ):
            return live, True
        stored = set(resume_points.stored)
        if self._stage == 0 and self.steps_done in stored:
            return self.steps_done, False
        common = [stamp for stamp in self._kept_up_to(self.steps_done) if stamp in stored]
        if common:
            self._restore(common[-1])
            return self.steps_done, False
        if self.steps_done > self.first or self._stage:
            self.undo()
        return self.first, False

    def _once(self, step: int, kind: Kind | None, client: str, message: Message | None) -> list[Message]:
        if client != self.client:
            raise WireError(f"it is not {client}'s turn")
        if (step, kind) in self._answers:
            return self._answers[step, kind]
        self.settle()
        if step != self.steps_done or self.complete or kind is not self._order[self._stage]:
            what = "a beginning" if kind is None else f"a {kind.value} message"
            raise WireError(f"{what} of step {step} does not come next; step {self.steps_done} is to be done")
        if message is not None and self._stage and len(message.tensor) != self._batch:
            raise WireError(f"the {message.kind.value} are of {len(message.tensor)} samples, not {self._batch}")
        answers = self._answered(step, client, message)
        for passed in ([] if message is None else [message]) + answers:
            self.recorder.take(passed)
        if self._stage == 0:
            self._answers.clear()
            self._batch = len((answers[0] if message is None else message).tensor)
        self._answers[step, kind] = answers
        self._stage += 1
        if self._stage == len(self._order):
            self._stage, self.steps_done = 0, step + 1
        return answers

    def _answered(self, step: int, client: str, message: Message | None) -> list[Message]:
        """What the party answers. Where it cannot, it may have moved part of the way, so the session goes back."""
        try:
            if message is None:
                answers = self.server.begin(step, client)
            else:
                answers = self.server.answer(placed(message, self.server.body.module))
            if not all(is_finite(answer.tensor) for answer in answers):
                raise WireError(f"step {step} leads to NaN or infinity; lower the learning rate, or check the data")
        except Exception:
            self._go_back()
            raise
        return answers

    def _go_back(self) -> None:
        stamps = self._kept_up_to(self.steps_done)
        if stamps:
            self._restore(stamps[-1])
        else:
            self.undo()

    def _kept_up_to(self, step: int) -> list[int]:
        """The numbers of steps of this turn's states on disk, up to a number, ascending."""
        return [stamp for stamp in self._states.stamps() if self.first < stamp <= step]

    def _set_out(self) -> None:
        self._states.keep()
        self._stand_at(self.first)
        for message in self._handed:
            self.recorder.take(message)

    def _restore(self, stamp: int) -> None:
        restore_segments(self.server.segments(), self._states.load(stamp)[0])
        self._states.keep(*(kept for kept in self._states.stamps() if kept <= stamp))
        self._stand_at(stamp)

    def _stand_at(self, step: int) -> None:
        """Forget all that was answered or recorded of this step and later ones."""
        self.steps_done = self._saved = step
        self._stage = 0
        self._answers.clear()
        self.server.forget()
        self.recorder.forget_from(step)
