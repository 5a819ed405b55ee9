"""The two orders of turns: clients one after another, or all at once with averages between (SplitFed)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unsplit.protocol.averaging import average
from unsplit.protocol.parties import SERVER, Server
from unsplit.protocol.remote.codec import WireError
from unsplit.protocol.remote.host import Host
from unsplit.protocol.remote.plan import Plan
from unsplit.protocol.remote.session import Session
from unsplit.protocol.remote.telemetry import Telemetry
from unsplit.tensors import under
from unsplit.types import Kind, Message


def make_host(
    plan: Plan,
    folder: Path,
    telemetry: Telemetry,
    *,
    inputs: Mapping[str, Tensor] | None = None,
    device: torch.device | str = "cpu",
    record: bool = True,
) -> Host:
    """The host of a training, as new or as its folder has it."""
    telemetry.total = plan.config.steps
    given = plan.server_inputs() if inputs is None else inputs
    if plan.config.mode == "turns":
        return TurnsHost(plan, plan.make_server(given, device=device), folder, telemetry, record=record)
    servers = {name: plan.make_server({}, device=device) for name in plan.config.clients}
    return SplitFedHost(plan, servers, folder, telemetry, record=record)


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
        return self.session(client).server.relay(self._handed, client)

    def session(self, client: str) -> Session:  # noqa: ARG002 - all clients use one
        """The one that all clients use."""
        return self.sessions["turns"]

    def hands_off(self, session: Session) -> bool:
        """Whether another client comes after this turn."""
        return len(self.clients) > 1 and session.end < self.plan.config.steps

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
            if self.session(client).steps_done == self.first:
                self._take_back_the_skips()
            raise self._nobody(each=" each")
        self.session(client).undo()
        self._offered = None
        self._next()

    def _take_back_the_skips(self) -> None:
        """Nobody was there: these turns are to be had when clients come."""
        self.first, _ = self.skipped[-self._skipped_in_a_row]
        del self.skipped[-self._skipped_in_a_row :]
        self._skipped_in_a_row = 0
        self._keep()

    def _open_sessions(self, *, after_restart: bool) -> None:
        (client,) = self.awaited()
        handed: list[Message] = []
        relayed = self.handed_to(client)
        if self._handed is not None and relayed is not None and self.plan.config.hand_off == "server":
            handed = [self._handed, relayed]
        self.session(client).open(client, self.first, self.end, handed=handed, after_restart=after_restart)

    def _kept(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = (
            {} if self._handed is None else {f"handed|{key}": value for key, value in self._handed.tensors.items()}
        )
        step = None if self._handed is None else self._handed.step
        return tensors, {"holder": self._holder, "handed": step, "in_a_row": self._skipped_in_a_row}

    def _take_up(self, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
        self._holder, self._skipped_in_a_row = about["holder"], about["in_a_row"]
        if about["handed"] is not None and self._holder is not None:
            self._handed = _handed(about["handed"], self._holder, tensors, "handed|")


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

    def _transcript(self, session: str) -> str:
        return f"transcript-{session}"

    def session(self, client: str) -> Session:
        """The client's own."""
        return self.sessions[client]

    def hands_off(self, session: Session) -> bool:  # noqa: ARG002 - each turn ends alike
        """Always: every round ends in an average."""
        return True

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
            raise self._nobody()
        self.sessions[client].undo()
        self._close_round()

    def _close_round(self) -> None:
        if self.awaited():
            self._wake()
            return
        present = [name for name in self.clients if name in self._over]
        weights = [self.samples[name] for name in present]
        bodies = [self.sessions[name].server.body.module.state_dict() for name in present]
        body = average(bodies, weights)
        for session in self.sessions.values():
            session.server.body.module.load_state_dict(body)
        self._mean = average([self._offered[name].tensors for name in present], weights)
        self._own = {name: self._offered[name] for name in present}
        for name in present:
            self.done[name] = self.end
        self._offered, self._over, self._missing = {}, set(), set()
        self._next()

    def _open_sessions(self, *, after_restart: bool) -> None:
        for name, session in self.sessions.items():
            mean = self.handed_to(name)
            handed = [message for message in (self._own.get(name), mean) if message is not None]
            session.open(name, self.first, self.end, handed=handed, after_restart=after_restart)

    def _kept(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = {f"mean|{key}": value for key, value in self._mean.items()}
        for name, message in self._own.items():
            tensors |= {f"own:{name}|{key}": value for key, value in message.tensors.items()}
        return tensors, {"own": list(self._own)}

    def _take_up(self, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
        self._mean = dict(_handed(self.first - 1, SERVER, tensors, "mean|").tensors)
        self._own = {name: _handed(self.first - 1, name, tensors, f"own:{name}|") for name in about["own"]}


def _handed(step: int, sender: str, tensors: Mapping[str, Tensor], prefix: str) -> Message:
    payload = under(prefix, tensors)
    return Message(step=step, sender=sender, receiver=SERVER, kind=Kind.WEIGHTS, payload=payload)
