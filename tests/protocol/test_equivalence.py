"""Split training gives, bit for bit, the weights of training the whole network."""

import copy
from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.nn import functional

from helpers.checks import noise
from helpers.equality import STEPS, assert_identical, split_and_whole
from unsplit.models import build, mnist_net
from unsplit.optim import OptimizerSpec
from unsplit.protocol import SplitConfig, split_training
from unsplit.randomness import generator, seeded
from unsplit.types import Setup

OPTIMIZERS = {
    "sgd": OptimizerSpec(name="sgd", lr=0.05),
    "momentum": OptimizerSpec(name="sgd", lr=0.05, options={"momentum": 0.9, "weight_decay": 0.01}),
    "adam": OptimizerSpec(),
    "adamw-amsgrad": OptimizerSpec(name="adamw", options={"amsgrad": True}),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("setup", Setup)
def test_every_setup_and_optimizer(setup, optimizer):
    spec = OPTIMIZERS[optimizer]
    config = SplitConfig(setup=setup, cut=1, batch_size=8, client_optimizer=spec, server_optimizer=spec)
    assert_identical(*split_and_whole(build("mnist-net", generator=generator(0)), config))


@pytest.mark.parametrize("cut", [0, 2, "conv2", 5, 6, "relu4"])
def test_every_kind_of_cut(cut):
    config = SplitConfig(cut=cut, batch_size=8)
    assert_identical(*split_and_whole(build("mnist-net", generator=generator(0)), config, steps=4))


@pytest.mark.parametrize("head", [1, 2, 3])
@pytest.mark.parametrize("setup", [Setup.B, Setup.C])
def test_every_depth_of_the_head(setup, head):
    config = SplitConfig(setup=setup, cut=1, head=head, batch_size=8)
    assert_identical(*split_and_whole(build("mnist-net", generator=generator(0)), config, steps=4))


@pytest.mark.parametrize("hand_off", ["server", "peer"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("setup", Setup)
def test_several_clients_equal_one_if_the_optimizer_is_handed_on(setup, optimizer, hand_off):
    spec = OPTIMIZERS[optimizer]
    config = SplitConfig(
        setup=setup, batch_size=4, clients=3, turn=2, hand_off=hand_off, hand_off_optimizer=True,
        client_optimizer=spec, server_optimizer=spec,
    )  # fmt: skip
    assert_identical(*split_and_whole(build("mnist-net", generator=generator(0)), config))


def test_weights_alone_suffice_without_optimizer_state():
    spec = OPTIMIZERS["sgd"]
    config = SplitConfig(setup=Setup.C, batch_size=4, clients=3, turn=2, client_optimizer=spec, server_optimizer=spec)
    assert_identical(*split_and_whole(build("mnist-net", generator=generator(0)), config))


def test_weights_alone_leave_each_client_its_own_optimizer():
    """The paper hands on weights only: then each client's Adam knows its own steps, as one Adam a client would."""
    config = SplitConfig(cut=1, batch_size=4, clients=2, turn=2)
    model = build("mnist-net", generator=generator(0))
    inputs, labels = noise()
    training = split_training(model, inputs, labels, config, generator=generator(1))
    training.run(STEPS)
    whole = copy.deepcopy(model)
    top = OptimizerSpec().build(whole[2:].parameters())
    bottoms = [OptimizerSpec().build(whole[:2].parameters()) for _ in range(2)]
    for step in range(STEPS):
        batch, bottom = training.truth(step), bottoms[training.turns.client(step)]
        whole.zero_grad()
        functional.cross_entropy(whole(batch.inputs), batch.labels).backward()
        bottom.step()
        top.step()
    assert_identical(training.model().state_dict(), whole.state_dict())


@pytest.mark.parametrize("setup", Setup)
def test_layers_that_draw_while_training(setup):
    """Dropout takes its masks from the step's seed; batch norm keeps its statistics with its party."""
    with seeded(0):
        model = nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(1, 4, 5), norm=nn.BatchNorm2d(4), act=nn.ReLU(), drop=nn.Dropout(0.5),
                pool=nn.AvgPool2d(4), flat=nn.Flatten(), fc1=nn.Linear(144, 20), drop2=nn.Dropout(0.3),
                fc2=nn.Linear(20, 10),
            )
        )  # fmt: skip
    config = SplitConfig(setup=setup, cut="drop", batch_size=8)
    assert_identical(*split_and_whole(model, config))


def test_regression_with_another_loss():
    labels = torch.rand(40, 10, generator=generator(5))
    config = SplitConfig(setup=Setup.C, cut=1, batch_size=7, loss=functional.mse_loss)
    assert_identical(*split_and_whole(build("mnist-net", generator=generator(0)), config, labels=labels))


def test_a_resnet_client():
    config = SplitConfig(cut="block2", batch_size=4)
    model = build("resnet", generator=generator(0))
    assert_identical(*split_and_whole(model, config, steps=2, samples=8, shape=(1, 16, 16)))


@pytest.mark.parametrize("batch_size", [1, 40])
def test_one_sample_or_all_of_them_a_step(batch_size):
    config = SplitConfig(cut=1, batch_size=batch_size)
    assert_identical(*split_and_whole(build("mnist-net", generator=generator(0)), config, steps=3))


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others():
    inputs, labels = noise()

    def weights(seed):
        model = build("mnist-net", generator=generator(seed))
        training = split_training(model, inputs, labels, SplitConfig(batch_size=8), generator=generator(seed))
        training.run(3)
        return training.model().state_dict()

    assert_identical(weights(3), weights(3))
    assert not torch.equal(weights(3)["conv1.weight"], weights(4)["conv1.weight"])


def test_the_model_that_was_split_stays_as_it_was():
    model = build(mnist_net, generator=generator(0))
    before = copy.deepcopy(model.state_dict())
    split_training(model, *noise(), SplitConfig(batch_size=8), generator=generator(1)).run(2)
    assert_identical(model.state_dict(), before)
