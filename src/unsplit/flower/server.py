"""The server as Flower runs it: it asks the client whose turn it is, one message of Flower's a round trip."""

import logging
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flwr.app as flower
import torch
from flwr.serverapp import Grid
from torch import Tensor

from unsplit.errors import InputError
from unsplit.files import locked
from unsplit.flower.records import Order, arrays_of, pack, unpack
from unsplit.protocol.parties import SERVER
from unsplit.protocol.remote import RunConfig, Telemetry, logger, make_plan
from unsplit.protocol.remote.codec import WIRE, WireError
from unsplit.protocol.remote.host import Host
from unsplit.protocol.remote.hosts import make_host
from unsplit.protocol.remote.layouts import check_labels, layouts
from unsplit.protocol.remote.session import ResumePoints, Session
from unsplit.types import Kind, Message, Setup

_LOG = logging.getLogger("flwr")
_SHORTEST, _LONGEST = 0.005, 0.25  # seconds between two looks for replies; Flower's own wait is 3


@dataclass(frozen=True, kw_only=True)
class FlowerServer:
    """Runs the training from its beginning, or from where its folder has it; see `server_app`."""

    config: RunConfig
    folder: Path | None
    inputs: Mapping[str, Tensor] | None
    device: str

    def main(self, grid: Grid, context: flower.Context) -> None:
        """Train, and leave the server's layers in the context as "body"."""
        with ExitStack() as stack:
            folder = self.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="unsplit-")))
            stack.enter_context(locked(folder))
            telemetry = Telemetry(log=logger(quiet=True))
            device = torch.device(self.device)
            host = make_host(make_plan(self.config), folder, telemetry, inputs=self.inputs, device=device)
            try:
                Training(host, grid, device).run()
            finally:
                host.stop()
            body = next(iter(host.sessions.values())).server.body
            context.state["body"] = arrays_of(body.module.state_dict())


class Training:
    """The turns of a host's clients, carried by Flower.

    Args:
        host: the state of the training, which says whose turn it is.
        grid: Flower's way to the nodes.
        device: device on which the server computes.
    """

    def __init__(self, host: Host, grid: Grid, device: torch.device) -> None:
        self.host = host
        self._config = host.plan.config
        self._grid = grid
        self._device = device
        self._layouts = layouts(host.plan)
        self._nodes: dict[str, int] = {}
        self._stored: dict[str, tuple[int, ...]] = {}

    def run(self) -> None:
        """Train to the end.

        Raises:
            InputError: nodes that are missing, do not answer, or say why they cannot go on.
        """
        if self.host.finished:
            _LOG.info("all %d steps are done already; name another folder to train anew", self._config.steps)
            return
        self._find_nodes()
        while not self.host.finished:
            begun, first = time.monotonic(), self.host.first
            turns = {name: self._turn(name) for name in self.host.awaited()}
            orders = {name: next(turn) for name, turn in turns.items()}
            while orders:
                replies = self._replies(orders)
                orders = {}
                for name, reply in replies.items():
                    order = self._go_on(name, turns[name], reply)
                    if order is not None:
                        orders[name] = order
            speed = (self.host.first - first) / (time.monotonic() - begun)
            _LOG.info("%s: steps %d to %d, %.1f a second", ", ".join(turns), first, self.host.first - 1, speed)

    def _find_nodes(self) -> None:
        """Wait for as many nodes as there are clients, and learn which is which."""
        wanted = len(self._config.clients)
        deadline = time.monotonic() + self._config.wait
        while len(nodes := list(self._grid.get_node_ids())) < wanted and time.monotonic() < deadline:
            time.sleep(_LONGEST)
        if len(nodes) != wanted:
            raise InputError(f"{len(nodes)} nodes are here for {wanted} clients; start one node for each client.")
        asked = flower.ConfigRecord({"config": self._config.canonical()})
        contents = {node: flower.RecordDict({"hello": asked}) for node in nodes}
        for node, content in self._exchange(contents, flower.MessageType.QUERY).items():
            about: dict[str, Any] = dict(content.config_records.get("hello", {}))
            name = str(about.get("client"))
            if name not in self._config.clients or not about["samples"] > 0:
                raise InputError(f"Node {node} does not say which client it is; let it run the same app.")
            if name in self._nodes:
                raise InputError(f"Two nodes say that they are {name}; give each its own name in its node config.")
            self._nodes[name], self._stored[name] = node, tuple(about["stored"])
            self.host.samples[name] = about["samples"]

    def _turn(self, name: str) -> Generator[flower.RecordDict, list[Message], None]:
        """The orders of a client's turn; what it answers comes back."""
        host = self.host
        session = host.session(name)
        resume, _ = session.agree(ResumePoints(stored=self._stored.pop(name, ())))
        handed = host.handed_to(name)
        base = host.done[name]
        load = base if resume == session.first else resume
        sent = [handed] if handed is not None and resume == session.first else []
        between_steps = True
        while not (between_steps and session.complete):
            begin = -1
            if between_steps and self._config.setup is Setup.B:
                sent += session.begin(name, session.steps_done)
                session.settle()
            elif between_steps:
                begin = session.steps_done
            came = yield self._order(sent, Order(load=load, base=base, begin=begin))
            _check_batches(sent, came)
            before, load = session.steps_done, -1
            sent = [answer for message in came for answer in self._answers(session, message)]
            between_steps = session.steps_done > before
        last = Order(load=load, base=base, over=session.end, hand_off=host.hands_off(session))
        for message in (yield self._order(sent, last)):
            host.hand(message)
        host.over(name, session.end)

    def _answers(self, session: Session, message: Message) -> list[Message]:
        check_labels(message, self._config.classes)
        answers = session.receive(message.to(self._device))
        session.settle()
        return answers

    def _go_on(
        self, name: str, turn: Generator[flower.RecordDict, list[Message], None], reply: flower.RecordDict
    ) -> flower.RecordDict | None:
        """The next order of a turn; None once it is over."""
        try:
            return turn.send(unpack(reply, self._layouts, sender=name, receiver=SERVER))
        except StopIteration:
            return None
        except WireError as error:
            raise InputError(f"The server cannot use what {name} sent: {error}.") from error

    def _order(self, messages: list[Message], order: Order) -> flower.RecordDict:
        records = pack(*messages, dtype=WIRE[self._config.wire])
        records["order"] = order.record()
        return records

    def _replies(self, orders: Mapping[str, flower.RecordDict]) -> dict[str, flower.RecordDict]:
        contents = {self._nodes[name]: content for name, content in orders.items()}
        replies = self._exchange(contents, flower.MessageType.TRAIN)
        return {name: replies[self._nodes[name]] for name in orders}

    def _exchange(self, contents: Mapping[int, flower.RecordDict], kind: str) -> dict[int, flower.RecordDict]:
        """Send records to nodes and wait for all of their replies."""
        group = str(self.host.steps_done)
        messages = [flower.Message(content, node, kind, group_id=group) for node, content in contents.items()]
        names = list(self._grid.push_messages(messages))
        waiting = dict(zip(names, contents, strict=False))
        if len(waiting) < len(contents) or not all(names):
            raise self._stopped(next(iter(contents)), "or another node cannot be reached")
        replies: dict[int, flower.RecordDict] = {}
        deadline, pause = time.monotonic() + self._config.wait, _SHORTEST
        while waiting:
            came = list(self._grid.pull_messages(list(waiting)))
            for reply in came:
                node = waiting.pop(reply.metadata.reply_to_message_id)
                if reply.has_error():
                    raise self._stopped(node, f"says: {(reply.error.reason or 'nothing')[:1000]}")
                replies[node] = reply.content
            if not came and time.monotonic() > deadline:
                raise self._stopped(next(iter(waiting.values())), f"does not answer for {self._config.wait:g} seconds")
            if not came:
                time.sleep(pause)
                pause = min(1.5 * pause, _LONGEST)
        return replies

    def _stopped(self, node: int, why: str) -> InputError:
        name = next((name for name, place in self._nodes.items() if place == node), f"node {node}")
        return InputError(
            f"{name} {why} (the training stands at step {self.host.first}; with folders on both sides, another run "
            "goes on from there)."
        )


def _check_batches(sent: list[Message], came: list[Message]) -> None:
    """Check that something came, and that all messages of a step are of one batch."""
    if not came:
        raise WireError("nothing, where an answer was due")
    sizes = {(message.step, len(message.tensor)) for message in sent + came if message.kind is not Kind.WEIGHTS}
    if len(sizes) > len({step for step, _ in sizes}):
        raise WireError("there are batches of different sizes in one step")
