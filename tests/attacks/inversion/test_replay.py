"""A client's steps, taken again: what they explain of the drift of its smashed data, and that they tell the sign."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from unsplit.attacks.inversion import AmortisedConfig, LearningConfig, invert_with_replay
from unsplit.attacks.inversion._replay import Window, _explained, explained_drift, recognised, replay_witness
from unsplit.attacks.symmetry import mirror
from unsplit.errors import InputError
from unsplit.knowledge import ClientArchitecture, ClientOptimizer
from unsplit.models import split
from unsplit.optim import OptimizerSpec
from unsplit.protocol import Recorder, SplitConfig, split_training
from unsplit.randomness import generator, seeded
from unsplit.types import DecidedBy, Kind, Message, Transcript

SAMPLES, BATCH, EPOCHS, DEPTH = 96, 16, 3, 3
OPTIMIZERS = {"SGD": OptimizerSpec(name="sgd", lr=0.02), "Adam": OptimizerSpec(lr=1e-3)}


def network():
    with seeded(0):
        return nn.Sequential(
            nn.Conv2d(1, 4, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3), nn.Flatten(), nn.Linear(600, 10)
        )


def watched(digits, optimizer, epochs=EPOCHS):
    """The client's layers at the beginning, what the server saw of its training, and the truth."""
    net, data = network(), digits.train.subset(torch.arange(SAMPLES))
    bottom = copy.deepcopy(split(net, DEPTH)[0])
    config = SplitConfig(cut=DEPTH, batch_size=BATCH, client_optimizer=optimizer, server_optimizer=optimizer)
    training = split_training(net, data.images, data.labels, config, generator=generator(1))
    recorder = training.record(Recorder(observer="server"))
    steps = epochs * SAMPLES // BATCH
    training.run(steps)
    return bottom, recorder.transcript(), torch.cat([training.truth(step).inputs for step in range(steps)])


@pytest.fixture(scope="module", params=OPTIMIZERS)
def case(request, digits):
    optimizer = OPTIMIZERS[request.param]
    bottom, view, truth = watched(digits, optimizer)
    return bottom, Window.of(view), truth, optimizer


def test_samples_are_recognised_by_their_smashed_data(case):
    _, window, truth, _ = case
    assert len(window.places) == SAMPLES
    assert torch.equal(truth[window.places][torch.cat(window.samples)], truth)


def test_a_sample_that_comes_no_more_and_a_new_one_are_told_apart():
    first = 10 * torch.randn(5, 3, generator=generator(0))
    new = 10 * torch.randn(2, 3, generator=generator(1))
    second = torch.cat([first[3:4] + 0.1, new[:1], first[:1] + 0.1])
    found = recognised((first, second, torch.cat([new[1:], new[:1] + 0.1])))
    assert [one.tolist() for one in found] == [[0, 1, 2, 3, 4], [3, 5, 0], [6, 5]]


def test_of_two_only_the_nearer_one_is_the_same_sample():
    known = torch.tensor([[0.0, 0.0], [100.0, 0.0]])
    found = recognised((known, torch.tensor([[1.0, 0.0], [0.1, 0.0]])))
    assert found[1].tolist() == [2, 0]


def test_the_client_s_own_steps_explain_the_drift(case):
    bottom, window, truth, optimizer = case
    assert explained_drift(bottom, truth[window.places], window, optimizer) > 0.8
    stranger = truth[window.places].roll(1, 0)
    assert explained_drift(bottom, stranger, window, optimizer) < 0.7


def test_scales_between_layers_change_nothing_that_is_told(case):
    bottom, window, truth, _ = case
    scaled, sgd = copy.deepcopy(bottom), OPTIMIZERS["SGD"]
    with torch.no_grad():
        scaled[0].weight.mul_(5)
        scaled[0].bias.mul_(5)
        scaled[3].weight.div_(5)
    shown = truth[window.places]
    assert explained_drift(scaled, shown, window, sgd) == pytest.approx(
        explained_drift(bottom, shown, window, sgd), abs=0.02
    )


def test_the_witness_speaks_for_the_client_s_sign(case):
    bottom, window, truth, optimizer = case
    architecture = ClientArchitecture.of(bottom, (1, 28, 28))
    told = replay_witness(bottom, truth, window, optimizer, architecture)
    assert told > 0.01
    clone = copy.deepcopy(bottom)
    negative = mirror(truth, clone, architecture)
    assert replay_witness(clone, negative, window, optimizer, architecture) == pytest.approx(-told, abs=1e-3)


def test_it_is_the_client_s_zero_that_counts(case):
    """Of a client whose zero is the bright end, the negative is the picture as its own layers take it."""
    bottom, window, truth, optimizer = case
    architecture = ClientArchitecture.of(bottom, (1, 28, 28))
    told = replay_witness(bottom, truth, window, optimizer, architecture)
    bright = replace(architecture, zero=1.0)
    assert replay_witness(bottom, truth, window, optimizer, bright) == pytest.approx(-told, abs=1e-3)


def test_where_there_is_no_mirror_the_witness_is_silent(case):
    _, window, truth, optimizer = case
    with seeded(0):
        padded = nn.Sequential(nn.Conv2d(1, 4, 5, padding=2), nn.ReLU())
    assert replay_witness(padded, truth, window, optimizer, ClientArchitecture.of(padded, (1, 28, 28))) == 0


def test_where_nothing_comes_twice_it_is_silent(digits):
    bottom, view, truth = watched(digits, OPTIMIZERS["SGD"], epochs=1)
    window = Window.of(view)
    architecture = ClientArchitecture.of(bottom, (1, 28, 28))
    assert replay_witness(bottom, truth, window, OPTIMIZERS["SGD"], architecture) == 0


def test_what_is_explained_is_the_share_of_the_best_combination_from_zero_on():
    columns = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]).double()
    wanted = torch.tensor([3.0, -4.0, 0.0]).double()
    told = _explained(columns @ columns.T, columns @ wanted, float(wanted.square().sum()))
    assert told == pytest.approx(9 / 25)
    assert _explained(torch.zeros(2, 2).double(), torch.zeros(2).double(), 1.0) == 0


TINY = AmortisedConfig(candidates=2, steps=10, refit_steps=2, learning=LearningConfig(width=4, blocks=1, batch=4))
TELLING = 2
"""A seed of which ten steps give replay enough to decide by; most seeds' clones need more."""


def test_the_attack_says_that_replay_decided_and_its_clone_goes_with_its_pictures(digits):
    bottom, view, _ = watched(digits, OPTIMIZERS["SGD"])
    architecture = ClientArchitecture.of(bottom, (1, 28, 28))
    known = ClientOptimizer(spec=OPTIMIZERS["SGD"])
    alone = replace(TINY, finalists=1)
    found = invert_with_replay(view, architecture, known, alone, generator=generator(TELLING))
    assert found.decided_by is DecidedBy.REPLAY
    smashed = view.tensor(Kind.SMASHED)
    with torch.no_grad():
        error = (found.clones[0](found.inputs) - smashed).square().flatten(1).mean(1) / smashed.var(unbiased=False)
    torch.testing.assert_close(found.residual, error)


def test_flattened_smashed_data_are_replayed_too(digits):
    """The sizes of their maps are known, and so is where each number belongs."""
    bottom, view, _ = watched(digits, OPTIMIZERS["SGD"])
    flat = [replace(message, payload=message.tensor.flatten(1)) if message.kind is not Kind.LABELS else message
            for message in view]  # fmt: skip
    both = []
    for layers, seen in (
        (bottom, view),
        (nn.Sequential(*bottom, nn.Flatten()), Transcript(observer="server", messages=flat)),
    ):
        architecture = ClientArchitecture.of(layers, (1, 28, 28))
        known = ClientOptimizer(spec=OPTIMIZERS["SGD"])
        alone = replace(TINY, finalists=1)
        both.append(invert_with_replay(seen, architecture, known, alone, generator=generator(TELLING)))
    assert torch.equal(both[0].inputs, both[1].inputs)
    assert both[1].decided_by is DecidedBy.REPLAY


def test_a_view_without_cut_gradients_or_with_those_of_another_cut_is_refused():
    smashed = Message(step=0, sender="client0", receiver="server", kind=Kind.SMASHED, payload=torch.zeros(4, 3))
    with pytest.raises(InputError, match="nothing to replay"):
        Window.of(Transcript(observer="server", messages=(smashed,)))
    other = Message(step=0, sender="server", receiver="client0", kind=Kind.CUT_GRAD, payload=torch.zeros(4, 2))
    with pytest.raises(InputError, match="same cut"):
        Window.of(Transcript(observer="server", messages=(smashed, other)))
