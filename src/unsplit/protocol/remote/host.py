"""Whose turn it is at the server: clients one after another, or all at once with averages between (SplitFed)."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from unsplit.errors import InputError
from unsplit.protocol.checkpoint import restore_segments, segment_tensors
from unsplit.protocol.parties import SERVER, Server
from unsplit.protocol.recorder import Recorder
from unsplit.protocol.remote.codec import WireError
from unsplit.protocol.remote.plan import Plan
from unsplit.protocol.remote.session import Session
from unsplit.protocol.remote.states import States
from unsplit.protocol.remote.telemetry import Telemetry
from unsplit.tensors import under
from unsplit.types import Message


class Host(ABC):
    """The state of a training at the server: which turns are open, which count, and what was handed over.

    It is kept on disk at the beginning of every turn; a server that is started again goes on from there and from the
    states that its sessions keep during a turn.

    Args:
        plan: the plan of the training.
        servers: the server's party of each session, by the session's name.
        folder: folder of `turns/`, `lanes/` (the sessions' states) and the transcripts.
        telemetry: receives log entries and counts of what happens.
        record: whether to keep the server's transcripts.
    """

    def __init__(
        self, plan: Plan, servers: Mapping[str, Server], folder: Path, telemetry: Telemetry, *, record: bool = True
    ) -> None:
        self.plan = plan
        self.telemetry = telemetry
        self.clients = plan.config.clients
        self.first = 0
        self.done = dict.fromkeys(self.clients, 0)
        self.samples = dict.fromkeys(self.clients, 0)
        self.skipped: list[tuple[int, str]] = []
        self.failure: Exception | None = None
        self._changed = asyncio.Event()
        self._last_heard = dict.fromkeys(self.clients, time.monotonic())
        self._states = States(folder / "turns", digest=plan.config.digest())
        self.sessions = {
            name: Session(
                server,
                states=States(folder / "lanes" / name, digest=plan.config.digest()),
                recorder=Recorder(observer=SERVER, folder=folder / self._transcript(name))
                if record
                else Recorder(observer=SERVER, steps=()),
                checkpoint_every=plan.config.checkpoint_every,
            )
            for name, server in servers.items()
        }
        stamps = self._states.stamps()
        if stamps:
            self._load(*self._states.load(stamps[-1]))
        self._open(after_restart=True)

    @property
    def finished(self) -> bool:
        """Whether all turns were had."""
        return self.first >= self.plan.config.steps

    @property
    def end(self) -> int:
        """The step after the last of the open turn."""
        return min(self.first + self.plan.config.length, self.plan.config.steps)

    @property
    def steps_done(self) -> int:
        """Steps done, in SplitFed by the client that is ahead."""
        return self.first if self.finished else max(session.steps_done for session in self.sessions.values())

    async def session_of(self, client: str) -> Session | None:
        """The session on which a turn of this client is open, once one is; None when the training is over."""
        while not self.finished:
            if client in self.awaited():
                return self.session(client)
            await self._changed.wait()
        return None

    def heard(self, client: str) -> None:
        """A client gave a sign of life that furthers the training."""
        self._last_heard[client] = time.monotonic()

    def give_up_on_the_silent(self) -> list[str]:
        """Skip the turns of clients that were not heard of for as long as the configuration says; returns their names.

        Raises:
            InputError: nobody is left to wait for.
        """
        now, wait = time.monotonic(), self.plan.config.wait
        silent = [client for client in self.awaited() if now - self._last_heard[client] > wait]
        for client in silent:
            self.telemetry.skipped(client, self.first)
            self.skipped.append((self.first, client))
            self._skip(client)
        return silent

    def hand(self, message: Message) -> None:
        """Keep the weights that a client hands over at the end of its turn.

        Raises:
            WireError: not its turn, or its turn is not complete.
        """
        session = self.session(message.sender)
        if message.sender not in self.awaited() or not session.complete or message.step != session.end - 1:
            raise WireError(f"weights of step {message.step} are not handed over now")
        self._keep_handed(message)

    def over(self, client: str, step: int) -> None:
        """A client's turn is complete up to this step, and counts from here on.

        Raises:
            WireError: it is not, or its weights are missing.
        """
        session = self.session(client)
        if client not in self.awaited() or not session.complete or step != session.end:
            raise WireError(f"the turn of {client} is not over at step {step}")
        session.settle()
        self._count(client)

    def stop(self) -> None:
        """Keep what can be kept, before the server ends."""
        for session in self.sessions.values():
            session.save()

    @abstractmethod
    def awaited(self) -> tuple[str, ...]:
        """The clients of which a turn is open and not over."""

    @abstractmethod
    def handed_to(self, client: str) -> Message | None:
        """The weights that this client takes over as its turn begins."""

    @abstractmethod
    def session(self, client: str) -> Session:
        """The session that this client's turns are part of."""

    @abstractmethod
    def hands_off(self, session: Session) -> bool:
        """Whether the client hands its weights over at the end of the open turn of this session."""

    @abstractmethod
    def _keep_handed(self, message: Message) -> None: ...

    @abstractmethod
    def _count(self, client: str) -> None: ...

    @abstractmethod
    def _skip(self, client: str) -> None: ...

    @abstractmethod
    def _open_sessions(self, *, after_restart: bool) -> None: ...

    @abstractmethod
    def _kept(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What else belongs to the state between two turns."""

    @abstractmethod
    def _take_up(self, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
        """Go on from that."""

    def _transcript(self, session: str) -> str:  # noqa: ARG002 - one session, one transcript
        return "transcript"

    def _next(self) -> None:
        """The open turn is over: keep the state, and open the next."""
        self.first = self.end
        self._keep()
        self._open(after_restart=False)

    def _keep(self) -> None:
        """Keep the state between two turns on disk."""
        tensors, about = self._kept()
        for name, session in self.sessions.items():
            session.recorder.flush()
            tensors |= {f"{name}|{key}": value for key, value in segment_tensors(session.server.segments()).items()}
        common = {"first": self.first, "done": self.done, "samples": self.samples, "skipped": self.skipped}
        self._states.save(self.first, tensors, {**common, **about})
        self._states.keep(self.first)

    def _load(self, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
        self.first, self.done, self.samples = about["first"], about["done"], about["samples"]
        self.skipped = [(int(step), str(client)) for step, client in about["skipped"]]
        for name, session in self.sessions.items():
            restore_segments(session.server.segments(), under(f"{name}|", tensors))
        self._take_up(tensors, about)

    def _open(self, *, after_restart: bool) -> None:
        if not self.finished:
            self._open_sessions(after_restart=after_restart)
            for client in self.awaited():
                self.heard(client)
                self.telemetry.turn(client, self.first, self.end)
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _nobody(self, each: str = "") -> InputError:
        return InputError(
            f"No client trained for {self.plan.config.wait:g} seconds{each}; the training is kept as of step "
            f"{self.first}: start the server again when clients can come."
        )
