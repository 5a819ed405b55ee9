"""Training without messages gives the weights of split training, bit for bit."""

import math

import pytest
import torch

from helpers.checks import noise
from helpers.equality import assert_identical
from helpers.graphs import play_cuda
from unsplit.defenses import NoPeek
from unsplit.errors import InputError
from unsplit.models import build
from unsplit.optim import OptimizerSpec
from unsplit.protocol import Recorder, SplitConfig, WholeTraining, split_training, whole
from unsplit.randomness import generator
from unsplit.stepping import repeated, together
from unsplit.types import Setup

OPTIMIZERS = {
    "momentum": OptimizerSpec(name="sgd", lr=0.05, options={"momentum": 0.9}),
    "adam": OptimizerSpec(),
    "fused adam": OptimizerSpec(options={"fused": True}),
}

# The others count their steps on the host if they are on the processor.
CAPTURED = ("momentum", "fused adam")


def parties(spec=OPTIMIZERS["adam"], *, device="cpu", seed=1, **settings):
    """A training of 21 samples by batches of 8: each epoch ends with a smaller one."""
    inputs, labels = noise(21, (1, 28, 28))
    config = SplitConfig(batch_size=8, client_optimizer=spec, server_optimizer=spec, **settings)
    model = build("mnist-net", generator=generator(0))
    return split_training(model, inputs, labels, config, generator=generator(seed), device=device)


@pytest.mark.parametrize("spec", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_the_weights_and_losses_are_those_of_split_training(spec):
    split, bare = parties(spec), WholeTraining(parties(spec))
    for steps in (2, 6, 7, 15):
        assert bare.run(steps) == split.run(steps)
    assert_identical(bare.model().state_dict(), split.model().state_dict())


def test_its_parties_go_on_from_where_it_ended():
    split, other = parties(), parties()
    split.run(9)
    WholeTraining(other).run(4)
    other.run(9)
    assert_identical(other.model().state_dict(), split.model().state_dict())


@pytest.mark.parametrize("name", CAPTURED)
def test_a_captured_training_is_an_eager_one(monkeypatch, name):
    split = parties(OPTIMIZERS[name])
    expected = split.run(15)
    graphs = play_cuda(monkeypatch)
    monkeypatch.setattr(whole, "repeated", lambda step, _: repeated(step, torch.device("cuda")))
    bare = WholeTraining(parties(OPTIMIZERS[name]))
    assert bare.run(15) == expected
    assert_identical(bare.model().state_dict(), split.model().state_dict())
    assert [graph.replays for graph in graphs] == [7]  # Ten whole batches, of which three are done before.


def test_trainings_side_by_side_are_those_alone(monkeypatch):
    spec = OPTIMIZERS["momentum"]
    alone = [parties(spec, seed=seed) for seed in (1, 2)]
    for one in alone:
        one.run(9)
    play_cuda(monkeypatch)
    monkeypatch.setattr(whole, "repeated", lambda step, _: repeated(step, torch.device("cuda")))
    beside = [WholeTraining(parties(spec, seed=seed)) for seed in (1, 2)]
    together([lambda one=one: one.run(9) for one in beside])
    for one, other in zip(beside, alone, strict=True):
        assert_identical(one.model().state_dict(), other.model().state_dict())


def test_a_loss_that_is_not_finite_is_told():
    training = parties()
    with torch.no_grad():
        next(training.model().parameters()).fill_(math.nan)
    with pytest.raises(InputError, match="loss became nan"):
        WholeTraining(training).run(2)


def recorded():
    training = parties()
    training.record(Recorder(observer="server"))
    return training


REFUSED = {
    "a recorder": recorded,
    "a defence": lambda: parties(defenses=(NoPeek(),)),
    "two clients": lambda: parties(clients=2),
    "another setup": lambda: parties(setup=Setup.C),
}


@pytest.mark.parametrize("training", REFUSED.values(), ids=REFUSED)
def test_where_messages_make_a_difference_it_is_refused(training):
    with pytest.raises(InputError, match="without messages"):
        WholeTraining(training())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, which this machine has not")
def test_on_a_gpu_the_weights_are_those_of_the_processor_within_rounding():
    spec = OPTIMIZERS["momentum"]
    split, bare = parties(spec), WholeTraining(parties(spec, device="cuda"))
    split.run(15)
    bare.run(15)
    for name, value in bare.model().state_dict().items():
        torch.testing.assert_close(value.cpu(), split.model().state_dict()[name], rtol=1e-2, atol=1e-3)
