"""Inside Flower, the same parties give the same numbers: the whole protocol without Ray, and one real simulation."""

import importlib
import io
import os
import sys
import warnings
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from torch import nn

os.environ |= {"FLWR_TELEMETRY_ENABLED": "0", "RAY_USAGE_STATS_ENABLED": "0"}
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("flwr")
    from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
    from flwr.clientapp import ClientApp
    from flwr.simulation import run_simulation
    from flwr.supercore.task_identity import TaskIdentity

    from helpers.nodes import Nodes
    from unsplit.flower import client_app, server_app
    from unsplit.flower.client import _load_client
    from unsplit.flower.records import Order, arrays_of, pack, tensors_of, unpack

import unsplit.protocol.remote.plan as plans
from helpers.checks import noise
from unsplit.data import Dataset, Splits, load
from unsplit.defenses import GradientNoise, LabelDP
from unsplit.errors import InputError
from unsplit.protocol import SERVER, Recorder, SplitTraining, load_transcript, split_training
from unsplit.protocol.averaging import splitfed_training
from unsplit.protocol.checkpoint import segment_tensors
from unsplit.protocol.remote import RunConfig, make_plan
from unsplit.protocol.remote.codec import Layout
from unsplit.protocol.remote.states import States
from unsplit.randomness import generator
from unsplit.types import Kind, Setup
from unsplit.types import Message as SplitMessage

CLIENTS = ("ann", "bob")
NORM = "test_flower:norm_and_dropout"


def norm_and_dropout() -> nn.Sequential:
    """Statistics that a forward pass moves, and masks, in every part."""
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(1, 4, 5, stride=3), norm1=nn.BatchNorm2d(4), drop1=nn.Dropout2d(0.3), act1=nn.ReLU(),
            conv2=nn.Conv2d(4, 4, 3), norm2=nn.BatchNorm2d(4), drop2=nn.Dropout(0.2), flat=nn.Flatten(),
            fc1=nn.Linear(144, 20), norm3=nn.BatchNorm1d(20), drop3=nn.Dropout(0.5), fc2=nn.Linear(20, 10),
        )
    )  # fmt: skip


@pytest.fixture
def small(monkeypatch) -> Splits:
    """Few and random samples instead of the data set that a configuration names."""
    images, labels = noise()
    data = Dataset(name="small", images=images, labels=labels, classes=tuple("0123456789"))
    splits = Splits(train=data, test=data)
    monkeypatch.setattr(plans, "load", lambda _: splits)
    _load_client.cache_clear()
    yield splits
    _load_client.cache_clear()


@pytest.fixture(autouse=True)
def _task() -> None:
    """What a process of Flower knows about itself."""
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1


def config_of(setup: Setup | str = "a", **settings) -> RunConfig:
    settings = {"clients": CLIENTS, "data": "small", "turn": 4, "steps": 14, "batch_size": 6} | settings
    return RunConfig(setup=setup, **settings)


def nodes_of(config: RunConfig, **settings) -> Nodes:
    partitions = [
        {"partition-id": number, "num-partitions": len(config.clients)} for number in range(len(config.clients))
    ]
    return Nodes(client_app(config, **settings), partitions)


def train(config: RunConfig, grid: Nodes, folder: Path | None = None) -> Context:
    context = Context(1, 1, {}, RecordDict(), {})
    server_app(config, folder=folder)(grid, context)
    return context


def in_process(config: RunConfig, splits: Splits, **settings) -> tuple[SplitTraining, Recorder]:
    """The same training in one process, and what its server saw."""
    plan = make_plan(config)
    training = split_training(
        plan.model(config.seed), splits.train.images, splits.train.labels, replace(plan.split, **settings),
        generator=generator(config.seed),
    )  # fmt: skip
    for client, name in zip(training.clients, config.clients, strict=True):
        client.name = name
    training.server._inputs = dict(zip(config.clients, training.server._inputs.values(), strict=False))
    training.server._schedules = dict(zip(config.clients, training.server._schedules.values(), strict=False))
    recorder = training.record(Recorder(observer=SERVER))
    training.run(config.steps)
    return training, recorder


def same(ours, theirs) -> None:
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def same_parties(training: SplitTraining, grid: Nodes, context: Context) -> None:
    same(tensors_of(context.state.array_records["body"]), training.server.body.module.state_dict())
    for client, node in zip(training.clients, grid.contexts.values(), strict=True):
        same(tensors_of(node.state.array_records["state"]), segment_tensors(client.segments()))


def same_transcripts(ours, theirs) -> None:
    assert list(ours.headers) == list(theirs.headers)
    for one, other in zip(ours, theirs, strict=True):
        same(one.tensors, other.tensors)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"model": NORM, "cut": 4, "head": 1},
        {"hand_off_optimizer": True, "client_optimizer": {"name": "sgd", "lr": 0.05, "options": {"momentum": 0.9}}},
        {"clients": ("ann",), "turn": None},
    ],
    ids=["paper", "norm", "momentum", "alone"],
)
@pytest.mark.parametrize("setup", Setup)
def test_the_same_numbers_as_in_one_process(small, setup, settings, tmp_path):
    config = config_of(setup, **settings)
    training, recorder = in_process(config, small)
    grid = nodes_of(config)
    context = train(config, grid, tmp_path)
    same_parties(training, grid, context)
    same_transcripts(load_transcript(tmp_path / "transcript"), recorder.transcript())


def test_splitfed(small):
    config = config_of("c", mode="splitfed", steps=10)
    grid = nodes_of(config)
    context = train(config, grid)
    plan = make_plan(config)
    fed = splitfed_training(
        plan.model(config.seed), small.train.images, small.train.labels, plan.split, generator=generator(config.seed)
    )
    fed.run(config.steps)
    same(tensors_of(context.state.array_records["body"]), fed.pairs[0].server.body.module.state_dict())
    for pair, node in zip(fed.pairs, grid.contexts.values(), strict=True):
        same(tensors_of(node.state.array_records["state"]), segment_tensors(pair.clients[0].segments()))


def test_defences_are_the_clients_own(small):
    config = config_of("b")
    noisy = GradientNoise(scale=0.5)
    training, _ = in_process(config, small, defenses=(LabelDP(epsilon=2.0), noisy))
    grid = nodes_of(config, defenses=(LabelDP(epsilon=2.0), noisy))
    same_parties(training, grid, train(config, grid))


@pytest.mark.usefixtures("small")
def test_numbers_are_rounded_on_the_wire(tmp_path):
    config = config_of("c", wire="bfloat16", turn=8, steps=2)
    train(config, nodes_of(config), tmp_path)
    features = load_transcript(tmp_path / "transcript").tensor(Kind.SMASHED)
    assert features.dtype is torch.float32
    assert torch.equal(features, features.bfloat16().float())


@pytest.mark.parametrize("fault", ["lost", "unanswered"])
@pytest.mark.parametrize("number", [5, 9, 15, 20])
@pytest.mark.parametrize("setup", Setup)
def test_a_run_that_stopped_is_gone_on_with(small, setup, number, fault, tmp_path):
    settings = {"model": NORM, "cut": 4, "checkpoint_every": 3, "wait": 0.05}
    config = config_of(setup, **settings)
    training, recorder = in_process(config, small)
    broken = nodes_of(config, folder=tmp_path / "clients")
    setattr(broken, fault, number)
    with pytest.raises(InputError, match=r"does not answer for 0\.05 seconds"):
        train(config, broken, tmp_path / "server")
    grid = nodes_of(config, folder=tmp_path / "clients")
    context = train(config, grid, tmp_path / "server")
    same(tensors_of(context.state.array_records["body"]), training.server.body.module.state_dict())
    for client in training.clients:
        states = States(tmp_path / "clients" / client.name, digest=config.digest())
        same(states.load(states.stamps()[-1])[0], segment_tensors(client.segments()))
    same_transcripts(load_transcript(tmp_path / "server" / "transcript"), recorder.transcript())


@pytest.mark.usefixtures("small")
def test_a_finished_run_asks_nobody(tmp_path):
    config = config_of(steps=4)
    train(config, nodes_of(config), tmp_path)
    grid = nodes_of(config)
    assert "body" in train(config, grid, tmp_path).state
    assert grid.sent == 0


@pytest.mark.usefixtures("small")
def test_a_client_without_its_state_is_told_so(tmp_path):
    config = config_of(wait=0.05)
    broken = nodes_of(config)
    broken.lost = 17
    with pytest.raises(InputError, match="stands at step 8"):
        train(config, broken, tmp_path)
    with pytest.raises(InputError, match="ann has no state of step 4"):
        train(config, nodes_of(config), tmp_path)


def test_what_flower_cannot_carry_is_refused():
    config = config_of(hand_off="peer")
    for app in (server_app, client_app):
        with pytest.raises(InputError, match="sends no messages from client to client"):
            app(config)


@pytest.mark.usefixtures("small")
def test_nodes_that_do_not_match_the_configuration():
    config = config_of(wait=0.05)
    app = client_app(config)
    with pytest.raises(InputError, match="1 nodes are here for 2 clients"):
        train(config, Nodes(app, [{"partition-id": 0}]))
    with pytest.raises(InputError, match="Two nodes say that they are ann"):
        train(config, Nodes(app, [{"partition-id": 0}, {"client": "ann"}]))
    with pytest.raises(InputError, match="node 101 says: Unknown client 'eve'"):
        train(config, Nodes(app, [{"client": "ann"}, {"client": "eve"}]))
    with pytest.raises(InputError, match="There is a node 2"):
        train(config, Nodes(app, [{"partition-id": 0}, {"partition-id": 2}]))
    with pytest.raises(InputError, match="batch_size is 6 here and 7 at the server"):
        train(config_of(wait=0.05, batch_size=7), nodes_of(config))


@pytest.mark.parametrize("setup", Setup)
def test_clients_with_data_and_seeds_of_their_own(small, setup, tmp_path):
    config = config_of(setup, data=None)
    grid = Nodes(client_app(config), [{"client": name, "data": "own", "seed": len(name)} for name in CLIENTS])
    inputs = dict.fromkeys(CLIENTS, small.train.images)
    context = Context(1, 1, {}, RecordDict(), {})
    server_app(config, folder=tmp_path, inputs=inputs)(grid, context)
    assert len(load_transcript(tmp_path / "transcript").steps) == config.steps
    with pytest.raises(InputError, match="this client its own"):
        train(config, nodes_of(config))


@pytest.mark.usefixtures("small")
def test_a_node_with_another_app():
    config = config_of(clients=("ann",))
    other = ClientApp()
    other.query()(lambda message, context: Message(RecordDict(), reply_to=message))  # noqa: ARG005
    with pytest.raises(InputError, match="Node 100 does not say which client it is"):
        train(config, Nodes(other, [{}]))


@pytest.mark.parametrize(
    ("kind", "payload", "why"),
    [
        (Kind.LABELS, torch.full((6,), 10), "labels that are not from 0 to 9"),
        (Kind.LABELS, torch.zeros(5, dtype=torch.int64), "batches of different sizes"),
        (Kind.CUT_GRAD, torch.zeros(6, 8, 24, 24), "come next"),
        (None, torch.zeros(1), "nothing, where an answer was due"),
    ],
)
@pytest.mark.usefixtures("small")
def test_what_a_client_may_not_send(kind, payload, why):
    config = config_of()
    honest = client_app(config)

    def dishonest(message: Message, context: Context) -> Message:
        reply = honest(message, context)
        if message.metadata.message_type == "train" and kind is None:
            return Message(RecordDict(), reply_to=message)
        if message.metadata.message_type == "train":
            forged = SplitMessage(step=0, sender="ann", receiver=SERVER, kind=kind, payload=payload)
            reply.content[kind.value] = pack(forged, dtype=torch.float32)[kind.value]
            reply.content["steps"] = ConfigRecord({"smashed": 0, "labels": 0, kind.value: 0})
        return reply

    grid = nodes_of(config)
    grid._app = dishonest
    with pytest.raises(InputError, match=f"The server cannot use what ann sent: .*{why}"):
        train(config, grid)


@pytest.mark.usefixtures("small")
def test_a_message_that_flower_does_not_take():
    config = config_of(clients=("ann",))
    grid = nodes_of(config)
    grid.push_messages = lambda messages: [None for _ in messages]
    with pytest.raises(InputError, match="cannot be reached"):
        train(config, grid)


@pytest.mark.usefixtures("small")
def test_two_servers_do_not_share_a_folder(tmp_path):
    config = config_of(steps=4)
    with FileLock(tmp_path / ".lock"), pytest.raises(InputError, match="Another process uses"):
        train(config, nodes_of(config), tmp_path)


def test_without_flower_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "flwr", None)
    monkeypatch.delitem(sys.modules, "unsplit.flower")
    with pytest.raises(InputError, match=r"pip install unsplit\[flower\]"):
        importlib.import_module("unsplit.flower")


@pytest.mark.usefixtures("small")
def test_a_loss_that_explodes_is_named():
    config = config_of("c", client_optimizer={"name": "sgd", "lr": 1e30}, server_optimizer={"name": "sgd", "lr": 1e30})
    with pytest.raises(InputError, match=r"lower the learning rate|NaN or infinity"):
        train(config, nodes_of(config))


@pytest.mark.usefixtures("small")
def test_a_message_is_used_once():
    config = config_of()
    grid = nodes_of(config)
    train(config, grid)
    again = SplitMessage(step=3, sender=SERVER, receiver="ann", kind=Kind.CUT_GRAD, payload=torch.zeros(6, 8, 24, 24))
    records = pack(again, dtype=torch.float32)
    records["order"] = Order().record()
    (name,) = grid.push_messages([Message(records, 100, "train")])
    (reply,) = grid.pull_messages([name])
    assert reply.has_error()
    assert "comes late, or a second time" in str(reply.error.reason)


LAYOUTS = {Kind.SMASHED: Layout(tensors={"smashed": (torch.float32, (3,))}, batch=4)}


def came(array: Array, steps: ConfigRecord | None = None, kind: Kind = Kind.SMASHED) -> list[SplitMessage]:
    steps = ConfigRecord({kind.value: 7}) if steps is None else steps
    records = RecordDict({kind.value: ArrayRecord({kind.value: array}), "steps": steps})
    return unpack(records, LAYOUTS, sender="ann", receiver=SERVER)


def test_a_message_arrives_as_it_was_sent():
    (message,) = came(Array(np.arange(6, dtype=np.float32).reshape(2, 3)))
    assert message.header == (7, "ann", SERVER, Kind.SMASHED)
    assert torch.equal(message.tensor, torch.arange(6.0).reshape(2, 3))


def pickled() -> Array:
    array = np.empty((2, 3), dtype=object)
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return Array(dtype="float32", shape=(2, 3), stype="numpy.ndarray", data=stream.getvalue())


def lying(dtype: str, shape: tuple[int, ...], data: np.ndarray) -> Array:
    return Array(dtype=dtype, shape=shape, stype="numpy.ndarray", data=Array(data).data)


@pytest.mark.parametrize(
    ("array", "why"),
    [
        (Array(np.zeros((2, 3), np.float64)), "'smashed' is float64, not float32"),
        (Array(np.zeros((2, 4), np.float32)), "has shape"),
        (Array(np.zeros((5, 3), np.float32)), "has shape"),
        (Array(np.zeros((2, 3), np.complex64)), "array of complex64"),
        (Array(np.full((2, 3), "x")), "array of <U1"),
        (Array(dtype="float32", shape=(2, 3), stype="pickle", data=b"."), "in the form pickle"),
        (Array(dtype="float32", shape=(2, 3), stype="numpy.ndarray", data=b"no"), "no array of numpy"),
        (Array(dtype="float32", shape=(2, 3), stype="numpy.ndarray", data=b""), "no array of numpy"),
        (pickled(), "no array of numpy"),
        (lying("float32", (2, 3), np.zeros((2, 300), np.float32)), "not of the dtype and shape"),
        (lying("float32", (2, 3), np.zeros((2, 3), np.int64)), "not of the dtype and shape"),
        (Array(np.full((2, 3), np.nan, np.float32)), "NaN or infinity"),
    ],
    ids=range(12),
)
def test_what_does_not_look_as_expected_is_refused(array, why):
    with pytest.raises(InputError, match=f"smashed message of step 7 from ann cannot be used: .*{why}"):
        came(array)


def test_messages_without_a_step_or_a_place_are_refused():
    good = Array(np.zeros((2, 3), np.float32))
    with pytest.raises(InputError, match="not expected"):
        came(good, steps=ConfigRecord())
    with pytest.raises(InputError, match="not expected"):
        came(good, kind=Kind.CUT_GRAD)


def test_every_dtype_comes_back():
    tensors = {
        str(dtype): torch.tensor([[1, 0], [1, 1]]).to(dtype)
        for dtype in (torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int32, torch.uint8, torch.bool)
    } | {"scalar": torch.tensor(3.5), "empty": torch.empty(0, 4)}
    back = tensors_of(arrays_of(tensors))
    assert {name: value.dtype for name, value in back.items()} == {name: value.dtype for name, value in tensors.items()}
    same(back, tensors)


def test_orders():
    order = Order(load=3, begin=4, over=-1, hand_off=True)
    assert Order.read(RecordDict({"order": order.record()})) == order
    for wrong in (RecordDict(), RecordDict({"order": ConfigRecord({**order.record(), "load": "3"})})):
        with pytest.raises(InputError, match="install the same unsplit"):
            Order.read(wrong)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_simulation_of_flower(tmp_path):
    _load_client.cache_clear()
    config = config_of("c", data="digits", batch_size=16, turn=2, steps=5)
    training, recorder = in_process(config, load("digits"))
    run_simulation(
        server_app(config, folder=tmp_path / "server"),
        client_app(config, folder=tmp_path / "clients"),
        num_supernodes=2,
        backend_config={
            "init_args": {"address": "local", "num_cpus": 2, "log_to_driver": False},
            "client_resources": {"num_cpus": 1},
        },
    )
    same_transcripts(load_transcript(tmp_path / "server" / "transcript"), recorder.transcript())
    body, _ = States(tmp_path / "server" / "turns", digest=config.digest()).load(5)
    same(
        {name.removeprefix("turns|"): value for name, value in body.items() if name.startswith("turns|")},
        segment_tensors(training.server.segments()),
    )
    for client in training.clients:
        states = States(tmp_path / "clients" / client.name, digest=config.digest())
        same(states.load(states.stamps()[-1])[0], segment_tensors(client.segments()))
