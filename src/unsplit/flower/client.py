"""A client as Flower runs it: every message may find another process, so between two it lives in its context.

A step that was begun is not kept. When its cut gradient comes, the client begins it again from the same state, which
gives the same graph, and only then takes the step.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import flwr.app as flower
import torch
from flwr.common.constant import ErrorCode
from torch import Tensor

from unsplit.defenses import Defense
from unsplit.errors import InputError, UnsplitError
from unsplit.flower.records import Order, arrays_of, pack, tensors_of, unpack
from unsplit.protocol.checkpoint import restore_segments, segment_tensors
from unsplit.protocol.client import Client
from unsplit.protocol.parties import SERVER, check_loss
from unsplit.protocol.remote import RunConfig, make_plan
from unsplit.protocol.remote.codec import WIRE, Layout
from unsplit.protocol.remote.layouts import layouts
from unsplit.protocol.remote.states import States
from unsplit.types import Kind, Message


@dataclass(frozen=True, kw_only=True)
class FlowerClient:
    """Answers Flower's messages; see `client_app`."""

    config: RunConfig
    folder: Path | None
    device: str
    defenses: tuple[Defense, ...]

    def hello(self, message: flower.Message, context: flower.Context) -> flower.Message:
        """Say who this is, and forget what another run may have left in the context."""
        try:
            theirs = str(message.content.config_records["hello"]["config"])
            if theirs != self.config.canonical():
                raise InputError(f"The configurations differ: {'; '.join(self.config.differences(theirs))}.")
            loaded = self._client(context)
            for key in ("state", "about"):
                context.state.pop(key, None)
            stored = [] if self.folder is None else self._states(loaded.client.name).stamps()
            about = flower.ConfigRecord(
                {"client": loaded.client.name, "samples": loaded.client.samples, "stored": stored}
            )
            return flower.Message(flower.RecordDict({"hello": about}), reply_to=message)
        except UnsplitError as error:
            return _refusal(error, message)

    def train(self, message: flower.Message, context: flower.Context) -> flower.Message:
        """Answer the messages of the training; take part in the turn as the order says."""
        try:
            loaded = self._client(context)
            order = Order.read(message.content)
            state = self._enter(loaded, order, context)
            received = unpack(message.content, loaded.layouts, sender=SERVER, receiver=loaded.client.name)
            answers = [answer for each in received for answer in state.answer(each.to(torch.device(self.device)))]
            if order.over >= 0 and state.steps != order.over:
                raise InputError(
                    f"{loaded.client.name} has done {state.steps} steps, and the server says that the training ends "
                    f"after {order.over}."
                )
            if order.hand_off:
                optimizer = self.config.hand_off_optimizer
                answers.append(loaded.client.hand_off(state.steps - 1, SERVER, optimizer=optimizer))
            self._keep(state, order, context)
            if order.begin >= 0:
                answers += loaded.client.begin(order.begin)
            return flower.Message(pack(*answers, dtype=WIRE[self.config.wire]), reply_to=message)
        except UnsplitError as error:
            return _refusal(error, message)

    def _client(self, context: flower.Context) -> "LoadedClient":
        node, clients = context.node_config, self.config.clients
        name = str(node.get("client", ""))
        if not name:
            number = int(node.get("partition-id", 0))
            if number >= len(clients):
                raise InputError(
                    f"There is a node {number} (from 0), and the training has {len(clients)} clients; start one node "
                    "for each client."
                )
            name = clients[number]
        data, seed = node.get("data"), node.get("seed")
        return _load_client(
            self.config.canonical(),
            name,
            None if data is None else str(data),
            None if seed is None else int(seed),
            self.device,
            self.defenses,
        )

    def _enter(self, loaded: "LoadedClient", order: Order, context: flower.Context) -> "ClientState":
        """Put the party into the state from which it has to go on."""
        about = context.state.config_records.get("about")
        stamp = order.load if order.load >= 0 or about is None else _int(about["steps"])
        if about is not None and _int(about["steps"]) == stamp:
            tensors: Mapping[str, Tensor] = tensors_of(context.state.array_records["state"])
            state = ClientState(loaded=loaded, steps=stamp, base=_int(about["base"]), seen=_int(about["seen"]))
        else:
            tensors, state = self._stored(loaded, stamp), ClientState(loaded=loaded, steps=stamp)
        if order.load >= 0:
            state.base = order.base
            if self.folder is not None:
                states = self._states(loaded.client.name)
                states.keep(*(earlier for earlier in states.stamps() if earlier <= stamp))
        restore_segments(loaded.client.segments(), tensors)
        return state

    def _stored(self, loaded: "LoadedClient", stamp: int) -> Mapping[str, Tensor]:
        if self.folder is not None and stamp in self._states(loaded.client.name).stamps():
            return self._states(loaded.client.name).load(stamp)[0]
        if stamp == 0:
            return loaded.first
        raise InputError(
            f"{loaded.client.name} has no state of step {stamp}, from which the training goes on; give it the folder "
            "that it had before, or start anew with an empty folder at the server."
        )

    def _keep(self, state: "ClientState", order: Order, context: flower.Context) -> None:
        """Keep the state in the context, and at the end of a turn, or every so often, on disk."""
        client = state.loaded.client
        tensors = segment_tensors(client.segments())
        context.state["state"] = arrays_of(tensors)
        context.state["about"] = flower.ConfigRecord({"steps": state.steps, "base": state.base, "seen": state.seen})
        due = order.over >= 0 or (state.moved and state.steps % self.config.checkpoint_every == 0)
        if self.folder is not None and due:
            states = self._states(client.name)
            states.save(state.steps, tensors)
            states.keep(state.base, *states.stamps()[-2:])

    def _states(self, name: str) -> States:
        return States((self.folder or Path()) / name, digest=self.config.digest())


@dataclass(frozen=True, kw_only=True)
class LoadedClient:
    """A client in this process, with its data.

    Args:
        client: the client's party, in whatever state the last message left it.
        first: the state in which it begins.
        layouts: dtypes and shapes of the server's messages, by kind.
    """

    client: Client
    first: Mapping[str, Tensor]
    layouts: Mapping[Kind, Layout]


@dataclass(kw_only=True)
class ClientState:
    """How far a client is in the training.

    Args:
        loaded: the client with its data.
        steps: number of steps done.
        base: number of steps done when its turn began.
        seen: number of the last message; numbers grow from one message to the next.
        moved: whether the present message completed a step.
    """

    loaded: LoadedClient
    steps: int
    base: int = 0
    seen: int = -1
    moved: bool = False

    def answer(self, message: Message) -> list[Message]:
        """What the client answers.

        Raises:
            InputError: the message is late or comes a second time, or the loss is not finite.
        """
        client, step = self.loaded.client, message.step
        number = step * len(Kind) + list(Kind).index(message.kind)
        if number <= self.seen:
            raise InputError(f"The {message.kind.value} message of step {step} comes late, or a second time.")
        self.seen = number
        if message.kind is not Kind.WEIGHTS and len(message.tensor) != client.batch_at(step):
            raise InputError(f"The server answers {len(message.tensor)} samples, not {client.batch_at(step)}.")
        if message.kind is Kind.CUT_GRAD:
            client.begin(step)
        answers = client.receive(message)
        if message.kind is Kind.FEATURES:
            check_loss(client.last_loss, step)
        if message.kind is (Kind.FEATURES if client.bottom is None else Kind.CUT_GRAD):
            self.steps, self.moved = step + 1, True
        return answers


@lru_cache(maxsize=16)
def _load_client(
    config: str,
    name: str,
    data: str | None,
    seed: int | None,
    device: str,
    defenses: tuple[Defense, ...],
) -> LoadedClient:
    """A client with its data, made once in a process."""
    read = RunConfig.model_validate_json(config)
    split = replace(read.split(), defenses=defenses)
    plan = make_plan(read, split)
    client = plan.make_client(name, data=data, seed=seed, device=torch.device(device))
    return LoadedClient(
        client=client,
        first={key: value.clone() for key, value in segment_tensors(client.segments()).items()},
        layouts=layouts(plan),
    )


def _refusal(error: UnsplitError, message: flower.Message) -> flower.Message:
    reason = flower.Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason=str(error))
    return flower.Message(reason, reply_to=message)


def _int(value: object) -> int:
    if not isinstance(value, int):
        raise InputError("The context holds a state that is not of this version; start the run anew.")
    return value
