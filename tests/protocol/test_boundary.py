"""Nothing private is reachable from a transcript, and watching changes nothing."""

import functools
import gc
import types

import pytest
import torch
from torch import Tensor, nn

from helpers.checks import noise
from unsplit.attacks.inversion import AmortisedConfig, CoordinateConfig, JointConfig, invert
from unsplit.attacks.labels import GroupingConfig, group_by_cut_gradient
from unsplit.knowledge import ClientArchitecture, LabelSpace
from unsplit.models import build
from unsplit.protocol import SERVER, Client, Recorder, Server, SplitConfig, split_training
from unsplit.randomness import generator
from unsplit.types import Kind, Message, Setup

SEEN_BY_SERVER = {
    (Setup.A, "server"): {Kind.SMASHED, Kind.LABELS, Kind.CUT_GRAD, Kind.WEIGHTS},
    (Setup.B, "server"): {Kind.FEATURES, Kind.FEATURE_GRAD, Kind.WEIGHTS},
    (Setup.C, "server"): {Kind.SMASHED, Kind.FEATURES, Kind.FEATURE_GRAD, Kind.CUT_GRAD, Kind.WEIGHTS},
}


def recorded(setup=Setup.C, hand_off="server", steps=6, observer=SERVER, **keep):
    config = SplitConfig(setup=setup, cut=1, batch_size=4, clients=2, turn=2, hand_off=hand_off)
    training = split_training(build("mnist-net", generator=generator(0)), *noise(), config, generator=generator(1))
    recorder = training.record(Recorder(observer=observer, **keep))
    training.run(steps)
    return training, recorder


def reachable(root):
    """Every object that can be reached from `root` without going through modules, types and functions."""
    seen, waiting = {}, [root]
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or isinstance(thing, type | types.ModuleType | types.FunctionType):
            continue
        seen[id(thing)] = thing
        waiting += gc.get_referents(thing)
    return seen.values()


@pytest.mark.parametrize("setup", Setup)
def test_no_party_module_or_graph_is_reachable(setup):
    _, recorder = recorded(setup)
    for thing in reachable(recorder.transcript()):
        assert not isinstance(thing, nn.Module | torch.optim.Optimizer | Client | Server)
        if isinstance(thing, Tensor):
            assert thing.grad_fn is None
            assert not thing.requires_grad


@pytest.mark.parametrize("setup", Setup)
def test_no_payload_shares_storage_with_a_party(setup):
    training, recorder = recorded(setup)
    owned = {
        value.untyped_storage().data_ptr()
        for party in (training.server, *training.clients)
        for thing in reachable(party)
        if isinstance(thing, Tensor)
        for value in (thing,)
    }
    payloads = [value for message in recorder.transcript() for value in message.tensors.values()]
    assert payloads
    assert all(value.untyped_storage().data_ptr() not in owned for value in payloads)


def test_what_was_recorded_does_not_change_when_training_goes_on():
    training, recorder = recorded()
    before = [{name: value.clone() for name, value in message.tensors.items()} for message in recorder.transcript()]
    training.run(training.steps_done + 6)
    for message, kept in zip(recorder.transcript(), before, strict=False):
        assert all(torch.equal(message.tensors[name], value) for name, value in kept.items())


def test_a_message_copies_what_it_is_made_of():
    value = torch.ones(3, requires_grad=True)
    message = Message(step=0, sender="a", receiver="b", kind=Kind.SMASHED, payload=value * 2)
    value.data.zero_()
    assert message.tensor.tolist() == [2, 2, 2]
    assert message.tensor.grad_fn is None


@pytest.mark.parametrize("setup", Setup)
def test_which_kinds_the_server_sees(setup):
    _, recorder = recorded(setup)
    assert {header.kind for header in recorder.transcript().headers} == SEEN_BY_SERVER[setup, "server"]


@pytest.mark.parametrize("setup", Setup)
def test_weights_from_peer_to_peer_pass_the_server_by(setup):
    _, recorder = recorded(setup, hand_off="peer")
    kinds = {header.kind for header in recorder.transcript().headers}
    assert kinds == SEEN_BY_SERVER[setup, "server"] - {Kind.WEIGHTS}


def test_a_client_sees_only_its_own_traffic():
    _, recorder = recorded(observer="client1")
    headers = recorder.transcript().headers
    assert headers
    assert all("client1" in (header.sender, header.receiver) for header in headers)


def watched_run(watch):
    """All messages and final weights of a run during which `watch(training, recorder)` is called after each step."""
    config = SplitConfig(setup=Setup.C, cut=1, batch_size=4, clients=2, turn=2)
    inputs, labels = noise()
    training = split_training(
        build("mnist-net", generator=generator(0)), inputs, labels, config, generator=generator(1)
    )
    recorder = training.record(Recorder(observer=SERVER))
    for _ in range(6):
        training.step()
        watch(training, recorder, inputs)
    return recorder.transcript(), training.model().state_dict()


def invert_now(training, recorder, _, config=None):
    architecture = ClientArchitecture.of(training.active().bottom.module, (1, 28, 28))
    view = recorder.transcript().of(Kind.SMASHED).last(1)
    invert(view, architecture, config or JointConfig(steps=3), generator=generator(5))


def group_now(_training, recorder, _inputs):
    view, space = recorder.transcript(), LabelSpace(classes=2)
    group_by_cut_gradient(view, space, GroupingConfig(restarts=1), generator=generator(5))


WATCHERS = {
    "inference": lambda training, _, inputs: training.infer(inputs),
    "evaluation": lambda training, _, inputs: training.predict(inputs),
    "joint inversion": invert_now,
    "coordinate inversion": functools.partial(
        invert_now, config=CoordinateConfig(rounds=1, input_steps=1, weight_steps=1)
    ),
    "amortised inversion": functools.partial(invert_now, config=AmortisedConfig(candidates=2, steps=2, refit_steps=1)),
    "grouping": group_now,
}


@pytest.mark.parametrize("watcher", WATCHERS)
def test_a_bystander_changes_no_bit(watcher):
    undisturbed, weights = watched_run(lambda *_: None)
    watched, same_weights = watched_run(WATCHERS[watcher])
    assert [message.header for message in watched] == [message.header for message in undisturbed]
    for one, other in zip(undisturbed, watched, strict=True):
        assert all(torch.equal(value, other.tensors[name]) for name, value in one.tensors.items())
    assert all(torch.equal(value, same_weights[name]) for name, value in weights.items())


@pytest.mark.parametrize("keep", [{}, {"last": 2}, {"steps": {1, 3}}, {"kinds": {Kind.SMASHED}}, "stream"])
def test_recording_changes_no_bit(keep, tmp_path):
    _, weights = watched_run(lambda *_: None)
    config = SplitConfig(setup=Setup.C, cut=1, batch_size=4, clients=2, turn=2)
    training = split_training(build("mnist-net", generator=generator(0)), *noise(), config, generator=generator(1))
    training.record(Recorder(observer=SERVER, **({"folder": tmp_path / "t"} if keep == "stream" else keep)))
    training.run(6)
    assert all(torch.equal(value, weights[name]) for name, value in training.model().state_dict().items())
