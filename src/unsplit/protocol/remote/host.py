"""Whose turn it is at the server: clients one after another, or all at once with averages between (SplitFed)."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from unsplit.errors import InputError
from unsplit.protocol.averaging import average
from unsplit.protocol.checkpoint import restore_segments, segment_tensors
from unsplit.protocol.parties import SERVER, Server
from unsplit.protocol.recorder import Recorder
from unsplit.protocol.remote.codec import WireError
from unsplit.protocol.remote.lane import Lane
from unsplit.protocol.remote.plan import Plan
from unsplit.protocol.remote.states import States
from unsplit.protocol.remote.telemetry import Telemetry
from unsplit.types import Kind, Message


class Host(ABC):
    """The state of a training at the server: which turns are open, which count, and what was handed over.

    It is kept on disk at the beginning of every turn; a server that is started again goes on from there and from the
    states that its lanes keep during a turn.

    Args:
        plan: of the training.
        servers: a party for each lane, by the lane's name.
        folder: holds `turns/`, `lanes/` and the transcripts.
        telemetry: is told what happens.
        record: keep the server's transcripts.
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
        self.lanes = {
            name: Lane(
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
        return self.first if self.finished else max(lane.steps_done for lane in self.lanes.values())

    async def lane_of(self, client: str) -> Lane | None:
        """The lane on which a turn of this client is open, once one is; None when the training is over."""
        while not self.finished:
            if client in self.awaited():
                return self._lane(client)
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
        lane = self._lane(message.sender)
        if message.sender not in self.awaited() or not lane.complete or message.step != lane.end - 1:
            raise WireError(f"weights of step {message.step} are not handed over now")
        self._keep_handed(message)

    def over(self, client: str, step: int) -> None:
        """A client's turn is complete up to this step, and counts from here on.

        Raises:
            WireError: it is not, or its weights are missing.
        """
        lane = self._lane(client)
        if client not in self.awaited() or not lane.complete or step != lane.end:
            raise WireError(f"the turn of {client} is not over at step {step}")
        lane.settle()
        self._count(client)

    def stop(self) -> None:
        """Keep what can be kept, before the server ends."""
        for lane in self.lanes.values():
            lane.save()

    @abstractmethod
    def awaited(self) -> tuple[str, ...]:
        """The clients of which a turn is open and not over."""

    @abstractmethod
    def handed_to(self, client: str) -> Message | None:
        """The weights that this client takes over as its turn begins."""

    @abstractmethod
    def _lane(self, client: str) -> Lane: ...

    @abstractmethod
    def _keep_handed(self, message: Message) -> None: ...

    @abstractmethod
    def _count(self, client: str) -> None: ...

    @abstractmethod
    def _skip(self, client: str) -> None: ...

    @abstractmethod
    def _open_lanes(self, *, after_restart: bool) -> None: ...

    @abstractmethod
    def _kept(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What else belongs to the state between two turns."""

    @abstractmethod
    def _take_up(self, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
        """Go on from that."""

    def _transcript(self, lane: str) -> str:  # noqa: ARG002 - one lane, one transcript
        return "transcript"

    def _next(self) -> None:
        """The open turn is over: keep the state, and open the next."""
        self.first = self.end
        self._keep()
        self._open(after_restart=False)

    def _keep(self) -> None:
        """Keep the state between two turns on disk."""
        tensors, about = self._kept()
        for name, lane in self.lanes.items():
            lane.recorder.flush()
            tensors |= {f"{name}|{key}": value for key, value in segment_tensors(lane.server.segments()).items()}
        common = {"first": self.first, "done": self.done, "samples": self.samples, "skipped": self.skipped}
        self._states.save(self.first, tensors, {**common, **about})
        self._states.keep(self.first)

    def _load(self, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
        self.first, self.done, self.samples = about["first"], about["done"], about["samples"]
        self.skipped = [(int(step), str(client)) for step, client in about["skipped"]]
        for name, lane in self.lanes.items():
            prefix = f"{name}|"
            own = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
            restore_segments(lane.server.segments(), own)
        self._take_up(tensors, about)

    def _open(self, *, after_restart: bool) -> None:
        if not self.finished:
            self._open_lanes(after_restart=after_restart)
            for client in self.awaited():
                self.heard(client)
                self.telemetry.turn(client, self.first, self.end)
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class TurnsHost(Host):
    """Clients one after another, as in the paper: one server party, and weights that go from each to the next."""

    def __init__(self, plan: Plan, server: Server, folder: Path, telemetry: Telemetry, *, record: bool = True) -> None:
        self._holder: str | None = None
        self._handed: Message | None = None
        self._offered: Message | None = None
        self._skipped_in_a_row = 0
        super().__init__(plan, {"turns": server}, folder, telemetry, record=record)

    def awaited(self) -> tuple[str, ...]:
        """The client whose turn it is."""
        return () if self.finished else (self.clients[self.plan.turns.client(self.first)],)

    def handed_to(self, client: str) -> Message | None:
        """The weights of the client before, unless that was the same one."""
        if self._handed is None or self._holder == client:
            return None
        return self._lane(client).server.relay(self._handed, client)

    def _lane(self, client: str) -> Lane:  # noqa: ARG002 - all clients use one
        return self.lanes["turns"]

    def _keep_handed(self, message: Message) -> None:
        self._offered = message

    def _count(self, client: str) -> None:
        if len(self.clients) > 1 and self.end < self.plan.config.steps:
            if self._offered is None:
                raise WireError(f"{client} has not handed over its weights")
            self._handed, self._offered = self._offered, None
        self._holder, self.done[client], self._skipped_in_a_row = client, self.end, 0
        self._next()

    def _skip(self, client: str) -> None:
        self._skipped_in_a_row += 1
        if self._skipped_in_a_row >= len(self.clients):
            if self._lane(client).steps_done == self.first:
                self._take_back_the_skips()
            raise InputError(
                f"No client trained for {self.plan.config.wait:g} seconds each; the training is kept as of step "
                f"{self.first}: start the server again when clients can come."
            )
        self._lane(client).undo()
        self._offered = None
        self._next()

    def _take_back_the_skips(self) -> None:
        """Nobody was there: these turns are to be had when clients come."""
        self.first, _ = self.skipped[-self._skipped_in_a_row]
        del self.skipped[-self._skipped_in_a_row :]
        self._skipped_in_a_row = 0
        self._keep()

    def _open_lanes(self, *, after_restart: bool) -> None:
        (client,) = self.awaited()
        handed: list[Message] = []
        relayed = self.handed_to(client)
        if self._handed is not None and relayed is not None and self.plan.config.hand_off == "server":
            handed = [self._handed, relayed]
        self._lane(client).open(client, self.first, self.end, handed=handed, after_restart=after_restart)

    def _kept(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = (
            {} if self._handed is None else {f"handed|{key}": value for key, value in self._handed.tensors.items()}
        )
        step = None if self._handed is None else self._handed.step
        return tensors, {"holder": self._holder, "handed": step, "in_a_row": self._skipped_in_a_row}

    def _take_up(self, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
        self._holder, self._skipped_in_a_row = about["holder"], about["in_a_row"]
        if about["handed"] is not None and self._holder is not None:
            self._handed = _handed(about["handed"], self._holder, SERVER, tensors, "handed|")


class SplitFedHost(Host):
    """All clients at once, each with its own copy of the server's layers; copies and clients are averaged after each
    round (SplitFedV1).
    """

    def __init__(
        self, plan: Plan, servers: Mapping[str, Server], folder: Path, telemetry: Telemetry, *, record: bool = True
    ) -> None:
        self._offered: dict[str, Message] = {}
        self._over: set[str] = set()
        self._missing: set[str] = set()
        self._own: dict[str, Message] = {}
        self._mean: dict[str, Tensor] = {}
        super().__init__(plan, servers, folder, telemetry, record=record)

    def awaited(self) -> tuple[str, ...]:
        """The clients that are not through with the round."""
        if self.finished:
            return ()
        return tuple(name for name in self.clients if name not in self._over and name not in self._missing)

    def handed_to(self, client: str) -> Message | None:
        """The average of the round before."""
        if not self._mean:
            return None
        return Message(step=self.first - 1, sender=SERVER, receiver=client, kind=Kind.WEIGHTS, payload=self._mean)

    def _transcript(self, lane: str) -> str:
        return f"transcript-{lane}"

    def _lane(self, client: str) -> Lane:
        return self.lanes[client]

    def _keep_handed(self, message: Message) -> None:
        self._offered[message.sender] = message

    def _count(self, client: str) -> None:
        if client not in self._offered:
            raise WireError(f"{client} has not handed over its weights")
        self._over.add(client)
        self._close_round()

    def _skip(self, client: str) -> None:
        self._missing.add(client)
        if len(self._missing) == len(self.clients):
            raise InputError(
                f"No client trained for {self.plan.config.wait:g} seconds; the training is kept as of step "
                f"{self.first}: start the server again when clients can come."
            )
        self.lanes[client].undo()
        self._close_round()

    def _close_round(self) -> None:
        if self.awaited():
            self._wake()
            return
        present = [name for name in self.clients if name in self._over]
        weights = [self.samples[name] for name in present]
        bodies = [self.lanes[name].server.body.module.state_dict() for name in present]
        body = average(bodies, weights)
        for lane in self.lanes.values():
            lane.server.body.module.load_state_dict(body)
        self._mean = average([self._offered[name].tensors for name in present], weights)
        self._own = {name: self._offered[name] for name in present}
        for name in present:
            self.done[name] = self.end
        self._offered, self._over, self._missing = {}, set(), set()
        self._next()

    def _open_lanes(self, *, after_restart: bool) -> None:
        for name, lane in self.lanes.items():
            mean = self.handed_to(name)
            handed = [message for message in (self._own.get(name), mean) if message is not None]
            lane.open(name, self.first, self.end, handed=handed, after_restart=after_restart)

    def _kept(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = {f"mean|{key}": value for key, value in self._mean.items()}
        for name, message in self._own.items():
            tensors |= {f"own:{name}|{key}": value for key, value in message.tensors.items()}
        return tensors, {"own": list(self._own)}

    def _take_up(self, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
        self._mean = dict(_handed(self.first - 1, SERVER, SERVER, tensors, "mean|").tensors)
        self._own = {name: _handed(self.first - 1, name, SERVER, tensors, f"own:{name}|") for name in about["own"]}


def _handed(step: int, sender: str, receiver: str, tensors: Mapping[str, Tensor], prefix: str) -> Message:
    payload = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    return Message(step=step, sender=sender, receiver=receiver, kind=Kind.WEIGHTS, payload=payload)
